import { networkInterfaces } from 'node:os'
import t from 'tap'
import { createReadiness } from '../../src/features/health/readiness.ts'
import { startMetricsServer } from '../../src/http/metrics-server.ts'
import { startDoorstep } from '../helpers/doorstep.ts'
import { freePort } from '../helpers/service-process.ts'
import { call, createUser, login } from '../helpers/story.ts'

t.setTimeout(300_000)
const doorstep = await startDoorstep(t, { env: { SMS_GLOBAL_DAY: '10', SMS_GLOBAL_HOUR: '1000', SMS_SPEND_DAY: '20' } })
const { services, sql, database } = doorstep
const { health } = services.store
const metricsPort = await freePort()
let draining = false
const stopMetrics = await startMetricsServer({ ...services, isDraining: () => draining }, metricsPort)
t.teardown(stopMetrics)

/** Lets the last look be over a second old. */
const wait = () => new Promise((resolve) => setTimeout(resolve, 1_050))

/** What the public is told, when the last look is over a second old. */
const look = async () => {
  await wait()
  return call(doorstep, '/health/ready')
}

/** What stands at a path of the port that the public does not reach. */
const within = async (path: string, method = 'GET') => {
  const reply = await fetch(`http://127.0.0.1:${metricsPort}${path}`, { method })
  return { status: reply.status, type: reply.headers.get('content-type'), body: await reply.json() }
}

/** What the operator is told. */
const words = async () => {
  await wait()
  const { status, body } = await within('/health/ready')
  return { status, body }
}

t.test('liveness looks at nothing and tells nothing', async (t) => {
  const { isMigrated } = health
  health.isMigrated = async () => t.fail('the database was asked')
  const { status, body, headers } = await call(doorstep, '/health/live')
  health.isMigrated = isMigrated
  t.equal(status, 200)
  t.strictSame(body, { status: 'ok' })
  t.equal(headers['cache-control'], 'no-store')
})

t.test('readiness is one word to the public; what it is made of is told to the operator only', async (t) => {
  t.match(await look(), { status: 200, body: { status: 'ready' } })
  t.strictSame((await call(doorstep, '/health/ready')).body, { status: 'ready' })
  t.strictSame(await words(), {
    status: 200,
    body: { status: 'ready', database: 'ok', sms: 'ok', sms_budget: 'ok', webhooks: 'ok' },
  })
  for (const path of ['/health', '/metrics']) t.equal((await call(doorstep, path)).status, 404, `${path} is not public`)
})

t.test('a crowd that asks for readiness is one look at the database a second (SEC-89)', async (t) => {
  const { isMigrated } = health
  let looks = 0
  health.isMigrated = () => {
    looks += 1
    return isMigrated()
  }
  const startedAt = performance.now()
  await look()
  const answers = await Promise.all(Array.from({ length: 200 }, () => call(doorstep, '/health/ready')))
  const seconds = (performance.now() - startedAt) / 1_000
  health.isMigrated = isMigrated
  t.ok(answers.every(({ status }) => status === 200))
  t.ok(looks >= 1 && looks <= Math.ceil(seconds), `${looks} looks in ${seconds.toFixed(1)} s`)
})

t.test('the budget of texts is told to the operator, and does not make the service unready', async (t) => {
  const use = async (state: 'open' | 'finished', count: number) => {
    await sql('DELETE FROM sms_messages')
    await sql(
      `INSERT INTO sms_messages (user_id, challenge_id, known, phone, prefix, address, state)
       SELECT gen_random_uuid(), gen_random_uuid(), false, '', '', '', $1 FROM generate_series(1, $2)`,
      [state, count],
    )
  }
  for (const [state, used, word] of [
    ['open', 7, 'ok'],
    ['open', 8, 'low'],
    ['open', 10, 'exhausted'],
    ['finished', 15, 'ok'],
    ['finished', 16, 'low'],
    ['finished', 20, 'exhausted'],
  ] as const) {
    await use(state, used)
    t.match(await words(), { status: 200, body: { status: 'ready', sms_budget: word } }, `${used} ${state}`)
    t.strictSame((await call(doorstep, '/health/ready')).body, { status: 'ready' })
  }
  await use('open', 0)
})

t.test('a provider that is down is told to the operator, and does not make the service unready', async (t) => {
  const { isAvailable } = services.sms
  services.sms.isAvailable = () => false
  t.match(await words(), { status: 200, body: { status: 'ready', sms: 'unavailable' } })
  t.strictSame((await call(doorstep, '/health/ready')).body, { status: 'ready' })
  services.sms.isAvailable = isAvailable
})

t.test('without its tables or its database the service is not ready, and does not say why', async (t) => {
  await sql('UPDATE _prisma_migrations SET finished_at = NULL')
  t.match(await look(), { status: 503, body: { status: 'not_ready' } })
  t.match(await words(), { status: 503, body: { status: 'not_ready', database: 'not_migrated' } })
  await sql('UPDATE _prisma_migrations SET finished_at = started_at')

  const { isMigrated } = health
  health.isMigrated = async () => {
    throw new Error('connect ECONNREFUSED 10.0.0.7:5432 postgres password')
  }
  const { status, body } = await look()
  const told = await words()
  health.isMigrated = isMigrated
  t.equal(status, 503)
  t.strictSame(body, { status: 'not_ready' })
  t.strictSame(told.body, {
    status: 'not_ready',
    database: 'unreachable',
    sms: 'ok',
    sms_budget: 'unknown',
    webhooks: 'unknown',
  })
  t.match(await look(), { status: 200, body: { status: 'ready' } }, 'and it is ready again by itself')
})

t.test(
  'a database that takes no writes, such as a standby, is not ready: no login would work (contract 8)',
  async (t) => {
    const user = await createUser(doorstep)
    // The embedded database has one session, which all share.
    const setting = database.isReal ? `ALTER DATABASE ${new URL(database.url).pathname.slice(1)} SET` : 'SET'
    await sql(`${setting} default_transaction_read_only = on`)
    const standby = database.isReal ? await startDoorstep(t, { database, env: { LOG_LEVEL: 'silent' } }) : doorstep
    await wait()
    t.match(await call(standby, '/health/ready'), { status: 503, body: { status: 'not_ready' } })
    t.match(await login(standby, user), { status: 503, body: { code: 'unavailable' } }, 'a login there')
    t.equal((await call(standby, '/health/live')).status, 200, 'restarting the process would help nobody')
    const told = await createReadiness({ ...standby.services, isDraining: () => false })()
    t.match(told, { status: 'not_ready', database: 'read_only' }, 'and the operator is told why')
    await sql('SET default_transaction_read_only = off')
    if (database.isReal) await sql(`${setting} default_transaction_read_only = off`)
    t.match(await look(), { status: 200 })
  },
)

t.test('the operator has a port of his own, on loopback unless he says otherwise, with HEAD too', async (t) => {
  const others = Object.values(networkInterfaces()).flatMap((all) => all ?? [])
  const outside = others.find(({ family, internal }) => family === 'IPv4' && !internal)?.address
  if (outside !== undefined) await t.rejects(fetch(`http://${outside}:${metricsPort}/metrics`), 'not from outside')
  for (const path of ['/metrics', '/health', '/health/ready']) {
    const reply = await fetch(`http://127.0.0.1:${metricsPort}${path}`, { method: 'HEAD' })
    t.equal(reply.status, 200, path)
    t.equal(await reply.text(), '')
  }
  t.match(await (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text(), /doorstep_sms_available 1/)
  t.strictSame(await within('/health'), await within('/health/ready'))
  const problem = { status: 404, type: 'application/problem+json; charset=utf-8', body: { code: 'not_found' } }
  for (const path of ['/', '/health/live', '/health/ready/', '/login']) t.match(await within(path), problem, path)
  t.match(await within('/metrics', 'POST'), problem)
  t.notMatch(JSON.stringify(await within('/canary')), /canary/, 'and repeats nothing of what was asked for')

  const open = { ...doorstep.config, metricsHost: '0.0.0.0' }
  const port = await freePort()
  const stop = await startMetricsServer({ ...services, config: open, isDraining: () => false }, port)
  t.teardown(stop)
  t.equal((await fetch(`http://${outside ?? '127.0.0.1'}:${port}/metrics`)).status, 200, 'METRICS_HOST')
})

t.test('while it drains it is not ready, at once, and still alive', async (t) => {
  t.equal((await call(doorstep, '/health/ready')).status, 200)
  doorstep.drain()
  draining = true
  const { status, body, headers } = await call(doorstep, '/health/ready')
  t.equal(status, 503)
  t.strictSame(body, { status: 'not_ready' })
  t.equal(headers.connection, 'close')
  t.match(await words(), { status: 503, body: { status: 'not_ready', database: 'ok' } })
  t.equal((await call(doorstep, '/health/live')).status, 200)
})
