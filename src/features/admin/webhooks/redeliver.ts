import { invalidField, Problem } from '../../../errors.ts'
import type { Event } from '../../../events.ts'
import type { Services } from '../../../services.ts'
import { placeOf } from '../events/place.ts'
import type { RedeliveryView } from './schemas.ts'

/** How far back an endpoint can be told again. */
const mostDays = 14

/**
 * Has an endpoint told once more of everything after an event or a time. `by`: the backend, or an operator. Throws
 * `invalid_request` (no such form, or more than 14 days ago), `conflict` (it is disabled), `not_found`.
 */
export async function redeliver(
  { store, events }: Pick<Services, 'store' | 'events'>,
  id: string,
  { after, by }: { after: string; by: Pick<Event, 'caller' | 'byOperator'> },
): Promise<RedeliveryView> {
  const place = placeOf(after)
  if (place === null) throw invalidField('/after', 'must be the id of an event or a time (RFC 3339)')
  const event: Event = { type: 'webhook.redelivered', outcome: 'queued', detail: `webhook ${id}`, ...by }
  const asked = await store.webhooks.redeliver(id, place, mostDays, event)
  if (asked.outcome === 'unknown') throw new Problem('not_found')
  if (asked.outcome === 'too_old') throw invalidField('/after', `must be at most ${mostDays} days ago`)
  if (asked.outcome === 'disabled')
    throw new Problem('conflict', { detail: 'This endpoint is disabled: enable it first.' })
  events.announce(event)
  return { after: asked.after }
}
