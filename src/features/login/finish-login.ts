import { Problem } from '../../errors.ts'
import type { Caller, Event } from '../../events.ts'
import { smsLevel } from '../../security/assurance.ts'
import { problemOf } from '../../security/challenge.ts'
import type { PendingClaims } from '../../security/tokens.ts'
import type { Services } from '../../services.ts'
import { newDevice } from '../devices/new-device.ts'
import type { Authenticated } from '../sessions/schemas.ts'
import { describeSession, newSession, type SessionServices } from '../sessions/start-session.ts'

export type SecondStep = { code: string; trustDevice: boolean; deviceName: string | undefined; caller: Caller }

/** What it takes to finish a login. */
export type FinishServices = SessionServices & Pick<Services, 'oneTimeCodes' | 'challengeRules' | 'tryTurns'>

/**
 * The second step: pending token and code. The try is counted, judged and the login completed or not in one decision; the
 * access token is made only after exactly one caller has used the challenge up. Throws `invalid_token`, `invalid_request`
 * (which costs no try), `code_expired`, `invalid_code`, `code_attempts_exhausted`, `second_factor_locked`.
 */
export async function finishLogin(
  services: FinishServices,
  pending: PendingClaims,
  step: SecondStep,
): Promise<Authenticated> {
  const { oneTimeCodes, store, tryTurns } = services
  const code = oneTimeCodes.read(step.code)
  if (code === null) {
    if (!(await store.challenges.isAlive(pending.cid, pending.sub))) throw new Problem('invalid_token')
    throw notACode(oneTimeCodes.length)
  }
  // In line, so that a burst at one login takes one database connection. What must hold is decided in the database.
  return await tryTurns(pending.cid, () => answer(services, pending, { ...step, code }))
}

async function answer(services: FinishServices, pending: PendingClaims, step: SecondStep): Promise<Authenticated> {
  const { oneTimeCodes, challengeRules, store, events } = services
  const { cid, sub: userId, sid } = pending
  const { code, trustDevice, deviceName, caller } = step
  const event = (type: Event['type'], outcome: string): Event => ({ type, outcome, factor: 'sms', userId, caller })

  // What the token is for, not the stored purpose: a code that was made for something else is wrong here (SEC-46).
  const purpose = sid === undefined ? 'login' : 'step_up'
  const macs = oneTimeCodes.macs({ challengeId: cid, userId, purpose, method: 'sms' }, code)
  const session =
    sid === undefined
      ? newSession(services, { level: smsLevel, remember: pending.remember_me === true, caller })
      : { id: sid, ...smsLevel }
  const fresh = newDevice(services, { name: deviceName, trust: trustDevice, caller })
  const succeeded = event('login.succeeded', smsLevel.acr)
  const answered = await store.challenges.answer(
    cid,
    userId,
    macs,
    challengeRules.limits,
    session,
    fresh.device,
    succeeded,
  )

  if (answered.outcome === 'completed') {
    events.announce(succeeded)
    return describeSession(services, answered, { returnTo: pending.return_to, deviceToken: fresh.token })
  }
  if (answered.outcome === 'wrong') {
    if (answered.ended) events.announce({ ...event('session.ended', 'five failed proofs'), detail: `session ${sid}` })
    events.announce(event('code.failed', `${answered.attempts_remaining} left`))
    if (answered.locked !== null) events.announce(event('factor.locked', answered.locked))
    throw new Problem('invalid_code', { attemptsRemaining: answered.attempts_remaining })
  }
  events.announce(event('code.refused', answered.outcome))
  throw problemOf(answered)
}

function notACode(length: number): Problem {
  return new Problem('invalid_request', { errors: [{ pointer: '/code', message: `must be ${length} digits` }] })
}
