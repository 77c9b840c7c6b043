import { Problem } from '../../errors.ts'
import type { Caller, Event } from '../../events.ts'
import { smsLevel } from '../../security/assurance.ts'
import { maxAttempts, problemOf } from '../../security/challenge.ts'
import type { PendingClaims } from '../../security/tokens.ts'
import type { Services } from '../../services.ts'
import { newDevice } from '../devices/trusted-devices.ts'
import type { Authenticated } from '../sessions/schemas.ts'
import { describeSession, newSession } from '../sessions/start-session.ts'
import { challengeStatus } from './challenge-status.ts'

export type SecondStep = { code: string; trustDevice: boolean; deviceName: string | undefined; caller: Caller }

/**
 * The second step: pending token and code. The try is counted before the code is looked at, and the access token is
 * made only after exactly one caller has used the challenge up. Throws `invalid_token`, `invalid_request` (which costs
 * no try), `code_expired`, `invalid_code`, `code_attempts_exhausted`, `second_factor_locked`.
 */
export async function finishLogin(
  services: TryServices & Pick<Services, 'phoneNumbers' | 'inTurn'>,
  pending: PendingClaims,
  { code: typed, trustDevice, deviceName, caller }: SecondStep,
): Promise<Authenticated> {
  const code = services.oneTimeCodes.read(typed)
  if (code === null) {
    await challengeStatus(services, pending)
    throw notACode(services.oneTimeCodes.length)
  }
  // In line, so that a right code sent many times at once is one sign-in and then a login that is over, not too many
  // tries; and so that a burst at one login takes one database connection. What must hold is decided in the database.
  return await services.inTurn(pending.cid, () => tryCode(services, pending, { code, trustDevice, deviceName, caller }))
}

type TryServices = Pick<
  Services,
  'oneTimeCodes' | 'challengeRules' | 'store' | 'events' | 'random' | 'tokens' | 'refreshTokens'
>

async function tryCode(
  services: TryServices,
  pending: PendingClaims,
  { code, trustDevice, deviceName, caller }: SecondStep,
): Promise<Authenticated> {
  const { oneTimeCodes, challengeRules, store, events } = services
  const { cid, sub: userId } = pending
  const event = (type: Event['type'], outcome: string): Event => ({ type, outcome, factor: 'sms', userId, caller })

  const charge = await store.challenges.charge(cid, userId, challengeRules.limits)
  if (charge.outcome !== 'charged') {
    await events.record(event(charge.outcome === 'locked' ? 'factor.locked' : 'code.refused', charge.outcome))
    throw problemOf(charge)
  }
  const stored = { mac: Buffer.from(charge.code_mac, 'hex'), keyId: charge.key_id }
  // What the token is for, not the stored purpose: a code that was made for something else is wrong here (SEC-46).
  const purpose = pending.sid === undefined ? 'login' : 'step_up'
  if (!oneTimeCodes.matches({ challengeId: cid, userId, purpose }, code, stored)) {
    await events.record(event('code.failed', `${charge.attempts_remaining} of ${maxAttempts} left`))
    throw new Problem('invalid_code', { attemptsRemaining: charge.attempts_remaining })
  }

  const session = pending.sid
    ? { id: pending.sid, ...smsLevel }
    : newSession(services, { level: smsLevel, remember: pending.remember_me === true, caller })
  const trusted = trustDevice ? newDevice(services, { name: deviceName, caller }) : null
  const succeeded = event('login.succeeded', session.acr)
  const completed = await store.challenges.complete(cid, userId, session, trusted?.device ?? null, succeeded)
  if (completed.outcome !== 'completed') throw problemOf(completed)
  events.announce(succeeded)
  return { ...describeSession(services, completed, pending.return_to), ...trusted?.answer }
}

function notACode(length: number): Problem {
  return new Problem('invalid_request', { errors: [{ pointer: '/code', message: `must be ${length} digits` }] })
}
