import { Problem } from '../../errors.ts'
import type { Event } from '../../events.ts'
import { canonicalEmail } from '../../security/email.ts'
import type { Services } from '../../services.ts'
import type { TwoFactor } from '../../store/accounts.ts'
import { policyOf } from '../factors/index.ts'
import { noSuchUser } from './no-such-user.ts'
import { doneBy, findUser, type Whom } from './whom.ts'

type InviteServices = Pick<Services, 'store' | 'events' | 'challengeRules' | 'config' | 'mailBell'>

/**
 * Makes a user without a password, unless there is one that has none yet, and has a link mailed to set it, good for seven days.
 * Throws `invalid_request`, `conflict` (the user has a password, or no mail is sent here).
 */
export async function inviteUser(
  services: InviteServices,
  { email: text, twoFactor = services.config.twoFactor }: { email: string; twoFactor?: TwoFactor },
): Promise<{ id: string; email: string }> {
  const { store, events } = services
  assertMail(services)
  const email = canonicalEmail(text)
  const event: Event = { type: 'user.created', outcome: 'invited', ...doneBy({}) }
  const user = { email, phone: null, passwordHash: null, twoFactor, locale: 'en' }
  const created = await store.accounts.create(user, event)
  if (created.outcome === 'created') events.announce({ ...event, userId: created.id })
  else if ((await store.accounts.findByEmail(email))?.password_hash != null) {
    throw new Problem('conflict', { detail: 'This user has a password: use reset-password.' })
  }
  return resetPassword(services, { email, force: false })
}

/**
 * Has a link mailed by which a user sets a new password; `force`: the old one is useless from now on, and sessions end. A backend
 * that asks again within MAIL_COOLDOWN is answered alike, and nothing more is mailed while the link of that mail lives. Throws `invalid_request`, `not_found`,
 * `conflict` (no mail is sent here).
 */
export async function resetPassword(
  services: InviteServices,
  { force, ...whom }: Whom & { force: boolean },
): Promise<{ id: string; email: string }> {
  const { store, events, config, mailBell } = services
  assertMail(services)
  const { id, email } = await findUser(services, whom)
  const event: Event = {
    type: force ? 'password.reset_forced' : 'user.changed',
    outcome: 'link mailed',
    ...doneBy(whom),
  }
  const policy = { ...policyOf(services), ...(whom.caller && { repeat_after: config.mail.cooldown }) }
  if ((await store.passwords.reset(id, { force }, policy, event)) === null) throw noSuchUser('id')
  events.announce({ ...event, userId: id })
  // At a command line nobody hears it: mails go out from a process that serves.
  mailBell.ring()
  return { id, email }
}

function assertMail({ config }: InviteServices): void {
  if (config.mail.provider === 'none')
    throw new Problem('conflict', { detail: 'MAIL_PROVIDER is none: no link can be mailed.' })
}
