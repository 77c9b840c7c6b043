import type { Caller } from '../../events.ts'
import type { PendingClaims } from '../../security/claims.ts'
import type { ChallengeAnswer } from '../factors/challenge-schemas.ts'
import { describeChallenge } from '../factors/describe-challenge.ts'
import type { FactorServices } from '../factors/factor.ts'
import { readChallenge } from '../factors/read-challenge.ts'
import { describePasskeyStart } from './start-passkey.ts'

/** How a begun login stands. Throws `invalid_token` once it is over. */
export async function challengeStatus(
  services: FactorServices,
  pending: PendingClaims,
  caller: Caller,
): Promise<ChallengeAnswer> {
  if (pending.pur === 'passkey') return describePasskeyStart(services, Buffer.from(pending.jti, 'base64url'))
  const { context, state } = await readChallenge(services, pending, caller)
  return describeChallenge(services, context, state)
}
