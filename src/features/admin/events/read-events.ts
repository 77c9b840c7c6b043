import { invalidField } from '../../../errors.ts'
import type { Caller, Event } from '../../../events.ts'
import type { Services } from '../../../services.ts'
import type { EventQuery } from '../../../store/audit.ts'
import { isoTime } from '../../iso-time.ts'
import type { Hourly } from '../hourly.ts'
import { eventId, placeOf } from './place.ts'
import type { EventPage, EventsQuery } from './schemas.ts'

/** Events that one page looks through, where they are not one user's: a rare type does not read the whole log. */
const span = 20_000

/**
 * A page of the log of events, newest first, or, where it goes on `after` something, in order. Only what can be read for
 * good: nothing will ever come behind an event that was read. That it was read is recorded once an hour, for each backend
 * and each user that it asks about. Throws `invalid_request`.
 */
export async function readEvents(
  { store, events }: Pick<Services, 'store' | 'events'>,
  query: EventsQuery,
  { caller, hourly }: { caller: Caller; hourly: Hourly },
): Promise<EventPage> {
  const asked = toQuery(query)
  const key = `events ${caller.client} ${query.user_id ?? ''}`
  const event: Event | null = hourly.isDue(key)
    ? { type: 'events.read', outcome: query.user_id === undefined ? 'all' : 'of one user', caller }
    : null
  const page = await store.audit.read(asked, event)
  if (event !== null) {
    hourly.done(key)
    events.announce(event)
  }
  return { ...page, events: page.events.map((it) => ({ ...it, at: isoTime(it.at) })) }
}

function toQuery({ after, before, cursor, order, limit = '50', user_id, type }: EventsQuery): EventQuery {
  return {
    ...{ limit: Number(limit), span, order: order ?? (after === undefined ? 'desc' : 'asc') },
    ...(user_id !== undefined && { user_id }),
    ...(type !== undefined && { type }),
    ...placed('after', after),
    ...placed('before', before),
    ...(cursor !== undefined && { cursor: numberIn(cursor) }),
  }
}

function placed<Name extends 'after' | 'before'>(name: Name, text: string | undefined) {
  if (text === undefined) return {}
  const place = placeOf(text)
  if (place === null) throw invalidField(`/${name}`, 'must be the id of an event or a time (RFC 3339)')
  return 'id' in place ? { [`${name}_id`]: place.id } : { [`${name}_at`]: place.at }
}

function numberIn(cursor: string): string {
  const [, number] = eventId.exec(cursor) ?? []
  if (number === undefined) throw invalidField('/cursor', 'must be a next_cursor of the same query')
  return number
}
