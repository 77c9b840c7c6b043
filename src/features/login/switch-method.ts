import { invalidField } from '../../errors.ts'
import type { Caller, Event } from '../../events.ts'
import type { Method } from '../../methods.ts'
import type { ChallengeClaims } from '../../security/claims.ts'
import { candidateOf } from '../factors/candidates.ts'
import type { ChallengeAnswer } from '../factors/challenge-schemas.ts'
import { describeChallenge, methodsOf } from '../factors/describe-challenge.ts'
import type { FactorServices } from '../factors/factor.ts'
import { factorOf, policyOf } from '../factors/index.ts'
import { refused, sendDue } from '../factors/open-challenge.ts'
import { readChallenge } from '../factors/read-challenge.ts'
import { announceSpend } from '../sms-codes/send-code.ts'

/**
 * Goes on with another method, in the same challenge and with the tries that are left. `onSending` is told before anything
 * is sent. Throws `invalid_token`, `invalid_request` for one that cannot finish this login, `code_attempts_exhausted`,
 * `second_factor_locked`, and what keeps it from being sent.
 */
export async function switchMethod(
  services: FactorServices,
  pending: ChallengeClaims,
  { method, caller, onSending }: { method: Method; caller: Caller; onSending: () => Promise<void> },
): Promise<ChallengeAnswer> {
  const { store, events } = services
  const { state, context } = await readChallenge(services, pending, caller)
  // While codes are locked the decision says so, and for how long.
  const methods = methodsOf(services, context, { ...state, codes_locked: false })
  if (pending.pur === 'enrol' || !methods.includes(method)) {
    throw invalidField('/method', 'is not one of `methods`')
  }
  if (factorOf(method).traits.sends !== null) await onSending()
  const event: Event = { type: 'login.challenged', outcome: 'switched', factor: method, userId: pending.sub, caller }
  const candidate = candidateOf(services, context, method)
  const switched = await store.challenges.switch(pending, candidate, policyOf(services), event)
  if (!('challenge_id' in switched)) throw await refused(services, context, [candidate], switched)
  events.announce(event)
  announceSpend(events, switched.spend)
  return describeChallenge(services, context, await sendDue(services, { context, opened: switched, methods: [method] }))
}
