import { pbkdf2, scrypt } from 'node:crypto'
import { promisify } from 'node:util'

const kibibyte = 1_024

/** RFC 7914, on a thread of its own. `n`: the cost, a power of two. It takes 128 * n * r bytes. */
export const deriveScrypt = (
  password: string,
  salt: Buffer,
  length: number,
  { n, r, p }: { n: number; r: number; p: number },
): Promise<Buffer> =>
  new Promise((resolve, reject) => {
    // Node counts what it is asked for besides, and refuses what comes out exactly at the limit.
    const maxmem = 128 * n * r + 128 * r * p + kibibyte * kibibyte
    scrypt(password, salt, length, { N: n, r, p, maxmem }, (error, key) => (error ? reject(error) : resolve(key)))
  })

/** PBKDF2 of RFC 8018, on a thread of its own. */
export const derivePbkdf2: (
  password: string,
  salt: Buffer,
  iterations: number,
  length: number,
  digest: string,
) => Promise<Buffer> = promisify(pbkdf2)
