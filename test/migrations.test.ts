import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { appendFileSync, readFileSync } from 'node:fs'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import t, { type Test } from 'tap'
import { createPrismaEngine } from '../prisma/engine.ts'
import { readFunctions, writeDifference } from '../prisma/new-migration.ts'
import { listMigrations, migrate } from '../src/store/migrate.ts'
import { catalogue, createHistory, empty, emptyDatabase, type Sql } from './helpers/catalogue.ts'
import { runHere } from './helpers/cli.ts'
import { askPrisma } from './helpers/prisma-judge.ts'

// Our runner and `prisma migrate deploy` must agree on one database, whichever of them came first. Prisma's own engine is
// the judge.

t.setTimeout(300_000)

const migrationsFolder = fileURLToPath(new URL('../prisma/migrations', import.meta.url))
const functionsFolder = fileURLToPath(new URL('../prisma/functions', import.meta.url))
const names = await listMigrations()
const sqlOf = (name: string): string => readFileSync(join(migrationsFolder, name, 'migration.sql'), 'utf8')

const inOrder: unknown = { editedMigrationNames: [], failedMigrationNames: [], hasMigrationsTable: true, history: null }

async function prismaSays(url: string, folder = migrationsFolder): Promise<unknown> {
  const prisma = await askPrisma(url, folder)
  return await prisma.status().finally(prisma.close)
}

const missingFrom = (others: string[], lines: string[]): string[] => lines.filter((line) => !others.includes(line))

const historyRows = (sql: Sql, schema = 'public') =>
  sql(
    `SELECT id, checksum, migration_name AS name, logs, rolled_back_at, applied_steps_count AS steps,
       finished_at >= started_at AS finished FROM ${pg.escapeIdentifier(schema)}._prisma_migrations ORDER BY migration_name`,
  )

const expected = names.map((name) => {
  const checksum = createHash('sha256').update(sqlOf(name)).digest('hex')
  return { id: /^[0-9a-f-]{36}$/, checksum, name, logs: null, rolled_back_at: null, steps: 1, finished: true }
})

t.test('one database, two runners', async (t) => {
  const { url, sql } = await emptyDatabase(t)
  t.ok(names.length >= 1, 'there are migrations to run')
  t.same(await migrate(url), names, 'ours first: everything')
  t.match(await historyRows(sql), expected)
  t.same(await migrate(url), [], 'then nothing')
  const ours = await catalogue(sql)
  const prisma = await askPrisma(url, migrationsFolder)
  t.same(await prisma.status(), inOrder, 'Prisma sees nothing edited, failed, or left to do')
  t.same(await prisma.deploy(), [], 'and does nothing')
  t.same(await catalogue(sql), ours)

  await t.test("Prisma's first, then ours", async (t) => {
    await empty(sql)
    t.same(await prisma.deploy(), names)
    await prisma.close()
    t.match(await historyRows(sql), expected, 'it fills its table as we do')
    t.same(await catalogue(sql), ours, 'and makes the same schema, its own table included')
    t.same(await migrate(url), [], 'so there is nothing left for ours')
  })

  await t.test('the migrations make what schema.prisma says, and what it cannot say', async (t) => {
    await empty(sql)
    const engine = await createPrismaEngine(url)
    await sql(await engine.difference('nothing').finally(engine.close))
    const asModelled = await catalogue(sql)
    t.ok(asModelled.length > 50)
    t.same(missingFrom(ours, asModelled), [], 'nothing of the model is missing')
    const beyond = missingFrom(asModelled, ours).filter((line) => !line.includes('_prisma_migrations'))
    t.same(
      beyond.filter((line) => !/^(function|storage of) |^index .*( WHERE |\(\w+\(\w+\)\))/.test(line)),
      [],
      'beyond it only functions, storage, partial indexes and those of an expression, which a model cannot have',
    )
  })

  await t.test('and the functions of prisma/functions, each once', async (t) => {
    const functions = readFunctions(functionsFolder).map(({ name }) => name)
    t.ok(functions.length > 10)
    const made = ours.filter((line) => line.startsWith('function')).map((line) => /^function (\w+)\(/.exec(line)?.[1])
    t.same(made, functions.sort())
    await empty(sql)
    const given = { url, migrations: migrationsFolder, functions: functionsFolder }
    t.equal(
      await writeDifference(given),
      '',
      'every one as it is written there: npm run migration has nothing to write',
    )
  })
})

/** Two small migrations, of which the second needs the first. */
const small = {
  '20260101000000_one': 'CREATE TABLE ones (id integer);',
  '20260102000000_two': 'ALTER TABLE ones ADD COLUMN at timestamptz;',
}
const [first, second] = Object.keys(small) as [string, string]

t.test('replicas that start at once apply each migration once', async (t) => {
  const { database, url, sql } = await emptyDatabase(t)
  // The embedded database is one session, which does not lock itself out; one process has it to itself.
  if (!database.isReal) return t.comment('needs a real server')
  const { folder } = createHistory(t, small, migrationsFolder)
  const all = await listMigrations(folder)
  const applied = await Promise.all(Array.from({ length: 10 }, () => migrate(url, folder)))
  t.same(applied.flat().sort(), all)
  t.equal((await historyRows(sql)).length, all.length)
})

t.test('who holds the lock of migrations', async (t) => {
  const { database, url, sql } = await emptyDatabase(t)
  if (!database.isReal) return t.comment('needs a real server')
  await sql(`SET application_name TO 'somebody else'; SELECT pg_advisory_lock(72707369)`)
  const [self] = await sql('SELECT pg_backend_pid() AS pid')

  await t.test('for ever: one line and exit code 1, for a command and for another one', async (t) => {
    const started = performance.now()
    const env = { DATABASE_URL: url }
    const runs = await Promise.all([runHere(['migrate'], { env }), runHere(['user', 'list'], { env })])
    const words = `Another session of the database, process ${self?.pid} \\(somebody else\\) holds the lock of migrations`
    for (const run of runs) t.match(run, { exitCode: 1, stdout: '', stderr: new RegExp(`^${words} .*\n$`) })
    t.ok(performance.now() - started < 60_000, 'within 10 s, and what a command takes to load')
    t.same(await sql(`SELECT FROM pg_tables WHERE schemaname = 'public'`), [])
  })

  await t.test('for a while: ours waits, as beside prisma migrate', async (t) => {
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
    t.equal(isDone, false)
    await sql('SELECT pg_advisory_unlock(72707369)')
    t.same(await waiting, names)
  })

  await t.test('does not matter where nothing is missing: nothing is locked, nothing is written', async (t) => {
    await sql('SELECT pg_advisory_lock(72707369)')
    const role = await createReader(t, sql)
    t.same(await migrate(asRole(url, role)), [], 'a role that may only read, in transactions that may only read')
    await sql('REVOKE SELECT ON _prisma_migrations FROM public')
    await sql(`REVOKE SELECT ON _prisma_migrations FROM ${role}`)
    const run = await runHere(['migrate'], { env: { DATABASE_URL: asRole(url, role) } })
    const refused =
      /^The database in DATABASE_URL refuses: permission denied for table _prisma_migrations\. The command "migrate" needs .*\n$/
    t.match(run, { exitCode: 1, stderr: refused }, 'and one that may not even do that is told so, and who may')
  })
})

/** A role of its own for one test, that can read what was applied and nothing else. */
async function createReader(t: Test, sql: Sql): Promise<string> {
  const role = `doorstep_test_${randomBytes(6).toString('hex')}`
  await sql(`CREATE ROLE ${role} LOGIN PASSWORD 'reader'`)
  t.teardown(() => sql(`DROP OWNED BY ${role}`).then(() => sql(`DROP ROLE ${role}`)))
  await sql(`ALTER ROLE ${role} SET default_transaction_read_only TO on`)
  await sql(`GRANT USAGE ON SCHEMA public TO ${role}`)
  await sql(`GRANT SELECT ON _prisma_migrations TO ${role}`)
  return role
}

function asRole(url: string, role: string): string {
  const other = new URL(url)
  other.username = role
  other.password = 'reader'
  return other.href
}

/** A server that accepts, and says nothing but `greeting`: its address. */
async function listenSilently(t: Test, greeting?: Buffer): Promise<string> {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket.on('error', () => {}))
    if (greeting) socket.once('data', () => socket.write(greeting))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.close()
    for (const socket of sockets) socket.destroy()
  })
  return `postgresql://ada:hunter2@127.0.0.1:${(server.address() as AddressInfo).port}/doorstep`
}

t.test('a database that does not answer: one line and exit code 1 within 10 s', async (t) => {
  const silent = await listenSilently(t)
  // AuthenticationOk and ReadyForQuery: it lets us in, and then says nothing any more.
  const forgetful = await listenSilently(t, Buffer.from('R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I'))
  const started = performance.now()
  const runs = await Promise.all([
    runHere(['migrate'], { env: { DATABASE_URL: silent } }),
    runHere(['user', 'list'], { env: { DATABASE_URL: silent } }),
    runHere(['migrate'], { env: { DATABASE_URL: forgetful } }),
  ])
  const stderr = 'The database in DATABASE_URL cannot be reached, or does not answer.\n'
  for (const run of runs) t.match(run, { exitCode: 1, stdout: '', stderr })
  t.ok(performance.now() - started < 60_000, 'within 10 s, and what a command takes to load')
})

t.test('what role, database or server have set does not matter', async (t) => {
  const { database, url, sql } = await emptyDatabase(t)
  await migrate(url)
  const usual = await catalogue(sql)
  await empty(sql)
  const settings = {
    search_path: 'nowhere',
    TimeZone: "'Asia/Kathmandu'",
    DateStyle: "'German, DMY'",
    default_transaction_isolation: 'serializable',
    statement_timeout: "'1s'",
  }
  const [name] = await sql('SELECT quote_ident(current_database()) AS database')
  for (const [setting, value] of Object.entries(settings)) {
    // The one session of the embedded database has long begun: what a session starts with comes too late for it.
    await sql(
      database.isReal ? `ALTER DATABASE ${name?.database} SET ${setting} TO ${value}` : `SET ${setting} TO ${value}`,
    )
  }
  const { folder } = createHistory(t, { '20990101000000_slow': 'SELECT pg_sleep(1.5);' }, migrationsFolder)
  const starts = Array.from({ length: database.isReal ? 5 : 1 }, () => migrate(url, folder))
  t.same(
    (await Promise.all(starts)).flat().sort(),
    [...names, '20990101000000_slow'],
    'each once, whoever of them did it',
  )
  t.same(await migrate(url, folder), [], 'what is finished is seen to be')
  if (!database.isReal) await sql('RESET ALL')
  t.same(await catalogue(sql), usual)
  t.match(await historyRows(sql), expected)
})

t.test('?schema= says where everything is', async (t) => {
  const { url, sql } = await emptyDatabase(t)
  const at = (schema: string): string => `${url}${url.includes('?') ? '&' : '?'}schema=${schema}`
  await migrate(url)
  const usual = await catalogue(sql)
  await empty(sql)

  const name = 'Auth-1'
  t.same(await migrate(at(name)), names)
  t.same(await migrate(at(name)), [])
  t.match(await historyRows(sql, name), expected)
  t.same(await sql(`SELECT FROM pg_class WHERE relnamespace = 'public'::regnamespace`), [], 'nothing is in public')
  t.same(await sql(`SELECT FROM pg_proc WHERE pronamespace = 'public'::regnamespace`), [])
  t.same(await catalogue(sql, name), usual)

  await t.test('a function that keeps its search_path keeps this one', async (t) => {
    const { folder } = createHistory(t, {
      '20260101000000_kept': `CREATE TABLE kept (id integer); INSERT INTO kept VALUES (7);
        CREATE FUNCTION seven() RETURNS integer LANGUAGE plpgsql SET search_path FROM CURRENT AS $$ BEGIN RETURN (SELECT id FROM kept); END $$;`,
    })
    await migrate(at('other'), folder)
    t.same(await sql('SELECT other.seven() AS seven'), [{ seven: 7 }])
    await empty(sql, 'other')
  })

  await t.test('two in one database do not know of each other', async (t) => {
    t.same(await migrate(url), names)
    t.same(await catalogue(sql), usual)
    await empty(sql, name)
  })

  await t.test('one that is not a plain name is a mistake in the settings', async (t) => {
    for (const wrong of ['', 'pg_temp', 'a.b', '%22x', 'a&schema=b']) {
      const run = await runHere(['migrate'], { env: { DATABASE_URL: at(wrong) } })
      t.match(
        run,
        { exitCode: 1, stderr: /^The settings are not right:\n {2}DATABASE_URL must name .*schema.*\n$/ },
        wrong,
      )
    }
  })
})

/** A history that ends with one of our own migrations. */
function historyUpTo(t: Test, last: string): string {
  const until = names.slice(0, names.indexOf(last) + 1)
  return createHistory(t, Object.fromEntries(until.map((name) => [name, sqlOf(name)]))).folder
}

t.test('a phone becomes a factor, and nothing that an account has is lost with it', async (t) => {
  const { url, sql } = await emptyDatabase(t)
  await migrate(url, historyUpTo(t, '20261127000000_login'))
  const user = (email: string, phone: string, twoFactor: string, disabled = false) =>
    sql(
      `INSERT INTO users (email, phone, password_hash, two_factor, epoch, created_at, disabled_at)
       VALUES ($1, $2, 'hash of ' || $1, $3, 7, '2026-01-02 03:04:05Z', CASE WHEN $4 THEN timestamptz '2026-03-04 05:06:07Z' END)`,
      [email, phone, twoFactor, disabled],
    )
  await user('ada@example.com', '+12025550100', 'sms')
  await user('bob@example.com', '+12025550100', 'off')
  await user('eve@example.com', '+12125550101', 'sms', true)
  await sql(
    `INSERT INTO devices (id, user_id, token_hash, last_used_at, expires_at, trusted_until)
     SELECT gen_random_uuid(), id, sha256(email::bytea), now(), now() + interval '90 days', now() + interval '30 days' FROM users;
     INSERT INTO sessions (id, user_id, device_id, amr, acr, authenticated_at, last_used_at, idle_until, expires_at)
     SELECT gen_random_uuid(), user_id, id, '{pwd,sms,mfa}', 'aal2', now(), now(), now() + interval '1 hour', now() + interval '1 hour' FROM devices;
     INSERT INTO factor_guards (user_id, known, streak, failed_at) SELECT id, false, 3, ARRAY[now(), now(), now()] FROM users;
     INSERT INTO challenges (id, user_id, purpose, client, known, code_mac, key_id, last_sent_at, expires_at, ends_at)
     SELECT gen_random_uuid(), id, 'login', 'place', false, 'mac', 'k1', now(), now() + interval '5 minutes', now() + interval '10 minutes' FROM users;
     INSERT INTO sms_messages (user_id, challenge_id, known, phone, prefix, address)
     SELECT u.id, c.id, false, phone, left(phone, -4), '192.0.2.1' FROM users u JOIN challenges c ON c.user_id = u.id`,
  )
  const kept = async () => ({
    users: await sql('SELECT id, email, password_hash, epoch, disabled_at, created_at FROM users ORDER BY email'),
    others: await Promise.all(
      ['devices', 'sessions', 'factor_guards', 'sms_messages', 'audit_events'].map((table) =>
        sql(`SELECT to_jsonb(${table}) - '{mailbox_proven,rotated_from}'::text[] AS row FROM ${table} ORDER BY 1`),
      ),
    ),
  })
  const before = await kept()
  t.equal(before.users.length, 3)

  t.same(await migrate(url), names.slice(1))
  t.same(await kept(), before, 'accounts, devices, sessions and counters are as they were')
  t.same(
    await sql(
      `SELECT email, two_factor, method, phone, f.created_at = u.created_at AS "sinceThen", last_used_at
       FROM users u LEFT JOIN factors f ON f.user_id = u.id ORDER BY email`,
    ),
    [
      { email: 'ada@example.com', phone: '+12025550100', two_factor: 'required' },
      { email: 'bob@example.com', phone: '+12025550100', two_factor: 'off' },
      { email: 'eve@example.com', phone: '+12125550101', two_factor: 'required' },
    ].map((row) => ({ ...row, method: 'sms', sinceThen: true, last_used_at: null })),
    'who was asked for a code by text still is, and nobody else',
  )
  t.same(await sql('SELECT FROM challenges'), [], 'logins under way have to begin anew')
  const [handles] = await sql(
    'SELECT count(DISTINCT handle)::integer AS count, min(length(handle)) AS bytes FROM users',
  )
  t.same(handles, { count: 3, bytes: 32 }, 'each has a handle of its own for passkeys')
  t.same(
    await sql(
      'SELECT count(email_confirmed_at)::integer AS confirmed, count(*) FILTER (WHERE locale = $1)::integer AS english FROM users',
      ['en'],
    ),
    [{ confirmed: 0, english: 3 }],
    'no mailbox counts as proven that never was',
  )
  const [found] = await sql(`SELECT find_account('ada@example.com') AS account`)
  t.match(found?.account, { two_factor: 'required', factors: [{ method: 'sms', phone: '+12025550100' }] })
})

t.test('when people begin to look after themselves, nobody has to set a password anew', async (t) => {
  const { url, sql } = await emptyDatabase(t)
  await migrate(url, historyUpTo(t, '20261127110000_factors'))
  await sql(
    `INSERT INTO users (email, password_hash, two_factor, epoch, created_at, email_confirmed_at, disabled_at, locale)
     VALUES ('ada@example.com', 'hash of ada', 'required', 7, '2026-01-02 03:04:05Z', '2026-02-03 04:05:06Z', NULL, 'de'),
       ('eve@example.com', 'hash of eve', 'off', 0, '2026-01-02 03:04:05Z', NULL, '2026-03-04 05:06:07Z', 'en');
     INSERT INTO factors (id, user_id, method, phone) SELECT gen_random_uuid(), id, 'sms', '+12025550100' FROM users;
     INSERT INTO recovery_codes (user_id, mac) SELECT id, 'mac' FROM users;
     INSERT INTO account_changes (user_id, kind, was) SELECT id, 'factor_removed', '{}' FROM users;
     INSERT INTO mails (user_id, kind, topic, address, locale) SELECT id, 'notice', 'factor.added', email, locale FROM users;
     INSERT INTO sessions (id, user_id, amr, acr, authenticated_at, last_used_at, idle_until, expires_at)
     SELECT gen_random_uuid(), id, '{pwd,sms,mfa}', 'aal2', now(), now(), now() + interval '1 hour', now() + interval '1 hour' FROM users`,
  )
  const kept = async () => ({
    users: await sql(
      'SELECT id, email, password_hash, two_factor, epoch, handle, disabled_at, email_confirmed_at, locale, created_at FROM users ORDER BY email',
    ),
    others: await Promise.all(
      Object.entries({
        ...{ factors: '', account_changes: '', mails: '' },
        // With the columns that have come since.
        ...{ recovery_codes: 'last_used_at', sessions: 'mailbox_proven,rotated_from' },
      }).map(([table, added]) =>
        sql(`SELECT to_jsonb(${table}) - '{${added}}'::text[] AS row FROM ${table} ORDER BY 1`),
      ),
    ),
  })
  const before = await kept()
  t.equal(before.users.length, 2)
  t.same(await migrate(url), names.slice(2))
  t.same(await kept(), before)
  t.same(await sql('SELECT password_state, email_codes_off, erases_at FROM users'), [
    { password_state: 'set', email_codes_off: false, erases_at: null },
    { password_state: 'set', email_codes_off: false, erases_at: null },
  ])
  const [found] = await sql(`SELECT find_account('ada@example.com') AS account`)
  t.match(found?.account, { password_state: 'set', locale: 'de', factors: [{ method: 'sms' }], recovery_codes: 1 })
  t.same(await sql(`SELECT purge('accounts', 1000, 400, true)::integer AS erased`), [{ erased: 0 }])
})

t.test('what is refused', async (t) => {
  const { url, sql } = await emptyDatabase(t)
  const { folder } = createHistory(t, small)

  await t.test('a migration that was edited after it was applied; Prisma says so too', async (t) => {
    const edited = createHistory(t, {}, folder)
    appendFileSync(join(edited.folder, second, 'migration.sql'), '\n-- edited\n')
    await migrate(url, folder)
    t.match(await prismaSays(url, edited.folder), { editedMigrationNames: [second] })
    edited.add('20260103000000_three', 'CREATE TABLE threes ();')
    await t.rejects(migrate(url, edited.folder), {
      message: `Migration ${second} was edited after it had been applied`,
    })
    t.same(await sql(`SELECT FROM pg_tables WHERE tablename = 'threes'`), [], 'and nothing after it is applied')
  })

  await t.test('a migration that fails leaves nothing, and can be tried again', async (t) => {
    await empty(sql)
    // In the way of the last statement of the first migration.
    const { folder } = createHistory(t, {
      ...small,
      [first]: `${small[first as keyof typeof small]} CREATE TABLE mine ();`,
    })
    await sql('CREATE TABLE mine (its integer)')
    await t.rejects(migrate(url, folder), { message: `Migration ${first} failed and was undone` })
    t.same(await sql(`SELECT tablename FROM pg_tables WHERE schemaname = 'public'`), [{ tablename: 'mine' }])
    await sql('DROP TABLE mine')
    t.same(await migrate(url, folder), [first, second])
    t.same(await prismaSays(url, folder), inOrder)
  })

  await t.test('a migration that Prisma began and never finished', async (t) => {
    await empty(sql)
    await migrate(url, folder)
    await sql('UPDATE _prisma_migrations SET finished_at = NULL, logs = $1 WHERE migration_name = $2', [
      'broke',
      second,
    ])
    await t.rejects(migrate(url, folder), {
      message: /^Migration .*_two was begun and never finished; .*migrate resolve/,
    })
    await t.test('until an operator has resolved it', async (t) => {
      await sql('UPDATE _prisma_migrations SET rolled_back_at = now() WHERE migration_name = $1', [second])
      await sql('ALTER TABLE ones DROP COLUMN at')
      t.same(await migrate(url, folder), [second], 'what was rolled back is applied again')
      t.same(await prismaSays(url, folder), inOrder)
    })
  })

  await t.test('a database that a newer version has migrated is left as it is', async (t) => {
    const newer = '20991231000000_newer'
    await sql(
      `INSERT INTO _prisma_migrations (id, checksum, migration_name, finished_at, applied_steps_count) VALUES ($1, $2, $3, now(), 1)`,
      [randomUUID(), '0'.repeat(64), newer],
    )
    t.same(await migrate(url, folder), [], 'an older replica still starts')
    t.match((await historyRows(sql)).at(-1), { name: newer })
  })
})
