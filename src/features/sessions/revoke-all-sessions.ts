import type { Event } from '../../events.ts'
import type { Services } from '../../services.ts'

/**
 * Ends the sessions of everybody, the trust in devices and what is under way, as `user revoke` does for one user; an event for each
 * user who had something of it. How many users, and sessions that lived. Said once more after it was interrupted, it does the rest.
 */
export async function revokeAllSessions({
  store,
  events,
}: Pick<Services, 'store' | 'events'>): Promise<{ users: number; sessions: number }> {
  const event: Event = { type: 'session.ended', outcome: 'revoked', byOperator: true }
  const ended = await store.sessions.endAll(event)
  if (ended.users > 0) events.announce(event)
  return ended
}
