import t, { type Test } from 'tap'
import { type Doorstep, startDoorstep } from '../helpers/doorstep.ts'
import { freshAddress } from '../helpers/password-guesses.ts'
import { stopClock } from '../helpers/stopped-clock.ts'
import { type Answer, call } from '../helpers/story.ts'

t.setTimeout(300_000)

const clients = { INTROSPECTION_CLIENTS: 'billing:secret-of-billing-1,shop:secret-of-shop-22' }
const first = await startDoorstep(t, { env: clients })
const start = (t: Test, env: Record<string, string>): Promise<Doorstep> =>
  startDoorstep(t, { database: first.database, env: { ...clients, ...env } })

const ask = (target: Doorstep, credentials: string | null, from: string, body = 'token=x'): Promise<Answer> =>
  call(target, '/token/introspect', {
    body,
    from,
    headers: {
      'content-type': 'application/x-www-form-urlencoded',
      ...(credentials !== null && { authorization: `Basic ${Buffer.from(credentials).toString('base64')}` }),
    },
  })
const billing = 'billing:secret-of-billing-1'
const shop = 'shop:secret-of-shop-22'

async function statusesOf(count: number, send: (n: number) => Promise<Answer>): Promise<Record<number, number>> {
  const counted: Record<number, number> = {}
  for (let n = 0; n < count; n += 1) {
    const { status } = await send(n)
    counted[status] = (counted[status] ?? 0) + 1
  }
  return counted
}

t.test('a backend is limited as itself, not by the address it shares with all others (contract 3)', async (t) => {
  const clock = stopClock(t)
  t.match(first.config.rate, { introspectMinute: 6_000, clientMinute: 600 })
  const target = await start(t, { RATE_INTROSPECT_MINUTE: '20', RATE_DEFAULT_MINUTE: '5', LOG_LEVEL: 'silent' })
  const egress = freshAddress()
  t.strictSame(await statusesOf(25, () => ask(target, billing, egress)), { 200: 20, 429: 5 })
  t.strictSame(await statusesOf(5, () => ask(target, billing, freshAddress())), { 429: 5 }, 'from wherever it asks')
  t.strictSame(await statusesOf(20, () => ask(target, shop, egress)), { 200: 20 }, 'another team has its own')
  const refused = await ask(target, billing, egress)
  t.match(refused, { body: { code: 'rate_limited', retry_after: 60 }, headers: { 'retry-after': '60' } })
  clock.forward(60)
  t.equal((await ask(target, billing, egress)).status, 200)
})

t.test('wrong secrets are counted by address, and keep no backend out behind the same one (contract 3)', async (t) => {
  stopClock(t)
  const target = await start(t, { RATE_DEFAULT_MINUTE: '5', LOG_LEVEL: 'silent' })
  const shared = freshAddress()
  const wrong = ['billing:secret-of-billing-2', 'nobody:secret-of-billing-1', 'billing:', '', null]
  t.strictSame(await statusesOf(20, (n) => ask(target, wrong[n % wrong.length] ?? null, shared)), { 401: 5, 429: 15 })
  t.equal((await call(target, '/health/live', { from: shared })).status, 429, 'it is the limit of all the rest')
  t.strictSame(await statusesOf(20, () => ask(target, billing, shared)), { 200: 20 })
  t.equal((await ask(target, 'billing:x', freshAddress())).status, 401, 'and of that address alone')
})

t.test('wrong secrets of a whole network are counted together (SEC-109)', async (t) => {
  stopClock(t)
  const target = await start(t, { RATE_DEFAULT_MINUTE: '1', LOG_LEVEL: 'silent' })
  t.strictSame(await statusesOf(40, (n) => ask(target, 'billing:x', `203.0.113.${n}`)), { 401: 16, 429: 24 })
})

t.test('an operator sees wrong secrets, and neither the secret nor a row per guess (SEC-111)', async (t) => {
  const target = await start(t, { LOG_LEVEL: 'info' })
  const from = freshAddress()
  const count = async () => Number((await target.sql('SELECT count(*) FROM audit_events'))[0]?.count)
  const before = await count()
  for (let n = 0; n < 10; n += 1) await ask(target, `billing:wrong-secret-${n}`, from)
  t.equal(await count(), before)
  const seen = target.logs.filter((line) => line.includes('client.rejected')).map((line) => JSON.parse(line))
  t.equal(seen.length, 10)
  t.match(seen[0], { level: 'warn', address: from, outcome: 'wrong id or secret' })
  t.notOk(target.logs.some((line) => line.includes('wrong-secret')))
  t.match(await target.services.metrics.scrape(), /type="client.rejected",outcome="wrong id or secret"\} 10/)
})

t.test('what is asked badly counts as well, and the credential is judged first', async (t) => {
  stopClock(t)
  const target = await start(t, { RATE_INTROSPECT_MINUTE: '5', LOG_LEVEL: 'silent' })
  t.strictSame(await statusesOf(8, () => ask(target, billing, freshAddress(), 'nothing=x')), { 400: 5, 429: 3 })
  t.equal((await ask(target, 'billing:x', freshAddress(), 'nothing=x')).status, 401)
})
