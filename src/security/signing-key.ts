import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, type JsonWebKey } from 'node:crypto'
import type { SealedSigningKey, Seals } from '../store/signing-keys.ts'
import type { Random } from '../system.ts'
import { decrypt, encrypt } from './sealed.ts'
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
  const id = thumbprint(publicJwk)
  return { id, publicJwk, seals: sealAll(id, privateKey.export({ format: 'der', type: 'pkcs8' }), sealing) }
}

/** A stored key's seals under those secrets that have none of it yet. Throws what `openKey` throws. */
export function missingSeals(stored: SealedSigningKey, sealing: Sealing): Seals {
  const missing = sealing.secrets.ids.filter((secretId) => !Object.hasOwn(stored.seals, secretId))
  return missing.length === 0 ? {} : sealAll(stored.id, unseal(stored, sealing.secrets), sealing, missing)
}

/** Opens a stored key. Throws if no secret in SECRET_KEYS has sealed it, or one was changed since. */
export function openKey(stored: SealedSigningKey, secrets: Secrets): SigningKey {
  const privateKey = createPrivateKey({ key: unseal(stored, secrets), format: 'der', type: 'pkcs8' })
  const publicKey = createPublicKey(privateKey)
  const { x, y } = publicKey.export({ format: 'jwk' }) as { x: string; y: string }
  return {
    kid: stored.id,
    privatePem: privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
    publicPem: publicKey.export({ format: 'pem', type: 'spki' }).toString(),
    jwk: { kty: 'EC', crv: 'P-256', x, y, kid: stored.id, alg: 'ES256', use: 'sig' },
  }
}

/** With every secret, so that each replica can open it, whichever it has while SECRET_KEYS changes. */
function sealAll(id: string, der: Buffer, { secrets, random }: Sealing, secretIds = secrets.ids): Seals {
  return Object.fromEntries(
    secretIds.map((secretId) => [
      secretId,
      // The id as additional data, so that no key passes for another.
      encrypt(secrets.find('signing-key', secretId) as Buffer, der, id, random).toString('hex'),
    ]),
  )
}

const wayOut = 'Put that secret back behind the others, or give all signing keys up: keys rotate --now'

function unseal({ id, seals }: SealedSigningKey, secrets: Secrets): Buffer {
  const secretId = secrets.ids.find((it) => Object.hasOwn(seals, it))
  if (secretId === undefined) {
    const names = Object.keys(seals).map((it) => `"${it}"`)
    throw new Error(
      `The signing key is encrypted with the secret ${names.join(' or ')}, which SECRET_KEYS does not list. ${wayOut}`,
    )
  }
  const key = secrets.find('signing-key', secretId) as Buffer
  const der = decrypt(key, Buffer.from(String(seals[secretId]), 'hex'), id)
  if (der !== null) return der
  throw new Error(`The signing key cannot be decrypted: the secret "${secretId}" in SECRET_KEYS has changed. ${wayOut}`)
}

/** RFC 7638. */
function thumbprint({ crv, kty, x, y }: JsonWebKey): string {
  return createHash('sha256').update(JSON.stringify({ crv, kty, x, y })).digest('base64url')
}
