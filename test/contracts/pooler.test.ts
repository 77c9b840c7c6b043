import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { listMigrations, migrate } from '../../src/store/migrate.ts'
import { catalogue, empty, emptyDatabase, type Sql } from '../helpers/catalogue.ts'
import { runHere } from '../helpers/cli.ts'
import { testKeys } from '../helpers/doorstep.ts'
import { pgbouncer, startPooler } from '../helpers/pooler.ts'
import { runService } from '../helpers/service-process.ts'

// PgBouncer between the service and its database. In transaction mode it lends a connection for one transaction, so that
// whatever belongs to a session (a lock, a setting, a named statement) stays with a connection that others get next.

t.setTimeout(300_000)

const names = await listMigrations()

/** Locks and sessions that a migration has left behind on the server. */
const leftBehind = (sql: Sql) =>
  sql(
    `SELECT pid, mode, granted FROM pg_locks WHERE locktype = 'advisory' AND objid = 72707369
     AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`,
  )

t.test('through PgBouncer', async (t) => {
  const { database, url: target, sql } = await emptyDatabase(t)
  if (!database.isReal) return t.comment('needs a real server')
  const program = pgbouncer
  if (program === undefined) return t.comment('needs pgbouncer')
  await migrate(target)
  const usual = await catalogue(sql)

  for (const mode of ['session', 'transaction'] as const) {
    await t.test(`in ${mode} mode`, async (t) => {
      // Fewer connections than starts. In session mode a service keeps those that it has used of late.
      const connections = mode === 'session' ? 6 : 3
      const url = await startPooler(t, { program, target, mode, connections })
      await empty(sql)
      await migratesOnce(t, url, sql)
      t.same(await catalogue(sql), usual)

      await t.test('two starts at once, and a command', async (t) => {
        await empty(sql)
        const env = { ...testKeys, HOST: '127.0.0.1', PORT: '0', DATABASE_URL: url }
        const cwd = t.testdir()
        const main = fileURLToPath(new URL('../../src/main.ts', import.meta.url))
        const start = () => runService(t, [`--import=${import.meta.resolve('tsx')}`, main], { env, cwd })
        const services = [start(), start()]
        for (const service of services) {
          t.equal((await fetch(`${await service.address()}/health/ready`)).status, 200)
        }
        t.match(await runHere(['user', 'list'], { env }), { exitCode: 0, stderr: '' })
        for (const service of services) {
          service.kill('SIGTERM')
          t.match(await service.exit, { code: 0 })
        }
      })

      await t.test('into another schema', async (t) => {
        const [applied, again] = [await migrate(`${url}?schema=auth`), await migrate(`${url}?schema=auth`)]
        t.same([applied, again], [names, []])
        t.same(await catalogue(sql, 'auth'), usual)
        await empty(sql, 'auth')
        t.same(await migrate(url), [], 'and nothing of that stays with a connection')
      })

      await t.test('a lock that is held for ever: one line and exit code 1', async (t) => {
        await empty(sql)
        await sql('SELECT pg_advisory_lock(72707369)')
        const started = performance.now()
        const run = await runHere(['migrate'], { env: { DATABASE_URL: url } })
        t.match(run, {
          exitCode: 1,
          stderr: /^Another session of the database, process \d+ \(.*\) holds the lock .*\n$/,
        })
        t.ok(performance.now() - started < 20_000, 'within 10 s, and what a command takes to load')
        await sql('SELECT pg_advisory_unlock(72707369)')
        t.same(await migrate(url), names)
      })

      await t.test('a startup parameter that it refuses, in its own words', async (t) => {
        const run = await runHere(['migrate'], { env: { DATABASE_URL: `${url}?statement_timeout=5000` } })
        const words = 'The database in DATABASE_URL refuses: unsupported startup parameter: statement_timeout'
        t.match(run, { exitCode: 1, stdout: '', stderr: `${words}\n` })
      })
    })
  }
})

/** Ten at once on an empty database, and one after them. */
async function migratesOnce(t: Test, url: string, sql: Sql): Promise<void> {
  const applied = await Promise.all(Array.from({ length: 10 }, () => migrate(url)))
  t.same(applied.flat().sort(), names, 'each migration once')
  t.same(await leftBehind(sql), [], 'and no lock stays')
  t.same(await migrate(url), [])
}
