import argon2 from 'argon2'
import { bytesOfBase64, type HashKind, isKey, isSalt, isWithin, sizes } from './hash-kind.ts'

const number = '\\d{1,7}'
const anyOrder = `(?:t=${number},p=${number}|p=${number},t=${number})`
/** Standard base64 without padding, which is all that the library reads. */
const bytes = '[A-Za-z0-9+/]+'
const form = new RegExp(
  `^\\$argon2id?\\$v=19\\$m=(${number}),(?=[^$]*t=(${number}))(?=[^$]*p=(${number}))${anyOrder}\\$(${bytes})\\$(${bytes})$`,
)

/** PHC strings of argon2id and argon2i (RFC 9106), without a secret or associated data; `t` and `p` in either order. */
export const argon2Hash: HashKind = {
  begins: ['$argon2id$', '$argon2i$'],
  bounds: `argon2id or argon2i: v=19$m=…,t=…,p=…$salt$key of at most 262144, 10 and 16, with ${sizes}`,
  read: (text) => {
    const [, memory, passes, lanes, salt, key] = form.exec(text) ?? []
    const isBounded = isWithin(memory, 262_144) && isWithin(passes, 10) && isWithin(lanes, 16)
    // RFC 9106, 3.1: at least 8 KiB for each lane.
    if (!isBounded || Number(memory) < 8 * Number(lanes)) return null
    if (!isSalt(bytesOfBase64(salt)) || !isKey(bytesOfBase64(key))) return null
    return (password) => argon2.verify(text, password)
  },
}
