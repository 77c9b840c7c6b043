import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { readDatabaseUrl } from './database-url.ts'

/** The number that `prisma migrate` locks with, so that neither runs beside the other. */
const advisoryLock = 72707369

/** Milliseconds for the database to let us in, and to answer anything but a migration itself. */
const patienceMs = 10_000

/** Milliseconds for a lock, less than that, so that Postgres is the one to say what is amiss. */
const lockMs = 9_000

const migrationsFolder = fileURLToPath(new URL('../../prisma/migrations', import.meta.url))

type Migration = { name: string; sql: string; checksum: string }

/** The names in a folder of migrations, oldest first. */
export async function listMigrations(folder = migrationsFolder): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true })
  return entries
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name)
    .sort()
}

/**
 * Applies what is not applied yet, each migration in a transaction of its own, and fills `_prisma_migrations` as
 * `prisma migrate deploy` does, so that both agree on the same database. Looks first: where nothing is missing it takes
 * no lock, writes nothing, and needs no right but to read. Several replicas may call it at once, through a pooler too.
 *
 * @returns The names it applied.
 * @throws Within some 10 s, unless a migration itself takes longer: an Error named `InUse` if somebody else is migrating
 *   all that time; any other if an applied migration was edited since, or one failed half-way under Prisma.
 */
export async function migrate(databaseUrl: string, folder = migrationsFolder): Promise<string[]> {
  const { connectionString, schema } = readDatabaseUrl(databaseUrl)
  const client = new pg.Client({
    connectionString,
    connectionTimeoutMillis: patienceMs,
    application_name: 'doorstep migrate',
  })
  client.on('error', () => {})
  await client.connect()
  try {
    const fresh: string[] = []
    for (const migration of missingFrom(await readHistory(client, schema), await readMigrations(folder))) {
      if (await applyOne(client, schema, migration)) fresh.push(migration.name)
    }
    return fresh
  } finally {
    await client.end()
  }
}

async function readMigrations(folder: string): Promise<Migration[]> {
  const names = await listMigrations(folder)
  return await Promise.all(
    names.map(async (name) => {
      const sql = await readFile(join(folder, name, 'migration.sql'), 'utf8')
      return { name, sql, checksum: createHash('sha256').update(sql).digest('hex') }
    }),
  )
}

type Applied = { name: string; checksum: string; isFinished: boolean }

/** What was applied to the schema; nothing where there is no schema yet. */
async function readHistory(client: pg.Client, schema: string): Promise<Applied[]> {
  if (!(await exists(client, historyTable, schema))) return []
  return await ask<Applied>(
    client,
    `SELECT migration_name AS name, checksum, finished_at IS NOT NULL AS "isFinished" FROM ${historyOf(schema)}
     WHERE rolled_back_at IS NULL`,
  )
}

// Read from the catalogue: names are looked up in a cache (to_regclass, too) that does not hear at once of what others make.
const namedSchema = 'SELECT FROM pg_namespace WHERE nspname = $1'
const historyTable = `SELECT FROM pg_tables WHERE schemaname = $1 AND tablename = '_prisma_migrations'`

async function exists(client: pg.Client, what: string, schema: string): Promise<boolean> {
  return (await ask(client, what, [schema])).length > 0
}

function missingFrom(history: Applied[], migrations: Migration[]): Migration[] {
  const applied = new Map(history.map((row) => [row.name, row]))
  return migrations.filter(({ name, checksum }) => {
    const earlier = applied.get(name)
    if (earlier === undefined) return true
    if (earlier.checksum !== checksum) throw new Error(`Migration ${name} was edited after it had been applied`)
    if (earlier.isFinished) return false
    throw new Error(`Migration ${name} was begun and never finished; mend it with "prisma migrate resolve"`)
  })
}

/** False if another has applied it in the meantime. */
async function applyOne(client: pg.Client, schema: string, migration: Migration): Promise<boolean> {
  try {
    await ask(client, transaction(schema))
    await takeLock(client)
    const isMissing = missingFrom(await readHistory(client, schema), [migration]).length > 0
    if (isMissing) await apply(client, schema, migration)
    await ask(client, 'COMMIT')
    return isMissing
  } catch (error) {
    // A connection that no longer answers is closed instead, which undoes as much.
    if (isFromPostgres(error)) await ask(client, 'ROLLBACK').catch(() => {})
    throw error
  }
}

const isFromPostgres = (error: unknown): boolean =>
  error instanceof pg.DatabaseError || (error as Error).cause instanceof pg.DatabaseError

async function apply(client: pg.Client, schema: string, { name, sql, checksum }: Migration): Promise<void> {
  try {
    // Asked first: even IF NOT EXISTS needs the right to make one.
    if (!(await exists(client, namedSchema, schema))) await ask(client, `CREATE SCHEMA ${quoted(schema)}`)
    await ask(client, createHistory(schema))
    await client.query(sql)
    await ask(
      client,
      `INSERT INTO ${historyOf(schema)} (id, checksum, migration_name, started_at, finished_at, applied_steps_count)
       VALUES (gen_random_uuid(), $1, $2, now(), clock_timestamp(), 1)`,
      [checksum, name],
    )
  } catch (error) {
    throw new Error(`Migration ${name} failed and was undone`, { cause: error })
  }
}

/**
 * Only as long as this transaction: a lock of the session would stay with the connection that a pooler lends us. One that
 * Prisma's session holds excludes it all the same.
 */
async function takeLock(client: pg.Client): Promise<void> {
  try {
    await ask(client, 'SELECT pg_advisory_xact_lock($1)', [advisoryLock])
  } catch (error) {
    if ((error as { code?: string }).code !== '55P03') throw error
    await ask(client, 'ROLLBACK')
    const holders = await ask<{ pid: number; application: string }>(client, lockHolders, [advisoryLock])
    const who = holders.map(({ pid, application }) => `, process ${pid} (${application || 'unnamed'})`).join('')
    const message = `Another session of the database${who} holds the lock of migrations (${advisoryLock}), and did not give it up in time.`
    throw Object.assign(new Error(message, { cause: error }), { name: 'InUse' })
  }
}

const lockHolders = `
  SELECT pid, application_name AS application FROM pg_locks JOIN pg_stat_activity USING (pid)
  WHERE locktype = 'advisory' AND granted AND classid = 0 AND objid = $1 AND objsubid = 1
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`

/** One statement that must not take long. */
async function ask<Row extends pg.QueryResultRow>(
  client: pg.Client,
  text: string,
  values: unknown[] = [],
): Promise<Row[]> {
  // `pg` takes a limit for one query; its types do not know.
  const query: pg.QueryConfig & { query_timeout: number } = { text, query_timeout: patienceMs }
  const { rows } = await client.query<Row>(values.length > 0 ? { ...query, values } : query)
  return rows
}

const quoted = pg.escapeIdentifier
const historyOf = (schema: string): string => `${quoted(schema)}._prisma_migrations`

/** Whatever the role, the database or the server have set, a migration finds the same. */
const transaction = (schema: string): string => `
  BEGIN ISOLATION LEVEL READ COMMITTED;
  SET LOCAL search_path TO ${quoted(schema)};
  SET LOCAL lock_timeout TO ${lockMs};
  SET LOCAL statement_timeout TO 0`

const createHistory = (schema: string): string => `
  CREATE TABLE IF NOT EXISTS ${historyOf(schema)} (
    id VARCHAR(36) PRIMARY KEY NOT NULL,
    checksum VARCHAR(64) NOT NULL,
    finished_at TIMESTAMPTZ,
    migration_name VARCHAR(255) NOT NULL,
    logs TEXT,
    rolled_back_at TIMESTAMPTZ,
    started_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    applied_steps_count INTEGER NOT NULL DEFAULT 0
  )`
