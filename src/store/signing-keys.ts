import type { JsonWebKey } from 'node:crypto'
import { auditRow, type Event } from '../events.ts'
import type { Database } from './client.ts'

/** A stored signing key; `privateKey` is ciphertext under the secret `secretId`. */
export type StoredSigningKey = { id: string; publicJwk: JsonWebKey; privateKey: Uint8Array; secretId: string }

export function createSigningKeys(db: Database) {
  return {
    /** The active key, or null before the first start. */
    findActive: async (): Promise<StoredSigningKey | null> => {
      const rows = await db.$queryRaw<StoredSigningKey[]>`
        SELECT id, public_jwk AS "publicJwk", private_key AS "privateKey", secret_id AS "secretId"
        FROM signing_keys WHERE state = 'active'`
      return rows[0] ?? null
    },

    /** All of them without the private half, oldest first. */
    list: (): Promise<{ id: string; state: string; createdAt: Date }[]> =>
      db.signingKey.findMany({
        select: { id: true, state: true, createdAt: true },
        orderBy: [{ createdAt: 'asc' }, { id: 'asc' }],
      }),

    /** Makes `key` the active one, unless another replica was first: true for exactly one caller. */
    insertActive: async (key: StoredSigningKey, event: Event): Promise<boolean> => {
      const rows = await db.$queryRaw<unknown[]>`
        WITH made AS (
          INSERT INTO signing_keys (id, state, public_jwk, private_key, secret_id)
          VALUES (${key.id}, 'active', ${JSON.stringify(key.publicJwk)}::jsonb, ${key.privateKey}::bytea, ${key.secretId})
          ON CONFLICT (state) WHERE state = 'active' DO NOTHING RETURNING id)
        SELECT record_event(${auditRow(event)}::jsonb, NULL)::text FROM made`
      return rows.length === 1
    },
  }
}
