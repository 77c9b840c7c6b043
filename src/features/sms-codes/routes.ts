import formbody from '@fastify/formbody'
import Type from 'typebox'
import type { Services } from '../../services.ts'
import type { App } from '../app-type.ts'
import { recordReceipt } from './record-receipt.ts'

/** What the provider tells us of texts it has taken. */
export function smsCodeRoutes(app: App, services: Pick<Services, 'store' | 'config' | 'events'>): void {
  app.register(async (scope) => {
    scope.removeAllContentTypeParsers()
    await scope.register(formbody, { bodyLimit: 8_192 })
    ;(scope as App).post(
      '/webhooks/twilio/status',
      {
        config: { access: 'public', limits: ['default'], problems: ['invalid_signature'] },
        schema: {
          operationId: 'recordReceipt',
          tags: ['webhooks'],
          summary: 'Delivery receipts of Twilio',
          description: 'Signed with `X-Twilio-Signature` over PUBLIC_URL; anything else is refused before it is read.',
          consumes: ['application/x-www-form-urlencoded'],
          headers: Type.Object({ 'x-twilio-signature': Type.Optional(Type.String({ maxLength: 128 })) }),
          body: Type.Record(Type.String(), Type.String({ maxLength: 1_024 }), {
            examples: [{ MessageSid: 'SM0123456789abcdef0123456789abcdef', MessageStatus: 'delivered' }],
          }),
          response: { 204: Type.Null({ description: 'Taken.' }) },
        },
      },
      async (request, reply) => {
        const signature = request.headers['x-twilio-signature'] ?? ''
        await recordReceipt(services, { signature, fields: request.body })
        reply.code(204)
        return null
      },
    )
  })
}
