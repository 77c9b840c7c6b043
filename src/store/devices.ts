import { auditRow, type Event } from '../events.ts'
import type { Database } from './client.ts'

/** A device to be trusted; `ttl` in seconds. */
export type NewDevice = { id: string; token_hash: string; name: string | null; address: string; ttl: number }

/** A trusted device in its owner's list. */
export type DeviceSummary = {
  id: string
  name: string | null
  createdAt: Date
  lastUsedAt: Date
  expiresAt: Date
  address: string | null
}

export type DeviceCharge =
  | { outcome: 'charged'; id: string }
  | { outcome: 'locked'; retry_after: number }
  | { outcome: 'unknown' }

export function createDevices(db: Database) {
  return {
    /** Counts a failed password against the device, if the account with `email` trusts it. */
    charge: async (
      tokenHash: Uint8Array,
      email: string,
      limits: { max: number; windowSeconds: number },
    ): Promise<DeviceCharge> => {
      return await db.decide('charge_device', tokenHash, email, limits.max, limits.windowSeconds)
    },

    /** The password was never evaluated: takes the newest charge back. */
    release: async (id: string): Promise<void> => {
      await db.$executeRaw`
        UPDATE trusted_devices SET failed_at = trim_array(failed_at, 1) WHERE id = ${id}::uuid AND cardinality(failed_at) > 0`
    },

    /** The devices a user trusts, the one used last first. */
    list: async (userId: string): Promise<DeviceSummary[]> => {
      return await db.$queryRaw<DeviceSummary[]>`
        SELECT id, name, created_at AS "createdAt", last_used_at AS "lastUsedAt", expires_at AS "expiresAt", address
        FROM trusted_devices WHERE user_id = ${userId}::uuid AND expires_at > clock_timestamp() ORDER BY last_used_at DESC, id`
    },

    /** Stops trusting a device of a user; false if there is none. */
    remove: async (userId: string, id: string, event: Event): Promise<boolean> => {
      const rows = await db.$queryRaw<unknown[]>`
        WITH removed AS (DELETE FROM trusted_devices WHERE id = ${id}::uuid AND user_id = ${userId}::uuid RETURNING id)
        SELECT record_event(${auditRow(event)}::jsonb, ${userId}::uuid)::text FROM removed`
      return rows.length === 1
    },
  }
}
