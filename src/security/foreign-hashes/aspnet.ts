import { derivePbkdf2 } from './derive.ts'
import { areSame, bytesOfBase64, type HashKind, isKey, isSalt, sizes } from './hash-kind.ts'

const prefix = '$aspnet$'

/** By the number that stands for them (KeyDerivationPrf). */
const digests = ['sha1', 'sha256', 'sha512']

type Blob = { digest: string; iterations: number; salt: Buffer; key: Buffer }

/** Version 2: a zero, 16 bytes of salt, 32 of key; 1,000 rounds of PBKDF2 with HMAC-SHA-1. */
function readSecond(blob: Buffer): Blob | null {
  if (blob.length !== 49) return null
  return { digest: 'sha1', iterations: 1_000, salt: blob.subarray(1, 17), key: blob.subarray(17) }
}

/** Version 3: a one, then digest, rounds and length of the salt as 32 bits each, the most significant first; salt, key. */
function readThird(blob: Buffer): Blob | null {
  if (blob.length < 13) return null
  const [prf, iterations, saltLength] = [1, 5, 9].map((at) => blob.readUInt32BE(at)) as [number, number, number]
  const digest = digests[prf]
  if (digest === undefined || iterations < 1 || iterations > 1_000_000 || saltLength > 64) return null
  return { digest, iterations, salt: blob.subarray(13, 13 + saltLength), key: blob.subarray(13 + saltLength) }
}

/** What ASP.NET Core Identity keeps in `PasswordHash`, both of its versions, behind `$aspnet$` (SEC-99). */
export const aspnetHash: HashKind = {
  begins: [prefix],
  bounds: `what ASP.NET Core Identity keeps, version 2 or 3, of at most 1000000 rounds, with ${sizes}`,
  read: (text) => {
    const bytes = bytesOfBase64(text.slice(prefix.length))
    const blob = bytes?.[0] === 0 ? readSecond(bytes) : bytes?.[0] === 1 ? readThird(bytes) : null
    if (blob === null || !isSalt(blob.salt) || !isKey(blob.key)) return null
    const { digest, iterations, salt, key } = blob
    return async (password) => areSame(await derivePbkdf2(password, salt, iterations, key.length, digest), key)
  },
}
