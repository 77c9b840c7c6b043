import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type JsonWebKey,
} from 'node:crypto'
import type { SealedSigningKey } from '../store/signing-keys.ts'
import type { Random } from '../system.ts'
import type { Secrets } from './secrets.ts'

/** A public signing key as JWKS shows it (RFC 7517). */
export type PublicJwk = { kty: 'EC'; crv: 'P-256'; x: string; y: string; kid: string; alg: 'ES256'; use: 'sig' }

/** A key that is open: its private half in PKCS #8, its public half in SPKI and as JWKS shows it. */
export type SigningKey = { kid: string; privatePem: string; publicPem: string; jwk: PublicJwk }

type Sealing = { secrets: Secrets; random: Random }

/** A new P-256 key, sealed for the database; its id is its thumbprint. */
export function generateKey(sealing: Sealing): SealedSigningKey {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const publicJwk = publicKey.export({ format: 'jwk' })
  return seal(thumbprint(publicJwk), publicJwk, privateKey.export({ format: 'der', type: 'pkcs8' }), sealing)
}

/** The same key under the current secret. Throws what `openKey` throws. */
export function sealAnew(sealed: SealedSigningKey, sealing: Sealing): SealedSigningKey {
  return seal(sealed.id, sealed.publicJwk, unseal(sealed, sealing.secrets), sealing)
}

/** Opens a stored key. Throws if it was sealed with a secret that SECRET_KEYS no longer lists, or was changed since. */
export function openKey(sealed: SealedSigningKey, secrets: Secrets): SigningKey {
  const privateKey = createPrivateKey({ key: unseal(sealed, secrets), format: 'der', type: 'pkcs8' })
  const publicKey = createPublicKey(privateKey)
  const { x, y } = publicKey.export({ format: 'jwk' }) as { x: string; y: string }
  return {
    kid: sealed.id,
    privatePem: privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
    publicPem: publicKey.export({ format: 'pem', type: 'spki' }).toString(),
    jwk: { kty: 'EC', crv: 'P-256', x, y, kid: sealed.id, alg: 'ES256', use: 'sig' },
  }
}

/** AES-256-GCM with the key's id as additional data, so that no key passes for another: nonce, tag, ciphertext. */
function seal(id: string, publicJwk: JsonWebKey, der: Buffer, { secrets, random }: Sealing): SealedSigningKey {
  const secret = secrets.current('signing-key')
  const nonce = random.bytes(12)
  const cipher = createCipheriv('aes-256-gcm', secret.key, nonce).setAAD(Buffer.from(id))
  const sealed = Buffer.concat([cipher.update(der), cipher.final()])
  return { id, publicJwk, privateKey: Buffer.concat([nonce, cipher.getAuthTag(), sealed]), secretId: secret.id }
}

function unseal({ id, privateKey, secretId }: SealedSigningKey, secrets: Secrets): Buffer {
  const key = secrets.find('signing-key', secretId)
  if (key === undefined) {
    throw new Error(`The signing key is encrypted with the secret "${secretId}", which SECRET_KEYS does not list`)
  }
  const sealed = Buffer.from(privateKey)
  const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, 12), { authTagLength: 16 })
  decipher.setAAD(Buffer.from(id)).setAuthTag(sealed.subarray(12, 28))
  try {
    return Buffer.concat([decipher.update(sealed.subarray(28)), decipher.final()])
  } catch {
    throw new Error(`The signing key cannot be decrypted: the secret "${secretId}" in SECRET_KEYS has changed`)
  }
}

/** RFC 7638. */
function thumbprint({ crv, kty, x, y }: JsonWebKey): string {
  return createHash('sha256').update(JSON.stringify({ crv, kty, x, y })).digest('base64url')
}
