import type { JsonWebKey } from 'node:crypto'
import { auditRow, type Event } from '../events.ts'
import type { Database } from './client.ts'

/** A signing key to be stored; `privateKey` is ciphertext under the secret `secretId`. */
export type SealedSigningKey = { id: string; publicJwk: JsonWebKey; privateKey: Uint8Array; secretId: string }

/** A stored one. `activeIn`: seconds until it may sign, negative once it may. */
export type StoredSigningKey = SealedSigningKey & { createdAt: Date; activeAt: Date; activeIn: number }

/** As the SQL function gives it: ciphertext in hex, moments in seconds since 1970. */
type KeyRow = {
  id: string
  public_jwk: JsonWebKey
  private_key: string
  secret_id: string
  created_at: number
  active_at: number
  active_in: number
}

export function createSigningKeys(db: Database) {
  return {
    /** All keys, newest first. */
    list: async (): Promise<StoredSigningKey[]> => {
      const rows = await db.decide<KeyRow[]>('list_signing_keys')
      return rows.map((row) => ({
        id: row.id,
        publicJwk: row.public_jwk,
        privateKey: Buffer.from(row.private_key, 'hex'),
        secretId: row.secret_id,
        createdAt: new Date(row.created_at * 1_000),
        activeAt: new Date(row.active_at * 1_000),
        activeIn: row.active_in,
      }))
    },

    /**
     * Adds `key`, to become active after `delay` seconds, unless the newest is younger than `minAge` seconds or still to
     * come: true for exactly one of all who ask.
     */
    add: async (
      key: SealedSigningKey,
      { minAge, delay }: { minAge: number; delay: number },
      event: Event,
    ): Promise<boolean> => {
      const stored = {
        id: key.id,
        public_jwk: key.publicJwk,
        private_key: Buffer.from(key.privateKey).toString('hex'),
        secret_id: key.secretId,
      }
      return await db.decide('add_signing_key', JSON.stringify(stored), minAge, delay, auditRow(event))
    },

    /** Replaces the ciphertext of a key, unless somebody else has done so. */
    reseal: async (old: StoredSigningKey, sealed: SealedSigningKey): Promise<void> => {
      const ciphertext = Buffer.from(sealed.privateKey).toString('hex')
      await db.decide('reseal_signing_key', old.id, old.secretId, ciphertext, sealed.secretId)
    },

    /** Forgets keys whose successor has been active for `seconds`: nothing that they signed is alive. */
    forget: async (seconds: number): Promise<number> => await db.decide('forget_signing_keys', seconds),
  }
}
