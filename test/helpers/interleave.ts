import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import type { TestDatabase } from './database.ts'

/** One session's transaction: this statement, and the commit. */
export type Script = { sql: string; values: unknown[] }

/** What the statement of a script came to: its first value, or the SQLSTATE of its failure. */
export type Outcome = { value: Record<string, unknown> | string | null } | { failed: string }

type Session = { client: pg.Client; pid: number }

/** Every order of the sessions' steps, as lists of session numbers: 6 for 2 sessions of 2 steps, 90 for 3. */
export function ordersOf(lengths: number[]): number[][] {
  if (lengths.every((length) => length === 0)) return [[]]
  return lengths.flatMap((length, session) =>
    length === 0
      ? []
      : ordersOf(lengths.map((left, i) => (i === session ? left - 1 : left))).map((rest) => [session, ...rest]),
  )
}

/**
 * Connections to play the sessions, and one to watch them from. On the embedded database, which lets nobody else in while
 * a transaction is open, only orders that run one session after the other can be played.
 */
export async function openSessions({ url, isReal }: Pick<TestDatabase, 'url' | 'isReal'>, count: number) {
  const connect = async (): Promise<Session> => {
    const client = new pg.Client({ connectionString: url })
    client.on('error', () => {})
    await client.connect()
    const { rows } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')
    return { client, pid: rows[0]?.pid ?? 0 }
  }
  const watcher = await connect()
  const sessions: Session[] = []
  for (let i = 0; i < count; i++) sessions.push(await connect())

  const isBlocked = async ({ pid }: Session): Promise<boolean> => {
    if (!isReal) return false
    const { rows } = await watcher.client.query(
      `SELECT FROM pg_stat_activity WHERE pid = $1 AND state = 'active' AND wait_event_type = 'Lock'`,
      [pid],
    )
    return rows.length > 0
  }

  return {
    /**
     * Plays the scripts in one order of their steps and returns what their statements came to. As in Postgres' own
     * isolation tester, a session that waits for a lock keeps its place: its later steps run once it goes on, and
     * the others run meanwhile. Each has two steps, statement and commit: when a transaction begins shows nobody anything.
     */
    play: async (scripts: Script[], order: number[]): Promise<Outcome[]> => {
      const outcomes: Outcome[] = []
      const running = new Map<number, Promise<void>>()
      const queues = scripts.map(({ sql, values }, i) => {
        const { client } = sessions[i] as Session
        const begin = async (): Promise<void> => void (await client.query('BEGIN ISOLATION LEVEL READ COMMITTED'))
        const run = async (): Promise<void> => {
          try {
            const { rows } = await client.query(sql, values)
            outcomes[i] = {
              value: Object.values(rows[0] ?? { none: null })[0] as Record<string, unknown> | string | null,
            }
          } catch (error) {
            outcomes[i] = { failed: (error as { code?: string }).code ?? String(error) }
          }
        }
        const commit = async (): Promise<void> => void (await client.query('COMMIT'))
        return [() => begin().then(run), commit]
      })
      const start = (i: number): void => {
        const step = queues[i]?.shift()
        if (step)
          running.set(
            i,
            step().finally(() => running.delete(i)),
          )
      }
      /** Until every session is done with its step or waits for a lock. */
      const rest = async (): Promise<void> => {
        for (const [i, step] of running) {
          const session = sessions[i] as Session
          while (running.get(i) === step) {
            await Promise.race([step, sleep(3)])
            if (running.get(i) === step && (await isBlocked(session))) break
          }
        }
      }
      const todo = [...order]
      while (todo.length > 0) {
        const next = todo.findIndex((i) => !running.has(i))
        if (next === -1) {
          await Promise.race(running.values())
          continue
        }
        start(todo.splice(next, 1)[0] as number)
        await rest()
      }
      await Promise.all(running.values())
      return outcomes
    },

    close: async (): Promise<void> => {
      for (const { client } of [watcher, ...sessions]) await client.end()
    },
  }
}
