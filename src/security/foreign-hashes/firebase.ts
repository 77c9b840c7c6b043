import { createCipheriv } from 'node:crypto'
import { deriveScrypt } from './derive.ts'
import { areSame, type HashKind } from './hash-kind.ts'
import { readScrypt, scryptBounds } from './scrypt.ts'

/** Of the project that the hashes come from; Firebase shows both where users are exported. */
export type FirebaseParameters = { signerKey: Buffer; saltSeparator: Buffer }

/**
 * Firebase's own scrypt: what a password is made into encrypts the project's signer key (AES-256-CTR from block 0), and the result is what is kept. So a hash is as long as that key, and nobody tries passwords without it.
 */
export const createFirebaseHash = (parameters: FirebaseParameters | null): HashKind => ({
  begins: ['$firebase$'],
  bounds:
    parameters === null
      ? 'of another kind, since IMPORT_FIREBASE_SIGNER_KEY is not set'
      : `scrypt of Firebase: ${scryptBounds}, the key as long as IMPORT_FIREBASE_SIGNER_KEY`,
  read: (text) => {
    const hash = readScrypt(text)
    if (hash === null || parameters === null || hash.key.length !== parameters.signerKey.length) return null
    const { signerKey, saltSeparator } = parameters
    return async (password) => {
      const derived = await deriveScrypt(password, Buffer.concat([hash.salt, saltSeparator]), 32, hash.cost)
      const cipher = createCipheriv('aes-256-ctr', derived, Buffer.alloc(16))
      return areSame(Buffer.concat([cipher.update(signerKey), cipher.final()]), hash.key)
    }
  },
})
