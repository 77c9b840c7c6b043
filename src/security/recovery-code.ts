import { createHmac } from 'node:crypto'
import type { Random } from '../system.ts'
import { crockford, toBase32 } from './base32.ts'
import type { Secrets } from './secrets.ts'
import { withoutMarks } from './typed-code.ts'

const setSize = 10
const codeBytes = 15

/** What a code may be typed as: I, L and O too, since they look like digits, but no U. */
const typedForm = /^[0-9A-TV-Za-tv-z]{24}$/

export type RecoveryCodes = ReturnType<typeof createRecoveryCodes>

/**
 * Codes on paper for whoever has lost everything else: 120 random bits each, shown once. The database keeps an
 * HMAC-SHA-256 of each, bound to its user, under a key outside it (ASVS 6.5.2).
 */
export function createRecoveryCodes({ secrets, random }: { secrets: Secrets; random: Random }) {
  const macOf = (key: Buffer, userId: string, code: string): string =>
    createHmac('sha256', key).update(`recovery-code:v1|${userId}|${code}`).digest('hex')
  /** Of a code as `read` gives it, under the current key, in hex: what is stored. */
  const mac = (userId: string, code: string): string => macOf(secrets.current('recovery-code').key, userId, code)

  return {
    /** A new set for a user: ten codes `XXXXXX-XXXXXX-XXXXXX-XXXXXX`, and what is stored of each. */
    make: (userId: string): { codes: string[]; macs: string[] } => {
      const fresh = Array.from({ length: setSize }, () => toBase32(random.bytes(codeBytes), crockford))
      return {
        codes: fresh.map((code) => code.replace(/.{6}(?=.)/g, '$&-')),
        macs: fresh.map((code) => mac(userId, code)),
      }
    },

    /**
     * The 24 characters of a typed code; null when it is none. What does not count is dropped, letters may be small, and
     * what looks like a digit is one: I and L are 1, O is 0.
     */
    read: (typed: string): string | null => {
      const code = withoutMarks(typed)
      return typedForm.test(code) ? code.toUpperCase().replace(/[IL]/g, '1').replaceAll('O', '0') : null
    },

    mac,

    /** Of a code as `read` gives it, in hex, one under each key: one of them is stored if the code is this user's. */
    macs: (userId: string, code: string): string[] =>
      secrets.ids.map((id) => macOf(secrets.find('recovery-code', id) as Buffer, userId, code)),
  }
}
