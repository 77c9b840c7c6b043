import type { FastifyRequest } from 'fastify'
import Type from 'typebox'
import { Problem } from '../../errors.ts'
import type { Services } from '../../services.ts'
import type { App } from '../app-type.ts'
import { assertSigned, recordReceipt } from './record-receipt.ts'

/** Of an HMAC-SHA-1 in Base64. */
const signatureLength = 28

/** What the provider tells us of texts it has taken. With a provider other than Twilio, nothing: every call is refused. */
export async function smsCodeRoutes(app: App, services: Pick<Services, 'store' | 'config' | 'events'>): Promise<void> {
  await app.register(async (scope) => {
    scope.removeAllContentTypeParsers()
    // Judged as soon as the bytes are there, before any rule for bodies: whatever a stranger sends gets the same 403.
    const readSigned = async (request: FastifyRequest, text: string) => {
      const fields = Object.fromEntries(new URLSearchParams(text))
      assertSigned(services, { ...signedBy(request), fields })
      return fields
    }
    scope.addContentTypeParser<string>('*', { parseAs: 'string', bodyLimit: 8_192 }, readSigned)
    scope.addHook('onRequest', async ({ headers }) => {
      if (!services.config.sms.twilio || signatureOf(headers) === '') throw new Problem('invalid_signature')
    })
    ;(scope as App).post(
      '/webhooks/twilio/status',
      {
        config: { access: 'public', limits: ['default'], problems: ['invalid_signature'] },
        schema: {
          operationId: 'recordReceipt',
          tags: ['webhooks'],
          summary: 'Delivery receipts of Twilio',
          description:
            'Signed with `X-Twilio-Signature` over PUBLIC_URL; anything else is refused before it is read, and so is everything ' +
            'where another provider sends the texts.',
          consumes: ['application/x-www-form-urlencoded'],
          headers: Type.Object({
            'x-twilio-signature': Type.String({
              maxLength: signatureLength,
              description: 'HMAC-SHA-1 under the auth token, in Base64.',
              examples: ['c5sXfGxXvLcYxvnHlYXbPUNXf4s='],
            }),
          }),
          body: Type.Record(Type.String(), Type.String({ maxLength: 1_024 }), {
            examples: [{ MessageSid: 'SM0123456789abcdef0123456789abcdef', MessageStatus: 'delivered' }],
          }),
          response: { 204: Type.Null({ description: 'Taken.' }) },
        },
      },
      async (request, reply) => {
        await recordReceipt(services, { ...signedBy(request), fields: request.body })
        reply.code(204)
        return null
      },
    )
  })
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
