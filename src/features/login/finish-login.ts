import { invalidField, Problem } from '../../errors.ts'
import type { Caller, Event } from '../../events.ts'
import type { Method } from '../../methods.ts'
import { passwordLevel } from '../../security/assurance.ts'
import { problemOf } from '../../security/challenge.ts'
import type { ChallengeClaims } from '../../security/claims.ts'
import type { Services } from '../../services.ts'
import type { Answered, Completed, Proof } from '../../store/challenges.ts'
import { announceDevice, newDevice } from '../devices/new-device.ts'
import { requireEnrolment } from '../factors/begin-challenge.ts'
import type { EnrolmentRequired } from '../factors/challenge-schemas.ts'
import type { Answer, FactorServices } from '../factors/factor.ts'
import { factorOf, policyOf } from '../factors/index.ts'
import { judge, proofOf, type Readings, readAnswer } from '../factors/read-answer.ts'
import type { Authenticated } from '../sessions/schemas.ts'
import { describeSession, newSession, type SessionServices } from '../sessions/start-session.ts'
import { sendChangeNotice } from '../sms-codes/send-code.ts'

/** `method`: what it is an answer to, where that is not what the challenge goes on with. */
export type SecondStep = Answer & {
  method: Method | undefined
  trustDevice: boolean
  deviceName: string | undefined
  caller: Caller
}

/** What it takes to finish a login. */
export type FinishServices = SessionServices & FactorServices & Pick<Services, 'tryTurns'>

/**
 * The second step: pending token and code or credential. The try is counted, judged and the login completed or not in one
 * decision; the access token is made only after exactly one caller has used the challenge up. Throws `invalid_token`,
 * `invalid_request` (which costs no try), `code_expired`, `invalid_code`, `code_attempts_exhausted`,
 * `second_factor_locked`, `conflict`.
 */
export async function finishLogin(
  services: FinishServices,
  pending: ChallengeClaims,
  step: SecondStep,
): Promise<Authenticated | EnrolmentRequired> {
  // In line, so that a burst at one login takes one database connection. What must hold is decided in the database.
  return await services.tryTurns(pending.cid, () => answer(services, pending, step))
}

async function answer(services: FinishServices, pending: ChallengeClaims, step: SecondStep) {
  const { store, recoveryCodes, random } = services
  const readings = await readAnswer(services, pending, step)
  const recovery = pending.pur === 'enrol' ? recoveryCodes.make(pending.sub) : { codes: [], macs: [] }
  const proof = proofOf(readings, {
    method: step.method ?? null,
    fresh_recovery: recovery.macs,
    next_id: random.uuid(),
  })
  const { caller, trustDevice, deviceName } = step
  const fresh = newDevice(services, { name: deviceName, trust: trustDevice, caller })
  const session =
    pending.sid === undefined
      ? newSession(services, { level: passwordLevel, remember: pending.remember_me === true, caller })
      : { id: pending.sid }
  const event: Event = { type: 'session.started', outcome: 'succeeded', userId: pending.sub, caller }
  const ask = (proof: Proof) =>
    store.challenges.answer(pending, proof, policyOf(services), session, fresh.device, event)
  const answered = await judged(services, pending, readings, proof, ask)
  if (answered.outcome === 'completed') {
    announceSuccess(services, pending, answered, caller)
    announceDevice(services, { userId: pending.sub, caller }, fresh.device, answered.device)
    const codes = answered.recovery_issued ? { recoveryCodes: recovery.codes } : {}
    const extras = { returnTo: pending.return_to, deviceToken: fresh.token, ...codes }
    return describeSession(services, answered, { ...extras, codesRemaining: answered.recovery_codes_remaining })
  }
  if (answered.outcome === 'mailbox_proven') {
    services.events.announce({ ...event, type: 'mailbox.proven', outcome: 'proven', factor: answered.method })
    const { challenge_id: challengeId, expires_in: expiresIn } = answered
    const carried = { rememberMe: pending.remember_me === true, returnTo: pending.return_to, sessionId: pending.sid }
    return requireEnrolment(services, carried, { userId: pending.sub, challengeId, expiresIn })
  }
  throw refusalOf(services, pending, answered, caller)
}

/** Asks for the decision, and once more with the service's verdict where only that can judge. */
async function judged(
  services: FinishServices,
  pending: ChallengeClaims,
  readings: Readings,
  proof: Proof,
  ask: (proof: Proof) => Promise<Answered>,
): Promise<Exclude<Answered, { outcome: 'needs_verdict' }>> {
  let answered = await ask(proof)
  // Once, unless the login goes on with another method at this very moment.
  for (let times = 0; answered.outcome === 'needs_verdict'; times += 1) {
    if (times === 3) throw new Problem('conflict')
    const { method } = answered
    const verdict = await judge(services, pending, readings, answered)
    if (verdict === null) return { outcome: 'unreadable', method }
    answered = await ask({ ...proof, verdict: { ...verdict, method } })
  }
  return answered
}

function announceSuccess(
  services: FinishServices,
  pending: ChallengeClaims,
  answered: Completed,
  caller: Caller,
): void {
  const { events } = services
  const { method, acr: outcome, recovery_codes_remaining: remaining, notice_text: notice } = answered
  const event = { factor: method, userId: pending.sub, caller }
  events.announce({ ...event, type: pending.sid === undefined ? 'session.started' : 'session.raised', outcome })
  for (const type of answered.notices ?? []) events.announce({ ...event, type, outcome: 'accepted' })
  if (remaining !== undefined) events.announce({ ...event, type: 'recovery_code.used', outcome: `${remaining} left` })
  if (remaining !== undefined || pending.pur === 'enrol') services.mailBell.ring()
  if (pending.pur === 'enrol') {
    events.announce({ ...event, type: answered.replaced ? 'factor.replaced' : 'factor.added', outcome: method })
  }
  if (notice) {
    sendChangeNotice(services, { messageId: notice.message_id, userId: pending.sub, phone: notice.phone, caller })
  }
}

function refusalOf(
  services: FinishServices,
  pending: ChallengeClaims,
  answered: Exclude<Answered, { outcome: 'completed' | 'mailbox_proven' | 'needs_verdict' }>,
  caller: Caller,
): Problem {
  const { events } = services
  const event = (type: Event['type'], outcome: string, factor?: Method): Event => {
    return { type, outcome, userId: pending.sub, caller, ...(factor !== undefined && { factor }) }
  }
  switch (answered.outcome) {
    case 'wrong': {
      const { method, attempts_remaining: attemptsRemaining, ended, locked } = answered
      const detail = `session ${pending.sid}`
      if (ended) events.announce({ ...event('session.ended', 'five failed proofs', method), detail })
      events.announce(event('code.failed', `${attemptsRemaining} left`, method))
      if (locked !== null) events.announce(event('factor.locked', locked, method))
      return new Problem('invalid_code', { attemptsRemaining })
    }
    case 'unreadable': {
      const { pointer, message } = factorOf(answered.method).form(services)
      return invalidField(pointer, message)
    }
    case 'not_begun':
      return invalidField('/method', 'is not one that this login can be finished with now')
    case 'conflict':
      return new Problem('conflict', { detail: 'It was taken meanwhile: no more of this kind can be set up.' })
    default:
      events.announce(event('code.refused', answered.outcome))
      return problemOf(answered)
  }
}
