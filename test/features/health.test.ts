import t from 'tap'
import { startDoorstep } from '../helpers/doorstep.ts'
import { call } from '../helpers/story.ts'

t.setTimeout(120_000)
const doorstep = await startDoorstep(t, { env: { SMS_GLOBAL_DAY: '10', SMS_GLOBAL_HOUR: '1000', SMS_SPEND_DAY: '20' } })
const { services, sql } = doorstep
const { health } = services.store

/** The state, when the last look is over a second old. */
const look = async () => {
  await new Promise((resolve) => setTimeout(resolve, 1_050))
  return call(doorstep, '/health/ready')
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

t.test('readiness is four words, and nothing internal', async (t) => {
  const { status, body } = await look()
  t.equal(status, 200)
  t.strictSame(body, { status: 'ready', database: 'ok', sms: 'ok', sms_budget: 'ok' })
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

t.test('the budget of texts is told, and does not make the service unready', async (t) => {
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
    t.match(await look(), { status: 200, body: { status: 'ready', sms_budget: word } }, `${used} ${state}`)
  }
  await use('open', 0)
})

t.test('a provider that is down is told, and does not make the service unready', async (t) => {
  const { isAvailable } = services.sms
  services.sms.isAvailable = () => false
  t.match(await call(doorstep, '/health/ready'), { status: 200, body: { status: 'ready', sms: 'unavailable' } })
  services.sms.isAvailable = isAvailable
})

t.test('without its tables or its database the service is not ready, and does not say why', async (t) => {
  await sql("UPDATE _prisma_migrations SET finished_at = NULL WHERE migration_name LIKE '%login%'")
  t.match(await look(), { status: 503, body: { status: 'not_ready', database: 'not_migrated' } })
  await sql('UPDATE _prisma_migrations SET finished_at = started_at')

  const { isMigrated } = health
  health.isMigrated = async () => {
    throw new Error('connect ECONNREFUSED 10.0.0.7:5432 postgres password')
  }
  const { status, body } = await look()
  health.isMigrated = isMigrated
  t.equal(status, 503)
  t.strictSame(body, { status: 'not_ready', database: 'unreachable', sms: 'ok', sms_budget: 'unknown' })
  t.match(await look(), { status: 200, body: { status: 'ready' } }, 'and it is ready again by itself')
})

t.test('while it drains it is not ready, at once, and still alive', async (t) => {
  t.equal((await call(doorstep, '/health/ready')).status, 200)
  doorstep.drain()
  const { status, body, headers } = await call(doorstep, '/health/ready')
  t.equal(status, 503)
  t.match(body, { status: 'not_ready', database: 'ok' })
  t.equal(headers.connection, 'close')
  t.equal((await call(doorstep, '/health/live')).status, 200)
})
