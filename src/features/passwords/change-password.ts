import { Problem } from '../../errors.ts'
import type { Caller, Event } from '../../events.ts'
import { widestNetworkOf } from '../../security/client-address.ts'
import type { Services } from '../../services.ts'
import type { LiveSession } from '../../store/sessions.ts'
import { policyOf } from '../factors/index.ts'
import { assertPassword, type ProofServices } from '../login/assert-password.ts'
import type { Authenticated } from '../sessions/schemas.ts'
import { describeSession, type SessionServices } from '../sessions/start-session.ts'

export type ChangePasswordServices = SessionServices &
  ProofServices &
  Pick<Services, 'passwordPolicy' | 'loginThrottle' | 'tryTurns' | 'mailBell'>

/**
 * Replaces the password of somebody who is signed in and knows the old one: this session and all others are over, and a new one
 * goes on with the same level and moment. Throws `invalid_password`, which counts as a failed proof, `password_reset_required`,
 * `invalid_request`, `busy`, `conflict` (it was changed at this very moment).
 */
export async function changePassword(
  services: ChangePasswordServices,
  session: LiveSession,
  { current, password, caller }: { current: string; password: string; caller: Caller },
): Promise<Authenticated> {
  const { store, events, passwordHash, passwordPolicy, loginThrottle, random } = services
  const account = await services.tryTurns(session.id, () =>
    assertPassword(services, session, { password: current, caller }),
  )
  if (account.password_state === 'reset_required') throw new Problem('password_reset_required')
  await passwordPolicy.assertGood(password, { email: account.email, twoFactor: account.two_factor })
  const hash = await passwordHash.hash(password, { known: true, network: widestNetworkOf(caller.address) })

  const event: Event = {
    type: 'password.changed',
    outcome: 'by its user',
    factor: 'password',
    userId: account.id,
    caller,
  }
  const next = { id: random.uuid(), user_agent: caller.userAgent, address: caller.address }
  const hashes = { old: account.password_hash ?? '', new: hash }
  const identifiers = loginThrottle.identifyAll(account.email)
  const changed = await store.passwords.change(session, hashes, identifiers, next, policyOf(services), event)
  if (changed.outcome === 'ended') throw new Problem('invalid_token')
  if (changed.outcome !== 'changed') throw new Problem('conflict', { detail: 'It was changed at this very moment.' })
  events.announce(event)
  services.mailBell.ring()
  return describeSession(services, changed)
}
