import { areSame, type HashKind } from './hash-kind.ts'

const form = /^\$2[aby]\$(?:0[4-9]|1[0-4])\$[./A-Za-z0-9]{22}[./A-Za-z0-9]{31}$/

/** What bcrypt reads of a password, in bytes. */
const readBytes = 72

/** Of `$2b$12$`, of the salt behind it. */
const prefixLength = 7
const saltLength = 22

/**
 * bcrypt, which reads the first 72 bytes of a password: whoever signed in with a longer one before still does, by these
 * bytes. `$2a$` and `$2y$` are names of the same function, and read as `$2b$`. (What differs are old mistakes: above 254 bytes
 * in `$2a$`, which is why no more than 72 are handed over, and in `$2x$`, which is not accepted.)
 */
export const bcryptHash: HashKind = {
  begins: ['$2a$', '$2b$', '$2y$'],
  bounds: 'bcrypt of cost 4 to 14',
  read: (text) => {
    if (!form.test(text)) return null
    return async (password) => {
      // Loaded where it is needed: a machine that it brings no binary for still does without.
      const { default: bcrypt } = await import('bcrypt')
      const made = await bcrypt.hash(
        Buffer.from(password).subarray(0, readBytes),
        `$2b$${text.slice(4, prefixLength + saltLength)}`,
      )
      const digestOf = (hash: string): Buffer => Buffer.from(hash.slice(prefixLength + saltLength))
      return areSame(digestOf(made), digestOf(text))
    }
  },
}
