import type { JsonWebKey } from 'node:crypto'
import { auditRow, type Event } from '../events.ts'
import type { Database } from './client.ts'

/** A signing key to be stored; `privateKey` is ciphertext under the secret `secretId`. */
export type SealedSigningKey = { id: string; publicJwk: JsonWebKey; privateKey: Uint8Array; secretId: string }

/** A stored one. `activeIn`: seconds until it may sign, negative once it may. */
export type StoredSigningKey = SealedSigningKey & { createdAt: Date; activeAt: Date; activeIn: number }

export function createSigningKeys(db: Database) {
  return {
    /** All keys, newest first. */
    list: async (): Promise<StoredSigningKey[]> => {
      return await db.$queryRaw<StoredSigningKey[]>`
        SELECT id, public_jwk AS "publicJwk", private_key AS "privateKey", secret_id AS "secretId",
               created_at AS "createdAt", active_at AS "activeAt",
               extract(epoch FROM active_at - clock_timestamp())::double precision AS "activeIn"
        FROM signing_keys ORDER BY active_at DESC`
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
      await db.$executeRaw`
        UPDATE signing_keys SET private_key = ${sealed.privateKey}::bytea, secret_id = ${sealed.secretId}
        WHERE id = ${old.id} AND secret_id = ${old.secretId}`
    },

    /** Forgets keys whose successor has been active for `seconds`: nothing that they signed is alive. */
    forget: async (seconds: number): Promise<number> => {
      return await db.$executeRaw`
        DELETE FROM signing_keys old WHERE EXISTS (
          SELECT FROM signing_keys newer
          WHERE newer.active_at > old.active_at AND newer.active_at < clock_timestamp() - ${seconds}::integer * interval '1 second')`
    },
  }
}
