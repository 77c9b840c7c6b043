import type { SendingMethod } from '../../security/one-time-code.ts'
import type { Services } from '../../services.ts'
import type { ChallengeState } from '../../store/challenges.ts'
import type { Answer, Binding, ChallengeContext } from './factor.ts'

type Codes = Pick<Services, 'oneTimeCodes'>

/** The code that a method sends in a challenge, as the database keeps it. */
export function issueCode({ oneTimeCodes }: Codes, context: ChallengeContext, method: SendingMethod) {
  const { challengeId, purpose, owner } = context
  const { mac, keyId } = oneTimeCodes.issue({ challengeId, userId: owner.id, purpose, method })
  return { mac: mac.toString('hex'), key_id: keyId }
}

/** The keyed hashes of a typed code, by key id; null unless it is that many digits. */
export function readCode({ oneTimeCodes }: Codes, binding: Binding, method: SendingMethod, { code }: Answer) {
  const digits = code === undefined ? null : oneTimeCodes.read(code)
  return digits === null ? null : oneTimeCodes.macs({ ...binding, method }, digits)
}

export const codeForm = ({ oneTimeCodes }: Codes) => ({
  pointer: '/code',
  message: `must be ${oneTimeCodes.length} digits`,
})

/** What is told of a code that was sent; seconds. */
export function sentCode({ oneTimeCodes }: Codes, { code, attempts_remaining }: ChallengeState) {
  if (code === null) throw new Error('A challenge goes on with a code that was never sent')
  const { code_expires_in, resend_after, delivery } = code
  return { code_length: oneTimeCodes.length, code_expires_in, resend_after, attempts_remaining, delivery }
}
