import { Problem } from '../../errors.ts'
import type { Caller, Event } from '../../events.ts'
import type { Services } from '../../services.ts'
import type { LogoutScope } from '../../store/sessions.ts'

/** Ends the caller's session, the user's others, or all of them. Their tokens are refused here from now on. */
export async function endSessions(
  { store, events }: Pick<Services, 'store' | 'events'>,
  { userId, sessionId, scope, caller }: { userId: string; sessionId: string; scope: LogoutScope; caller: Caller },
): Promise<number> {
  const event: Event = { type: 'session.ended', outcome: scope, userId, caller, detail: `session ${sessionId}` }
  const ended = await store.sessions.end(userId, sessionId, scope, event)
  if (ended > 0) events.announce(event)
  return ended
}

/** Ends one session of the user by its id. Throws `not_found` if there is none that lives. */
export async function endOneSession(
  services: Pick<Services, 'store' | 'events'>,
  session: { userId: string; sessionId: string; caller: Caller },
): Promise<void> {
  if ((await endSessions(services, { ...session, scope: 'local' })) === 0) throw new Problem('not_found')
}
