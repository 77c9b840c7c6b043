import { Problem } from '../../../errors.ts'
import type { Event } from '../../../events.ts'
import type { Services } from '../../../services.ts'
import { noSuchUser } from '../../accounts/no-such-user.ts'
import type { UserCall } from './call.ts'

/** Ends one session of a user or, where none is named, all. Throws `not_found`: no such user, or no such session that lives. */
export async function endUserSessions(
  { store, events }: Pick<Services, 'store' | 'events'>,
  { id, caller }: UserCall,
  sessionId: string | null,
): Promise<void> {
  const event: Event = {
    ...{ type: 'session.ended' as const, outcome: 'by a client', userId: id, caller },
    ...(sessionId !== null && { detail: `session ${sessionId}` }),
  }
  const ended = await store.admin.endSessions(id, sessionId, event)
  if (ended === null) throw noSuchUser('id')
  if (ended === 0 && sessionId !== null) throw new Problem('not_found', { detail: 'The user has no such session.' })
  events.announce(event)
}
