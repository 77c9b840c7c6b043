import { problemOf } from '../../security/challenge.ts'
import type { PendingClaims } from '../../security/tokens.ts'
import type { Services } from '../../services.ts'
import { describeChallenge } from './describe-challenge.ts'
import type { ChallengeAnswer } from './schemas.ts'

/** How a begun login stands. Throws `invalid_token` once it is over. */
export async function challengeStatus(
  services: Pick<Services, 'store' | 'challengeRules' | 'phoneNumbers' | 'oneTimeCodes'>,
  pending: PendingClaims,
): Promise<ChallengeAnswer> {
  const challenge = await services.store.challenges.read(pending.cid, pending.sub, services.challengeRules.limits)
  if (challenge.outcome !== 'found') throw problemOf(challenge)
  return describeChallenge(services, challenge.phone, challenge)
}
