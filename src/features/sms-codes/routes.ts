import type { FastifyRequest } from 'fastify'
import Type from 'typebox'
import { Problem } from '../../errors.ts'
import type { Services } from '../../services.ts'
import type { App } from '../app-type.ts'
import { assertSigned, recordReceipt } from './record-receipt.ts'
import { ReceiptBody, ReceiptHeaders, signatureLength } from './schemas.ts'

/** What the provider tells us of texts it has taken. With a provider other than Twilio, nothing: every call is refused. */
export async function smsCodeRoutes(app: App, services: Services): Promise<void> {
  await app.register(async (scope) => {
    refuseUnsigned(scope as App, services)
    recordReceiptRoute(scope as App, services)
  })
}

/** Judges as soon as the bytes are there, before any rule for bodies: whatever a stranger sends gets the same 403. */
function refuseUnsigned(scope: App, services: Services): void {
  scope.removeAllContentTypeParsers()
  const readSigned = async (request: FastifyRequest, text: string) => {
    const fields = Object.fromEntries(new URLSearchParams(text))
    assertSigned(services, { ...signedBy(request), fields })
    return fields
  }
  scope.addContentTypeParser<string>('*', { parseAs: 'string', bodyLimit: 8_192 }, readSigned)
  scope.addHook('onRequest', async (request) => {
    if (!services.config.sms.twilio || signatureOf(request.headers) === '') throw new Problem('invalid_signature')
    const { 'content-length': length = '0', 'transfer-encoding': coding } = request.headers
    // Without a body no parser runs.
    if (length === '0' && coding === undefined) assertSigned(services, { ...signedBy(request), fields: {} })
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
