import { Problem } from '../../errors.ts'
import type { Event, EventType } from '../../events.ts'
import { canonicalEmail } from '../../security/email.ts'
import type { Services } from '../../services.ts'
import type { TwoFactor } from '../../store/accounts.ts'
import { policyOf } from '../factors/index.ts'
import { noSuchUser } from './no-such-user.ts'
import { doneBy } from './whom.ts'

/** What may change; an empty edit changes nothing and still ends everything. */
export type AccountEdit = { disabled?: boolean; password?: string; phone?: string; twoFactor?: TwoFactor }

/**
 * Changes a user, and in the same transaction ends everything begun before: sessions, the trust in devices and live
 * challenges; a new password or phone also what was counted about the old one. A new phone counts as confirmed, and takes
 * the place of the old one as the sms factor. From then on a disabled user's password is answered like a wrong one. `outcome`
 * names the change in the records; who is disabled, or given a password or phone, is told. Throws `invalid_request` (e-mail, password),
 * `phone_not_allowed`, `conflict` (the phone serves three), `not_found`.
 */
export async function changeAccount(
  services: Pick<
    Services,
    | 'store'
    | 'events'
    | 'passwordHash'
    | 'passwordPolicy'
    | 'phoneNumbers'
    | 'config'
    | 'loginThrottle'
    | 'challengeRules'
  >,
  { email: text, edit, outcome }: { email: string; edit: AccountEdit; outcome: string },
): Promise<{ id: string; email: string; disabled?: boolean }> {
  const { store, events, passwordHash, passwordPolicy, phoneNumbers, config, loginThrottle } = services
  const email = canonicalEmail(text)
  const { disabled, password, phone, twoFactor } = edit
  if (password !== undefined) {
    const account = await store.accounts.findByEmail(email)
    await passwordPolicy.assertGood(password, {
      email,
      twoFactor: twoFactor ?? account?.two_factor ?? config.twoFactor,
    })
  }
  const change = {
    ...(disabled !== undefined && { disabled }),
    ...(password !== undefined && { password_hash: await passwordHash.hash(password) }),
    ...(phone !== undefined && { phone: phoneNumbers.parse(phone) }),
    ...(twoFactor !== undefined && { two_factor: twoFactor }),
    notices: policyOf(services).notices,
  }
  const event: Event = { type: typeOf(edit), outcome, ...(phone !== undefined && { factor: 'sms' }), ...doneBy({}) }
  const changed = await store.accounts.change(email, loginThrottle.identifyAll(email), change, event)
  if (changed.outcome !== 'changed') {
    if (changed.outcome === 'unknown') throw noSuchUser('e-mail')
    throw new Problem('conflict', { detail: 'This phone number serves as many users as it may.' })
  }
  events.announce({ ...event, type: changed.type, userId: changed.id })
  return { id: changed.id, email, ...(disabled !== undefined && { disabled }) }
}

/** What the change is, for those who hear of changes. Whether a phone is the first of its user is known only by whoever stores it. */
function typeOf({ disabled, password, phone, twoFactor }: AccountEdit): EventType {
  if (disabled !== undefined) return disabled ? 'user.disabled' : 'user.enabled'
  if (password !== undefined) return 'password.changed'
  if (phone !== undefined) return 'factor.replaced'
  return twoFactor === undefined ? 'session.ended' : 'user.changed'
}
