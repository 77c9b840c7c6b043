import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import pg from 'pg'

/** The number that `prisma migrate` locks with, so that neither runs beside the other. */
const advisoryLock = 72707369

const migrationsFolder = new URL('../../prisma/migrations/', import.meta.url)

/** The names in prisma/migrations, oldest first. */
export async function listMigrations(): Promise<string[]> {
  const entries = await readdir(migrationsFolder, { withFileTypes: true })
  return entries
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name)
    .sort()
}

/**
 * Applies what is not applied yet, each migration in a transaction of its own, and fills `_prisma_migrations` as
 * `prisma migrate deploy` does, so that both agree on the same database. Several replicas may call it at once.
 * Returns the names it applied. Throws if an applied migration was edited since, or one failed half-way under Prisma.
 */
export async function migrate(databaseUrl: string): Promise<string[]> {
  const client = new pg.Client({ connectionString: databaseUrl, connectionTimeoutMillis: 5_000 })
  client.on('error', () => {})
  await client.connect()
  try {
    await client.query('SELECT pg_advisory_lock($1)', [advisoryLock])
    await client.query(createHistory)
    const { rows } = await client.query<Applied>(
      'SELECT migration_name AS name, checksum, finished_at FROM _prisma_migrations WHERE rolled_back_at IS NULL',
    )
    const applied = new Map(rows.map((row) => [row.name, row]))
    const fresh: string[] = []
    for (const name of await listMigrations()) {
      const sql = await readFile(new URL(`${name}/migration.sql`, migrationsFolder), 'utf8')
      const checksum = createHash('sha256').update(sql).digest('hex')
      const earlier = applied.get(name)
      if (earlier === undefined) {
        await applyOne(client, name, sql, checksum)
        fresh.push(name)
      } else if (earlier.checksum !== checksum) {
        throw new Error(`Migration ${name} was edited after it had been applied`)
      } else if (earlier.finished_at === null) {
        throw new Error(`Migration ${name} was begun and never finished; mend it with "prisma migrate resolve"`)
      }
    }
    return fresh
  } finally {
    await client.end()
  }
}

type Applied = { name: string; checksum: string; finished_at: string | null }

async function applyOne(client: pg.Client, name: string, sql: string, checksum: string): Promise<void> {
  await client.query('BEGIN')
  try {
    await client.query(sql)
    await client.query(
      `INSERT INTO _prisma_migrations (id, checksum, migration_name, started_at, finished_at, applied_steps_count)
       VALUES (gen_random_uuid(), $1, $2, now(), clock_timestamp(), 1)`,
      [checksum, name],
    )
    await client.query('COMMIT')
  } catch (error) {
    await client.query('ROLLBACK')
    throw new Error(`Migration ${name} failed and was undone`, { cause: error })
  }
}

const createHistory = `
  CREATE TABLE IF NOT EXISTS _prisma_migrations (
    id VARCHAR(36) PRIMARY KEY NOT NULL,
    checksum VARCHAR(64) NOT NULL,
    finished_at TIMESTAMPTZ,
    migration_name VARCHAR(255) NOT NULL,
    logs TEXT,
    rolled_back_at TIMESTAMPTZ,
    started_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    applied_steps_count INTEGER NOT NULL DEFAULT 0
  )`
