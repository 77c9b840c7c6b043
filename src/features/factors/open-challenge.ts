import { Problem } from '../../errors.ts'
import type { Caller, Event } from '../../events.ts'
import type { Method } from '../../methods.ts'
import { problemOf } from '../../security/challenge.ts'
import type { Carried } from '../../security/claims.ts'
import { clientOf } from '../../security/standing.ts'
import type { Services } from '../../services.ts'
import type { FactorOwner } from '../../store/accounts.ts'
import type { Candidate } from '../../store/candidates.ts'
import type { ChallengeState, Opened, Purpose, Refusal } from '../../store/challenges.ts'
import { announceSpend } from '../sms-codes/send-code.ts'
import { candidateOf } from './candidates.ts'
import type { ChallengeContext, FactorServices } from './factor.ts'
import { factorOf, policyOf } from './index.ts'

/** What it takes to ask for a proof. */
export type ChallengeServices = FactorServices & Pick<Services, 'tokens'>

/**
 * Somebody who has proven the first factor, or who is signed in and is to prove more. `methods`: what the challenge can go
 * on with, best first; without any it waits for the first factor.
 */
export type Challenged = Carried & {
  owner: FactorOwner
  purpose: Extract<Purpose, 'login' | 'step_up' | 'must_enrol'>
  methods: Method[]
  /** A right code shows that somebody reads the mailbox, and signs in nobody. */
  provesMailbox: boolean
  caller: Caller
  known: boolean
  deviceId: string | null
  /** The counters of failed passwords that a right one gives its charge back to; null where there are none. */
  throttleKeys: Buffer[] | null
  /** The session that is to prove more. */
  sessionId: string | undefined
}

export type OpenedChallenge = { context: ChallengeContext; opened: Opened; methods: Method[] }

/**
 * Joins the live challenge of this client or opens one, and reserves what it sends: one decision. Throws
 * `second_factor_locked`, and what keeps the best method that sends from sending.
 */
export async function openChallenge(services: FactorServices, user: Challenged): Promise<OpenedChallenge> {
  const { store, events, random } = services
  const { owner, purpose, methods, caller, known, deviceId, sessionId } = user
  const fresh: ChallengeContext = { challengeId: random.uuid(), purpose, owner, setUp: null, caller }
  const challenge = {
    id: fresh.challengeId,
    purpose,
    client: sessionId === undefined ? clientOf({ known, deviceId }, caller) : `session:${sessionId}`,
    known,
    device_id: deviceId,
    proves_mailbox: user.provesMailbox,
  }
  const candidates = methods.map((method) => candidateOf(services, fresh, method))
  const event: Event = { type: 'login.challenged', outcome: 'opened', userId: owner.id, caller }
  const policy = policyOf(services)
  const opened = await store.challenges.open(owner, user.throttleKeys, challenge, candidates, policy, event)
  if (!('challenge_id' in opened)) throw await refused(services, fresh, candidates, opened)
  events.announce({ ...event, outcome: opened.outcome, ...(opened.method !== null && { factor: opened.method }) })
  announceSpend(events, opened.spend)
  return { context: { ...fresh, challengeId: opened.challenge_id }, opened, methods }
}

/** Records why nothing could be sent or tried, and returns what the client is told of it. */
export async function refused(
  { events, ...services }: FactorServices,
  context: ChallengeContext,
  candidates: Candidate[],
  refusal: Refusal,
): Promise<Problem> {
  const { outcome } = refusal
  const stuck = candidates.find(({ sends }) => outcome.startsWith(`${sends}_`)) ?? candidates[0]
  await recordRefusal(events, context, outcome, stuck?.method)
  try {
    if (stuck && outcome.endsWith('_unavailable'))
      factorOf(stuck.method).assertSendable?.({ events, ...services }, context)
  } catch (error) {
    if (error instanceof Problem) return error
    throw error
  }
  return problemOf(refusal)
}

async function recordRefusal(
  events: Services['events'],
  { owner, caller }: ChallengeContext,
  outcome: string,
  method: Method | undefined,
): Promise<void> {
  const type = method !== undefined && factorOf(method).traits.sends === 'mail' ? 'mail.refused' : 'sms.refused'
  await events.record({ type, outcome, userId: owner.id, caller, ...(method !== undefined && { factor: method }) })
}

/**
 * Sends what is due, after the commit. Where it certainly does not go, the challenge goes on with the next method that can;
 * with none, throws what the provider said: `sms_unavailable`, `phone_unreachable`, `mail_unavailable`.
 */
export async function sendDue(
  services: FactorServices,
  { context, opened, methods }: OpenedChallenge,
): Promise<ChallengeState> {
  const { method, message_id: messageId } = opened
  if (messageId == null || method === null) return opened
  const next = methods
    .slice(methods.indexOf(method) + 1)
    .filter((it) => !(opened.codes_locked && factorOf(it).traits.guarded))
  const mayLeave = next.length > 0 && next.every((it) => factorOf(it).traits.sends === null)
  const challenge = { challenge: context.challengeId, user: context.owner.id }
  const leaves = mayLeave ? { ...challenge, method, methods: next, policy: policyOf(services) } : null
  const sent = await factorOf(method).send?.(services, { ...context, messageId, state: opened, leaves })
  if (sent === undefined) throw new Error(`${method} sends nothing`)
  if ('delivery' in sent) {
    const { code } = opened
    return { ...opened, code: code && { ...code, delivery: sent.delivery } }
  }
  if (sent.left !== null) return sent.left
  const switched = await switchToNext(services, context, next)
  if (switched === null) {
    await recordRefusal(services.events, context, sent.problem.code, method)
    throw sent.problem
  }
  return sendDue(services, { context, opened: switched, methods: next })
}

/** The challenge with the first of `methods` that it can go on with; null if there is none. */
async function switchToNext(
  services: FactorServices,
  context: ChallengeContext,
  methods: Method[],
): Promise<Opened | null> {
  const { challengeId: cid, purpose: pur, owner, caller } = context
  for (const method of methods) {
    const event: Event = { type: 'login.challenged', outcome: 'switched', factor: method, userId: owner.id, caller }
    const candidate = candidateOf(services, context, method)
    const pending = { cid, sub: owner.id, pur }
    const switched = await services.store.challenges.switch(pending, candidate, policyOf(services), event)
    if ('challenge_id' in switched) {
      services.events.announce(event)
      return switched
    }
  }
  return null
}
