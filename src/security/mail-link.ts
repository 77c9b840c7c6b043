import { createHash } from 'node:crypto'
import type { Random } from '../system.ts'

export type MailLinks = ReturnType<typeof createMailLinks>

const hashOf = (token: string): Buffer => createHash('sha256').update(token).digest()

/**
 * Tokens of links in mails: `dsm_` and 256 random bits, of which only the SHA-256 is kept (SEC-115). Whoever has one has
 * read the mailbox, and nothing else is proven by it.
 */
export function createMailLinks({ random }: { random: Random }) {
  return {
    /** A new token, and its hash. */
    make: (): { token: string; hash: Buffer } => {
      const token = `dsm_${random.bytes(32).toString('base64url')}`
      return { token, hash: hashOf(token) }
    },

    /** The hash of what has the form of a token; null for anything else. */
    read: (token: string): Buffer | null => (/^dsm_[\w-]{43}$/.test(token) ? hashOf(token) : null),
  }
}

/** Where a link leads: a page of the application; the token behind `#` is in no request and in no log of a server. */
export const linkTo = (appUrl: string, page: 'set-password' | 'confirm-email' | 'not-me', token: string): string =>
  `${appUrl}/${page}#token=${token}`
