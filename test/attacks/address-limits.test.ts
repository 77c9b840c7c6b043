import type { AddressInfo } from 'node:net'
import { networkInterfaces } from 'node:os'
import t, { type Test } from 'tap'
import { loadConfig } from '../../src/config.ts'
import { age } from '../helpers/age.ts'
import { enter } from '../helpers/credentials.ts'
import { type Doorstep, startDoorstep, testKeys } from '../helpers/doorstep.ts'
import { createBareUser } from '../helpers/factors.ts'
import {
  countedFor,
  emailKey,
  freshAddress,
  ghostEmail,
  guess,
  lockOut,
  passTime,
  wrongPassword,
} from '../helpers/password-guesses.ts'
import { pathOf, type RegisteredRoute, registeredRoutes } from '../helpers/registered-routes.ts'
import { stopClock } from '../helpers/stopped-clock.ts'
import { type Answer, call, createUser, freshPhone, login, resend } from '../helpers/story.ts'
import { isOverloaded, repeat, tally, together } from '../helpers/together.ts'

t.setTimeout(300_000)

const rateSettings = {
  loginMinute: 'RATE_LOGIN_MINUTE',
  loginHour: 'RATE_LOGIN_HOUR',
  verifyMinute: 'RATE_VERIFY_MINUTE',
  resendHour: 'RATE_RESEND_HOUR',
  refreshMinute: 'RATE_REFRESH_MINUTE',
  mailMinute: 'RATE_MAIL_MINUTE',
  mailHour: 'RATE_MAIL_HOUR',
  default: 'RATE_DEFAULT_MINUTE',
}
/** An empty setting counts as unset: the limits as an operator gets them who sets none. */
const defaults = Object.fromEntries(Object.values(rateSettings).map((name) => [name, '']))

const doorstep = await startDoorstep(t, { env: { ...defaults, LOG_LEVEL: 'silent' } })
const { database, sql, services } = doorstep
const withLimits = (env: Record<string, string>, owner: Test = t): Promise<Doorstep> =>
  startDoorstep(owner, { database, env: { LOG_LEVEL: 'silent', ...env } })

const isLimited = ({ status, body }: Answer): boolean => status === 429 && body.code === 'rate_limited'

/** Sends until an answer is `rate_limited`; how many went before, and that answer. */
async function untilLimited(most: number, send: (n: number) => Promise<Answer>) {
  for (let n = 0; n <= most; n += 1) {
    const answer = await send(n)
    if (isLimited(answer)) return { allowed: n, answer }
  }
  throw new Error(`more than ${most} were allowed`)
}

const getNothing = (target: Pick<Doorstep, 'app'>, from: string): Promise<Answer> => call(target, '/nothing', { from })
const postNothing = (target: Pick<Doorstep, 'app'>, path: string, from: string): Promise<Answer> =>
  call(target, path, { body: {}, from })

t.test('one address gets exactly as many requests as the contract says (SEC-18)', async (t) => {
  const cases: [string, number, number, (from: string, n: number) => Promise<Answer>][] = [
    ['login', 10, 60, (from) => guess(doorstep, ghostEmail(), from)],
    ['second step', 20, 60, (from) => postNothing(doorstep, '/login/2fa', from)],
    ['resend', 10, 3_600, (from) => postNothing(doorstep, '/login/2fa/resend', from)],
    [
      'all the rest together',
      300,
      60,
      (from, n) =>
        call(doorstep, ['/health/live', '/me', '/problems/busy', '/nothing', '/login'][n % 5] ?? '', { from }),
    ],
  ]
  for (const [name, number, windowSeconds, send] of cases) {
    const [from, neighbour] = [freshAddress(), freshAddress()]
    const { allowed, answer } = await untilLimited(number, (n) => send(from, n))
    t.equal(allowed, number, name)
    t.ok(answer.body.retry_after <= windowSeconds && answer.body.retry_after > windowSeconds / 2, `${name}: the wait`)
    t.notOk(isLimited(await send(neighbour, 0)), `${name}: another address is not touched`)
    t.ok(isLimited(await send(from, 0)), `${name}: and this one stays refused`)
  }
})

t.test(
  'an address gets 100 logins in an hour, and never more than twice 10 around the end of a minute (SEC-18)',
  async (t) => {
    const clock = stopClock(t)
    const from = freshAddress()
    const send = (): Promise<Answer> => postNothing(doorstep, '/login', from)

    // The seam: the window ends between 9 requests and 10 more.
    t.notOk(isLimited(await send()))
    clock.forward(58)
    t.equal((await untilLimited(20, send)).allowed, 9)
    clock.forward(3)
    t.equal((await untilLimited(20, send)).allowed, 10)

    let sent = 20
    let last: Answer | undefined
    for (let minute = 0; minute < 20 && sent < 100; minute += 1) {
      clock.forward(60)
      const { allowed, answer } = await untilLimited(20, send)
      sent += allowed
      last = answer
    }
    t.equal(sent, 100)
    clock.forward(60)
    last = await send()
    t.ok(isLimited(last), 'the hour is used up, whatever the minute says')
    t.ok(last.body.retry_after > 1_800, `wait: ${last.body.retry_after} s`)
    clock.forward(last.body.retry_after)
    t.notOk(isLimited(await send()), 'until it is over')
  },
)

t.test('a password sprayed over many accounts from one address stops at the limits of the address (T39)', async (t) => {
  const from = freshAddress()
  let evaluated = 0
  for (let n = 0; n < 25; n += 1) evaluated += (await guess(doorstep, ghostEmail(), from)).status === 401 ? 1 : 0
  t.equal(evaluated, 10)
})

t.test('who proves a password while signed in uses up no logins of the address, and has five guesses', async (t) => {
  const doorstep = await startDoorstep(t, { env: { LOG_LEVEL: 'silent' } })
  const guesses: Record<string, (token: string, from: string) => Promise<Answer>> = {
    'a step-up': (token, from) => call(doorstep, '/login/step-up', { token, from, body: { password: wrongPassword } }),
    'a change': (token, from) =>
      call(doorstep, '/me/password', {
        ...{ method: 'PUT', token, from },
        body: { current_password: wrongPassword, password: 'a long sentence that only one person knows' },
      }),
  }
  for (const [name, send] of Object.entries(guesses)) {
    await repeat(t, 1, async () => {
      const from = freshAddress()
      const { access } = await enter(doorstep, await createBareUser(doorstep, 'off'))
      const answers = await together(50, () => send(access, from))
      for (let n = 0; n < 100; n += 1) answers.push(await send(access, from))
      t.match(
        await guess(doorstep, ghostEmail(), from),
        { status: 401 },
        `${name}: somebody else's login is not touched`,
      )
      if (isOverloaded(answers)) return false
      t.same(tally(answers), { '401 invalid_token': 145, '422 invalid_password': 5 }, name)
      return true
    })
  }
})

t.test('every route has the limits that were reviewed for it, and they run (SEC-22)', async (t) => {
  const reviewed: Record<string, string[]> = {
    loginMinute: ['POST /login'],
    loginHour: ['POST /login'],
    verifyMinute: ['POST /login/2fa'],
    resendHour: ['POST /login/2fa/resend'],
    refreshMinute: ['POST /token/refresh'],
    mailMinute: ['POST /password/forgot', 'POST /register'],
    mailHour: ['POST /password/forgot', 'POST /register'],
  }
  const special = Object.values(reviewed).flat()
  const nameOf = ({ method, url }: RegisteredRoute): string => `${method} ${url}`
  const ask = async (target: Pick<Doorstep, 'app'>, route: RegisteredRoute, from: string) => {
    const method = route.method as 'GET'
    return target.app.inject({ method, url: pathOf(route), remoteAddress: from })
  }
  const all = registeredRoutes(doorstep.app)
  const routes: RegisteredRoute[] = []
  for (const route of all) {
    // What answers every other method of a path is one route by itself; TRACE stands for all of those.
    const { statusCode } = await ask(doorstep, route, freshAddress())
    if (statusCode !== 405 || route.method === 'TRACE') routes.push(route)
  }
  t.ok(routes.length > 20 && routes.length < all.length)

  for (const [limit, setting] of Object.entries(rateSettings)) {
    await t.test(limit, async (t) => {
      const target = await withLimits({ [setting]: '1' }, t)
      const limited: string[] = []
      for (const route of routes) {
        const from = freshAddress()
        const first = await ask(target, route, from)
        const second = await ask(target, route, from)
        t.not(first.statusCode, 429, `${nameOf(route)}: the first passes`)
        if (second.statusCode === 429) limited.push(nameOf(route))
      }
      const expected = reviewed[limit] ?? routes.map(nameOf).filter((name) => !special.includes(name))
      t.same(limited.sort(), expected.sort())
      const from = freshAddress()
      await getNothing(target, from)
      t.equal(isLimited(await getNothing(target, from)), limit === 'default', 'where no route is')
    })
  }
})

t.test('the limits of an e-mail and of a phone hold over all addresses, accounts and routes (SEC-22)', async (t) => {
  const open = await withLimits({})
  const user = await createUser(open)
  const answers: number[] = []
  for (let n = 0; n < 50; n += 1) answers.push((await guess(open, user.email)).status)
  t.same(answers, [...Array(5).fill(401), ...Array(45).fill(429)], 'one e-mail from 50 addresses')

  const phone = freshPhone()
  const family = [
    await createUser(open, { phone }),
    await createUser(open, { phone }),
    await createUser(open, { phone }),
  ]
  const codes: string[] = []
  for (const member of family) codes.push((await login(open, member, { from: freshAddress() })).body.code)
  t.same(codes, [undefined, 'resend_too_soon', 'resend_too_soon'], 'one phone of three accounts')

  const reader = await createUser(open)
  const { body } = await login(open, reader)
  // Four more texts in this hour, the last two minutes ago: whoever asks for the next one is refused, on either route.
  await age(open, reader, 120)
  await sql(
    `INSERT INTO sms_messages (user_id, challenge_id, known, phone, prefix, address, reserved_at)
     SELECT user_id, challenge_id, known, phone, prefix, address, reserved_at FROM sms_messages, generate_series(1, 4)
     WHERE user_id = $1`,
    [reader.id],
  )
  t.match(await resend(open, body.pending_token), { status: 429, body: { code: 'sms_limit_reached' } })
  await sql('UPDATE challenges SET attempts = 5 WHERE user_id = $1', [reader.id])
  t.match(await login(open, reader), { status: 429, body: { code: 'sms_limit_reached' } })
})

t.test('nothing can be probed for free: what is refused early counts too (SEC-23)', async (t) => {
  const ask =
    (path: string, options: { method?: string; payload?: string; headers?: Record<string, string> }) =>
    async (from: string): Promise<Answer> => {
      const { method = 'POST', ...rest } = options
      const reply = await doorstep.app.inject({ method: method as 'POST', url: path, remoteAddress: from, ...rest })
      return { status: reply.statusCode, body: reply.json(), headers: reply.headers }
    }
  const json = { 'content-type': 'application/json' }
  const cases: [string, number, number, (from: string) => Promise<Answer>][] = [
    ['no such path', 404, 300, ask('/admin', { method: 'GET' })],
    ['a path that cannot be read', 404, 300, ask('/%zz', { method: 'GET' })],
    ['another method', 405, 300, ask('/login', { method: 'GET' })],
    ['too large', 413, 10, ask('/login', { payload: `{"email":"${'x'.repeat(5_000)}"}`, headers: json })],
    ['not JSON', 415, 10, ask('/login', { payload: 'a=b', headers: { 'content-type': 'text/plain' } })],
    ['compressed', 415, 10, ask('/login', { payload: 'a', headers: { ...json, 'content-encoding': 'gzip' } })],
    ['malformed JSON', 400, 10, ask('/login', { payload: '{"email":', headers: json })],
    ['no body', 400, 10, ask('/login', { headers: json })],
    ['another schema', 400, 10, ask('/login', { payload: '{"email":1}', headers: json })],
    ['NUL', 400, 10, ask('/login', { payload: '{"email":"a@b","password":"\\u0000"}', headers: json })],
    ['not an e-mail', 400, 10, ask('/login', { payload: '{"email":"abc","password":"x"}', headers: json })],
    ['no token', 401, 20, ask('/login/2fa', { payload: '{}', headers: json })],
    ['bad token', 401, 20, ask('/login/2fa', { headers: { authorization: 'Bearer a.b.c' } })],
  ]
  for (const [name, status, number, send] of cases) {
    const from = freshAddress()
    const statuses = new Set<number>()
    const { allowed } = await untilLimited(number, async () => {
      const answer = await send(from)
      statuses.add(answer.status)
      return answer
    })
    t.equal(allowed, number, name)
    t.same([...statuses], [status, 429], name)
  }
})

t.test('a 429 says exactly how long to wait (SEC-24)', async (t) => {
  const clock = stopClock(t)
  const from = freshAddress()
  await postNothing(doorstep, '/login', from)
  clock.forward(17)
  const { answer } = await untilLimited(10, () => postNothing(doorstep, '/login', from))
  t.equal(answer.body.retry_after, 43)
  clock.forward(42)
  t.ok(isLimited(await postNothing(doorstep, '/login', from)), 'not before')
  clock.forward(1)
  t.notOk(isLimited(await postNothing(doorstep, '/login', from)), 'but then')

  const email = ghostEmail()
  await lockOut(doorstep, email)
  const most = Math.ceil((await countedFor(doorstep, email)).lockSeconds ?? 0)
  const locked = await guess(doorstep, email)
  const least = Math.ceil((await countedFor(doorstep, email)).lockSeconds ?? 0)
  t.ok(locked.body.retry_after <= most && locked.body.retry_after >= least, 'as long as the lock still runs')
  await passTime(doorstep, email, locked.body.retry_after)
  t.equal((await guess(doorstep, email)).status, 401, 'and then it is over')

  for (const refused of [answer, locked]) {
    t.match(String(refused.headers['retry-after']), /^[1-9]\d*$/)
    t.equal(Number(refused.headers['retry-after']), refused.body.retry_after)
    t.equal(refused.headers['content-type'], 'application/problem+json; charset=utf-8')
    t.equal(refused.body.type, `http://localhost:3000/problems/${refused.body.code}`)
    t.same(Object.keys(refused.body).sort(), ['code', 'detail', 'instance', 'retry_after', 'status', 'title', 'type'])
  }
})

/** Ways to claim another address, which a client may try. */
const claims = (n: number): Record<string, string> => ({
  'x-forwarded-for': `203.0.113.${n}`,
  forwarded: `for=203.0.113.${n};proto=https`,
  'x-real-ip': `203.0.113.${n}`,
  'x-client-ip': `203.0.113.${n}`,
  'cf-connecting-ip': `203.0.113.${n}`,
  'true-client-ip': `203.0.113.${n}`,
  'x-forwarded-host': 'evil.example',
  'x-forwarded-proto': 'ftp',
  host: `evil${n}.example`,
})

t.test('a client cannot claim to be somebody else (SEC-19)', async (t) => {
  const behindProxy = await withLimits({ RATE_DEFAULT_MINUTE: '5', TRUST_PROXY: '10.0.0.0/8, fd00::/8' })
  const bare = await withLimits({ RATE_DEFAULT_MINUTE: '5' })
  for (const [name, target, from] of [
    ['without a proxy', bare, '10.1.1.1'],
    ['past the proxy', behindProxy, '192.0.2.7'],
  ] as const) {
    const { allowed, answer } = await untilLimited(20, (n) => call(target, '/me', { from, headers: claims(n) }))
    t.equal(allowed, 5, `${name}: one address, whatever it claims`)
    t.equal(answer.body.type, 'http://localhost:3000/problems/rate_limited', `${name}: nor is the host believed`)
  }

  /** Through the proxy, which appends whom it heard from. */
  const through = (chain: string, proxy = '10.2.3.4'): Promise<Answer> =>
    call(behindProxy, '/me', { from: proxy, headers: { 'x-forwarded-for': chain } })
  const { allowed } = await untilLimited(20, (n) => through(`203.0.113.${n}, 198.51.100.5`))
  t.equal(allowed, 5, 'the address that the proxy saw is the one that counts')
  t.ok(isLimited(await through('203.0.113.77, 198.51.100.5', '10.9.9.9')), 'through any of the proxies')
  t.ok(isLimited(await through('203.0.113.77, 198.51.100.5, 10.7.7.7', 'fd00::1')), 'and through two of them')
  t.notOk(isLimited(await through('198.51.100.5, 198.51.100.6')), 'its neighbour is another address')
  t.notOk(
    isLimited(await call(behindProxy, '/me', { from: '203.0.113.1' })),
    'nobody was charged whose address was claimed',
  )

  const user = await createUser(bare)
  await call(behindProxy, '/login', {
    body: { email: user.email, password: 'x' },
    from: '10.2.3.4',
    headers: { 'x-forwarded-for': '203.0.113.9, 198.51.100.8' },
  })
  const [row] = await sql(`SELECT address FROM audit_events WHERE user_id = $1 AND type = 'login.failed'`, [user.id])
  t.equal(row?.address, '198.51.100.8', 'it is also the one that is recorded')

  for (const value of ['true', '1', '2', '0.0.0.0/0', '::/0', 'loopback', '*']) {
    const load = (): unknown => loadConfig({ ...testKeys, NODE_ENV: 'test', TRUST_PROXY: value })
    t.throws(load, { name: 'ConfigError', problems: [/^TRUST_PROXY /] }, `TRUST_PROXY=${value} does not start`)
  }
})

t.test('one client is one address, however it is written (SEC-20)', async (t) => {
  const few = await withLimits({ RATE_DEFAULT_MINUTE: '2' })
  const count = async (from: string): Promise<boolean> => isLimited(await getNothing(few, from))
  const same = [
    ['8.8.8.8', '::ffff:8.8.8.8', '::ffff:808:808', '::FFFF:0808:0808', '0:0:0:0:0:ffff:8.8.8.8'],
    [
      '2001:db8:1:2::1',
      '2001:DB8:1:2:ffff:ffff:ffff:ffff',
      '2001:0db8:0001:0002:0000:0000:0000:0001',
      '2001:db8:1:2::9',
    ],
    ['fe80::1', 'fe80::1%eth0', 'fe80::2%eth1', 'fe80:0:0:0:ffff::'],
    ['64:ff9b::9.9.9.9', '9.9.9.9', '::ffff:9.9.9.9', '64:ff9b::909:909'],
  ]
  for (const [first = '', second = '', ...others] of same) {
    t.notOk(await count(first), first)
    t.notOk(await count(second), second)
    for (const other of others) t.ok(await count(other), `${other} is ${first}`)
  }
  for (const other of [
    '8.8.8.9',
    '::ffff:8.8.4.4',
    '64:ff9b::8.8.4.5',
    '2001:db8:1:3::1',
    'fe80:0:0:1::1',
    '9.9.9.8',
  ]) {
    t.notOk(await count(other), `${other} is somebody else`)
  }
})

t.test('one client is one address over a real listener for both protocols (SEC-20)', async (t) => {
  const few = await withLimits({ RATE_DEFAULT_MINUTE: '4' })
  const hasIpv6 = Object.values(networkInterfaces()).some((all) => all?.some(({ address }) => address === '::1'))
  await few.app.listen({ host: hasIpv6 ? '::' : '0.0.0.0', port: 0 })
  const { port } = few.app.server.address() as AddressInfo
  const get = async (host: string): Promise<number> =>
    (await fetch(`http://${host}:${port}/health/live`, { headers: { connection: 'close' } })).status
  const statuses = [await get('127.0.0.1'), await get('127.0.0.1')]
  for (const from of ['127.0.0.1', '::ffff:127.0.0.1'])
    statuses.push((await call(few, '/health/live', { from })).status)
  t.same(statuses, [200, 200, 200, 200])
  t.equal(await get('127.0.0.1'), 429, 'as IPv4 and as IPv4 in IPv6 it is one client')
  t.equal(await get(hasIpv6 ? '[::1]' : '127.0.0.2'), 200, 'the other loopback address is another')
})

t.test('limits that must hold cannot be flushed by other keys or a restart (SEC-21)', async (t) => {
  const env = { RATE_LOGIN_MINUTE: '5', SMS_COOLDOWN: '600' }
  const first = await startDoorstep(t, { database, env: { LOG_LEVEL: 'silent', ...env } })
  const victim = await createUser(first)
  const texted = await createUser(first)
  const neighbour = await createUser(first, { phone: texted.phone })
  await lockOut(first, victim.email)
  // However long this machine takes for all of it.
  await sql(`UPDATE login_throttles SET locked_until = now() + interval '1 hour' WHERE identifier = $1`, [
    emailKey(first, victim.email),
  ])
  t.equal((await login(first, texted, { from: freshAddress() })).status, 200)
  const attacker = freshAddress()
  await untilLimited(5, () => postNothing(first, '/login', attacker))

  const stillHeld = async (target: Doorstep, when: string): Promise<void> => {
    t.match(
      await login(target, victim, { from: freshAddress() }),
      { status: 429, body: { code: 'login_locked' } },
      when,
    )
    const { body } = await login(target, neighbour, { from: freshAddress() })
    t.equal(body.code, 'resend_too_soon', when)
  }
  await stillHeld(first, 'at first')

  // More addresses than the limiter's library remembers by default, and 20,000 e-mails and phones.
  for (let n = 0; n < 5_200; n += 1) await postNothing(first, '/login', freshAddress())
  await sql(
    `INSERT INTO login_throttles (identifier, failures) SELECT sha256(n::text::bytea), 4 FROM generate_series(1, 20000) n`,
  )
  await sql(
    `INSERT INTO sms_messages (user_id, challenge_id, known, phone, prefix, address)
     SELECT gen_random_uuid(), gen_random_uuid(), false, n::text, '', '' FROM generate_series(1, 20000) n`,
  )
  await services.store.purge.expired({ eventDays: 400, notices: true })
  await stillHeld(first, 'after the flood')
  t.ok(isLimited(await postNothing(first, '/login', attacker)), 'the shield remembers the address as well')

  await first.app.close()
  const second = await withLimits(env)
  await stillHeld(second, 'on another instance, after the first was stopped')
})

t.test('made-up e-mails leave nothing that stays or says whom they named (T40)', async (t) => {
  const email = ghostEmail()
  await guess(doorstep, email)
  const identifier = emailKey(doorstep, email)
  const [row] = await sql('SELECT * FROM login_throttles WHERE identifier = $1', [identifier])
  t.equal(row?.identifier.length, 32, 'a keyed hash')
  t.notOk(JSON.stringify(row).includes('none-'))
  t.same(
    await sql('SELECT FROM login_throttles WHERE identifier = sha256($1::bytea)', [email]),
    [],
    'and not a plain one',
  )

  await sql('TRUNCATE login_throttles')
  await sql(
    `INSERT INTO login_throttles (identifier, failures, counted_from, locked_until)
     SELECT sha256(n::text::bytea), 5, now() - interval '49 hours',
            CASE WHEN n <= 3 THEN now() + interval '1 minute' ELSE now() - interval '48 hours' END
     FROM generate_series(1, 5000) n`,
  )
  await guess(doorstep, email)
  const deleted = await services.store.purge.expired({ eventDays: 400, notices: true })
  t.equal(deleted.throttles, 4_997)
  t.equal((await sql('SELECT FROM login_throttles')).length, 4, 'what locks or was counted today stays')
})
