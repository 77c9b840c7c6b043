import { createHmac } from 'node:crypto'
import type { Random } from '../system.ts'
import type { Sealer } from './sealed.ts'

const prefix = 'whsec_'
const secretBytes = 32

export type WebhookSecrets = ReturnType<typeof createWebhookSecrets>

/**
 * The secrets that webhooks are signed with (Standard Webhooks 1.0.0, symmetric): shown once, then kept only sealed, each
 * for its endpoint.
 */
export function createWebhookSecrets({ sealer, random }: { sealer: Sealer; random: Random }) {
  return {
    /** A new one: as its receiver writes it, and as the database keeps it. */
    make: (webhookId: string): { secret: string; sealed: string } => {
      const secret = random.bytes(secretBytes).toString('base64')
      return { secret: `${prefix}${secret}`, sealed: sealer.seal('webhook', secret, `webhook ${webhookId}`) }
    },

    /**
     * The `webhook-signature` of a message: one for each secret that can be opened still, empty where none can.
     * @param sentAt seconds since 1970, as in `webhook-timestamp`
     */
    sign: (
      webhookId: string,
      sealed: readonly string[],
      message: { id: string; sentAt: number; body: string },
    ): string =>
      sealed
        .map((one) => sealer.open('webhook', one, `webhook ${webhookId}`))
        .filter((secret) => typeof secret === 'string')
        .map((secret) => {
          const mac = createHmac('sha256', Buffer.from(secret, 'base64'))
          return `v1,${mac.update(`${message.id}.${message.sentAt}.${message.body}`).digest('base64')}`
        })
        .join(' '),
  }
}
