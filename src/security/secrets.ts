import { hkdfSync } from 'node:crypto'
import type { Random } from '../system.ts'

/** What a key is for. Each purpose has its own key, so that one kind of token or MAC never passes for another. */
export type Purpose =
  | 'pending-token'
  | 'code'
  | 'code-mac'
  | 'identifier'
  | 'signing-key'
  | 'refresh-token'
  | 'device-token'
  | 'totp'
  | 'recovery-code'
  | 'webauthn'
  | 'webhook'

/** A key with the id that is stored beside whatever was made with it. */
export type Secret = { id: string; key: Buffer }

export type Secrets = ReturnType<typeof createSecrets>

const keyBytes = 32

/**
 * Purpose keys from the master keys of `SECRET_KEYS`, derived with HKDF-SHA-256 (RFC 5869, no salt, info
 * `doorstep/v1/<purpose>`, 32 bytes). The first master key makes new things; all of them recognise old ones.
 *
 * @param keys At least one, already checked by `config.ts`, ids unique.
 * @throws Error when `keys` is empty.
 */
export function createSecrets(keys: readonly Secret[]) {
  const [first] = keys
  if (!first) throw new Error('createSecrets needs at least one key')
  const masters = new Map(keys.map(({ id, key }) => [id, key]))
  const derived = new Map<string, Buffer>()

  /** The key of `purpose` under the master key `id`, or nothing when that master key is not (or no longer) there. */
  function find(purpose: Purpose, id: string): Buffer | undefined {
    const master = masters.get(id)
    return master && derive(purpose, id, master)
  }

  function derive(purpose: Purpose, id: string, master: Buffer): Buffer {
    const name = `${purpose}/${id}`
    const known = derived.get(name)
    if (known) return known
    const key = Buffer.from(hkdfSync('sha256', master, '', `doorstep/v1/${purpose}`, keyBytes))
    derived.set(name, key)
    return key
  }

  return {
    /** The key to make new things with. */
    current: (purpose: Purpose): Secret => ({ id: first.id, key: derive(purpose, first.id, first.key) }),
    find,
    /** The ids of all master keys, the current one first. */
    ids: keys.map(({ id }) => id),
  }
}

/** A fresh `SECRET_KEYS` value with one key: `k` and 8 hex digits, a colon, 32 random bytes in base64. */
export function generateSecretKeys(random: Random): string {
  return `k${random.bytes(4).toString('hex')}:${random.bytes(keyBytes).toString('base64')}`
}
