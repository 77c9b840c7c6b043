import type { Readable } from 'node:stream'
import type { FastifyRequest } from 'fastify'
import Type from 'typebox'
import { Problem } from '../../errors.ts'
import type { Services } from '../../services.ts'
import type { App } from '../app-type.ts'
import { assertSigned, recordReceipt } from './record-receipt.ts'
import { ReceiptBody, ReceiptHeaders, signatureLength } from './schemas.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** The fields of a receipt whose signature holds. */
    receipt?: Record<string, string>
  }
}

/** What the provider tells us of texts it has taken. With a provider other than Twilio, nothing: every call is refused. */
export async function smsCodeRoutes(app: App, services: Services): Promise<void> {
  await app.register(async (scope) => {
    refuseUnsigned(scope as App, services)
    recordReceiptRoute(scope as App, services)
  })
}

/** Bytes that are read so that a signature can be judged, and those that a receipt may have; Twilio's are far smaller. */
const most = { read: 16_384, taken: 8_192 }

/**
 * Reads and judges the bytes before any rule for bodies: whatever a stranger sends, and calls it, gets the same 403, also
 * for what is too large to be read to its end: no signature can be judged over that.
 */
function refuseUnsigned(scope: App, services: Services): void {
  scope.removeAllContentTypeParsers()
  scope.decorateRequest('receipt')
  scope.addHook('onRequest', async (request, reply) => {
    if (!services.config.sms.twilio || signatureOf(request.headers) === '') throw new Problem('invalid_signature')
    const bytes = await readAtMost(request.raw, most.read)
    if (bytes === null) {
      reply.header('Connection', 'close')
      throw new Problem('invalid_signature')
    }
    const fields = Object.fromEntries(new URLSearchParams(bytes.toString()))
    assertSigned(services, { ...signedBy(request), fields })
    if (bytes.length > most.taken) throw new Problem('payload_too_large')
    request.receipt = fields
  })
  scope.addContentTypeParser('*', ({ receipt }, _payload, done) => done(null, receipt))
}

/** All that `stream` has; null if it breaks off, and as soon as that is more than `limit` bytes: no more are taken then. */
function readAtMost(stream: Readable, limit: number): Promise<Buffer | null> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = []
    let length = 0
    const take = (chunk: Buffer): void => {
      chunks.push(chunk)
      length += chunk.length
      if (length <= limit) return
      stream.off('data', take)
      stream.pause()
      resolve(null)
    }
    stream.on('data', take)
    stream.once('end', () => resolve(Buffer.concat(chunks)))
    stream.once('error', () => resolve(null))
  })
}

function recordReceiptRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'recordReceipt',
    tags: ['webhooks'],
    summary: 'Delivery receipts of Twilio',
    description:
      'Signed with `X-Twilio-Signature` over PUBLIC_URL; anything else is refused before it is read, and so is everything ' +
      'where another provider sends the texts.',
    consumes: ['application/x-www-form-urlencoded'],
    headers: ReceiptHeaders,
    body: ReceiptBody,
    response: { 204: Type.Null({ description: 'Taken.' }) },
  }
  app.post(
    '/webhooks/twilio/status',
    { config: { access: 'public', limits: ['default'], problems: ['invalid_signature'] }, schema },
    async (request, reply) => {
      await recordReceipt(services, { ...signedBy(request), fields: request.body })
      reply.code(204)
      return null
    },
  )
}

/** What Twilio signs besides the fields, and its signature. */
function signedBy({ headers, raw }: FastifyRequest): { signature: string; query: string } {
  return { signature: signatureOf(headers), query: /\?.*$/.exec(raw.url ?? '')?.[0] ?? '' }
}

/** What may be a signature; empty without one. */
function signatureOf(headers: Record<string, unknown>): string {
  const { 'x-twilio-signature': signature } = headers
  return typeof signature === 'string' && signature.length === signatureLength ? signature : ''
}
