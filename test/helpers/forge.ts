import { createHmac, type KeyObject, sign as signBytes } from 'node:crypto'

/** What makes a signature over the first two parts of a JWT. */
export type Signature = (input: string) => Buffer

/** A JWT out of any header, any payload and any signature. A string is taken as JSON that is already written. */
export function forge(header: object | string, payload: unknown, signature: Signature): string {
  const input = `${encode(header)}.${encode(payload)}`
  return `${input}.${signature(input).toString('base64url')}`
}

const encode = (value: unknown): string =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')

export const hmac =
  (key: string | Buffer, hash: 'sha256' | 'sha384' | 'sha512' = 'sha256'): Signature =>
  (input) =>
    createHmac(hash, key).update(input).digest()

/** ECDSA in the form of a JWS (r and s side by side), or as `der`. */
export const ecdsa =
  (key: KeyObject, hash = 'sha256', dsaEncoding: 'ieee-p1363' | 'der' = 'ieee-p1363'): Signature =>
  (input) =>
    signBytes(hash, Buffer.from(input), { key, dsaEncoding })

/** Whatever Node does with this kind of key: RSA with PKCS #1 v1.5 and `sha256`, Ed25519 without a hash. */
export const plain =
  (key: KeyObject, hash: string | null): Signature =>
  (input) =>
    signBytes(hash, Buffer.from(input), key)

export const nothing: Signature = () => Buffer.alloc(0)

/** The JSON in a part of a JWT. */
export const part = (token: string, index: 0 | 1): Record<string, unknown> =>
  JSON.parse(Buffer.from(token.split('.')[index] ?? '', 'base64url').toString())
