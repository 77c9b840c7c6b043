import { createHash } from 'node:crypto'
import { PrismaPg } from '@prisma/adapter-pg'
import pg from 'pg'
import { readDatabaseUrl } from './database-url.ts'
import { PrismaClient } from './prisma/client.ts'

export type Database = ReturnType<typeof createDatabase>

/** The SQL functions of prisma/functions that the service calls, each for itself one statement and one transaction. */
type Decision =
  | ('begin_login' | 'fail_login' | 'give_back_password' | 'open_challenge' | 'is_pending' | 'read_challenge')
  | ('switch_method' | 'resend_code' | 'answer_challenge' | 'record_answer' | 'record_receipt' | 'texts_used')
  | ('begin_enrolment' | 'list_factors' | 'rename_factor' | 'remove_factor' | 'renew_recovery_codes')
  | ('find_passkey' | 'start_passkey_session' | 'raise_session' | 'fail_proof')
  | (
      | 'request_link'
      | 'prepare_link'
      | 'link_notice'
      | 'read_link'
      | 'set_password'
      | 'change_password'
      | 'reset_password'
    )
  | ('request_email_change' | 'confirm_email' | 'set_locale' | 'export_account' | 'begin_deletion' | 'secure_account')
  | 'forget_account'
  | ('create_client' | 'use_client' | 'rotate_client' | 'disable_client' | 'list_clients')
  | ('search_users' | 'read_user' | 'add_user' | 'admin_change_user' | 'admin_remove_factor' | 'admin_reset_factors')
  | ('admin_end_sessions' | 'admin_forget_devices')
  | ('claim_mail' | 'claim_due_mails' | 'record_mail' | 'purge_mails')
  | ('start_session' | 'read_session' | 'list_sessions' | 'rotate_session' | 'end_sessions' | 'end_everything')
  | ('list_devices' | 'change_device' | 'forget_device')
  | (
      | 'find_account'
      | 'create_user'
      | 'change_user'
      | 'hash_samples'
      | 'rehash_password'
      | 'unlock_user'
      | 'reset_factors'
      | 'import_users'
      | 'foresee_import'
      | 'list_users'
      | 'record_event'
      | 'purge'
    )
  | ('read_events' | 'list_webhooks' | 'any_webhook_given_up' | 'create_webhook' | 'change_webhook' | 'delete_webhook')
  | ('rotate_webhook' | 'redeliver_webhook' | 'make_deliveries' | 'claim_deliveries' | 'record_delivery')
  | ('list_signing_keys' | 'add_signing_key' | 'replace_signing_keys' | 'seal_signing_key' | 'forget_signing_keys')

export type DatabaseOptions = {
  url: string
  poolSize: number
  /** A server, whose statements are named and limited; false for the embedded database: one backend, one session. */
  isServer: boolean
  /** Stretches the limits, for callers that keep nobody else waiting. */
  patience: number
  onError: (error: Error) => void
}

/**
 * The Postgres at `url`, connecting lazily: its decisions, called past Prisma's client (which takes as long for a
 * statement as Postgres for the decision), and Prisma's client for what is neither hot nor decides anything.
 */
export function createDatabase(options: DatabaseOptions) {
  const { connectionString, schema } = readDatabaseUrl(options.url)
  const pool = createPool(connectionString, options)
  const ask = createAsk(pool, { named: options.isServer })
  // Behind a pooler, services of other schemas and builds find our names on its connections: each means one statement only.
  const prefix = `doorstep_${createHash('sha256').update(schema).digest('hex').slice(0, 8)}`
  const adapter = new PrismaPg(pool, { schema, onConnectionError: options.onError })
  const client = new PrismaClient({ adapter })
  return client.$extends({
    client: {
      /** The schema that everything is in, for SQL that names a table. */
      quotedSchema: pg.escapeIdentifier(schema),

      /** Calls a decision and returns its answer. What it decided is committed by then. */
      async decide<T>(decision: Decision, ...values: unknown[]): Promise<T> {
        const places = values.map((_value, at) => `$${at + 1}`).join(', ')
        const text = `SELECT ${pg.escapeIdentifier(schema)}.${decision}(${places}) AS answer`
        const rows = await ask<{ answer: T }>({ name: `${prefix}_${decision}_${values.length}`, text, values })
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

/**
 * Connections with limits that make an overloaded or lost database an answer instead of a wait: 1 s for a connection, 2 s
 * for a statement, 1 s for a lock (ASVS 13.1.2). They are set by a statement, since poolers refuse startup parameters;
 * behind one that shares its connections they may be another client's, and the driver's own limit still holds. Prisma
 * reads moments right in UTC only.
 */
function createPool(connectionString: string, { poolSize, isServer, patience, onError }: DatabaseOptions): pg.Pool {
  const limits = isServer
    ? `; SET statement_timeout = ${2_000 * patience}; SET lock_timeout = ${1_000 * patience};
       SET idle_in_transaction_session_timeout = 5000; SET plan_cache_mode = force_generic_plan`
    : ''
  const pool = new pg.Pool({
    connectionString,
    max: poolSize,
    connectionTimeoutMillis: 1_000 * patience,
    idleTimeoutMillis: 30_000,
    query_timeout: 2_000 * patience,
    application_name: 'doorstep',
    onConnect: async (connection) => {
      await connection.query(`SET TimeZone = 'UTC'; SET DateStyle = 'ISO'${limits}`)
    },
  })
  // Without anybody to tell, a connection that is lost while nobody uses it would end the process.
  pool.on('error', onError)
  // Nor while somebody does, who learns of it from the statement under way.
  pool.on('connect', (connection) => connection.on('error', () => {}))
  return pool
}

/** A named statement that a pooler has prepared on another of its connections, or left there: nothing was executed. */
const lostStatements = ['26000', '42P05']

/** What `require_read_committed` raises: nothing was decided. */
const wrongIsolation = 'DS001'

/**
 * Sends a statement over a connection of its own, and returns the rows. It learns from the first refusal, which did
 * nothing yet, what is between it and the database: a pooler that loses named statements gets unnamed ones from then on,
 * and where transactions are not READ COMMITTED each statement says that it is to be.
 */
function createAsk(pool: pg.Pool, { named }: { named: boolean }) {
  let isNamed = named
  let saysIsolation = false
  const send = <Row extends pg.QueryResultRow>(statement: { name: string; text: string; values: unknown[] }) => {
    const { name: _name, ...unnamed } = statement
    const query = isNamed ? statement : unnamed
    return saysIsolation ? inReadCommitted<Row>(pool, query) : pool.query<Row>(query)
  }
  return async <Row extends pg.QueryResultRow>(statement: Parameters<typeof send>[0]): Promise<Row[]> => {
    // Two reasons at most, each learned once.
    for (let learned = 0; ; learned += 1) {
      try {
        return (await send<Row>(statement)).rows
      } catch (error) {
        const code = (error as { code?: string }).code ?? ''
        if (lostStatements.includes(code)) isNamed = false
        else if (code === wrongIsolation) saysIsolation = true
        else throw error
        if (learned === 2) throw error
      }
    }
  }
}

async function inReadCommitted<Row extends pg.QueryResultRow>(pool: pg.Pool, query: pg.QueryConfig) {
  const client = await pool.connect()
  try {
    await client.query('BEGIN ISOLATION LEVEL READ COMMITTED')
    const result = await client.query<Row>(query)
    await client.query('COMMIT')
    client.release()
    return result
  } catch (error) {
    client.release(true)
    throw error
  }
}
