import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type JsonWebKey,
} from 'node:crypto'
import type { Config } from '../config.ts'
import type { Event, Events } from '../events.ts'
import type { Store } from '../store/index.ts'
import type { SealedSigningKey, StoredSigningKey } from '../store/signing-keys.ts'
import type { Clock, Random } from '../system.ts'
import type { Secrets } from './secrets.ts'
import { leewaySeconds } from './tokens.ts'

/** Seconds that a JWKS may be cached by those who verify; also its `max-age`. */
export const jwksMaxAge = 300

/** Seconds within which every replica reads the keys again. */
export const ringMaxAge = 60

/** A key is published this many seconds before it signs: until all caches and replicas have seen it. */
export const publishSeconds = jwksMaxAge + ringMaxAge + leewaySeconds

/** A public signing key as JWKS shows it (RFC 7517). */
export type PublicJwk = { kty: 'EC'; crv: 'P-256'; x: string; y: string; kid: string; alg: 'ES256'; use: 'sig' }

type RingKey = { kid: string; activeFromMs: number; privatePem: string; publicPem: string; jwk: PublicJwk }

export type KeyRing = Awaited<ReturnType<typeof createKeyRing>>

/**
 * The P-256 keys that sign access tokens. They live in the database, so that replicas share them; the private half is
 * encrypted (AES-256-GCM, the key id as additional data) with a key outside it. A key is first only published, then
 * signs, then only verifies until the last token signed with it is dead. The first start makes one.
 * Throws if a stored key was encrypted with a secret that SECRET_KEYS no longer lists.
 */
export async function createKeyRing(parts: {
  config: Pick<Config, 'tokens' | 'signingKeyDays'>
  store: Pick<Store, 'signingKeys'>
  secrets: Secrets
  clock: Clock
  random: Random
  events: Events
}) {
  const { config, store, secrets, clock, random, events } = parts
  let keys: RingKey[] = []

  const refresh = async (): Promise<void> => {
    const stored = await store.signingKeys.list()
    keys = stored.map((key) => openKey(key, secrets, clock.nowMs()))
    const secretId = secrets.current('signing-key').id
    for (const key of stored.filter((one) => one.secretId !== secretId)) {
      await store.signingKeys.reseal(key, seal(key.id, key.publicJwk, derOf(key, secrets), secrets, random))
    }
  }

  /** Puts a new key on its way, unless the newest is younger than `minAge` seconds. Its id, or null. */
  const rotate = async (minAge: number): Promise<string | null> => {
    const fresh = generateKey(secrets, random)
    const event: Event = { type: 'key.created', outcome: 'published', detail: fresh.id }
    if (!(await store.signingKeys.add(fresh, { minAge, delay: publishSeconds }, event))) return null
    events.announce(event)
    await refresh()
    return fresh.id
  }

  await refresh()
  if (keys.length === 0) {
    // Of replicas that start together one makes the key; for the others it is too young to be replaced.
    await rotate(publishSeconds)
    await refresh()
  }

  const active = (): RingKey => {
    const now = clock.nowMs()
    const found = keys.find((key) => key.activeFromMs <= now) ?? keys.at(-1)
    if (found === undefined) throw new Error('There is no signing key')
    return found
  }

  return {
    /** The key to sign with: its id and PKCS #8 PEM. */
    active: (): { kid: string; privatePem: string } => active(),

    /** The SPKI PEM of a key that may verify; undefined for any other id. */
    publicPem: (kid: unknown): string | undefined => keys.find((key) => key.kid === kid)?.publicPem,

    /** The body of `GET /.well-known/jwks.json`: public members of next, active and retired keys. */
    jwks: (): { keys: PublicJwk[] } => ({ keys: keys.map(({ jwk }) => jwk) }),

    /** Reads the keys again: what other replicas have made. */
    refresh,

    rotate,

    /** What every replica does once in a while: one of them rotates a key that is old, all read the ring again. */
    maintain: async (): Promise<void> => {
      await rotate(config.signingKeyDays * 86_400)
      await store.signingKeys.forget(config.tokens.accessTtl + 2 * leewaySeconds)
      await refresh()
    },
  }
}

function generateKey(secrets: Secrets, random: Random): SealedSigningKey {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const publicJwk = publicKey.export({ format: 'jwk' })
  return seal(thumbprint(publicJwk), publicJwk, privateKey.export({ format: 'der', type: 'pkcs8' }), secrets, random)
}

function seal(id: string, publicJwk: JsonWebKey, der: Buffer, secrets: Secrets, random: Random): SealedSigningKey {
  const secret = secrets.current('signing-key')
  const nonce = random.bytes(12)
  const cipher = createCipheriv('aes-256-gcm', secret.key, nonce).setAAD(Buffer.from(id))
  const sealed = Buffer.concat([cipher.update(der), cipher.final()])
  return { id, publicJwk, privateKey: Buffer.concat([nonce, cipher.getAuthTag(), sealed]), secretId: secret.id }
}

function derOf(stored: StoredSigningKey, secrets: Secrets): Buffer {
  const key = secrets.find('signing-key', stored.secretId)
  if (key === undefined) {
    throw new Error(
      `The signing key is encrypted with the secret "${stored.secretId}", which SECRET_KEYS does not list`,
    )
  }
  const sealed = Buffer.from(stored.privateKey)
  const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, 12), { authTagLength: 16 })
  decipher.setAAD(Buffer.from(stored.id)).setAuthTag(sealed.subarray(12, 28))
  try {
    return Buffer.concat([decipher.update(sealed.subarray(28)), decipher.final()])
  } catch {
    throw new Error(`The signing key cannot be decrypted: the secret "${stored.secretId}" in SECRET_KEYS has changed`)
  }
}

function openKey(stored: StoredSigningKey, secrets: Secrets, nowMs: number): RingKey {
  const privateKey = createPrivateKey({ key: derOf(stored, secrets), format: 'der', type: 'pkcs8' })
  const publicKey = createPublicKey(privateKey)
  const { x, y } = publicKey.export({ format: 'jwk' }) as { x: string; y: string }
  return {
    kid: stored.id,
    activeFromMs: nowMs + stored.activeIn * 1_000,
    privatePem: privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
    publicPem: publicKey.export({ format: 'pem', type: 'spki' }).toString(),
    jwk: { kty: 'EC', crv: 'P-256', x, y, kid: stored.id, alg: 'ES256', use: 'sig' },
  }
}

/** RFC 7638. */
function thumbprint({ crv, kty, x, y }: JsonWebKey): string {
  return createHash('sha256').update(JSON.stringify({ crv, kty, x, y })).digest('base64url')
}
