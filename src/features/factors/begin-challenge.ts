import type { Carried } from '../../security/claims.ts'
import type { Services } from '../../services.ts'
import type { EnrolmentRequired, TwoFactorRequired } from './challenge-schemas.ts'
import { describeChallenge } from './describe-challenge.ts'
import { enrollable } from './index.ts'
import { type ChallengeServices, type OpenedChallenge, sendDue } from './open-challenge.ts'

type Carrying = Carried & { sessionId: string | undefined }

/** Sends what is due and hands out the pending token. Throws what sendDue throws. */
export async function beginChallenge(
  services: ChallengeServices,
  { rememberMe, returnTo, sessionId }: Carrying,
  begun: OpenedChallenge,
): Promise<TwoFactorRequired> {
  const { context } = begun
  const state = await sendDue(services, begun)
  const { challenge, methods } = describeChallenge(services, context, state)
  if (challenge === null) throw new Error('A challenge that goes on with nothing')
  const { challengeId, purpose, owner } = context
  const proof = { userId: owner.id, challengeId, purpose, expiresIn: state.expires_in }
  const token = services.tokens.pending({ ...proof, rememberMe, returnTo, sessionId })
  return { status: '2fa_required', ...token, challenge, methods }
}

/** The policy wants a factor, and the mailbox is proven: the token that opens `POST /factors`. Seconds. */
export function requireEnrolment(
  services: Pick<Services, 'tokens' | 'config'>,
  { rememberMe, returnTo, sessionId }: Carrying,
  waiting: { userId: string; challengeId: string; expiresIn: number },
): EnrolmentRequired {
  const token = services.tokens.pending({ ...waiting, purpose: 'must_enrol', rememberMe, returnTo, sessionId })
  return { status: '2fa_enrolment_required', ...token, methods: enrollable(services) }
}
