import { Problem } from '../../errors.ts'
import type { Caller, Event } from '../../events.ts'
import type { Services } from '../../services.ts'
import type { LiveSession, LogoutScope } from '../../store/sessions.ts'
import { assertFresh } from '../factors/assert-fresh.ts'

/**
 * Ends the caller's session, the user's others, or all of them. Their tokens are refused here from now on. Throws
 * `insufficient_user_authentication` where others are to end and the sign-in is not fresh (ASVS 7.5.2).
 */
export async function endSessions(
  services: Pick<Services, 'store' | 'events' | 'config'>,
  { session, scope, caller }: { session: LiveSession; scope: LogoutScope; caller: Caller },
): Promise<void> {
  if (scope !== 'local') assertFresh(services, session)
  await end(services, { session, sessionId: session.id, scope, caller })
}

/** Ends one session of the user by its id. Throws `not_found` if there is none that lives, and as above. */
export async function endOneSession(
  services: Pick<Services, 'store' | 'events' | 'config'>,
  { session, sessionId, caller }: { session: LiveSession; sessionId: string; caller: Caller },
): Promise<void> {
  if (sessionId !== session.id) assertFresh(services, session)
  if ((await end(services, { session, sessionId, scope: 'local', caller })) === 0) throw new Problem('not_found')
}

type Ending = { session: LiveSession; sessionId: string; scope: LogoutScope; caller: Caller }

async function end(
  { store, events }: Pick<Services, 'store' | 'events'>,
  { session, sessionId, scope, caller }: Ending,
): Promise<number> {
  const { user_id: userId } = session
  const event: Event = { type: 'session.ended', outcome: scope, userId, caller, detail: `session ${sessionId}` }
  const ended = await store.sessions.end(userId, sessionId, scope, event)
  if (ended > 0) events.announce(event)
  return ended
}
