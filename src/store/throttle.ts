import { auditRow, type Event } from '../events.ts'
import type { Database } from './client.ts'

/**
 * charged: evaluate the password, and settle the charge afterwards. locked: do not. contended: the lock comes from
 * charges whose passwords are being evaluated at this moment; whether it stays is known when they are settled.
 */
export type ThrottleCharge = { outcome: 'charged' } | { outcome: 'locked' | 'contended'; retryAfter: number }

/** A charge that nobody settled (its process died) stops counting as "being evaluated" after this many seconds. */
const settleWithinSeconds = 10

export function createThrottle(db: Database) {
  return {
    /**
     * Counts a failed password before it is looked at; a success takes it back. The 5th in a row starts a lock of 30 s
     * that doubles up to an hour. While it runs nothing is counted and nothing is prolonged.
     * A lock is looked for before the row is touched: ON CONFLICT alone would lock and write it even to refuse, and
     * a flood against one e-mail would then hold every connection in line for its row.
     */
    charge: async (identifier: Uint8Array): Promise<ThrottleCharge> => {
      const charged = await db.$executeRaw`
        INSERT INTO login_throttles AS t (identifier, failures, in_flight, charged_at)
        SELECT ${identifier}::bytea, 1, 1, clock_timestamp()
        WHERE NOT EXISTS (
          SELECT FROM login_throttles WHERE identifier = ${identifier}::bytea AND locked_until > clock_timestamp())
        ON CONFLICT (identifier) DO UPDATE SET
          failures = t.failures + 1,
          in_flight = CASE WHEN t.charged_at > clock_timestamp() - ${settleWithinSeconds}::integer * interval '1 second'
                           THEN t.in_flight + 1 ELSE 1 END,
          charged_at = clock_timestamp(),
          locked_until = CASE WHEN t.failures + 1 >= 5
            THEN clock_timestamp() + interval '30 seconds' * least(power(2, least(t.failures + 1 - 5, 16)), 120) END
        WHERE t.locked_until IS NULL OR t.locked_until <= clock_timestamp()`
      if (charged === 1) return { outcome: 'charged' }
      // The lock may have been lifted since that statement, or be about to be.
      const [lock] = await db.$queryRaw<{ contended: boolean; retry_after: number }[]>`
        SELECT locked_until IS NULL OR locked_until <= clock_timestamp() OR (in_flight > 0
            AND charged_at > clock_timestamp() - ${settleWithinSeconds}::integer * interval '1 second') AS contended,
          seconds_until(coalesce(locked_until, clock_timestamp()), clock_timestamp()) AS retry_after
        FROM login_throttles WHERE identifier = ${identifier}::bytea`
      if (lock === undefined) return { outcome: 'contended', retryAfter: 1 }
      return { outcome: lock.contended ? 'contended' : 'locked', retryAfter: lock.retry_after }
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
