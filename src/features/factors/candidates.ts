import type { Method } from '../../methods.ts'
import type { Candidate } from '../../store/candidates.ts'
import type { ChallengeContext, FactorServices } from './factor.ts'
import { factorOf } from './index.ts'

/** A method that a challenge can go on with, and what it would send. */
export function candidateOf(services: FactorServices, context: ChallengeContext, method: Method): Candidate {
  const { traits, message } = factorOf(method)
  return {
    method,
    // Recovery codes are no way out of a wait of a minute.
    in_cooldown: traits.judged_by !== 'recovery',
    at_most: traits.at_most,
    sends: traits.sends,
    ...message?.(services, context),
  }
}
