import { Problem } from '../../errors.ts'
import type { Event } from '../../events.ts'
import { canonicalEmail } from '../../security/email.ts'
import { assertGoodPassword } from '../../security/password-policy.ts'
import type { Services } from '../../services.ts'
import type { TwoFactor } from '../../store/accounts.ts'
import { policyOf } from '../factors/index.ts'
import { noSuchUser } from './no-such-user.ts'

/** What may change; an empty edit changes nothing and still ends everything. */
export type AccountEdit = { disabled?: boolean; password?: string; phone?: string; twoFactor?: TwoFactor }

/**
 * Changes a user, and in the same transaction ends everything begun before: sessions, the trust in devices and live
 * challenges; a new password or phone also what was counted about the old one. A new phone counts as confirmed, and takes
 * the place of the old one as the sms factor. From then on a disabled user's password is answered like a wrong one. `outcome`
 * names the change in the records; whose account is disabled is told. Throws `invalid_request` (e-mail, password), `phone_not_allowed`, `conflict` (the phone serves three),
 * `not_found`.
 */
export async function changeAccount(
  services: Pick<
    Services,
    'store' | 'events' | 'passwordHash' | 'phoneNumbers' | 'config' | 'loginThrottle' | 'challengeRules'
  >,
  { email: text, edit, outcome }: { email: string; edit: AccountEdit; outcome: string },
): Promise<{ id: string; email: string; disabled?: boolean }> {
  const { store, events, passwordHash, phoneNumbers, config, loginThrottle } = services
  const email = canonicalEmail(text)
  const { disabled, password, phone, twoFactor } = edit
  if (password !== undefined) await assertGoodPassword(password, { email, appName: config.sms.appName })
  const change = {
    ...(disabled !== undefined && { disabled }),
    ...(password !== undefined && { password_hash: await passwordHash.hash(password) }),
    ...(phone !== undefined && { phone: phoneNumbers.parse(phone) }),
    ...(twoFactor !== undefined && { two_factor: twoFactor }),
    notices: policyOf(services).notices,
  }
  const event: Event = { type: 'user.changed', outcome }
  const changed = await store.accounts.change(email, loginThrottle.identifyAll(email), change, event)
  if (changed.outcome !== 'changed') {
    if (changed.outcome === 'unknown') throw noSuchUser()
    throw new Problem('conflict', { detail: 'This phone number serves as many users as it may.' })
  }
  events.announce({ ...event, userId: changed.id })
  return { id: changed.id, email, ...(disabled !== undefined && { disabled }) }
}
