import { createHash } from 'node:crypto'
import { PrismaPg } from '@prisma/adapter-pg'
import pg from 'pg'
import { createGroupCommit } from './group-commit.ts'
import { createPipeline } from './pipeline.ts'
import { PrismaClient } from './prisma/client.ts'

export type Database = ReturnType<typeof createDatabase>

/** The SQL functions of the migrations that decide something, each for itself one statement and one transaction. */
type Decision =
  | 'charge_password'
  | 'open_challenge'
  | 'read_challenge'
  | 'resend_code'
  | 'charge_code'
  | 'complete_challenge'
  | 'start_session'
  | 'rotate_session'
  | 'end_sessions'
  | 'charge_device'
  | 'create_user'
  | 'change_user'
  | 'unlock_user'
  | 'add_signing_key'
  | 'record_event'

/**
 * Decisions whose commit does not wait for the disk. `shared`: they wait before anybody is told, many with one wait.
 * `untold`: the charge of a code, which counts for everybody from its commit on. What becomes of the try is a commit right
 * behind it in the same log, and that one is waited for: a server that loses its memory in between forgets a try whose
 * result nobody learned. Passwords take too long for that to hold: their charges are on disk before they are hashed.
 */
const quickCommits: Partial<Record<Decision, 'shared' | 'untold'>> = {
  charge_code: 'untold',
  record_event: 'shared',
  complete_challenge: 'shared',
  rotate_session: 'shared',
}

/** A commit that waits for the disk, and so for every commit before it. */
const waitForDisk = {
  name: 'wait_for_disk',
  text: `SELECT pg_logical_emit_message(true, 'doorstep', '')`,
}

/** Decisions on their way over one connection: as many as keep its backend from ever having to wait for the next. */
const pipelineDepth = 32

/**
 * Prisma's client for the Postgres at `url`, connecting lazily, with limits that make an overloaded or lost database an
 * answer instead of a wait: 1 s for a connection, 2 s for a statement, 1 s for a lock (ASVS 13.1.2).
 * `prepared`: name the statements so that Postgres plans each of them once, pipeline the decisions, and let them share
 * their wait for the disk; off for the embedded database, which has one backend for all connections. `patience` stretches
 * the limits, for callers that keep nobody else waiting.
 */
export function createDatabase(options: {
  url: string
  poolSize: number
  prepared: boolean
  patience: number
  onError: (error: Error) => void
}) {
  const { patience, prepared, onError } = options
  const pool = new pg.Pool({
    connectionString: options.url,
    max: options.poolSize,
    connectionTimeoutMillis: 1_000 * patience,
    idleTimeoutMillis: 30_000,
    statement_timeout: 2_000 * patience,
    query_timeout: 2_000 * patience,
    lock_timeout: 1_000 * patience,
    idle_in_transaction_session_timeout: 5_000,
    application_name: 'doorstep',
    pipeline: prepared,
  })
  // Without anybody to tell, a connection that is lost while nobody uses it would end the process.
  pool.on('error', onError)
  // Nor while somebody does, who learns of it from the statement under way; from the first moment on, since the news that
  // a connection is lost can come in one packet with the news that it is there.
  let lost = 0
  pool.on('connect', (connection) => {
    connection.on('error', () => {
      lost += 1
    })
  })
  // The only connection of a pool must come free for other statements.
  const ask = createPipeline(pool, prepared && options.poolSize > 1 ? pipelineDepth : 1)
  const reachDisk = createGroupCommit(() => ask(waitForDisk, { apart: true }))
  const names = new Map<string, string>()
  const nameOf = (sql: string): string => {
    const known = names.get(sql)
    if (known !== undefined) return known
    const name = `doorstep_${createHash('sha256').update(sql).digest('hex').slice(0, 16)}`
    names.set(sql, name)
    return name
  }
  const adapter = new PrismaPg(pool, {
    onConnectionError: onError,
    ...(prepared ? { statementNameGenerator: ({ sql }: { sql: string }) => nameOf(sql) } : {}),
  })
  const client = new PrismaClient({ adapter })
  return client.$extends({
    client: {
      /**
       * Calls a decision and returns its answer. It goes to Prisma's connections past Prisma's client, which takes as
       * long for a statement as Postgres for the whole decision: every login waits for two of them.
       */
      async decide<T>(decision: Decision, ...values: unknown[]): Promise<T> {
        const places = values.map((_value, at) => `$${at + 1}`).join(', ')
        const commit = prepared ? quickCommits[decision] : undefined
        const quickly = commit === undefined ? '' : `set_config('synchronous_commit', 'off', true), `
        const text = `SELECT ${quickly}${decision}(${places}) AS answer`
        const lostBefore = lost
        const rows = await ask<{ answer: T }>({ text, values, ...(prepared && { name: decision }) })
        if (commit === 'shared') {
          await reachDisk()
          // A server that crashed after the commit has forgotten it; what reached the disk is of its next life.
          if (lost !== lostBefore) throw new Error('Connection terminated before the commit was known to be on disk')
        }
        return (rows[0] as { answer: T }).answer
      },

      /** Closes every connection once its statement is done. */
      async close(): Promise<void> {
        await client.$disconnect()
        await pool.end()
      },
    },
  })
}
