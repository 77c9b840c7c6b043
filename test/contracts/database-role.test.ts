import { randomBytes } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import t, { type Test } from 'tap'
import { policyOf } from '../../src/features/factors/index.ts'
import { sendDueMails } from '../../src/features/mails/mail-sender.ts'
import { replaceKeys } from '../../src/security/key-ring.ts'
import { listMigrations } from '../../src/store/migrate.ts'
import { bringUpToDate } from '../../src/store/open.ts'
import { createAuthenticator } from '../helpers/authenticator.ts'
import { runHere } from '../helpers/cli.ts'
import { trustDevice } from '../helpers/credentials.ts'
import { type Doorstep, startDoorstep, testKeys } from '../helpers/doorstep.ts'
import {
  createBareUser,
  enrol,
  enrolSms,
  enrolTotp,
  forgetSteps,
  prove,
  proveMailbox,
  totpCode,
  wrongTotpCode,
} from '../helpers/factors.ts'
import { call, codeFor, createUser, finish, login, resend, signIn, type TestUser, wrongCode } from '../helpers/story.ts'
import { wholeLife } from '../helpers/whole-life.ts'

// Whoever has stolen the service's connection to the database has its role. He gains what that role may do: with the
// owner's he would make functions, drop tables, and delete the events that tell what he did (SEC-77, ASVS 13.2.2).

t.setTimeout(300_000)
const server = process.env.TEST_DATABASE_URL
const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8')
const suffix = randomBytes(6).toString('hex')
const names = {
  owner: `doorstep_owner_${suffix}`,
  service: `doorstep_service_${suffix}`,
  database: `doorstep_test_${suffix}`,
}

/** README's statements between two marks, for the roles and the database of this test. */
function documented(mark: string): string[] {
  const [, sql = ''] = new RegExp(`<!-- ${mark} -->\n\`\`\`sql\n([\\s\\S]*?)\`\`\``).exec(readme) ?? []
  const statements = sql.split(';\n').filter((statement) => statement.trim() !== '')
  if (statements.length < 5) throw new Error(`README has no ${mark}`)
  return statements.map((statement) =>
    statement
      .replaceAll(/\bdoorstep_owner\b/g, names.owner)
      .replaceAll(/\bDATABASE doorstep\b/g, `DATABASE ${names.database}`)
      .replaceAll(/\bdoorstep\b/g, names.service)
      .replaceAll('…', 'a-password-for-the-test'),
  )
}

const urlOf = (role: string, database = names.database): string => {
  const url = new URL(server ?? '')
  Object.assign(url, { username: role, password: 'a-password-for-the-test', pathname: `/${database}` })
  return url.toString()
}

async function connect(t: Test, url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url })
  client.on('error', () => {})
  await client.connect()
  t.teardown(() => client.end())
  return client
}

/** Both roles, and a database that is migrated by one and granted to the other, as README says. */
async function prepare(t: Test): Promise<void> {
  const admin = new pg.Client({ connectionString: server })
  await admin.connect()
  for (const statement of documented('roles')) await admin.query(statement)
  t.teardown(async () => {
    await admin.query(`DROP DATABASE IF EXISTS ${names.database} WITH (FORCE)`)
    for (const role of [names.owner, names.service]) await admin.query(`DROP ROLE IF EXISTS ${role}`)
    await admin.end()
  })
}

async function grant(t: Test): Promise<void> {
  const owner = await connect(t, urlOf(names.owner))
  for (const statement of documented('grants')) await owner.query(statement)
}

t.test('README grants what a new table needs, or leaves it out on purpose', async (t) => {
  const schema = readFileSync(new URL('../../prisma/schema.prisma', import.meta.url), 'utf8')
  const models = [...schema.matchAll(/^model \w+ \{\n([\s\S]*?)^\}/gm)].map(([, body = '']) => body)
  t.ok(models.length > 10)
  const granted = documented('grants').join('\n')
  for (const model of models) {
    const table = /@@map\("(\w+)"\)/.exec(model)?.[1] ?? ''
    t.match(granted, new RegExp(`GRANT [A-Z, ]+ ON [^;]*\\b${table}\\b`), table)
    if (model.includes('autoincrement()')) t.match(granted, new RegExp(`ON SEQUENCE [^;]*\\b${table}_id_seq\\b`), table)
  }
})

if (server !== undefined) {
  t.test('a service that serves with one role what another has migrated', async (t) => {
    await prepare(t)
    const folder = mkdtempSync(join(tmpdir(), 'doorstep-role-'))
    t.teardown(() => rmSync(folder, { recursive: true, force: true }))
    const env = { ...testKeys, DATA_DIR: folder, ARGON2_MEMORY_KIB: '64', ARGON2_TIME: '1' }
    const as = (role: string) => ({ env: { ...env, DATABASE_URL: urlOf(role) } })

    await t.test('where nothing is migrated it says so in one line', async (t) => {
      const run = await runHere(['user', 'list'], as(names.service))
      t.match(run, { exitCode: 1, stdout: '', stderr: /^[^\n]*permission denied[^\n]*\n$/ })
      t.match(run.stderr, /migrate/, 'and what to do')
    })

    const applied = await listMigrations()
    t.match(await runHere(['migrate'], as(names.owner)), { exitCode: 0, result: { applied } })
    t.match(await runHere(['user', 'list'], as(names.service)), { exitCode: 1, stderr: /permission denied for/ })
    await grant(t)

    t.match(
      await runHere(['migrate'], as(names.service)),
      { exitCode: 0, result: { applied: [] } },
      'nothing to do is no error',
    )
    await bringUpToDate(urlOf(names.service), (line) => t.fail(`a start migrates nothing: ${line}`))
    t.match(await runHere(['user', 'list'], as(names.service)), { exitCode: 0, stderr: '', result: { users: [] } })

    const database = { url: urlOf(names.service), connections: null, isReal: true, close: async () => {} }
    const doorstep = await startDoorstep(t, { database })
    const owner = await connect(t, urlOf(names.owner))
    await t.test('everything that the service does', (t) => useAll(t, doorstep, owner))
    await t.test('nothing else', (t) => overreach(t, doorstep, owner))
    await t.test('a thief of the role cannot delete what tells of him', (t) => hideTraces(t, doorstep, owner))
  })
} else {
  t.comment('needs TEST_DATABASE_URL: roles sign in to a server')
}

/** Ages every text of a user, so that the next may go. */
const cool = (owner: pg.Client, user: TestUser) =>
  owner.query(`UPDATE sms_messages SET reserved_at = reserved_at - interval '2 minutes' WHERE user_id = $1`, [user.id])

async function useAll(t: Test, doorstep: Doorstep, owner: pg.Client): Promise<void> {
  const { services } = doorstep
  const user = await createUser(doorstep)
  t.equal((await login(doorstep, { ...user, password: 'wrong' })).status, 401)
  t.equal((await login(doorstep, { email: 'nobody@example.com', password: 'wrong' })).status, 401)
  const first = await login(doorstep, user)
  const code = codeFor(doorstep, user.phone)
  t.equal((await finish(doorstep, first.body.pending_token, wrongCode(code))).status, 422)
  await cool(owner, user)
  await owner.query(`UPDATE challenge_codes SET last_sent_at = last_sent_at - interval '2 minutes'`)
  t.equal((await resend(doorstep, first.body.pending_token)).status, 200)
  t.equal((await call(doorstep, '/login/2fa', { token: first.body.pending_token })).status, 200)
  t.equal((await finish(doorstep, first.body.pending_token, code)).status, 200)
  await cool(owner, user)

  const { access, refresh, device } = await trustDevice(doorstep, user)
  t.equal((await call(doorstep, '/me', { token: access })).status, 200)
  t.equal((await call(doorstep, '/sessions', { token: access })).status, 200)
  t.equal((await call(doorstep, '/devices', { token: access })).status, 200)
  t.equal((await login(doorstep, user, { body: { device_token: device } })).body.status, 'authenticated', 'trusted')
  t.equal((await call(doorstep, '/token/refresh', { body: { refresh_token: refresh } })).status, 200)
  await cool(owner, user)
  t.equal((await call(doorstep, '/login/step-up', { token: access, body: {} })).status, 200)
  t.equal((await call(doorstep, '/logout', { token: access, body: {} })).status, 204)
  t.equal((await call(doorstep, '/health/ready')).status, 200)

  await useFactors(doorstep, t)
  await leave(doorstep, t, owner)
  const { accounts, purge } = services.store
  const event = { type: 'user.changed', outcome: 'test' } as const
  const identifiers = services.loginThrottle.identifyAll(user.email)
  t.match(await accounts.change(user.email, identifiers, { phone: user.phone }, event), { outcome: 'changed' })
  t.equal(await accounts.unlock(user.email, identifiers, { all: true }, event), user.id)
  t.equal((await accounts.list(10)).length, 2)
  t.equal((await accounts.hashSamples()).length, 1)
  await purge.expired({ eventDays: 400, notices: true })
  t.type(await services.keyRing.rotate(0), 'string')
  await services.keyRing.maintain()
  await replaceKeys(services)
  await services.keyRing.refresh()
  await cool(owner, user)
  t.equal((await signIn(doorstep, user)).status, 200)
}

/** Everything about factors: each kind set up, used, named, renewed and taken away, with the mails that tell of it. */
async function useFactors(doorstep: Doorstep, t: Test): Promise<void> {
  const { config, services } = doorstep
  const newcomer = await createBareUser(doorstep)
  const proven = await proveMailbox(doorstep, newcomer)
  const { secret, answer } = await enrolTotp(doorstep, proven.body.pending_token)
  const { access_token: token, recovery_codes: codes } = answer.body
  t.equal((await enrolSms(doorstep, token)).answer.status, 200)
  const device = createAuthenticator({ origin: config.passkey.origins[0] ?? '' })
  const newKey = await enrol(doorstep, token, { method: 'passkey' })
  const credential = device.register(newKey.body.challenge.setup.public_key)
  t.equal((await prove(doorstep, newKey, { credential })).status, 200)

  const start = await call(doorstep, '/login/passkey', { body: {} })
  const assertion = device.assert(start.body.challenge.public_key)
  t.equal((await prove(doorstep, start, { credential: assertion })).status, 200)
  const byKey = await login(doorstep, newcomer)
  for (let tries = 0; tries < 3; tries += 1) {
    t.equal(
      (await prove(doorstep, byKey, { method: 'totp', code: wrongTotpCode(secret) })).status,
      422,
      'the third is told',
    )
  }
  t.equal((await prove(doorstep, byKey, { method: 'recovery_code', code: codes[0] })).status, 200)
  await forgetSteps(doorstep, newcomer)
  const byApp = await login(doorstep, newcomer)
  const switched = await call(doorstep, '/login/2fa/method', {
    ...{ token: byApp.body.pending_token, body: { method: 'totp' } },
  })
  t.equal(switched.status, 200)
  t.equal((await prove(doorstep, byApp, { code: totpCode(secret) })).status, 200)

  const { factors } = (await call(doorstep, '/factors', { token })).body
  const idOf = (method: string): string => factors.find((it: { method: string }) => it.method === method).id
  const named = { method: 'PATCH', token, body: { name: 'mine' } } as const
  t.equal((await call(doorstep, `/factors/${idOf('passkey')}`, named)).status, 200)
  t.equal((await enrol(doorstep, token, { method: 'recovery_code' })).status, 200)
  t.equal((await call(doorstep, `/factors/${idOf('sms')}`, { method: 'DELETE', token })).status, 204)
  t.ok((await sendDueMails(services)) > 4, 'all of it is told by mail')
  const identifiers = services.loginThrottle.identifyAll(newcomer.email)
  const reset = { type: 'user.changed', outcome: 'test' } as const
  t.equal(
    await services.store.accounts.resetFactors(newcomer.email, identifiers, policyOf(services), reset),
    newcomer.id,
  )
}

/** A whole life by the service's role, to its end in each of the ways there are. */
async function leave(doorstep: Doorstep, t: Test, owner: pg.Client): Promise<void> {
  const { services } = doorstep
  const there = async (id: string): Promise<number> =>
    (await owner.query('SELECT FROM users WHERE id = $1', [id])).rowCount ?? 0
  const eventsOf = async (id: string): Promise<number> =>
    (await owner.query('SELECT FROM audit_events WHERE user_id = $1', [id])).rowCount ?? 0
  const [ada, bob] = [await wholeLife(t, doorstep), await wholeLife(t, doorstep)]
  t.equal(await services.store.passwords.reset(bob.user.email, { force: true }, policyOf(services), asked), bob.user.id)
  t.equal((await call(doorstep, '/me', { method: 'DELETE', token: ada.token })).status, 202)
  await services.store.purge.expired({ eventDays: 400, notices: true })
  t.equal(await there(ada.user.id), 1, 'not before its time')
  await owner.query(`UPDATE users SET erases_at = now() - interval '1 minute' WHERE id = $1`, [ada.user.id])
  t.match(await services.store.purge.expired({ eventDays: 400, notices: true }), { accounts: 1 })
  t.equal(await there(ada.user.id), 0)
  t.equal(await eventsOf(ada.user.id), 0, 'and no event tells whose it was')
  t.equal(await services.store.selfService.forget(bob.user.id, { ...asked, type: 'user.deleted' }), true)
  t.equal(await there(bob.user.id), 0)
}
const asked = { type: 'user.changed', outcome: 'test' } as const

async function overreach(t: Test, { sql }: Doorstep, owner: pg.Client): Promise<void> {
  const { rows } = await owner.query<{ name: string }>(
    `SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public' ORDER BY 1`,
  )
  const tables = rows.map(({ name }) => name)
  t.ok(tables.length > 10)
  const forbidden = [
    ...tables.flatMap((table) => [
      `TRUNCATE ${table}`,
      `DROP TABLE ${table}`,
      `ALTER TABLE ${table} ADD COLUMN mine text`,
      `CREATE INDEX ON ${table} ((1))`,
      `CREATE TRIGGER mine BEFORE INSERT ON ${table} FOR EACH ROW EXECUTE FUNCTION forget_user()`,
    ]),
    ...['audit_events', 'users', 'text_totals', '_prisma_migrations'].map((table) => `DELETE FROM ${table}`),
    `UPDATE audit_events SET type = 'nothing'`,
    `INSERT INTO forgotten_users (event_id, user_id) VALUES (1, gen_random_uuid())`,
    'DELETE FROM audit_events WHERE user_id IS NULL',
    `UPDATE audit_events SET address = NULL`,
    `UPDATE recovery_codes SET mac = '\\x00'`,
    `INSERT INTO _prisma_migrations (id, checksum, migration_name) VALUES ('x', 'x', 'x')`,
    `UPDATE _prisma_migrations SET checksum = 'x'`,
    'CREATE TABLE mine (id integer)',
    'CREATE TEMPORARY TABLE mine (id integer)',
    'CREATE SCHEMA mine',
    `CREATE FUNCTION mine() RETURNS integer LANGUAGE sql AS 'SELECT 1'`,
    `CREATE OR REPLACE FUNCTION hash_kind(p_hash text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT p_hash'`,
    'DROP FUNCTION purge_events(integer, integer)',
    'ALTER FUNCTION purge_events(integer, integer) RESET search_path',
    `SELECT setval('audit_events_id_seq', 1)`,
    'CREATE ROLE mine',
    `ALTER ROLE ${names.service} SUPERUSER`,
    `SET ROLE ${names.owner}`,
    `GRANT ${names.owner} TO ${names.service}`,
    `COPY users TO PROGRAM 'cat'`,
    `SELECT pg_read_file('PG_VERSION')`,
    'ALTER SYSTEM RESET ALL',
  ]
  // A connection of the service's own role, not of the helper that watches.
  for (const statement of forbidden) await t.rejects(sql(statement), { code: '42501' }, statement)
}

async function hideTraces(t: Test, { sql }: Doorstep, owner: pg.Client): Promise<void> {
  const count = async (): Promise<number> => (await owner.query('SELECT FROM audit_events')).rowCount ?? 0
  const before = await count()
  t.ok(before > 5)
  for (const days of [400, 1, 0, -1, -100_000, -2_147_483_648]) await sql('SELECT purge_events(1000000, $1)', [days])
  await sql(`SELECT purge('events', 1000000, -1, true)`)
  t.equal(await count(), before, 'whatever he says, a day is kept')

  await owner.query(
    `INSERT INTO audit_events (at, type, outcome) SELECT now() - interval '25 hours', 'old', 'old' FROM generate_series(1, 3)`,
  )
  await owner.query(`UPDATE audit_events SET id = -id WHERE type = 'old'`)
  t.match(await sql('SELECT purge_events(1000, 1) AS deleted'), [{ deleted: 3 }], 'what is older goes, for the purge')

  // His next move: a table and a type of his own, which a function with the owner's rights would find first.
  await owner.query(`GRANT TEMPORARY ON DATABASE ${names.database} TO ${names.service}`)
  await sql("CREATE TEMPORARY TABLE audit_events AS SELECT 1::bigint AS id, now() - interval '2 days' AS at")
  await sql(`CREATE FUNCTION pg_temp.steal() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    EXECUTE format('GRANT ${names.owner} TO ${names.service}'); RETURN OLD; END $$`)
  await sql('CREATE TRIGGER steal BEFORE DELETE ON pg_temp.audit_events FOR EACH ROW EXECUTE FUNCTION pg_temp.steal()')
  t.match(await sql('SELECT purge_events(1000, 1) AS deleted'), [{ deleted: 0 }], 'it is not looked at')
  t.match(await sql('SELECT count(*)::integer AS rows FROM pg_temp.audit_events'), [{ rows: 1 }])
  await t.rejects(sql(`SET ROLE ${names.owner}`), { code: '42501' })
  t.equal(await count(), before)
  const erasing = [
    'SELECT erase_accounts(10)',
    `SELECT forget_account(gen_random_uuid(), '{"type": "x", "outcome": "x"}')`,
  ]
  for (const statement of erasing) await t.rejects(sql(statement), { code: '42501' }, statement)
  await sql('DROP TABLE pg_temp.audit_events')
  await sql('CREATE DOMAIN pg_temp.uuid AS text')
  for (const statement of erasing) await t.rejects(sql(statement), { code: '42501' }, 'nor a type')
  await sql('DROP DOMAIN pg_temp.uuid')
  for (const statement of erasing) await t.resolves(sql(statement), 'without them they erase')

  const { rows } = await owner.query(
    `SELECT proname FROM pg_proc WHERE prosecdef AND pronamespace = 'public'::regnamespace ORDER BY proname`,
  )
  const lending = ['erase_accounts', 'forget_account', 'purge_events'].map((proname) => ({ proname }))
  t.same(rows, lending, 'no other function lends the rights of its owner')
}
