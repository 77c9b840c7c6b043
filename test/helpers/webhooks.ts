import { createWebhook } from '../../src/features/admin/webhooks/create-webhook.ts'
import { sendDueWebhooks } from '../../src/features/admin/webhooks/webhook-sender.ts'
import type { Doorstep } from './doorstep.ts'

/** A backend that calls, as the guard makes it known. */
export const backend = { requestId: 'req-test', address: '203.0.113.200', userAgent: null, client: 'dsc_test' }

/** On this machine nothing else is a receiver. */
export const receiversHere = { WEBHOOK_ALLOWED_NETWORKS: '127.0.0.1' }

/** An endpoint with its secret. */
export const hook = ({ services }: Pick<Doorstep, 'services'>, url: string, events: string[]) =>
  createWebhook(services, { url, events: events as ['user.created'] }, backend)

/** Sends all that is due at this moment. */
export const send = ({ services }: Pick<Doorstep, 'services'>): Promise<number> => sendDueWebhooks(services)

/** Lets `seconds` go by for what endpoints wait for. */
export async function passForHooks({ sql }: Pick<Doorstep, 'sql'>, seconds: number): Promise<void> {
  await sql(
    `WITH age AS (SELECT $1::double precision * interval '1 second' AS by),
       queue AS (UPDATE webhook_deliveries SET created_at = created_at - by, next_try_at = next_try_at - by,
         claimed_until = claimed_until - by FROM age)
     UPDATE webhooks SET created_at = created_at - by, failing_since = failing_since - by, held_until = held_until - by,
       last_delivered_at = last_delivered_at - by,
       old_secrets = (SELECT coalesce(jsonb_agg(value || jsonb_build_object('until', (value->>'until')::numeric - $1::numeric)), '[]')
         FROM jsonb_array_elements(old_secrets)) FROM age`,
    [seconds],
  )
}
