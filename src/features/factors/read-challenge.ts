import type { Caller } from '../../events.ts'
import { problemOf } from '../../security/challenge.ts'
import type { ChallengeClaims } from '../../security/claims.ts'
import type { ChallengeState } from '../../store/challenges.ts'
import type { ChallengeContext, FactorServices } from './factor.ts'
import { policyOf } from './index.ts'
import { openSetUp } from './set-up.ts'

/** The challenge of a pending token and its user. Throws `invalid_token` once it is over. */
export async function readChallenge(
  services: FactorServices,
  pending: ChallengeClaims,
  caller: Caller,
): Promise<{ state: ChallengeState; context: ChallengeContext }> {
  const { cid: challengeId, sub: userId, pur: purpose } = pending
  const found = await services.store.challenges.read(pending, policyOf(services))
  if (found.outcome !== 'found') throw problemOf(found)
  const setUp = openSetUp(services, userId, challengeId, found.setup)
  return { state: found, context: { challengeId, purpose, owner: found.account, setUp, caller } }
}
