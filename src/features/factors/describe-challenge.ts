import type { Method } from '../../methods.ts'
import type { ChallengeState } from '../../store/challenges.ts'
import type { ChallengeAnswer } from './challenge-schemas.ts'
import type { ChallengeContext, FactorServices } from './factor.ts'
import { enrollable, factorOf, loginMethods, mailboxMethods, stepUpMethods, traits } from './index.ts'

/** What the holder of a pending token is told: what the challenge goes on with, and all that can finish it, best first. */
export function describeChallenge(
  services: FactorServices,
  context: ChallengeContext,
  state: ChallengeState,
): ChallengeAnswer {
  const { method } = state
  return {
    challenge: method === null ? null : factorOf(method).describe(services, context, state),
    methods: methodsOf(services, context, state),
  }
}

/** The methods that can finish a challenge as it stands. */
export function methodsOf(
  services: FactorServices,
  { purpose, owner }: Pick<ChallengeContext, 'purpose' | 'owner'>,
  state: ChallengeState,
): Method[] {
  if (purpose === 'enrol') return state.method === null ? [] : [state.method]
  if (purpose === 'must_enrol') return enrollable(services)
  const all = state.proves_mailbox
    ? mailboxMethods(services)
    : purpose === 'login'
      ? loginMethods(services, owner)
      : stepUpMethods(services, owner)
  return all.filter((it) => !(state.codes_locked && traits[it].guarded))
}
