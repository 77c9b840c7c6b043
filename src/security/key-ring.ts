import { isDeepStrictEqual } from 'node:util'
import type { Config } from '../config.ts'
import type { Event, Events } from '../events.ts'
import type { Store } from '../store/index.ts'
import type { StoredSigningKey } from '../store/signing-keys.ts'
import type { Clock, Random } from '../system.ts'
import { leewaySeconds } from './claims.ts'
import type { Secrets } from './secrets.ts'
import { generateKey, missingSeals, openKey, type PublicJwk, type SigningKey } from './signing-key.ts'

/** Seconds that a JWKS may be cached by those who verify; also its `max-age`. */
export const jwksMaxAge = 300

/** Seconds within which every replica reads the keys again. */
export const ringMaxAge = 60

/** A key is published this many seconds before it signs: until all caches and replicas have seen it. */
export const publishSeconds = jwksMaxAge + ringMaxAge + leewaySeconds

export type KeyRing = Awaited<ReturnType<typeof createKeyRing>>

type RingParts = {
  config: Pick<Config, 'tokens' | 'signingKeyDays'>
  store: Pick<Store, 'signingKeys'>
  secrets: Secrets
  clock: Clock
  random: Random
  events: Events
}

/** A key of the ring, as it was stored and open. */
type Entry = { stored: StoredSigningKey; activeFromMs: number; key: SigningKey }

/**
 * The P-256 keys that sign access tokens. They live in the database, so that replicas share them; the private half is
 * sealed with a key outside it. A key is first only published, then signs, then only verifies until the last token
 * signed with it is dead. The first start makes one. Throws what `openKey` throws.
 */
export async function createKeyRing(parts: RingParts) {
  const { config, store, clock, events } = parts
  let ring: Entry[] = []

  const refresh = async (): Promise<void> => {
    const stored = await store.signingKeys.list()
    ring = stored.map((one) => entryOf(one, ring, parts))
    await addMissingSeals(stored, parts)
  }

  /** Puts a new key on its way, unless the newest is younger than `minAge` seconds; `by`: who asks. Its id, or null. */
  const rotate = async (minAge: number, by: Pick<Event, 'byOperator'> = {}): Promise<string | null> => {
    const fresh = generateKey(parts)
    const event: Event = { type: 'key.created', outcome: 'published', detail: fresh.id, ...by }
    if (!(await store.signingKeys.add(fresh, { minAge, delay: publishSeconds }, event))) return null
    events.announce(event)
    await refresh()
    return fresh.id
  }

  // Of replicas that start on an empty database at once, one makes the key.
  const maxAge = config.signingKeyDays * 86_400
  await refresh()
  if (ring.length === 0) {
    await rotate(maxAge)
    await refresh()
  }

  return {
    /** The key to sign with. */
    active: (): SigningKey => activeOf(ring, clock.nowMs()),

    /** The key of this id, which may verify; undefined for any other id. It is the same object for as long as it is here. */
    find: (kid: unknown): SigningKey | undefined => ring.find(({ key }) => key.kid === kid)?.key,

    /** The body of `GET /.well-known/jwks.json`: public members of next, active and retired keys. */
    jwks: (): { keys: PublicJwk[] } => ({ keys: ring.map(({ key }) => key.jwk) }),

    /** Reads the keys again: what other replicas have made. */
    refresh,

    rotate,

    /** What every replica does once in a while: one of them rotates a key that is old, all read the ring again. */
    maintain: async (): Promise<{ forgotten: number }> => {
      await rotate(maxAge)
      const forgotten = await store.signingKeys.forget(config.tokens.accessTtl + 2 * leewaySeconds)
      await refresh()
      return { forgotten }
    },
  }
}

/**
 * For a key that leaked, or that no secret opens any more: all go, also one on its way, and a new one signs at once. What
 * they signed is refused by every replica that has read its ring since. Returns the new key's id.
 */
export async function replaceKeys(parts: Omit<RingParts, 'config' | 'clock'>): Promise<string> {
  const fresh = generateKey(parts)
  const event: Event = { type: 'key.created', outcome: 'replaced', detail: fresh.id, byOperator: true }
  await parts.store.signingKeys.replaceAll(fresh, event)
  parts.events.announce(event)
  return fresh.id
}

/** Opens a stored key, unless the ring has opened it as it stands now. */
function entryOf(stored: StoredSigningKey, ring: Entry[], { secrets, clock }: RingParts): Entry {
  const known = ring.find((entry) => isSameKey(entry.stored, stored))
  const key = known?.key ?? openKey(stored, secrets)
  return { stored, activeFromMs: clock.nowMs() + stored.activeIn * 1_000, key }
}

function isSameKey(one: StoredSigningKey, other: StoredSigningKey): boolean {
  return one.id === other.id && isDeepStrictEqual(one.seals, other.seals)
}

/** The newest key whose time has come; the oldest where none has. */
function activeOf(ring: Entry[], nowMs: number): SigningKey {
  const found = ring.find(({ activeFromMs }) => activeFromMs <= nowMs) ?? ring.at(-1)
  if (found === undefined) throw new Error('There is no signing key')
  return found.key
}

/** Seals keys with secrets that were not in SECRET_KEYS when they were made. Replicas that lack them lose nothing by it. */
async function addMissingSeals(stored: StoredSigningKey[], parts: RingParts): Promise<void> {
  for (const one of stored) {
    const seals = missingSeals(one, parts)
    if (Object.keys(seals).length > 0) await parts.store.signingKeys.addSeals(one.id, seals)
  }
}
