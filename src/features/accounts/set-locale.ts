import { Problem } from '../../errors.ts'
import type { Caller, Event } from '../../events.ts'
import type { Services } from '../../services.ts'
import type { LiveSession } from '../../store/sessions.ts'

/** The language of mails from now on. Throws `invalid_token` where the session has ended meanwhile. */
export async function setLocale(
  { store, events }: Pick<Services, 'store' | 'events'>,
  session: LiveSession,
  { locale, caller }: { locale: string; caller: Caller },
): Promise<LiveSession> {
  const event: Event = { type: 'user.changed', outcome: 'locale', userId: session.user_id, caller }
  await store.selfService.setLocale(session.user_id, locale, event)
  const now = await store.sessions.findLive(session.id, session.user_id)
  if (now === null) throw new Problem('invalid_token')
  events.announce(event)
  return now
}
