import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type JsonWebKey,
} from 'node:crypto'
import type { Events } from '../events.ts'
import type { Store } from '../store/index.ts'
import type { StoredSigningKey } from '../store/signing-keys.ts'
import type { Random } from '../system.ts'
import type { Secrets } from './secrets.ts'

/** A public signing key as JWKS shows it (RFC 7517). */
export type PublicJwk = { kty: 'EC'; crv: 'P-256'; x: string; y: string; kid: string; alg: 'ES256'; use: 'sig' }

export type KeyRing = Awaited<ReturnType<typeof createKeyRing>>

/**
 * The P-256 keys that sign access tokens. They live in the database, so that replicas share them; the private half is
 * encrypted (AES-256-GCM, the key id as additional data) with a key outside it. The first start makes one.
 * Throws if the stored key was encrypted with a secret that SECRET_KEYS no longer lists.
 */
export async function createKeyRing(parts: {
  store: Pick<Store, 'signingKeys'>
  secrets: Secrets
  random: Random
  events: Events
}) {
  const { store, secrets, random, events } = parts

  let stored = await store.signingKeys.findActive()
  if (stored === null) {
    const fresh = generateSigningKey(secrets, random)
    const event = { type: 'key.created', outcome: 'active', detail: fresh.id } as const
    if (await store.signingKeys.insertActive(fresh, event)) events.announce(event)
    stored = await store.signingKeys.findActive()
  }
  if (stored === null) throw new Error('There is no active signing key, and none could be made')
  const active = open(stored, secrets)

  return {
    /** The key to sign with: its id and PKCS #8 PEM. */
    active: (): { kid: string; privatePem: string } => active,

    /** The SPKI PEM of a key that may verify; undefined for any other id. */
    publicPem: (kid: unknown): string | undefined => (kid === active.kid ? active.publicPem : undefined),

    /** The body of `GET /.well-known/jwks.json`: public members only. */
    jwks: (): { keys: PublicJwk[] } => ({ keys: [active.jwk] }),
  }
}

function generateSigningKey(secrets: Secrets, random: Random): StoredSigningKey {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const publicJwk = publicKey.export({ format: 'jwk' })
  const id = thumbprint(publicJwk)
  const secret = secrets.current('signing-key')
  const nonce = random.bytes(12)
  const cipher = createCipheriv('aes-256-gcm', secret.key, nonce).setAAD(Buffer.from(id))
  const sealed = Buffer.concat([cipher.update(privateKey.export({ format: 'der', type: 'pkcs8' })), cipher.final()])
  return { id, publicJwk, privateKey: Buffer.concat([nonce, cipher.getAuthTag(), sealed]), secretId: secret.id }
}

function open(stored: StoredSigningKey, secrets: Secrets) {
  const key = secrets.find('signing-key', stored.secretId)
  if (key === undefined) {
    throw new Error(
      `The signing key is encrypted with the secret "${stored.secretId}", which SECRET_KEYS does not list`,
    )
  }
  const sealed = Buffer.from(stored.privateKey)
  const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, 12), { authTagLength: 16 })
  decipher.setAAD(Buffer.from(stored.id)).setAuthTag(sealed.subarray(12, 28))
  let der: Buffer
  try {
    der = Buffer.concat([decipher.update(sealed.subarray(28)), decipher.final()])
  } catch {
    throw new Error(`The signing key cannot be decrypted: the secret "${stored.secretId}" in SECRET_KEYS has changed`)
  }
  const privateKey = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
  const publicKey = createPublicKey(privateKey)
  const { x, y } = publicKey.export({ format: 'jwk' }) as { x: string; y: string }
  return {
    kid: stored.id,
    privatePem: privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
    publicPem: publicKey.export({ format: 'pem', type: 'spki' }).toString(),
    jwk: { kty: 'EC', crv: 'P-256', x, y, kid: stored.id, alg: 'ES256', use: 'sig' } satisfies PublicJwk,
  }
}

/** RFC 7638. */
function thumbprint({ crv, kty, x, y }: JsonWebKey): string {
  return createHash('sha256').update(JSON.stringify({ crv, kty, x, y })).digest('base64url')
}
