import { argon2Hash } from './argon2.ts'
import { aspnetHash } from './aspnet.ts'
import { bcryptHash } from './bcrypt.ts'
import { createFirebaseHash, type FirebaseParameters } from './firebase.ts'
import type { HashKind, Judge } from './hash-kind.ts'
import { pbkdf2Hash } from './pbkdf2.ts'
import { scryptHash } from './scrypt.ts'

/** Longer than any hash that is accepted. */
const longestHash = 300

export type ForeignHashes = ReturnType<typeof createForeignHashes>

/** The hashes of other systems that users may keep until they sign in (contract, section 7): all kinds, each bounded. */
export function createForeignHashes(firebase: FirebaseParameters | null) {
  const kinds: HashKind[] = [argon2Hash, bcryptHash, scryptHash, pbkdf2Hash, createFirebaseHash(firebase), aspnetHash]
  const kindOf = (text: string): HashKind | undefined =>
    kinds.find(({ begins }) => begins.some((start) => text.startsWith(start)))

  return {
    kinds,

    /** How to see whether a password made this hash; null for one that is not accepted. Costs nothing yet. */
    read: (text: string): Judge | null => (text.length > longestHash ? null : (kindOf(text)?.read(text) ?? null)),

    /** What would have been accepted in place of a hash that is not, for people. */
    wanted: (text: string): string =>
      kindOf(text)?.bounds ?? `one of ${kinds.flatMap(({ begins }) => begins).join(' ')}`,
  }
}
