import { createHmac } from 'node:crypto'
import t, { type Test } from 'tap'
import { type Doorstep, startDoorstep } from '../helpers/doorstep.ts'
import { freshAddress, ghostEmail, guess, wrongPassword } from '../helpers/password-guesses.ts'
import { stopClock } from '../helpers/stopped-clock.ts'
import { type Answer, call, codeFor, createUser, finish, login, type TestUser } from '../helpers/story.ts'

t.setTimeout(300_000)

/** The limits of requests as an operator gets them who sets none; an empty setting counts as unset. */
const limits = { RATE_LOGIN_MINUTE: '', RATE_LOGIN_HOUR: '', RATE_DEFAULT_MINUTE: '', RATE_REFRESH_MINUTE: '' }
const open = await startDoorstep(t, { env: { LOG_LEVEL: 'silent' } })
const start = (t: Test, env: Record<string, string> = {}): Promise<Doorstep> =>
  startDoorstep(t, { database: open.database, env: { ...limits, ...env } })

const isLimited = ({ status, body }: Answer): boolean => status === 429 && body.code === 'rate_limited'

/** How many of these are let through, one after another. */
async function allowed(count: number, send: (n: number) => Promise<Answer>): Promise<number> {
  let passed = 0
  for (let n = 0; n < count; n += 1) if (!isLimited(await send(n))) passed += 1
  return passed
}

const nothing = (target: Doorstep, from: string, headers = {}): Promise<Answer> =>
  call(target, '/login', { body: {}, from, headers })

/** Signs in and returns the device's token. */
async function deviceOf(user: TestUser): Promise<string> {
  const first = await login(open, user, { from: freshAddress() })
  const { body } = await finish(open, first.body.pending_token, codeFor(open, user.phone), { from: freshAddress() })
  if (typeof body.device_token !== 'string') throw new Error(`${body.code}`)
  return body.device_token
}

t.test('whoever rents a network gets what one party gets, not one share per address (SEC-109)', async (t) => {
  stopClock(t)
  const target = await start(t, { RATE_LOGIN_MINUTE: '2', RATE_LOGIN_HOUR: '100000' })
  const hex = (n: number): string => n.toString(16)

  t.equal(await allowed(600, (n) => nothing(target, `203.0.113.${n % 256}`)), 2 * 16, 'IPv4: 16 addresses per /24')
  t.notOk(isLimited(await nothing(target, '203.0.114.1')), 'the next /24 is somebody else')

  t.equal(await allowed(20, (n) => nothing(target, `2001:db8:1:100::${hex(n + 1)}`)), 2, 'one /64')
  t.equal(
    await allowed(300, (n) => nothing(target, `2001:db8:1:1${hex(n % 256).padStart(2, '0')}::1`)),
    2 * 4 - 2,
    'one /56',
  )
  t.equal(await allowed(600, (n) => nothing(target, `2001:db8:1:${hex((n % 256) * 256)}::1`)), 2 * 8 - 2 * 4, 'one /48')
  t.notOk(isLimited(await nothing(target, '2001:db8:2::1')), 'the next /48 is somebody else')
})

t.test('one flooding neighbour uses up his own share, not the network of others (SEC-109)', async (t) => {
  stopClock(t)
  const target = await start(t)
  // He goes on for as long as he likes; what is refused counts nowhere else.
  t.equal(await allowed(1_000, () => nothing(target, '203.0.113.9')), 10)
  t.equal(await allowed(1_000, () => nothing(target, '2001:db8:9:9::9')), 10)
  t.equal(await allowed(10, () => nothing(target, '203.0.113.10')), 10, 'his neighbour has all of hers')
  t.equal(await allowed(10, () => nothing(target, '2001:db8:9:8::1')), 10)
})

t.test('every limit of requests counts in networks, not only that of logins (SEC-109)', async (t) => {
  stopClock(t)
  const routes: [string, string][] = [
    ['RATE_VERIFY_MINUTE', '/login/2fa'],
    ['RATE_RESEND_HOUR', '/login/2fa/resend'],
    ['RATE_REFRESH_MINUTE', '/token/refresh'],
    ['RATE_LOGIN_HOUR', '/login'],
    ['RATE_DEFAULT_MINUTE', '/logout'],
  ]
  for (const [setting, path] of routes) {
    const target = await start(t, { [setting]: '1' })
    const send = (n: number): Promise<Answer> => call(target, path, { body: {}, from: `203.0.113.${n}` })
    t.equal(await allowed(40, send), 16, setting)
  }
})

t.test('12 colleagues behind one address sign in within a minute: all get in (SEC-109)', async (t) => {
  const target = await start(t)
  const office = '198.51.100.20'
  const colleagues = await Promise.all(Array.from({ length: 12 }, () => createUser(target)))
  for (const [n, user] of colleagues.entries()) {
    // Between them one of them mistypes: as many as the limit has room for, and they do not add up with the right ones.
    if (n % 3 === 0) t.equal((await guess(target, user.email, office)).status, 401)
    t.equal((await login(target, user, { from: office })).status, 200, `colleague ${n + 1}`)
  }
})

t.test('right passwords do not buy an attacker wrong ones, and have an end of their own (SEC-109)', async (t) => {
  const clock = stopClock(t)
  const target = await start(t)
  const from = freshAddress()
  const own = await createUser(target, { twoFactor: 'off' })
  const right = (): Promise<Answer> => login(target, own, { from })

  // His own account's password between the guesses at others: still ten guesses.
  let guesses = 0
  for (let n = 0; n < 12; n += 1) {
    t.equal((await right()).status, n < 10 ? 200 : 429)
    if ((await guess(target, ghostEmail(), from)).status === 401) guesses += 1
  }
  t.equal(guesses, 10)
  t.ok(isLimited(await right()), 'once the guesses are used up, nothing is evaluated')

  clock.forward(61)
  const other = freshAddress()
  t.equal(await allowed(120, () => login(target, own, { from: other })), 100, 'a hundred right ones in a minute')
  t.ok(isLimited(await guess(target, ghostEmail(), other)), 'then nothing is evaluated there, right or wrong')
  clock.forward(61)
  t.equal((await login(target, own, { from: other })).status, 200, 'until the minute is over')
})

t.test('a charge that is given back late takes nothing out of the next window', async (t) => {
  const clock = stopClock(t)
  const target = await start(t, { RATE_LOGIN_MINUTE: '1', RATE_LOGIN_HOUR: '100000' })
  const from = freshAddress()
  const user = await createUser(target, { twoFactor: 'off' })
  const { verify } = target.services.passwordHash
  let hasWaited = false
  target.services.passwordHash.verify = async (...args) => {
    if (!hasWaited) {
      hasWaited = true
      clock.forward(61)
      t.equal((await guess(target, ghostEmail(), from)).status, 401, 'another request, in the next minute')
    }
    return verify(...args)
  }
  t.equal((await login(target, user, { from })).status, 200)
  t.ok(isLimited(await guess(target, ghostEmail(), from)), 'that one stays counted')
})

t.test(
  'a stranger who uses up an address, or its whole network, keeps no known device out (SEC-101, 109)',
  async (t) => {
    const target = await start(t)
    const owner = await createUser(target)
    const device = await deviceOf(owner)
    const shared = '203.0.113.77'
    const asOwner = (): Promise<Answer> => login(target, owner, { from: shared, body: { device_token: device } })

    await allowed(200, (n) => nothing(target, `203.0.113.${n}`))
    t.ok(isLimited(await nothing(target, shared)), 'the network is spent')
    t.ok(isLimited(await login(target, owner, { from: shared })), 'for everybody who shows nothing')
    t.not((await asOwner()).status, 429, 'but not for the owner, who shows his token')
    await allowed(200, (n) => nothing(target, `203.0.113.${n}`))
    t.not((await asOwner()).status, 429, 'however the stranger goes on')
  },
)

t.test('a device token has limits of its own, and must be genuine (SEC-109)', async (t) => {
  stopClock(t)
  const target = await start(t)
  const thief = await createUser(target)
  const device = await deviceOf(thief)
  const spray = (token: string, from = freshAddress()): Promise<Answer> =>
    login(target, { email: ghostEmail(), password: wrongPassword }, { from, body: { device_token: token } })

  // One token from as many addresses as he likes: ten a minute. He asks no database for it.
  t.equal(await allowed(40, () => spray(device)), 10)

  // What is no token of ours is counted as if it were not there, however many he makes up.
  const [head = '', random = '', mac = ''] = device.split('.')
  const forged = (n: number): string[] => [
    `${head}.${random}.${createHmac('sha256', `guess ${n}`).update(random).digest('base64url')}`,
    `${head}.${String(n).padStart(43, 'A')}.${mac}`,
    `dsd_x${n}.${random}.${mac}`,
    `${device}${n}`,
    device.toUpperCase(),
    `dsd_${n}`,
  ]
  for (const [kind, token] of forged(0).entries()) {
    const from = freshAddress()
    t.equal(await allowed(15, (n) => spray(forged(n)[kind] ?? '', from)), 10, token.slice(0, 12))
  }
})

t.test('garbage with a token in it is not free: it counts before anybody can read it (SEC-23, 109)', async (t) => {
  stopClock(t)
  const target = await start(t)
  const device = await deviceOf(await createUser(target))
  const send = async (payload: string | Buffer, headers: Record<string, string>, from: string): Promise<Answer> => {
    const reply = await target.app.inject({ method: 'POST', url: '/login', remoteAddress: from, payload, headers })
    return { status: reply.statusCode, body: reply.json(), headers: reply.headers }
  }
  const json = { 'content-type': 'application/json' }
  const cases: [string, number, string | Buffer, Record<string, string>][] = [
    ['malformed', 400, `{"device_token":"${device}"`, json],
    ['not UTF-8', 400, Buffer.from(`{"device_token":"${device}","x":"\xff"}`, 'latin1'), json],
    ['too large', 413, `{"device_token":"${device}","x":"${'x'.repeat(5_000)}"}`, json],
    ['another type', 415, `{"device_token":"${device}"}`, { 'content-type': 'text/plain' }],
    ['compressed', 415, `{"device_token":"${device}"}`, { ...json, 'content-encoding': 'gzip' }],
    ['a list', 400, `["${device}"]`, json],
    ['a token that is no text', 400, `{"device_token":["${device}"]}`, json],
    ['nothing', 400, 'null', json],
  ]
  for (const [name, status, payload, headers] of cases) {
    const from = freshAddress()
    const statuses: number[] = []
    for (let n = 0; n < 12; n += 1) statuses.push((await send(payload, headers, from)).status)
    t.strictSame(statuses, [...Array(10).fill(status), 429, 429], name)
  }
  // Readable, but not what the schema wants: counted by the token.
  const readable = JSON.stringify({ device_token: device, email: 1 })
  t.equal(await allowed(30, () => send(readable, json, freshAddress())), 10)
})

t.test('behind a proxy that writes ports, clients are told apart (issue 10)', async (t) => {
  const target = await start(t, { TRUST_PROXY: '127.0.0.1' })
  const via = (client: string): Promise<Answer> => nothing(target, '127.0.0.1', { 'x-forwarded-for': client })
  // Every connection has another port, and is the same client.
  t.equal(await allowed(12, (n) => via(`198.51.100.7:${50_001 + n}`)), 10)
  t.notOk(isLimited(await via('198.51.100.8:50001')), 'the next client is another')
  t.equal(await allowed(12, (n) => via(`[2001:db8::1]:${443 + n}`)), 10)
  t.ok(isLimited(await via('2001:db8::2')), 'with a port or without')
  t.notOk(isLimited(await via('[2001:db8:1::1]:443')))

  // A second proxy, which is written with its port, is a proxy all the same.
  const chained = await start(t, { TRUST_PROXY: '127.0.0.1,10.0.0.0/8' })
  const through = (client: string, proxy: string): Promise<Answer> =>
    nothing(chained, '127.0.0.1', { 'x-forwarded-for': `203.0.113.66, ${client}, ${proxy}` })
  t.equal(await allowed(12, (n) => through('198.51.100.7:1', `10.0.0.${n}:5555`)), 10)
  t.notOk(isLimited(await through('198.51.100.8:1', '10.0.0.1:5555')))
})

t.test(
  'what cannot be read as an address is counted under its proxy, and shuts nobody else out (SEC-110)',
  async (t) => {
    const target = await start(t, { TRUST_PROXY: '127.0.0.1,127.0.0.2', LOG_LEVEL: 'warn' })
    const via = (client: string, proxy = '127.0.0.1'): Promise<Answer> =>
      nothing(target, proxy, { 'x-forwarded-for': client })
    const odd = ['unknown', '_hidden', 'x', '198.51.100.7:', '']
    t.equal(await allowed(150, (n) => via(odd[n % 4] ?? '')), 100, 'ten times the numbers')
    t.notOk(isLimited(await via('unknown', '127.0.0.2')), 'another proxy is another bucket')
    t.notOk(isLimited(await via('198.51.100.9')), 'clients that can be read are not touched')
    t.notOk(isLimited(await nothing(target, '127.0.0.1')), 'nor is the proxy itself')

    const lines = target.logs.filter((line) => line.includes('address.unreadable'))
    t.ok(lines.length > 100, 'and an operator reads of it')
    t.match(JSON.parse(lines[0] ?? '{}'), { level: 'warn', address: 'via 127.0.0.1' })
    t.notOk(
      lines.some((line) => line.includes('_hidden')),
      'without what stood there',
    )
    t.match(await target.services.metrics.scrape(), /doorstep_events_total\{type="address.unreadable"/)
  },
)

t.test(
  'the budget of texts of such clients is ten times too, and no client of another proxy uses it (SEC-110)',
  async (t) => {
    const env = { TRUST_PROXY: '127.0.0.1', SMS_PER_ADDRESS_HOUR: '1', SMS_PER_ADDRESS_DAY: '1' }
    const target = await start(t, env)
    const send = async (from: string): Promise<Answer> => {
      const { email, password } = await createUser(target)
      return call(target, '/login', { body: { email, password }, headers: { 'x-forwarded-for': from } })
    }
    const statuses: number[] = []
    for (let n = 0; n < 11; n += 1) statuses.push((await send('unknown')).status)
    t.strictSame(statuses, [...Array(10).fill(200), 429])
    t.equal((await send('198.51.100.30')).status, 200)
    t.ok(isLimited(await send('198.51.100.30')), 'one that can be read has its single text')
  },
)
