import { createPublicKey } from 'node:crypto'
import { decodeCredentialPublicKey } from '@simplewebauthn/server/helpers'

// COSE_Key labels: RFC 9052 section 7.1, RFC 9053 section 7, RFC 8230 section 4.
const label = { kty: 1, alg: 3, crv: -1, x: -2, y: -3, n: -1, e: -2 }
const rsaBits = { min: 2048, max: 4096 }

/**
 * The algorithm of a public key in COSE form, when the key is one of the three kinds that we ask for, whole and fit for
 * use: Ed25519 for −8, a point of P-256 for −7, RSA of 2,048 to 4,096 bits for −257 (WebAuthn section 5.8.5). A key of
 * one algorithm under the name of another has none.
 * @returns null for any other key
 * @throws whatever the decoders say of bytes that are no key
 */
export function algorithmOf(publicKey: Uint8Array<ArrayBuffer>): number | null {
  const members = decodeCredentialPublicKey(publicKey) as Map<number, unknown>
  const algorithm = members.get(label.alg)
  const jwk = jwkOf(members)
  if (!jwk || typeof algorithm !== 'number') return null
  const { modulusLength } = createPublicKey({ key: jwk, format: 'jwk' }).asymmetricKeyDetails ?? {}
  const isFit = modulusLength === undefined || (modulusLength >= rsaBits.min && modulusLength <= rsaBits.max)
  return isFit ? algorithm : null
}

function jwkOf(members: Map<number, unknown>) {
  const text = (name: number): string => {
    const bytes = members.get(name)
    return bytes instanceof Uint8Array ? Buffer.from(bytes).toString('base64url') : ''
  }
  switch ([label.alg, label.kty, label.crv].map((name) => shown(members.get(name))).join()) {
    case '-8,1,6':
      return { kty: 'OKP', crv: 'Ed25519', x: text(label.x) }
    case '-7,2,1':
      return { kty: 'EC', crv: 'P-256', x: text(label.x), y: text(label.y) }
    case '-257,3,bytes':
      // Any other exponent makes a check as dear as its owner likes.
      return text(label.e) === 'AQAB' ? { kty: 'RSA', n: text(label.n), e: 'AQAB' } : null
    default:
      return null
  }
}

const shown = (value: unknown): string => (value instanceof Uint8Array ? 'bytes' : String(value))
