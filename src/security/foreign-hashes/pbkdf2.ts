import { derivePbkdf2 } from './derive.ts'
import { areSame, bytesOfBase64, type HashKind, isKey, isSalt, isWithin, sizes } from './hash-kind.ts'

const form = /^\$pbkdf2-(sha1|sha256|sha512)\$i=(\d{1,7})\$([^$]+)\$([^$]+)$/

/** PHC strings of PBKDF2 (RFC 8018) with HMAC of SHA-1, SHA-256 or SHA-512. */
export const pbkdf2Hash: HashKind = {
  begins: ['$pbkdf2-'],
  bounds: `pbkdf2-sha1, -sha256 or -sha512: i=…$salt$key of at most 2000000, with ${sizes}`,
  read: (text) => {
    const [, digest, iterations, saltText, keyText] = form.exec(text) ?? []
    const [salt, key] = [bytesOfBase64(saltText), bytesOfBase64(keyText)]
    if (digest === undefined || !isWithin(iterations, 2_000_000) || !isSalt(salt) || !isKey(key)) return null
    return async (password) => areSame(await derivePbkdf2(password, salt, Number(iterations), key.length, digest), key)
  },
}
