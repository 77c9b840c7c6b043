import type { Services } from '../../services.ts'
import type { ChallengeState } from '../../store/challenges.ts'
import { methods } from './factors.ts'
import type { ChallengeAnswer } from './schemas.ts'

/** What the holder of a pending token is told: where the text went, how long and how often the code may be tried. */
export function describeChallenge(
  { phoneNumbers, oneTimeCodes }: Pick<Services, 'phoneNumbers' | 'oneTimeCodes'>,
  phone: string,
  state: ChallengeState,
): ChallengeAnswer {
  return {
    challenge: {
      method: 'sms',
      channel: 'sms',
      destination: phoneNumbers.mask(phone),
      code_length: oneTimeCodes.length,
      code_expires_in: state.code_expires_in,
      resend_after: state.resend_after,
      attempts_remaining: state.attempts_remaining,
      delivery: state.delivery,
    },
    methods: [...methods],
  }
}
