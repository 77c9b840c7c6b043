import type { Caller, Event } from '../../../events.ts'
import type { Services } from '../../../services.ts'
import type { Hourly } from '../hourly.ts'
import type { WebhookView } from './schemas.ts'
import { viewOf } from './view.ts'

/** All endpoints, the oldest first. That a backend has read them is recorded once an hour. */
export async function listWebhooks(
  { store, events }: Pick<Services, 'store' | 'events'>,
  by?: { caller: Caller; hourly: Hourly },
): Promise<{ webhooks: WebhookView[] }> {
  const key = `webhooks ${by?.caller.client}`
  const event: Event | null = by?.hourly.isDue(key) ? { type: 'webhook.read', outcome: 'all', caller: by.caller } : null
  const webhooks = await store.webhooks.list(event)
  if (event !== null) {
    by?.hourly.done(key)
    events.announce(event)
  }
  return { webhooks: webhooks.map(viewOf) }
}
