import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import type { Doorstep } from './doorstep.ts'

/**
 * Starts `work` while the row that `text` selects is locked, and lets go when `waiters` of the service's statements stand
 * before a lock, so that they truly meet. If fewer ever come, the service gives up waiting and the work fails. On the
 * embedded database, which has one backend, they simply run.
 */
export async function meetAtRow<T>(
  { database }: Pick<Doorstep, 'database'>,
  row: { text: string; values: unknown[]; waiters: number },
  work: () => Promise<T>,
): Promise<T> {
  if (!database.isReal) return work()
  const holder = new pg.Client({ connectionString: database.url })
  const watcher = new pg.Client({ connectionString: database.url })
  await Promise.all([holder.connect(), watcher.connect()])
  const waiting = async (): Promise<number> => {
    const { rows } = await watcher.query<{ n: number }>(
      `SELECT count(*)::integer AS n FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`,
    )
    return rows[0]?.n ?? 0
  }
  try {
    await holder.query('BEGIN')
    await holder.query(row.text, row.values)
    let isDone = false
    const working = work().finally(() => {
      isDone = true
    })
    // It may fail while nobody awaits it yet; the end of this function tells.
    working.catch(() => {})
    while (!isDone && (await waiting()) < row.waiters) await sleep(5)
    await holder.query('COMMIT')
    return await working
  } finally {
    await Promise.all([holder.end(), watcher.end()])
  }
}
