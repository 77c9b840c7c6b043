import { auditRow, type Event } from '../events.ts'
import type { Database } from './client.ts'

/**
 * charged: evaluate the password, and settle the charge afterwards. locked: do not. contended: the lock comes from
 * charges whose passwords are being evaluated at this moment; whether it stays is known when they are settled.
 */
export type ThrottleCharge = { outcome: 'charged' } | { outcome: 'locked' | 'contended'; retry_after: number }

/** A charge that nobody settled (its process died) stops counting as "being evaluated" after this many seconds. */
const settleWithinSeconds = 10

export function createThrottle(db: Database) {
  return {
    /**
     * Counts a failed password before it is looked at; a success takes it back. While the lock runs that the 5th in a row
     * starts, nothing is counted.
     */
    charge: async (identifier: Uint8Array): Promise<ThrottleCharge> => {
      return await db.decide('charge_password', identifier, settleWithinSeconds)
    },

    /** The password was wrong: the charge stays, with its audit row. */
    settleFailure: async (identifier: Uint8Array, event: Event): Promise<void> => {
      await db.$executeRaw`
        WITH settled AS (
          UPDATE login_throttles SET in_flight = greatest(in_flight - 1, 0) WHERE identifier = ${identifier}::bytea)
        SELECT record_event(${auditRow(event)}::jsonb, ${event.userId ?? null}::uuid, ${identifier}::bytea)`
    },

    /**
     * The password was never evaluated: takes the charge back, and the lock with it. With fewer than five failures left
     * there is none; with more, the lock is the one that this charge began, since nothing is charged in an older one.
     */
    release: async (identifier: Uint8Array): Promise<void> => {
      await db.$executeRaw`
        UPDATE login_throttles SET
          failures = greatest(failures - 1, 0), in_flight = greatest(in_flight - 1, 0), locked_until = NULL
        WHERE identifier = ${identifier}::bytea`
    },
  }
}
