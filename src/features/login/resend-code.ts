import { invalidField } from '../../errors.ts'
import type { Caller, Event } from '../../events.ts'
import type { ChallengeClaims } from '../../security/claims.ts'
import { candidateOf } from '../factors/candidates.ts'
import type { ChallengeAnswer } from '../factors/challenge-schemas.ts'
import { describeChallenge } from '../factors/describe-challenge.ts'
import type { FactorServices } from '../factors/factor.ts'
import { factorOf, policyOf } from '../factors/index.ts'
import { refused, sendDue } from '../factors/open-challenge.ts'
import { readChallenge } from '../factors/read-challenge.ts'
import { announceSpend } from '../sms-codes/send-code.ts'

/**
 * Sends the same code once more, so that a late first one stays usable; the tries that were used stay used. Throws
 * `invalid_token`, `invalid_request` where nothing is sent, `code_attempts_exhausted`, `second_factor_locked`, and what
 * keeps it from being sent.
 */
export async function resendCode(
  services: FactorServices,
  pending: ChallengeClaims,
  { channel, caller }: { channel: string | undefined; caller: Caller },
): Promise<ChallengeAnswer> {
  const { store, events } = services
  const { state, context } = await readChallenge(services, pending, caller)
  const { method } = state
  const isSent = method !== null && factorOf(method).traits.sends !== null
  if (!isSent) throw invalidField('', 'has nothing to ask for: this login goes on with a method that sends nothing')
  if (channel !== undefined && channel !== method) throw invalidField('/channel', 'is not how this login goes on')
  const event: Event = { type: 'code.resent', outcome: 'reserved', factor: method, userId: pending.sub, caller }
  const candidate = candidateOf(services, context, method)
  const resent = await store.challenges.resend(pending, candidate, policyOf(services), event)
  if (!('challenge_id' in resent)) throw await refused(services, context, [candidate], resent)
  events.announce(event)
  announceSpend(events, resent.spend)
  return describeChallenge(services, context, await sendDue(services, { context, opened: resent, methods: [method] }))
}
