import type { Database } from './client.ts'

/** Rows deleted by one statement; small, so that no login waits for it. */
const batchSize = 1_000

export function createPurge(db: Database) {
  /** Each deletes one batch of what has been worthless for an hour or more, skipping rows in use; says how many. */
  const batches = {
    throttles: () => db.$executeRaw`
      DELETE FROM login_throttles WHERE identifier IN (
        SELECT identifier FROM login_throttles
        WHERE charged_at < now() - interval '24 hours' AND (locked_until IS NULL OR locked_until < now())
        ORDER BY charged_at LIMIT ${batchSize} FOR UPDATE SKIP LOCKED)`,
    challenges: () => db.$executeRaw`
      DELETE FROM challenges WHERE id IN (
        SELECT id FROM challenges WHERE ends_at < now() - interval '1 hour'
        ORDER BY ends_at LIMIT ${batchSize} FOR UPDATE SKIP LOCKED)`,
    messages: () => db.$executeRaw`
      DELETE FROM sms_messages WHERE id IN (
        SELECT id FROM sms_messages WHERE reserved_at < now() - interval '25 hours'
        ORDER BY reserved_at LIMIT ${batchSize} FOR UPDATE SKIP LOCKED)`,
    budgets: () => db.$executeRaw`
      DELETE FROM sms_budgets WHERE key IN (
        SELECT key FROM sms_budgets WHERE touched_at < now() - interval '25 hours'
        ORDER BY touched_at LIMIT ${batchSize} FOR UPDATE SKIP LOCKED)`,
    sessions: () => db.$executeRaw`
      DELETE FROM sessions WHERE id IN (
        SELECT id FROM sessions WHERE expires_at < now() - interval '1 hour'
        ORDER BY expires_at LIMIT ${batchSize} FOR UPDATE SKIP LOCKED)`,
    devices: () => db.$executeRaw`
      DELETE FROM trusted_devices WHERE id IN (
        SELECT id FROM trusted_devices WHERE expires_at < now() - interval '1 hour'
        ORDER BY expires_at LIMIT ${batchSize} FOR UPDATE SKIP LOCKED)`,
  }

  return {
    /** Deletes everything that has run out, in batches (ASVS 14.2.7). Rows deleted, by table. */
    expired: async (): Promise<Record<keyof typeof batches, number>> => {
      const deleted = { throttles: 0, challenges: 0, messages: 0, budgets: 0, sessions: 0, devices: 0 }
      for (const [table, deleteBatch] of Object.entries(batches) as [keyof typeof batches, () => Promise<number>][]) {
        let count = batchSize
        while (count === batchSize) {
          count = await deleteBatch()
          deleted[table] += count
        }
      }
      return deleted
    },
  }
}
