import { Problem } from '../../errors.ts'
import type { Caller, Event } from '../../events.ts'
import { canonicalEmail } from '../../security/email.ts'
import type { Services } from '../../services.ts'
import type { LiveSession } from '../../store/sessions.ts'
import { policyOf } from '../factors/index.ts'

/** Changes of the e-mail that one account may ask for in 24 hours. */
const changesDay = 3

export type ChangeServices = Pick<Services, 'store' | 'events' | 'mailBell' | 'challengeRules' | 'config'>

/**
 * Has a link mailed to the address that is to be the account's; the one it has is told. Whether the new one is somebody's only its
 * mailbox learns. Throws `invalid_request`, `mail_limit_reached`.
 */
export async function requestEmailChange(
  services: ChangeServices,
  session: LiveSession,
  { email: text, caller }: { email: string; caller: Caller },
): Promise<void> {
  const { store, events, mailBell } = services
  const email = canonicalEmail(text)
  const event: Event = { type: 'email.change', outcome: 'asked', userId: session.user_id, caller }
  const policy = { ...policyOf(services), changes_day: changesDay }
  const asked = await store.selfService.requestEmailChange(session, email, policy, event)
  if (asked.outcome === 'ended') throw new Problem('invalid_token')
  if (asked.outcome === 'too_many') throw new Problem('mail_limit_reached', { retryAfter: asked.retry_after })
  events.announce(event)
  mailBell.ring()
}

/** The link was read in the new mailbox, in a session of the same user. Throws `link_expired`, `invalid_token`. */
export async function confirmEmail(
  services: ChangeServices & Pick<Services, 'mailLinks'>,
  session: LiveSession,
  { token, caller }: { token: string; caller: Caller },
): Promise<LiveSession> {
  const { store, events, mailBell, mailLinks } = services
  const link = mailLinks.read(token)
  const event: Event = { type: 'email.changed', outcome: 'confirmed', userId: session.user_id, caller }
  const confirmed = link && (await store.selfService.confirmEmail(session, link, policyOf(services), event))
  if (confirmed?.outcome !== 'changed') throw new Problem('link_expired')
  events.announce(event)
  mailBell.ring()
  const now = await store.sessions.findLive(session.id, session.user_id)
  if (now === null) throw new Problem('invalid_token')
  return now
}
