import { deriveScrypt } from './derive.ts'
import { areSame, bytesOfBase64, type HashKind, isKey, isSalt, isWithin, sizes } from './hash-kind.ts'

const form = /^\$(?:scrypt|firebase)\$ln=(\d{1,7}),r=(\d{1,7}),p=(\d{1,7})\$([^$]+)\$([^$]+)$/

/**
 * What an scrypt hash says, within its bounds: at most 128 MiB and ten times the work of that; null for any other, and
 * for a cost that the block size is too small for (RFC 7914, section 2: below 2^(16 r)), of which nobody can have made one.
 */
export function readScrypt(text: string) {
  const [, ln, r, p, salt, key] = form.exec(text) ?? []
  if (!isWithin(ln, 17) || !isWithin(r, 8) || !isWithin(p, 10) || Number(ln) >= 16 * Number(r)) return null
  const [saltBytes, keyBytes] = [bytesOfBase64(salt), bytesOfBase64(key)]
  if (!isSalt(saltBytes) || !isKey(keyBytes)) return null
  return { cost: { n: 2 ** Number(ln), r: Number(r), p: Number(p) }, salt: saltBytes, key: keyBytes }
}

export const scryptBounds = `ln=…,r=…,p=…$salt$key of at most 17, 8 and 10, with ${sizes}`

/** PHC strings of scrypt (RFC 7914). */
export const scryptHash: HashKind = {
  begins: ['$scrypt$'],
  bounds: `scrypt: ${scryptBounds}`,
  read: (text) => {
    const hash = readScrypt(text)
    if (hash === null) return null
    const { cost, salt, key } = hash
    return async (password) => areSame(await deriveScrypt(password, salt, key.length, cost), key)
  },
}
