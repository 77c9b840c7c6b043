import { execFile } from 'node:child_process'
import { createHash, randomUUID } from 'node:crypto'
import { appendFileSync, cpSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import pg from 'pg'
import t, { type Test } from 'tap'
import { listMigrations, migrate } from '../src/store/migrate.ts'
import { createTestDatabase, type TestDatabase } from './helpers/database.ts'
import { codeOf, loader } from './helpers/program.ts'

// Our runner and `prisma migrate deploy` must agree on one database, whichever of them came first. Prisma's own engine is
// the judge.

t.setTimeout(180_000)

const migrationsFolder = fileURLToPath(new URL('../prisma/migrations', import.meta.url))
const names = await listMigrations()
const sqlOf = (name: string): string => readFileSync(join(migrationsFolder, name, 'migration.sql'), 'utf8')

type Judgement = {
  apply?: { appliedMigrationNames: string[] }
  diagnose?: unknown
  script?: { stdout: string }
}

/** What Prisma's engine says of the database, in this order. */
async function judge(url: string, questions: (keyof Judgement)[], folder = migrationsFolder): Promise<Judgement> {
  // Later versions of Node need no flag to load WebAssembly as a module, and may one day not know it.
  const flag = '--experimental-wasm-modules'
  const flags = process.allowedNodeEnvironmentFlags.has(flag) ? [flag] : []
  const program = [
    ...flags,
    '--no-warnings',
    ...loader,
    codeOf('test/helpers/prisma-judge.ts'),
    url,
    folder,
    ...questions,
  ]
  const { stdout } = await promisify(execFile)(process.execPath, program)
  return JSON.parse(stdout)
}

const inOrder: unknown = { editedMigrationNames: [], failedMigrationNames: [], hasMigrationsTable: true, history: null }

type Sql = (text: string, values?: unknown[]) => Promise<pg.QueryResultRow[]>

/** A database with nothing in it. */
async function emptyDatabase(t: Test): Promise<{ database: TestDatabase; url: string; sql: Sql }> {
  const database = await createTestDatabase()
  const client = new pg.Client({ connectionString: database.url })
  client.on('error', () => {})
  await client.connect()
  t.teardown(async () => {
    await client.end()
    await database.close()
  })
  const sql: Sql = async (text, values) => (await client.query(text, values)).rows
  await empty(sql)
  return { database, url: database.url, sql }
}

async function empty(sql: Sql): Promise<void> {
  await sql('DROP SCHEMA public CASCADE')
  await sql('CREATE SCHEMA public')
}

/** Everything in the schema, one line each: columns, constraints, indexes, functions. */
async function catalogue(sql: Sql): Promise<string[]> {
  const rows = await sql(`
    SELECT format('column %s.%s %s(%s) %s %s', c.table_name, c.column_name, c.udt_name, c.character_maximum_length,
        c.is_nullable, c.column_default) AS line
      FROM information_schema.columns c WHERE c.table_schema = 'public'
    UNION ALL
    SELECT format('constraint %s on %s: %s', conname, conrelid::regclass, pg_get_constraintdef(oid))
      FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype <> 'n'
    UNION ALL SELECT format('index %s', indexdef) FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL
    SELECT format('function %s: %s', p.oid::regprocedure, md5(pg_get_functiondef(p.oid)))
      FROM pg_proc p WHERE pronamespace = 'public'::regnamespace
    ORDER BY line`)
  return rows.map(({ line }) => line)
}

const missingFrom = (others: string[], lines: string[]): string[] => lines.filter((line) => !others.includes(line))

const historyRows = (sql: Sql) =>
  sql(
    `SELECT id, checksum, migration_name AS name, logs, rolled_back_at, applied_steps_count AS steps,
       finished_at >= started_at AS finished FROM _prisma_migrations ORDER BY migration_name`,
  )

t.test('one database, two runners', async (t) => {
  const { url, sql } = await emptyDatabase(t)
  t.ok(names.length >= 2, 'there are migrations to run')
  const expected = names.map((name) => {
    const checksum = createHash('sha256').update(sqlOf(name)).digest('hex')
    return { id: /^[0-9a-f-]{36}$/, checksum, name, logs: null, rolled_back_at: null, steps: 1, finished: true }
  })

  t.same(await migrate(url), names, 'ours first: everything')
  t.match(await historyRows(sql), expected)
  t.same(await migrate(url), [], 'then nothing')
  const ours = await catalogue(sql)
  const judgement = await judge(url, ['diagnose', 'apply', 'script'])
  t.same(judgement.diagnose, inOrder, 'Prisma sees nothing edited, failed, or left to do')
  t.same(judgement.apply, { appliedMigrationNames: [] }, 'and does nothing')
  t.same(await catalogue(sql), ours)

  await t.test("Prisma's first, then ours", async (t) => {
    await empty(sql)
    t.same((await judge(url, ['apply'])).apply, { appliedMigrationNames: names })
    t.match(await historyRows(sql), expected, 'it fills its table as we do')
    t.same(await catalogue(sql), ours, 'and makes the same schema, its own table included')
    t.same(await migrate(url), [], 'so there is nothing left for ours')
  })

  await t.test('the migrations make what schema.prisma says, and what it cannot say', async (t) => {
    await empty(sql)
    await sql(judgement.script?.stdout ?? '')
    const asModelled = await catalogue(sql)
    t.ok(asModelled.length > 50)
    t.same(missingFrom(ours, asModelled), [], 'nothing of the model is missing')
    const beyond = missingFrom(asModelled, ours).filter((line) => !line.includes('_prisma_migrations'))
    t.same(
      beyond.filter((line) => !line.startsWith('function')),
      [
        'index CREATE UNIQUE INDEX challenges_live_key ON public.challenges USING btree (user_id, purpose) ' +
          'WHERE (superseded_at IS NULL)',
      ],
      'beyond it only the index that a model cannot have',
    )
    t.ok(beyond.length > 10, 'and the functions')
  })
})

t.test('replicas that start at once apply each migration once', async (t) => {
  const { database, url, sql } = await emptyDatabase(t)
  // The embedded database is one session, which does not lock itself out; one process has it to itself.
  if (!database.isReal) return t.comment('needs a real server')
  const applied = await Promise.all([migrate(url), migrate(url), migrate(url)])
  t.same(applied.flat().sort(), names)
  t.equal((await historyRows(sql)).length, names.length)

  await t.test('nor does ours run beside that of Prisma', async (t) => {
    await empty(sql)
    await sql('SELECT pg_advisory_lock(72707369)')
    let isDone = false
    const waiting = migrate(url).finally(() => {
      isDone = true
    })
    let waiters = 0
    while (!isDone && waiters === 0) {
      const [row] = await sql(
        `SELECT count(*)::integer AS waiters FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = 72707369
         AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`,
      )
      waiters = row?.waiters
    }
    t.equal(isDone, false, 'it waits for the lock that prisma migrate takes')
    t.same(await sql(`SELECT FROM pg_tables WHERE schemaname = 'public'`), [])
    await sql('SELECT pg_advisory_unlock(72707369)')
    t.same(await waiting, names)
  })
})

t.test('what is refused', async (t) => {
  const { url, sql } = await emptyDatabase(t)
  const [first = '', second = ''] = names

  await t.test('a migration that was edited after it was applied; Prisma says so too', async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'doorstep-migrations-'))
    t.teardown(() => rmSync(folder, { recursive: true, force: true }))
    cpSync(migrationsFolder, folder, { recursive: true })
    appendFileSync(join(folder, second, 'migration.sql'), '\n-- edited\n')
    await migrate(url)
    t.match((await judge(url, ['diagnose'], folder)).diagnose, { editedMigrationNames: [second] })
    // The same seen from the other side: what is applied is not what is in the folder.
    await sql('UPDATE _prisma_migrations SET checksum = $1 WHERE migration_name = $2', ['0'.repeat(64), second])
    await t.rejects(migrate(url), { message: `Migration ${second} was edited after it had been applied` })
  })

  await t.test('a migration that fails leaves nothing, and can be tried again', async (t) => {
    await empty(sql)
    // In the way of the last statements of the first migration; many tables are made before it.
    await sql('CREATE TABLE audit_events (mine integer)')
    await t.rejects(migrate(url), { message: `Migration ${first} failed and was undone` })
    t.same(
      (await sql(`SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1`)).map((it) => it.tablename),
      ['_prisma_migrations', 'audit_events'],
    )
    t.same(await historyRows(sql), [])
    await sql('DROP TABLE audit_events')
    t.same(await migrate(url), names)
    t.same((await judge(url, ['diagnose'])).diagnose, inOrder)
  })

  await t.test('a migration that Prisma began and never finished', async (t) => {
    await sql('UPDATE _prisma_migrations SET finished_at = NULL, logs = $1 WHERE migration_name = $2', [
      'broke',
      second,
    ])
    await t.rejects(migrate(url), {
      message: /^Migration .*_functions was begun and never finished; .*migrate resolve/,
    })
    await t.test('until an operator has resolved it', async (t) => {
      await sql('UPDATE _prisma_migrations SET rolled_back_at = now() WHERE migration_name = $1', [second])
      const functions = await sql(
        `SELECT format('DROP FUNCTION %s CASCADE', p.oid::regprocedure) AS drop FROM pg_proc p
         WHERE pronamespace = 'public'::regnamespace`,
      )
      await sql('BEGIN')
      for (const { drop } of functions) await sql(drop)
      await sql('COMMIT')
      t.same(await migrate(url), [second], 'what was rolled back is applied again')
      t.same((await judge(url, ['diagnose'])).diagnose, inOrder)
    })
  })

  await t.test('a database that a newer version has migrated is left as it is', async (t) => {
    const newer = '20991231000000_newer'
    await sql(
      `INSERT INTO _prisma_migrations (id, checksum, migration_name, finished_at, applied_steps_count) VALUES ($1, $2, $3, now(), 1)`,
      [randomUUID(), '0'.repeat(64), newer],
    )
    t.same(await migrate(url), [], 'an older replica still starts')
    t.match((await historyRows(sql)).at(-1), { name: newer })
  })
})
