import { createHmac } from 'node:crypto'
import type { Method } from '../methods.ts'
import type { Secrets } from './secrets.ts'
import { readDigits } from './typed-code.ts'

/** The methods that send a code. */
export type SendingMethod = Extract<Method, 'sms' | 'email'>

/** What a code is bound to: a code of one challenge, user, purpose or method is wrong for every other (SEC-46). */
export type CodeBinding = { challengeId: string; userId: string; purpose: string; method: SendingMethod }

/** The code that a method sends in a challenge: each has its own. */
type SentCode = Pick<CodeBinding, 'challengeId' | 'method'>

export type OneTimeCodes = ReturnType<typeof createOneTimeCodes>

/**
 * Codes that are derived, never stored. The code is HMAC-SHA-256 of the random challenge id and the method, reduced to
 * `length` digits (256 bits modulo 10^n: uniform to 1 in 2^220), so that it can be sent again; the database keeps only a
 * keyed hash of it. Both keys are outside the database: a dump cannot be searched for codes (SEC-28, SEC-32).
 */
export function createOneTimeCodes({ secrets, length }: { secrets: Secrets; length: number }) {
  const derive = (key: Buffer, { challengeId, method }: SentCode): string => {
    const name = method === 'sms' ? challengeId : `${method}|${challengeId}`
    const digest = createHmac('sha256', key).update(`otp-code:v1|${name}`).digest('hex')
    return (BigInt(`0x${digest}`) % 10n ** BigInt(length)).toString().padStart(length, '0')
  }
  const macOf = (key: Buffer, { challengeId, userId, purpose, method }: CodeBinding, code: string): Buffer =>
    createHmac('sha256', key).update(`otp:v2|${challengeId}|${userId}|${purpose}|${method}|${code}`).digest()

  return {
    length,

    /** The code that a method is to send in a challenge, its keyed hash, and the id of the key for both. */
    issue: (binding: CodeBinding): { code: string; mac: Buffer; keyId: string } => {
      const { id, key } = secrets.current('code')
      const code = derive(key, binding)
      return { code, mac: macOf(secrets.current('code-mac').key, binding, code), keyId: id }
    },

    /** A code that was issued before; null when its key is gone. */
    again: (sent: SentCode, keyId: string): string | null => {
      const key = secrets.find('code', keyId)
      return key ? derive(key, sent) : null
    },

    /**
     * The keyed hashes of what somebody typed, in hex, by key id: one of them is compared with the stored one, in the
     * decision that counts the try. A code is never compared as such, so the time that it takes tells nothing (SEC-45).
     */
    macs: (binding: CodeBinding, code: string): Record<string, string> =>
      Object.fromEntries(
        secrets.ids.map((id) => [id, macOf(secrets.find('code-mac', id) as Buffer, binding, code).toString('hex')]),
      ),

    /** Drops what does not count; null unless exactly `length` ASCII digits remain. */
    read: (typed: string): string | null => readDigits(typed, length),
  }
}
