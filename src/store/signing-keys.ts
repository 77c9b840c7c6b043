import type { JsonWebKey } from 'node:crypto'
import { auditRow, type Event } from '../events.ts'
import type { Database } from './client.ts'

/** Ciphertexts (hex) of one private key, by the id of the secret that each is made with. */
export type Seals = Record<string, string>

/** A signing key to be stored. */
export type SealedSigningKey = { id: string; publicJwk: JsonWebKey; seals: Seals }

/** A stored one. `activeIn`: seconds until it may sign, negative once it may. */
export type StoredSigningKey = SealedSigningKey & { createdAt: Date; activeAt: Date; activeIn: number }

/** As the SQL function gives it: moments in seconds since 1970. */
type KeyRow = {
  id: string
  public_jwk: JsonWebKey
  seals: Seals
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
        seals: row.seals,
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
      return await db.decide('add_signing_key', rowOf(key), minAge, delay, auditRow(event))
    },

    /** Forgets all keys; `key` signs at once. */
    replaceAll: async (key: SealedSigningKey, event: Event): Promise<void> => {
      await db.decide('replace_signing_keys', rowOf(key), auditRow(event))
    },

    /** Adds seals to those that a key has. */
    addSeals: async (id: string, seals: Seals): Promise<void> => {
      await db.decide('seal_signing_key', id, JSON.stringify(seals))
    },

    /** Forgets keys whose successor has been active for `seconds`: nothing that they signed is alive. */
    forget: async (seconds: number): Promise<number> => await db.decide('forget_signing_keys', seconds),
  }
}

const rowOf = ({ id, publicJwk, seals }: SealedSigningKey): string =>
  JSON.stringify({ id, public_jwk: publicJwk, seals })
