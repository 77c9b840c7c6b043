import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import t, { type Test } from 'tap'
import { migrate } from '../../src/store/migrate.ts'
import { emptyDatabase } from '../helpers/catalogue.ts'
import { enter, refresh } from '../helpers/credentials.ts'
import { createTestDatabase, type TestDatabase } from '../helpers/database.ts'
import { type Doorstep, startDoorstep } from '../helpers/doorstep.ts'
import { meetAtRow } from '../helpers/hold-row.ts'
import { pgbouncer, startPooler } from '../helpers/pooler.ts'
import { interceptStatements } from '../helpers/statements.ts'
import {
  type Answer,
  call,
  codeFor,
  createUser,
  finish,
  login,
  resend,
  type TestUser,
  textsTo,
  wrongCode,
} from '../helpers/story.ts'
import { isOverloaded, repeat, tally, together } from '../helpers/together.ts'
import { wholeLife } from '../helpers/whole-life.ts'

// What is set on the database, its role or its server, and what stands between it and us, changes nothing (SEC-113): the
// same flow gives the same answers, right to the second, and many at once are counted exactly.

t.setTimeout(300_000)

const env = { INTROSPECTION_CLIENTS: 'billing:a-secret-of-a-test', RATE_CLIENT_MINUTE: '100000' }
const billing = `Basic ${Buffer.from('billing:a-secret-of-a-test').toString('base64')}`
const serverUrl = process.env.TEST_DATABASE_URL

type Settings = Record<string, string>

/** Each for itself, and then the lot with everything else that an administrator may think of. */
const each: Settings[] = [
  { TimeZone: 'Europe/Berlin' },
  { TimeZone: 'Pacific/Chatham', DateStyle: 'SQL, DMY' },
  { DateStyle: 'German, DMY' },
  { IntervalStyle: 'sql_standard' },
  { bytea_output: 'escape' },
  { search_path: 'nowhere' },
  { search_path: 'pg_catalog, information_schema' },
  { default_transaction_isolation: 'serializable' },
  { default_transaction_isolation: 'repeatable read' },
]
const everything: Settings = {
  ...{ TimeZone: 'Europe/Berlin', DateStyle: 'German, DMY', IntervalStyle: 'postgres_verbose', bytea_output: 'escape' },
  ...{ search_path: 'nowhere', default_transaction_isolation: 'serializable', default_transaction_deferrable: 'on' },
  ...{ extra_float_digits: '-15', standard_conforming_strings: 'off', backslash_quote: 'off', array_nulls: 'off' },
  ...{ transform_null_equals: 'on', quote_all_identifiers: 'on', client_min_messages: 'debug1', row_security: 'off' },
  ...{ enable_indexscan: 'off', enable_bitmapscan: 'off', jit: 'on', plan_cache_mode: 'force_custom_plan' },
}

/** Sets what every new connection to a database finds. */
async function configure(database: Pick<TestDatabase, 'url'>, settings: Settings): Promise<void> {
  const client = new pg.Client({ connectionString: database.url })
  await client.connect()
  const name = pg.escapeIdentifier(new URL(database.url).pathname.slice(1))
  for (const [setting, value] of Object.entries(settings)) {
    const values = setting === 'search_path' ? value : pg.escapeLiteral(value)
    await client.query(`ALTER DATABASE ${name} SET ${setting} TO ${values}`)
  }
  await client.end()
}

/** A slow machine takes its time from one to the other; a time zone is at least a quarter of an hour off. */
const isNow = (t: Test, seconds: number, what: string, after = 0): void => {
  const off = seconds - after - Date.now() / 1_000
  t.ok(Math.abs(off) < 120, `${what}: ${off.toFixed(1)} s off`)
}
const seconds = (text: string): number => new Date(text).getTime() / 1_000

/** The essential flow, once, each moment of it looked at. */
async function flow(t: Test, doorstep: Doorstep): Promise<void> {
  const { services } = doorstep
  const { store } = services
  const introspect = async (token: string) =>
    (
      await call(doorstep, '/token/introspect', {
        method: 'POST',
        headers: { authorization: billing, 'content-type': 'application/x-www-form-urlencoded' },
        body: new URLSearchParams({ token }).toString(),
      })
    ).body
  const user = await createUser(doorstep)
  t.match(await login(doorstep, { ...user, password: 'wrong' }), { status: 401 })
  const first = await login(doorstep, user)
  t.match(first, {
    status: 200,
    body: { expires_in: 600, challenge: { code_expires_in: 300, resend_after: 60, attempts_remaining: 5 } },
  })
  t.match(await resend(doorstep, first.body.pending_token), { status: 429, body: { code: 'resend_too_soon' } })
  t.match(await login(doorstep, user, { from: '192.0.2.8' }), { status: 429, body: { code: 'resend_too_soon' } })
  const code = codeFor(doorstep, user.phone)
  t.match(await finish(doorstep, first.body.pending_token, wrongCode(code)), {
    status: 422,
    body: { attempts_remaining: 4 },
  })
  const signed = await finish(doorstep, first.body.pending_token, code, { body: { trust_device: true } })
  t.match(signed, { status: 200, body: { refresh_expires_in: 43_200, device_expires_in: 7_776_000 } })
  isNow(t, seconds(signed.body.trusted_until), 'trusted_until', 30 * 86_400)
  t.match(await finish(doorstep, first.body.pending_token, code), { status: 401 })

  const { access_token: token } = signed.body
  const described = await introspect(token)
  t.equal(described.active, true)
  isNow(t, described.auth_time, 'auth_time')
  isNow(t, described.iat, 'iat')
  t.match(await call(doorstep, '/me', { token }), { status: 200, body: { id: user.id } })
  const again = await refresh(doorstep, signed.body.refresh_token)
  t.equal(again.status, 200)
  t.equal(
    (await introspect(again.body.access_token)).auth_time,
    described.auth_time,
    'a refresh changes nothing of that',
  )
  t.equal((await refresh(doorstep, signed.body.refresh_token)).body.refresh_token, again.body.refresh_token)

  const [session] = (await call(doorstep, '/sessions', { token })).body.sessions
  isNow(t, seconds(session.created_at), 'a session, created')
  isNow(t, seconds(session.last_used_at), 'a session, used')
  const [device] = (await call(doorstep, '/devices', { token })).body.devices
  isNow(t, seconds(device.created_at), 'a device, created')
  isNow(t, seconds(device.last_used_at), 'a device, used')
  isNow(t, seconds(device.trusted_until), 'a device, trusted', 30 * 86_400)
  const known = { body: { device_token: signed.body.device_token } }
  t.match(await login(doorstep, user, known), { status: 200, body: { status: 'authenticated' } })

  const stepUp = await call(doorstep, '/login/step-up', { token, body: {} })
  t.equal(stepUp.status, 200)
  t.equal((await finish(doorstep, stepUp.body.pending_token, codeFor(doorstep, user.phone))).status, 200)
  isNow(t, (await introspect(token)).auth_time, 'auth_time after a step-up')

  for (let tries = 0; tries < 4; tries += 1) await login(doorstep, { ...user, password: 'wrong' })
  const locked = await login(doorstep, user)
  t.match(locked, { status: 429, body: { code: 'login_locked' } })
  t.ok(locked.body.retry_after > 0 && locked.body.retry_after <= 30, `${locked.body.retry_after} s`)
  t.equal(
    await store.accounts.unlock(
      user.email,
      services.loginThrottle.identifyAll(user.email),
      { all: true },
      { type: 'user.unlocked', outcome: 'test' },
    ),
    user.id,
  )
  t.equal((await login(doorstep, user)).status, 200)

  const life = await wholeLife(t, doorstep)
  isNow(t, seconds(life.erasesAt), 'a deletion', 7 * 86_400)
  isNow(t, seconds(life.exported.profile.created_at), 'a profile, created')
  isNow(t, seconds(life.exported.events.at(-1).at), 'an event')
  isNow(t, seconds(life.exported.mails[0].at), 'a mail')

  const [listed] = (await store.accounts.list(1_000)).filter(({ id }) => id === user.id)
  isNow(t, listed?.created_at ?? 0, 'an account, created')
  const [key] = await store.signingKeys.list()
  t.ok((key?.activeIn ?? 1) <= 0 && (key?.activeIn ?? -99) > -120, 'the signing key is active')
  isNow(t, (key?.createdAt.getTime() ?? 0) / 1_000, 'the signing key, created')
  const rotated = await services.keyRing.rotate(0)
  const [next] = await store.signingKeys.list()
  t.equal(next?.id, rotated)
  isNow(t, (next?.activeAt.getTime() ?? 0) / 1_000, 'the next key, active', next?.activeIn)
  t.equal((await call(doorstep, '/.well-known/jwks.json')).body.keys.length, 2)
  t.same(
    Object.entries(await store.purge.expired({ eventDays: 400, notices: true })).filter(([, count]) => count > 0),
    [],
    'nothing is old enough to go',
  )
  t.equal(await store.health.isMigrated(), true)
  t.match(await call(doorstep, '/health/ready'), { status: 200 })
  await store.accounts.change(user.email, [], { disabled: true }, { type: 'user.changed', outcome: 'test' })
  t.same(await introspect(token), { active: false })
  const internal = doorstep.logs.filter((line) => /internal error|unavailable/.test(line))
  t.same(internal, [], 'and nothing went wrong on the way')
}

/** An address in a network of its own: of one network few may stand in the line for hashing. */
const networkOf = (index: number): string => `${20 + index}.0.0.1`

async function bothSteps(doorstep: Doorstep, user: TestUser, from: string): Promise<Answer> {
  const first = await login(doorstep, user, { from })
  return first.status === 200 ? finish(doorstep, first.body.pending_token, codeFor(doorstep, user.phone)) : first
}

/** Many at once at two replicas: each counter is exact, and nobody is told that the database is away. */
const load = (t: Test, replicas: [Doorstep, Doorstep]): Promise<void> =>
  repeat(t, 2, async (round) => {
    const [one] = replicas
    const at = (index: number): Doorstep => replicas[index % 2] as Doorstep
    const user = await createUser(one)
    const begun = await login(one, user)
    const code = codeFor(one, user.phone)
    const pending = begun.body.pending_token
    const spare = await Promise.all(Array.from({ length: 12 }, () => createUser(one)))
    const session = await enter(one, await createUser(one, { twoFactor: 'off' }))
    const [wrong, passwords, others, refreshed] = await Promise.all([
      together(40, (i) => finish(at(i), pending, wrongCode(code))),
      together(20, (i) =>
        login(at(i), { email: `nobody-${round}@example.com`, password: 'wrong' }, { from: networkOf(i) }),
      ),
      Promise.all(spare.map((somebody, i) => bothSteps(at(i), somebody, networkOf(i)))),
      together(10, (i) => refresh(at(i), session.refresh)),
    ])
    const lucky = await createUser(one)
    const same = await together(10, (i) => login(at(i), lucky))
    const [text = ''] = replicas.flatMap((replica) => textsTo(replica, lucky.phone))
    const right = /#(\d+)$/.exec(text)?.[1] ?? ''
    const won = await together(20, (i) => finish(at(i), same[0]?.body.pending_token, right))
    if (isOverloaded([...wrong, ...passwords, ...others, ...refreshed, ...same, ...won])) return false

    t.same(tally(wrong), { '422 invalid_code': 5, '429 code_attempts_exhausted': 35 })
    t.same(tally(passwords), { '401 invalid_credentials': 5, '429 login_locked': 15 })
    t.same(tally(others), { '200': 12 })
    t.same(tally(refreshed), { '200': 10 })
    t.equal(new Set(refreshed.map(({ body }) => body.refresh_token)).size, 1, 'one successor')
    t.same(tally(same), { '200': 10 })
    t.equal(textsTo(replicas[0], lucky.phone).length + textsTo(replicas[1], lucky.phone).length, 1, 'one text')
    t.same(tally(won), { '200': 1, '401 invalid_token': 19 })
    return true
  })

const start = async (t: Test, database: TestDatabase): Promise<[Doorstep, Doorstep]> => [
  await startDoorstep(t, { database, env }),
  await startDoorstep(t, { database, env }),
]
const named = (settings: Settings): string =>
  Object.entries(settings)
    .map((pair) => pair.join(' = '))
    .join(', ')

t.test('as it comes', async (t) => {
  await flow(t, await startDoorstep(t, { env }))
})

if (serverUrl !== undefined) {
  for (const settings of each) {
    t.test(named(settings), async (t) => {
      const database = await createTestDatabase()
      t.teardown(() => database.close())
      await configure(database, settings)
      const replicas = await start(t, database)
      await flow(t, replicas[0])
      if (!('default_transaction_isolation' in settings)) return
      await load(t, replicas)
      // Also where a refresh, which nobody stands in line for, is the first that a replica is asked.
      const session = await enter(replicas[0], await createUser(replicas[0], { twoFactor: 'off' }))
      const fresh = await startDoorstep(t, { database, env })
      const row = { text: 'SELECT FROM public.sessions WHERE id = $1 FOR UPDATE', values: [session.sid], waiters: 4 }
      const all = await meetAtRow(fresh, row, () => together(10, () => refresh(fresh, session.refresh)))
      t.same(tally(all), { '200': 10 })
    })
  }

  t.test('a connection that is lost between BEGIN and the decision takes nothing with it', async (t) => {
    const database = await createTestDatabase()
    t.teardown(() => database.close())
    await configure(database, { default_transaction_isolation: 'serializable' })
    const [doorstep] = await start(t, database)
    const user = await createUser(doorstep, { twoFactor: 'off' })
    await t.test('it is an answer', async (t) => {
      let kills = true
      interceptStatements(t, async (text, run) => {
        const result = await run()
        if (!kills || !text.startsWith('BEGIN')) return result
        kills = false
        const ours = `application_name = 'doorstep' AND datname = current_database() AND state = 'idle in transaction'`
        await doorstep.sql(`SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE ${ours}`)
        await sleep(50) // for the news of it
        return result
      })
      t.match(await login(doorstep, user), { status: 503, body: { code: 'unavailable' } })
      t.notOk(kills)
    })
    t.equal((await login(doorstep, user)).status, 200, 'and the next one goes through')
  })

  t.test('everything at once, and set before the first start', async (t) => {
    const { database, sql } = await emptyDatabase(t)
    await configure(database, everything)
    t.not((await migrate(database.url)).length, 0)
    t.same(await sql(`SELECT FROM pg_tables WHERE schemaname = 'public' AND tablename = 'users'`), [{}])
    const replicas = await start(t, { ...database, close: async () => {} })
    await flow(t, replicas[0])
    await load(t, replicas)
  })

  t.test('in a schema of its own, whatever the search path says', async (t) => {
    const { database, sql } = await emptyDatabase(t)
    const at = (schema: string): TestDatabase => ({
      ...database,
      url: `${database.url}?schema=${schema}`,
      close: async () => {},
    })
    await migrate(at('auth').url)
    await migrate(at('public').url)
    await configure(database, { search_path: 'public' })
    const [inAuth] = await start(t, at('auth'))
    await flow(t, inAuth)
    t.same(await sql('SELECT FROM public.users'), [], 'nothing of it is elsewhere')
    t.same(await sql('SELECT FROM public.audit_events'), [])
    t.not((await sql('SELECT FROM auth.audit_events')).length, 0)
  })
}

if (serverUrl !== undefined && pgbouncer !== undefined) {
  const program = pgbouncer
  for (const [mode, settings] of [
    ['transaction', {}],
    ['transaction', everything],
    ['session', {}],
  ] as const) {
    t.test(
      `behind PgBouncer in ${mode} mode${Object.keys(settings).length > 0 ? ', everything set otherwise' : ''}`,
      async (t) => {
        const database = await createTestDatabase()
        t.teardown(() => database.close())
        await configure(database, settings)
        // In transaction mode fewer connections than the replicas have, so that each is lent to both.
        const connections = mode === 'transaction' ? 3 : 60
        const url = await startPooler(t, { program, target: database.url, mode, connections })
        const replicas = await start(t, { ...database, url, close: async () => {} })
        await load(t, replicas)
        await flow(t, replicas[1])
      },
    )
  }

  // Named statements stay with the pooler's connections, for whoever gets them next. Here each of two services has made its
  // own on one of two connections, and is then lent the other's.
  t.test('two services in two schemas behind one PgBouncer: each keeps to its own', async (t) => {
    const { database } = await emptyDatabase(t)
    const url = await startPooler(t, { program, target: database.url, mode: 'transaction', connections: 2 })
    const holders = [new pg.Client({ connectionString: url }), new pg.Client({ connectionString: url })] as const
    for (const holder of holders) {
      await holder.connect()
      await holder.query('BEGIN')
    }
    t.teardown(() => Promise.all(holders.map((holder) => holder.end())))
    const services: Doorstep[] = []
    const users: TestUser[] = []
    const entersAs = async (i: number): Promise<string> => {
      const { access } = await enter(services[i] as Doorstep, users[i] as TestUser)
      return (await call(services[i] as Doorstep, '/me', { token: access })).body.id
    }
    for (const [i, schema] of ['one', 'two'].entries()) {
      await holders[i]?.query('COMMIT')
      await migrate(`${url}?schema=${schema}`)
      const mine = { ...database, url: `${url}?schema=${schema}`, close: async () => {} }
      services.push(await startDoorstep(t, { database: mine, env }))
      users.push(await createUser(services[i] as Doorstep, { email: 'ada@example.com', twoFactor: 'off' }))
      t.equal(await entersAs(i), users[i]?.id)
      await holders[i]?.query('BEGIN')
    }
    await holders[0].query('COMMIT')
    t.equal(await entersAs(1), users[1]?.id, 'over the connection of the first')
    await holders[0].query('BEGIN')
    await holders[1].query('COMMIT')
    t.equal(await entersAs(0), users[0]?.id, 'and over that of the second')
  })
}
