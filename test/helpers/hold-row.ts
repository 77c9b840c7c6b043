import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import type { Doorstep } from './doorstep.ts'

/**
 * Starts `work` while the row that `text` selects is locked, and lets go only when `waiters` of the service's statements
 * stand before a lock, so that they truly meet. On the embedded database, which has one backend, they simply run.
 */
export async function meetAtRow<T>(
  { database, sql }: Pick<Doorstep, 'database' | 'sql'>,
  row: { text: string; values: unknown[]; waiters: number },
  work: () => Promise<T>,
): Promise<T> {
  if (!database.isReal) return work()
  const holder = new pg.Client({ connectionString: database.url })
  await holder.connect()
  try {
    await holder.query('BEGIN')
    await holder.query(row.text, row.values)
    const working = work()
    // Well under the second that the service waits for a lock.
    for (let waited = 0; waited < 700; waited += 20) {
      const [found] = await sql<{ n: number }>(
        `SELECT count(*)::integer AS n FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`,
      )
      if ((found?.n ?? 0) >= row.waiters) break
      await sleep(20)
    }
    await holder.query('COMMIT')
    return await working
  } finally {
    await holder.end()
  }
}
