import { invalidField } from '../../../errors.ts'
import type { Event } from '../../../events.ts'
import { canonicalEmail } from '../../../security/email.ts'
import type { Services } from '../../../services.ts'
import type { UserFilter } from '../../../store/admin.ts'
import { readMoment } from '../../iso-time.ts'
import type { ClientCall } from './call.ts'
import { cursorOf, readCursor } from './cursor.ts'
import type { Search, User } from './schemas.ts'
import { viewOf } from './user-view.ts'

const usualLimit = 50

/** A page of the users that match, the newest first. The event says what was searched by, not for what. Throws `invalid_request`. */
export async function searchUsers(
  services: Pick<Services, 'store' | 'events' | 'phoneNumbers' | 'config'>,
  { limit = usualLimit, cursor, ...search }: Search,
  call: ClientCall,
): Promise<{ users: User[]; next_cursor: string | null }> {
  const filter = filterOf(search)
  const after = cursor === undefined ? null : readCursor(cursor)
  const names = Object.keys(filter).sort().join(', ')
  const event: Event = {
    type: 'user.searched',
    outcome: 'searched',
    caller: call.caller,
    ...(names !== '' && { detail: names }),
  }
  // One more than is shown, to know whether there is a next page.
  const found = await services.store.admin.search(filter, { after, limit: limit + 1 }, event)
  services.events.announce(event)
  const page = found.slice(0, limit)
  const last = found.length > limit ? page.at(-1) : undefined
  return {
    users: page.map((user) => viewOf(services, user, call)),
    next_cursor: last === undefined ? null : cursorOf(last.position),
  }
}

function filterOf(search: Omit<Search, 'limit' | 'cursor'>): UserFilter {
  const { email, email_prefix, phone, external_id, status, created_after, created_before } = search
  return {
    ...(email !== undefined && { email: canonicalEmail(email) }),
    ...(email_prefix !== undefined && { email_prefix: email_prefix.normalize('NFKC').trimStart().toLowerCase() }),
    ...(phone !== undefined && { phone: phone.replace(/[^+\d]/g, '') }),
    ...(external_id !== undefined && { external_id }),
    ...(status !== undefined && { status }),
    ...(created_after !== undefined && { created_after: secondsOf('/created_after', created_after) }),
    ...(created_before !== undefined && { created_before: secondsOf('/created_before', created_before) }),
  }
}

function secondsOf(pointer: string, time: string): number {
  const ms = readMoment(time)
  if (ms === null) throw invalidField(pointer, 'must be a moment (RFC 3339)')
  return ms / 1_000
}
