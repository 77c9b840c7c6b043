import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import type { Cbor } from './cbor.ts'

export type Algorithm = 'ES256' | 'EdDSA' | 'RS256'

export const coseAlgorithms: Record<Algorithm, number> = { EdDSA: -8, ES256: -7, RS256: -257 }

export function keyPair(algorithm: Algorithm): { publicKey: KeyObject; privateKey: KeyObject } {
  if (algorithm === 'ES256') return generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return algorithm === 'EdDSA' ? generateKeyPairSync('ed25519') : generateKeyPairSync('rsa', { modulusLength: 2048 })
}

/** A public key in COSE form (RFC 9053 section 7, RFC 8230 section 4), of whatever algorithm it is said to be. */
export function coseKey(key: KeyObject, algorithm: Algorithm): Map<Cbor, Cbor> {
  const { kty, x, y, n, e } = key.export({ format: 'jwk' })
  const members = new Map<Cbor, Cbor>([[3, coseAlgorithms[algorithm]]])
  const set = (label: number, text = '') => members.set(label, Buffer.from(text, 'base64url'))
  if (kty === 'RSA') {
    members.set(1, 3)
    set(-1, n)
    set(-2, e)
    return members
  }
  const isPoint = kty === 'EC'
  members.set(1, isPoint ? 2 : 1).set(-1, isPoint ? 1 : 6)
  set(-2, x)
  if (isPoint) set(-3, y)
  return members
}
