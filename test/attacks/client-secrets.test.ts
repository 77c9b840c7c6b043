import { randomBytes } from 'node:crypto'
import t from 'tap'
import { disableClient } from '../../src/features/admin/clients/disable-client.ts'
import { listClients } from '../../src/features/admin/clients/list-clients.ts'
import { rotateClient } from '../../src/features/admin/clients/rotate-client.ts'
import { ask, type Backend, basicOf, makeBackend } from '../helpers/clients.ts'
import { startDoorstep } from '../helpers/doorstep.ts'
import { freshAddress } from '../helpers/password-guesses.ts'
import { watchStatements } from '../helpers/statements.ts'
import { stopClock } from '../helpers/stopped-clock.ts'
import { type Answer, call } from '../helpers/story.ts'
import { together } from '../helpers/together.ts'

// Whoever guesses, finds or keeps a backend's secret gains all that the backend may. A secret is nothing to guess, is worth nothing
// once it is rotated, expired, disabled or used from elsewhere, and which of these it was is told to nobody (SEC-118).

t.setTimeout(300_000)

const doorstep = await startDoorstep(t)
const { sql, services } = doorstep
const search = (backend: Pick<Backend, 'basic'>, from?: string, target = doorstep): Promise<Answer> =>
  ask(target, backend, 'POST /admin/users/search', { limit: 1 }, from === undefined ? {} : { from })
const encoded = (text: string) => `Basic ${Buffer.from(text).toString('base64')}`
const randomSecret = () => `dss_${randomBytes(32).toString('base64url')}`

t.test('a secret has 256 random bits, and only its hash is kept', async (t) => {
  const { id, secret } = await makeBackend(doorstep)
  t.match(id, /^dsc_[\w-]{22}$/)
  t.match(secret, /^dss_[\w-]{43}$/)
  t.equal(Buffer.from(secret.slice(4), 'base64url').length, 32)
  const [row] = await sql(
    `SELECT secret_hash = sha256(convert_to($1, 'UTF8')) AS is_hash FROM client_secrets WHERE client_id = $2`,
    [secret, id],
  )
  t.equal(row?.is_hash, true)
  t.notMatch(JSON.stringify(await listClients(services)).replaceAll(id, ''), /dss_|hash/)
})

t.test('keys that are wrong in every way are answered alike, by the same statements', async (t) => {
  const good = await makeBackend(doorstep)
  const other = await makeBackend(doorstep)
  const expired = await makeBackend(doorstep, { expires: new Date(Date.now() + 60_000).toISOString() })
  t.equal((await search(expired)).status, 200, 'until then')
  await sql(`UPDATE clients SET expires_at = now() - interval '1 second' WHERE id = $1`, [expired.id])
  const disabled = await makeBackend(doorstep)
  await disableClient(services, disabled.id)
  const elsewhere = await makeBackend(doorstep, { networks: ['192.0.2.0/24'] })
  const rotated = await makeBackend(doorstep)
  await rotateClient(services, rotated.id)
  await sql(
    `UPDATE client_secrets SET expires_at = now() - interval '1 second' WHERE client_id = $1 AND expires_at IS NOT NULL`,
    [rotated.id],
  )
  const wrong: Record<string, string> = {
    'an unknown id': basicOf(`dsc_${randomBytes(16).toString('base64url')}`, good.secret),
    'a wrong secret': basicOf(good.id, randomSecret()),
    "another's secret": basicOf(good.id, other.secret),
    'a secret with another case': basicOf(good.id, `dss_${swapCase(good.secret.slice(4))}`),
    ...{
      expired: expired.basic,
      disabled: disabled.basic,
      'from elsewhere': elsewhere.basic,
      'rotated away': rotated.basic,
    },
  }
  t.equal((await search(good)).status, 200)
  const { taken } = watchStatements(t)
  const answers = new Set<string>()
  const statements = new Set<string>()
  for (const [name, basic] of Object.entries(wrong)) {
    taken()
    const { status, body, headers } = await search({ basic })
    t.equal(status, 401, name)
    const { instance, ...told } = body
    const { date, 'x-request-id': _id, ...sent } = headers as Record<string, unknown>
    t.ok(instance && date !== '')
    answers.add(JSON.stringify([told, { ...sent, 'content-length': String(JSON.stringify(body).length) }]))
    statements.add(taken().join('\n'))
  }
  t.equal(answers.size, 1)
  t.match([...answers][0], /invalid_credentials/)
  t.equal(statements.size, 1)
  t.match([...statements][0], /^SELECT [^\n]*use_client\(\$1, \$2, \$3\) AS answer$/, 'one')
  const reasons = doorstep.logs
    .filter((line) => line.includes('client.rejected'))
    .map((line) => JSON.parse(line).outcome)
  t.same(
    reasons.slice(-Object.keys(wrong).length),
    [...Array(4).fill('wrong id or secret'), 'expired', 'disabled', 'wrong network', 'wrong id or secret'],
    'the operator reads which',
  )
})

const swapCase = (text: string): string =>
  text.replace(/[a-z]/gi, (it) => (it === it.toLowerCase() ? it.toUpperCase() : it.toLowerCase()))

t.test('what has not even the form of a key is answered alike, and asks the database nothing', async (t) => {
  const { id, secret } = await makeBackend(doorstep)
  const { taken } = watchStatements(t)
  const forms = [
    ...[
      '',
      ':',
      id,
      `${id}:`,
      `:${secret}`,
      `${id} ${secret}`,
      `${secret}:${id}`,
      `${id}:${secret}x`,
      `x${id}:${secret}`,
    ].map(encoded),
    ...[`${id}:${secret.slice(0, -1)}`, `${id}:${secret}\n`, `${id}:${secret}:`, `${id}:${secret}\0`].map(encoded),
    ...[encoded(`${id}:${secret}`).replace('Basic', 'Bearer'), 'Basic', 'Basic *', encoded('x'.repeat(5_000))],
  ]
  for (const basic of forms)
    t.match(await search({ basic }), { status: 401, body: { code: 'invalid_credentials' } }, basic.slice(0, 40))
  t.match(await call(doorstep, '/admin/users/search', { body: {} }), { status: 401 })
  t.same(taken(), [])
})

t.test('credentials may be written as OAuth libraries do, and the scheme as anybody likes', async (t) => {
  const { id, secret } = await makeBackend(doorstep)
  const percent = (text: string) =>
    [...Buffer.from(text)].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join('')
  for (const basic of [
    encoded(`${percent(id)}:${percent(secret)}`),
    encoded(`${encodeURIComponent(id)}:${encodeURIComponent(secret)}`),
    basicOf(id, secret).replace('Basic', 'bAsIc'),
    basicOf(id, secret).replace(' ', '   '),
  ]) {
    t.equal((await search({ basic })).status, 200, basic)
  }
})

t.test('a key is good in its networks only, however an address is written', async (t) => {
  const target = await startDoorstep(t, {
    database: doorstep.database,
    env: { TRUST_PROXY: '127.0.0.1', LOG_LEVEL: 'silent' },
  })
  const { basic } = await makeBackend(doorstep, {
    networks: ['192.0.2.0/25', '198.51.100.7', '2001:db8:1::/48', '2001:db8:2::9'],
  })
  const via = (forwarded: string) =>
    ask(target, { basic }, 'POST /admin/users/search', {}, { headers: { 'x-forwarded-for': forwarded } }).then(
      ({ status }) => status,
    )
  for (const inside of [
    ...['192.0.2.1', '192.0.2.127', '198.51.100.7', '198.51.100.7:4711', '::ffff:192.0.2.1', '64:ff9b::192.0.2.1'],
    ...['2001:db8:1::1', '[2001:db8:1:ffff::1]:443', '2001:DB8:2:0::9', '203.0.113.1, 192.0.2.1'],
  ]) {
    t.equal(await via(inside), 200, inside)
  }
  for (const outside of [
    ...['192.0.2.128', '198.51.100.8', '2001:db8:2::8', '2001:db8:3::1', '::ffff:192.0.3.1', '192.0.2.1, 203.0.113.1'],
    ...['unknown', '192.0.2', '3221225985', '192.0.2.1%eth0', 'fe80::1%eth0', '::'],
  ]) {
    t.equal(await via(outside), 401, outside)
  }
})

t.test('after a rotation both secrets work for 24 hours, then the new one only', async (t) => {
  const first = await makeBackend(doorstep)
  const { secret, old_secret_expires_at: until } = await rotateClient(services, first.id)
  t.ok(Math.abs(Date.parse(until) - Date.now() - 86_400_000) < 60_000)
  const second = { basic: basicOf(first.id, secret) }
  for (const one of [first, second]) t.equal((await search(one)).status, 200)
  const pass = (seconds: number) =>
    sql(
      `UPDATE client_secrets SET created_at = created_at - $2 * interval '1 second', expires_at = expires_at - $2 * interval '1 second' WHERE client_id = $1`,
      [first.id, seconds],
    )
  await pass(86_300)
  for (const one of [first, second]) t.equal((await search(one)).status, 200, 'a moment before')
  await pass(101)
  t.equal((await search(first)).status, 401)
  t.equal((await search(second)).status, 200)
  const third = { basic: basicOf(first.id, (await rotateClient(services, first.id)).secret) }
  const fourth = { basic: basicOf(first.id, (await rotateClient(services, first.id)).secret) }
  t.same(
    await Promise.all([first, second, third, fourth].map(async (one) => (await search(one)).status)),
    [401, 401, 200, 200],
    'never more than two',
  )
  t.equal((await sql('SELECT FROM client_secrets WHERE client_id = $1', [first.id])).length, 2)
  await Promise.all(Array.from({ length: 10 }, () => rotateClient(services, first.id)))
  t.equal((await sql('SELECT FROM client_secrets WHERE client_id = $1', [first.id])).length, 2, 'nor by ten at once')
  await disableClient(services, first.id)
  await t.rejects(rotateClient(services, first.id), { code: 'conflict' }, 'a disabled one gets none')
  t.equal((await search(fourth)).status, 401)
  await t.rejects(rotateClient(services, 'dsc_nobody'), { code: 'not_found' })
  await t.rejects(disableClient(services, 'dsc_nobody'), { code: 'not_found' })
})

t.test('each backend has its own minute, which wrong keys of others behind its address do not use up', async (t) => {
  stopClock(t)
  const target = await startDoorstep(t, {
    database: doorstep.database,
    env: { RATE_CLIENT_MINUTE: '20', RATE_DEFAULT_MINUTE: '5', LOG_LEVEL: 'silent' },
  })
  const [backend, other] = [await makeBackend(doorstep), await makeBackend(doorstep)]
  const shared = freshAddress()
  const statuses = async (count: number, one: Pick<Backend, 'basic'>, from = shared) => {
    const counted: Record<number, number> = {}
    for (let n = 0; n < count; n += 1) {
      const { status } = await search(one, from, target)
      counted[status] = (counted[status] ?? 0) + 1
    }
    return counted
  }
  t.same(await statuses(20, { basic: basicOf(backend.id, randomSecret()) }), { 401: 5, 429: 15 })
  t.same(await statuses(25, backend), { 200: 20, 429: 5 })
  t.same(await statuses(3, backend, freshAddress()), { 429: 3 }, 'from wherever it calls')
  t.same(await statuses(20, other), { 200: 20 })
  const refused = await search(backend, shared, target)
  t.match(refused, { body: { code: 'rate_limited', retry_after: 60 } })
})

t.test('that a key is used is written once an hour, by one of many', async (t) => {
  const backend = await makeBackend(doorstep)
  const usedAt = async () => (await sql('SELECT last_used_at, xmin::text FROM clients WHERE id = $1', [backend.id]))[0]
  t.match(await usedAt(), { last_used_at: null })
  await together(20, () => search(backend))
  const first = await usedAt()
  t.ok(first?.last_used_at)
  await together(5, () => search(backend))
  t.same(await usedAt(), first, 'the row is not even written')
  await sql(`UPDATE clients SET last_used_at = now() - interval '61 minutes' WHERE id = $1`, [backend.id])
  await search({ basic: basicOf(backend.id, randomSecret()) })
  const [{ age } = { age: 0 }] = await sql(
    'SELECT extract(epoch FROM now() - last_used_at)::integer AS age FROM clients WHERE id = $1',
    [backend.id],
  )
  t.ok(age > 3_600, 'a wrong secret is no use')
  await search(backend)
  t.not((await usedAt())?.xmin, first?.xmin)
})
