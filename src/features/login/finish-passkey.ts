import { Problem } from '../../errors.ts'
import type { Event } from '../../events.ts'
import type { PasskeyStartClaims } from '../../security/claims.ts'
import type { Services } from '../../services.ts'
import { announceDevice, newDevice } from '../devices/new-device.ts'
import { policyOf } from '../factors/index.ts'
import { judgeSignIn } from '../factors/passkey/index.ts'
import type { Authenticated } from '../sessions/schemas.ts'
import { describeSession, newSession, type SessionServices } from '../sessions/start-session.ts'
import type { SecondStep } from './finish-login.ts'

/** What it takes to sign in with a passkey. */
export type PasskeyServices = SessionServices & Pick<Services, 'passkeys'>

/**
 * Signs in with a passkey alone, which stands for both factors. Whatever is wrong with it, and whosever it is, looks the
 * same (SEC-117). Throws `invalid_credentials`; `invalid_token` when this start has succeeded before.
 */
export async function finishPasskey(
  services: PasskeyServices,
  pending: PasskeyStartClaims,
  step: SecondStep,
): Promise<Authenticated> {
  const { store, events, config } = services
  const { caller, trustDevice, deviceName } = step
  const proven = await judgeSignIn(services, Buffer.from(pending.jti, 'base64url'), step.credential)
  const failed: Event = { type: 'login.failed', outcome: 'invalid_credentials', factor: 'passkey', caller }
  if (proven === null || proven.owner.disabled || !config.methods.includes('passkey')) {
    events.announce({ ...failed, ...(proven && { userId: proven.owner.user_id }) })
    throw new Problem('invalid_credentials')
  }
  const { owner, verdict, level } = proven
  const session = newSession(services, { level, remember: pending.remember_me === true, caller })
  const fresh = newDevice(services, { name: deviceName, trust: trustDevice, caller })
  const about = { factor: 'passkey', userId: owner.user_id, caller } as const
  const event: Event = { type: 'session.started', outcome: level.acr, ...about }
  const start = { jti: pending.jti, expires_at: pending.exp }
  const rows = { session, device: fresh.device, policy: policyOf(services), event }
  const deviceHash = pending.device === undefined ? null : Buffer.from(pending.device, 'base64url')
  const started = await store.factors.startSession(owner, { start, verdict, deviceHash }, rows)
  if (started.outcome === 'used') throw new Problem('invalid_token')
  if (started.outcome !== 'started') throw new Problem('invalid_credentials')
  events.announce(event)
  announceDevice(services, { userId: owner.user_id, caller }, fresh.device, started.device)
  for (const type of started.notices ?? []) events.announce({ ...event, type, outcome: 'accepted' })
  return describeSession(services, started, { returnTo: pending.return_to, deviceToken: fresh.token })
}
