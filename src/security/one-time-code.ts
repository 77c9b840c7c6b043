import { createHmac } from 'node:crypto'
import type { Method } from './methods.ts'
import type { Secrets } from './secrets.ts'

/** What a code is bound to: a code of one challenge, user or purpose is wrong for every other (SEC-46). */
export type CodeBinding = { challengeId: string; userId: string; purpose: string }

export type OneTimeCodes = ReturnType<typeof createOneTimeCodes>

/**
 * Codes that are derived, never stored. The code is HMAC-SHA-256 of the random challenge id, reduced to `length`
 * digits (256 bits modulo 10^n: uniform to 1 in 2^220), so that it can be sent again; the database keeps only a keyed
 * hash of it. Both keys are outside the database: a dump cannot be searched for codes (SEC-28, SEC-32).
 */
export function createOneTimeCodes({ secrets, length }: { secrets: Secrets; length: number }) {
  const derive = (key: Buffer, challengeId: string, method: Method = 'sms'): string => {
    const name = method === 'sms' ? challengeId : `${method}|${challengeId}`
    const digest = createHmac('sha256', key).update(`otp-code:v1|${name}`).digest('hex')
    return (BigInt(`0x${digest}`) % 10n ** BigInt(length)).toString().padStart(length, '0')
  }
  const macOf = (key: Buffer, { challengeId, userId, purpose }: CodeBinding, code: string): Buffer =>
    createHmac('sha256', key).update(`otp:v1|${challengeId}|${userId}|${purpose}|${code}`).digest()

  return {
    length,

    /** The code for a new challenge, its keyed hash, and the id of the key for both. */
    issue: (binding: CodeBinding): { code: string; mac: Buffer; keyId: string } => {
      const { id, key } = secrets.current('code')
      const code = derive(key, binding.challengeId)
      return { code, mac: macOf(secrets.current('code-mac').key, binding, code), keyId: id }
    },

    /** The code of a challenge that was issued before, each method that sends having its own; null when its key is gone. */
    again: (challengeId: string, keyId: string, method: Method = 'sms'): string | null => {
      const key = secrets.find('code', keyId)
      return key ? derive(key, challengeId, method) : null
    },

    /**
     * The keyed hashes of what somebody typed, in hex, by key id: one of them is compared with the stored one, in the
     * decision that counts the try. A code is never compared as such, so the time that it takes tells nothing (SEC-45).
     */
    macs: (binding: CodeBinding, code: string): Record<string, string> =>
      Object.fromEntries(
        secrets.ids.map((id) => [id, macOf(secrets.find('code-mac', id) as Buffer, binding, code).toString('hex')]),
      ),

    /**
     * Drops white space, line ends, hyphens and dashes (U+2212: the minus that keyboards make of one), and the invisible
     * marks that come along with what is pasted; null unless exactly `length` ASCII digits remain.
     */
    read: (typed: string): string | null => {
      const digits = typed.replace(/[\s\u0085\p{Pd}\u2212\u2043\p{Cf}]/gu, '')
      return digits.length === length && /^[0-9]+$/.test(digits) ? digits : null
    },
  }
}
