import type { Event } from '../../../events.ts'
import type { Services } from '../../../services.ts'
import type { Claimed, ClaimedDelivery, DeliveryEnd, DeliveryResult } from '../../../store/webhooks.ts'
import type { Posted } from '../../../webhooks/index.ts'
import { isoTime } from '../../iso-time.ts'

/** What it takes to tell an endpoint of an event. */
export type DeliveryServices = Pick<Services, 'store' | 'events' | 'clock' | 'log' | 'webhookSecrets' | 'webhookPoster'>

type Target = NonNullable<Claimed['webhook']>

/**
 * Makes one try with a delivery that this process has taken (Standard Webhooks 1.0.0), and writes down what became of it.
 * False where a stop of ours broke it off. Never throws: what cannot be written down is tried again by whoever claims it next.
 */
export async function deliver(
  services: DeliveryServices,
  webhook: Target,
  delivery: ClaimedDelivery,
): Promise<boolean> {
  const { store, events, log } = services
  const end = await tryPosting(services, webhook, delivery)
  const disabling: Event = { type: 'webhook.disabled', outcome: 'failing', detail: `webhook ${webhook.id}` }
  const recorded = await store.webhooks.recordDelivery(webhook.id, delivery, end, disabling).catch((error: Error) => {
    log.warn({ name: error.name }, 'a delivery is not written down: it will come twice')
    return null
  })
  const detail = `webhook ${webhook.id}, ${delivery.id}, try ${delivery.tries}${end.error === null ? '' : `: ${end.error}`}`
  events.announce({ type: 'webhook.delivery', outcome: outcomeOf(end.result, recorded), detail })
  if (recorded?.disabled) events.announce({ ...disabling, outcome: recorded.disabled })
  return end.result !== 'interrupted'
}

const outcomeOf = (result: DeliveryResult, recorded: DeliveryEnd | null): string =>
  recorded?.outcome ?? (result === 'delivered' ? 'not_recorded' : 'queued')

type TryEnd = { result: DeliveryResult; error: string | null; retryAfter: number }

async function tryPosting(services: DeliveryServices, webhook: Target, delivery: ClaimedDelivery): Promise<TryEnd> {
  const { clock, webhookSecrets, webhookPoster } = services
  const body = bodyOf(delivery)
  const sentAt = Math.floor(clock.nowMs() / 1_000)
  const signature = webhookSecrets.sign(webhook.id, webhook.secrets, { id: delivery.id, sentAt, body })
  // Its keys were taken out of SECRET_KEYS: what nobody can check is not sent.
  if (signature === '') return { result: 'failed', error: 'no_secret', retryAfter: 0 }
  const headers = {
    'content-type': 'application/json',
    'user-agent': 'Doorstep',
    'webhook-id': delivery.id,
    'webhook-timestamp': String(sentAt),
    'webhook-signature': signature,
  }
  return endOf(await webhookPoster.post(webhook.url, headers, body))
}

function endOf(posted: Posted): TryEnd {
  if ('error' in posted) {
    const { error } = posted
    return { result: error === 'interrupted' ? 'interrupted' : 'failed', error, retryAfter: 0 }
  }
  const { status, retryAfterSeconds: retryAfter } = posted
  if (status >= 200 && status < 300) return { result: 'delivered', error: null, retryAfter: 0 }
  return { result: status === 410 ? 'gone' : 'failed', error: `http_${status}`, retryAfter }
}

/** Ids and words only: whatever an event holds of a person, such as the address, stays here. */
function bodyOf({ type, at, user_id, outcome, factor, detail, actor }: ClaimedDelivery): string {
  return JSON.stringify({ type, timestamp: isoTime(at), data: { user_id, outcome, factor, detail, actor } })
}
