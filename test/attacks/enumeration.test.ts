import { performance } from 'node:perf_hooks'
import t from 'tap'
import { buildApp } from '../../src/app.ts'
import { changeAccount } from '../../src/features/accounts/change-account.ts'
import { becomeKnown, codeOf } from '../helpers/credentials.ts'
import { type Doorstep, startDoorstep } from '../helpers/doorstep.ts'
import {
  countedFor,
  evaluations,
  forget,
  ghostEmail,
  guess,
  lockOut,
  passTime,
  wrongPassword,
} from '../helpers/password-guesses.ts'
import { areaUnderCurve } from '../helpers/rank-test.ts'
import { allRoutes, pathOf } from '../helpers/registered-routes.ts'
import { watchStatements } from '../helpers/statements.ts'
import {
  type Answer,
  codeFor,
  createUser,
  finish,
  login,
  rightPassword,
  type TestUser,
  textsTo,
  wrongCode,
} from '../helpers/story.ts'

t.setTimeout(300_000)
const doorstep = await startDoorstep(t)
const { app, services, database, sql } = doorstep

/** What a client can see of an answer, without what differs between any two answers. */
function visible({ status, body, headers }: Answer) {
  const { date, ...otherHeaders } = headers
  const { instance, ...otherMembers } = body
  return { status, headers: otherHeaders, body: otherMembers, hasInstance: /^[\w-]{36}$/.test(instance) }
}

/** The same without the wait, which is a second shorter once a second has passed. */
function visibleButTheWait(answer: Answer) {
  const { headers, body, ...rest } = visible(answer)
  const { 'retry-after': _seconds, ...otherHeaders } = headers
  const { retry_after: _wait, ...otherMembers } = body
  return { ...rest, headers: otherHeaders, body: otherMembers }
}

async function createDisabledUser(): Promise<TestUser> {
  const user = await createUser(doorstep)
  await changeAccount(services, { email: user.email, edit: { disabled: true }, outcome: 'disabled' })
  return user
}

t.test('a stranger cannot learn from an answer which e-mails have an account (SEC-01)', async (t) => {
  const known = await createUser(doorstep)
  const withoutFactor = await createUser(doorstep, { twoFactor: 'off' })
  const disabled = await createDisabledUser()
  const answers = {
    'unknown e-mail': await guess(doorstep, ghostEmail()),
    'unknown e-mail, a password that others have': await login(doorstep, {
      email: ghostEmail(),
      password: rightPassword,
    }),
    'wrong password': await guess(doorstep, known.email),
    'wrong password, no second factor': await guess(doorstep, withoutFactor.email),
    'disabled account, wrong password': await guess(doorstep, disabled.email),
    'disabled account, right password': await login(doorstep, disabled),
  }
  const first = visible(answers['unknown e-mail'])
  t.match(first, { status: 401, body: { code: 'invalid_credentials' }, hasInstance: true })
  t.equal(first.headers['content-type'], 'application/problem+json; charset=utf-8')
  t.notOk(Object.keys(first.body).includes('retry_after'))
  for (const [name, answer] of Object.entries(answers)) {
    t.same(visible(answer), first, name)
    t.equal(answer.headers['content-length'], first.headers['content-length'], `${name}: length`)
  }
})

t.test('a stranger cannot learn it from the lock either: real, made up and disabled are locked alike', async (t) => {
  const known = await createUser(doorstep)
  const disabled = await createDisabledUser()
  const sequenceOf = async (email: string): Promise<Answer[]> => {
    const answers: Answer[] = []
    for (let n = 0; n < 7; n += 1) answers.push(await guess(doorstep, email))
    await passTime(doorstep, email, 30)
    for (let n = 0; n < 2; n += 1) answers.push(await guess(doorstep, email))
    return answers
  }
  const madeUp = await sequenceOf(ghostEmail())
  t.same(
    madeUp.map(({ status }) => status),
    [401, 401, 401, 401, 401, 429, 429, 401, 429],
  )
  t.match(madeUp[5], { body: { code: 'login_locked' }, headers: { 'retry-after': /^\d+$/ } })
  for (const [name, email] of [
    ['real', known.email],
    ['disabled', disabled.email],
  ] as const) {
    const sequence = await sequenceOf(email)
    t.same(sequence.map(visibleButTheWait), madeUp.map(visibleButTheWait), name)
    for (const [n, answer] of sequence.entries()) {
      const difference = Math.abs(Number(answer.body.retry_after ?? 0) - Number(madeUp[n]?.body.retry_after ?? 0))
      t.ok(difference <= 9, `${name}: the wait of answer ${n + 1}`)
    }
  }
})

t.test('a stranger cannot learn it from the owner, who signs in between the guesses (SEC-102)', async (t) => {
  /** Four wrong guesses, perhaps the owner, two more, the wait, two more. */
  const sequenceOf = async (email: string, owner: () => Promise<unknown>): Promise<Answer[]> => {
    const answers: Answer[] = []
    for (let n = 0; n < 4; n += 1) answers.push(await guess(doorstep, email))
    await owner()
    for (let n = 0; n < 2; n += 1) answers.push(await guess(doorstep, email))
    await passTime(doorstep, email, 30)
    await owner()
    for (let n = 0; n < 2; n += 1) answers.push(await guess(doorstep, email))
    return answers
  }
  const nobody = await sequenceOf(ghostEmail(), async () => {})
  t.same(
    nobody.map(({ status }) => status),
    [401, 401, 401, 401, 401, 429, 401, 429],
  )
  const enter = async (user: TestUser, body: object): Promise<void> => {
    const first = await login(doorstep, user, { body })
    const done = await finish(doorstep, first.body.pending_token, codeOf(doorstep, first))
    t.equal(done.status, 200, 'the owner was there')
  }
  const [onNew, onKnown, away, disabled] = [
    await createUser(doorstep),
    await createUser(doorstep),
    await createUser(doorstep),
    await createDisabledUser(),
  ]
  const { device } = await becomeKnown(doorstep, onKnown)
  for (const [name, { email }, owner] of [
    ['the owner on a new device', onNew, () => enter(onNew, {})],
    ['the owner on a known device', onKnown, () => enter(onKnown, { device_token: device })],
    ['the owner with the first step alone', away, () => login(doorstep, away)],
    ['a disabled owner', disabled, async () => {}],
  ] as const) {
    const sequence = await sequenceOf(email, owner)
    t.same(sequence.map(visibleButTheWait), nobody.map(visibleButTheWait), name)
  }
})

t.test('nor from a token: a device token at an e-mail that is not its own changes nothing', async (t) => {
  const { device } = await becomeKnown(doorstep, await createUser(doorstep))
  const user = await createUser(doorstep)
  const answersOf = async (email: string): Promise<Answer[]> => {
    const answers: Answer[] = []
    const body = { device_token: device }
    for (let n = 0; n < 6; n += 1) answers.push(await login(doorstep, { email, password: wrongPassword }, { body }))
    return answers
  }
  const [real, madeUp] = [await answersOf(user.email), await answersOf(ghostEmail())]
  t.same(
    madeUp.map(({ status }) => status),
    [401, 401, 401, 401, 401, 429],
  )
  t.same(real.map(visibleButTheWait), madeUp.map(visibleButTheWait))
})

t.test('the state of the second step shows only to whoever has the password', async (t) => {
  const plain = visible(await guess(doorstep, ghostEmail()))

  const cooling = await createUser(doorstep)
  const { body } = await login(doorstep, cooling)
  const wrong = wrongCode(codeFor(doorstep, cooling.phone))
  for (let n = 0; n < 5; n += 1) await finish(doorstep, body.pending_token, wrong)
  t.same(visible(await guess(doorstep, cooling.email)), plain, 'number in its cooldown')
  t.match(await login(doorstep, cooling), { status: 429, body: { code: 'resend_too_soon' } })

  const locked = await createUser(doorstep)
  await sql(`INSERT INTO factor_guards (user_id, known, locked_until) VALUES ($1, false, now() + interval '1 hour')`, [
    locked.id,
  ])
  t.same(visible(await guess(doorstep, locked.email)), plain, 'second factor locked')
  t.match(await login(doorstep, locked), { status: 429, body: { code: 'second_factor_locked' } })
})

t.test('a stranger cannot learn it from the work: the same statements for every failure (SEC-02)', async (t) => {
  const known = await createUser(doorstep)
  const disabled = await createDisabledUser()
  const ghost = ghostEmail()
  const statements = watchStatements(t)
  const workOf = async (email: string, password: string): Promise<{ status: number; sent: string[] }> => {
    const { status } = await login(doorstep, { email, password })
    return { status, sent: statements.taken() }
  }

  const work = await workOf(ghost, wrongPassword)
  t.equal(work.status, 401)
  t.equal(work.sent.length, 2, `statements: ${work.sent.join('; ')}`)
  t.same(await workOf(known.email, wrongPassword), work, 'wrong password')
  t.same(await workOf(disabled.email, disabled.password), work, 'disabled account')

  for (const email of [ghost, known.email]) {
    await forget(doorstep, email)
    await lockOut(doorstep, email)
  }
  statements.taken()
  const refused = await workOf(ghost, wrongPassword)
  t.equal(refused.status, 429)
  t.equal(refused.sent.length, 1)
  t.same(await workOf(known.email, wrongPassword), refused, 'locked')
  t.same(await workOf(known.email, known.password), refused, 'locked, right password')
})

t.test('a stranger with a stopwatch cannot tell a known e-mail from a made-up one (SEC-02)', async (t) => {
  const realistic = await startDoorstep(t, {
    database,
    env: { ARGON2_MEMORY_KIB: '', ARGON2_TIME: '', LOG_LEVEL: 'silent' },
  })
  t.match(realistic.config.argon2, { memoryKib: 19_456, time: 2 })
  const known = await createUser(realistic)

  const timeOf = async (target: Pick<Doorstep, 'app'>, email: string): Promise<number> => {
    const begun = performance.now()
    const { status } = await guess(target, email)
    const took = performance.now() - begun
    t.equal(status, 401)
    await forget(realistic, email)
    return took
  }
  /** Pairs of one known and one made-up e-mail, whichever first. The chance that the known one takes longer. */
  const areaOver = async (target: Pick<Doorstep, 'app'>, pairs: number): Promise<number> => {
    const times = { known: [] as number[], unknown: [] as number[] }
    for (let n = 0; n < pairs; n += 1) {
      const sides = (['known', 'unknown'] as const).toSorted(() => services.random.bytes(1).readInt8())
      for (const side of sides) times[side].push(await timeOf(target, side === 'known' ? known.email : ghostEmail()))
    }
    return areaUnderCurve(times.known, times.unknown)
  }

  await areaOver(realistic, 5)
  /** Measures up to four times, since other work on the machine disturbs it; the last area, and all of them to read. */
  const measure = async (target: Pick<Doorstep, 'app'>, pairs: number, isExpected: (area: number) => boolean) => {
    const areas: number[] = []
    while (areas.length < 4 && !isExpected(areas.at(-1) ?? Number.NaN)) areas.push(await areaOver(target, pairs))
    return { last: areas.at(-1) ?? Number.NaN, all: areas.map((area) => area.toFixed(3)).join(', ') }
  }
  const isEven = (area: number): boolean => area >= 0.35 && area <= 0.65
  const isTelling = (area: number): boolean => area > 0.95

  const honest = await measure(realistic, 45, isEven)
  t.ok(isEven(honest.last), `not to be told apart: ${honest.all}`)

  const { passwordHash } = realistic.services
  const verify: typeof passwordHash.verify = async (stored, password) =>
    stored === null ? false : passwordHash.verify(stored, password)
  const leaky = await buildApp({ ...realistic.services, passwordHash: { ...passwordHash, verify } })
  t.teardown(() => leaky.close())
  const control = await measure({ app: leaky }, 20, isTelling)
  t.ok(isTelling(control.last), `the same measurement sees a build that does no work for them: ${control.all}`)
})

t.test('whoever has the password alone gets nothing with it but the second step (SEC-03)', async (t) => {
  const user = await createUser(doorstep)
  const stored = async () => ({
    user: await sql('SELECT to_jsonb(u) AS row FROM users u WHERE id = $1', [user.id]),
    sessions: await sql('SELECT id FROM sessions'),
    challenges: (await sql('SELECT id FROM challenges WHERE user_id = $1', [user.id])).length,
  })
  const before = await stored()
  const answer = await login(doorstep, user)
  t.same(await stored(), { ...before, challenges: 1 }, 'one challenge and nothing else')
  t.equal(before.challenges, 0)

  t.equal(answer.status, 200)
  t.match(answer.body, { status: '2fa_required', expires_in: 600, challenge: { resend_after: 60 } })
  t.same(Object.keys(answer.body).sort(), [
    'challenge',
    'expires_in',
    'methods',
    'pending_token',
    'status',
    'token_type',
  ])
  t.same(Object.keys(answer.body.challenge).sort(), [
    'attempts_remaining',
    'channel',
    'code_expires_in',
    'code_length',
    'delivery',
    'destination',
    'method',
    'resend_after',
  ])
  const text = JSON.stringify({ ...answer.body, pending_token: '' })
  for (const secret of [user.id, user.email, user.phone, user.phone.slice(2, -2), codeFor(doorstep, user.phone)]) {
    t.notOk(text.includes(secret), 'nothing about the user')
  }
  t.notOk(['set-cookie', 'authorization', 'location'].some((name) => name in answer.headers))
  const claims = JSON.parse(Buffer.from(answer.body.pending_token.split('.')[1], 'base64url').toString())
  t.same(Object.keys(claims).sort(), ['amr', 'aud', 'cid', 'exp', 'iat', 'iss', 'jti', 'pur', 'sub'])
  t.same(claims.amr, ['pwd'])
})

t.test('a pending token opens no route but those of the second step (SEC-03)', async (t) => {
  const opened = ['POST /login/2fa', 'POST /login/2fa/resend', 'POST /login/2fa/method', 'GET /login/2fa']
  /** Routes that ask for no token at all: reviewed, nobody's data is behind them. */
  const open = [
    ...['POST /login', 'GET /health/live', 'GET /health/ready', 'GET /.well-known/jwks.json', 'GET /problems/:code'],
    ...['GET /openapi.json', 'GET /dev/sms', 'POST /token/refresh', 'GET /.well-known/oauth-authorization-server'],
    ...['GET /dev/mail', 'POST /webhooks/twilio/status', 'POST /login/passkey'],
    ...['POST /register', 'POST /password/forgot', 'POST /password/set', 'POST /account/secure'],
    // The example page of development, and what it is made of.
    ...['GET /', 'GET /set-password', 'GET /confirm-email', 'GET /not-me'],
    ...['GET /page/page.js', 'GET /page/page.css', 'GET /page/logo.svg'],
  ]
  const isOpen = (name: string): boolean => open.includes(name) || /^GET \/docs(\/|$)/.test(name)
  const routes = allRoutes(app).filter(({ url }) => url !== '*')
  const names = routes.map(({ method, url }) => `${method} ${url}`)
  for (const name of [...opened, ...open]) t.ok(names.includes(name), `${name} is a route`)

  const { body } = await login(doorstep, await createUser(doorstep))
  const token: string = body.pending_token
  const ask = async (method: string, path: string, headers: Record<string, string>) => {
    const reply = await app.inject({
      method: method as 'GET',
      url: path,
      headers,
      ...(method === 'POST' && { payload: {} }),
    })
    const isJson = String(reply.headers['content-type']).includes('json') && reply.body !== ''
    return { status: reply.statusCode, code: isJson ? reply.json().code : undefined }
  }
  const closed: string[] = []
  for (const route of routes) {
    // Whoever may not read may not ask for the headers either; those have no body to say why.
    const isHead = route.method === 'HEAD'
    const name = `${isHead ? 'GET' : route.method} ${route.url}`
    const bare = await ask(route.method, pathOf(route), {})
    if (bare.status === 405) continue
    const withToken = await ask(route.method, pathOf(route), { authorization: `Bearer ${token}` })
    if (isOpen(name)) {
      t.same(withToken, bare, `${name}: the token makes no difference`)
      t.not(bare.status, 401, name)
    } else if (opened.includes(name)) {
      t.match(bare, { status: 401, code: isHead ? undefined : 'invalid_token' }, `${name} without a token`)
      t.not(withToken.status, 401, `${name} with the token`)
    } else if (route.url.includes('*') && bare.status === 404) {
      t.same(withToken, bare, `${name}: nothing is there`)
    } else {
      closed.push(name)
      // Backends show HTTP Basic credentials instead of a token.
      const code =
        name === 'POST /token/introspect' || route.url.startsWith('/admin/') ? 'invalid_credentials' : 'invalid_token'
      const refused = { status: 401, code: isHead ? undefined : code }
      t.match(bare, refused, `${route.method} ${route.url} without a token`)
      t.match(withToken, refused, `${route.method} ${route.url} with the token`)
    }
  }
  t.ok(closed.includes('GET /me'), `closed: ${closed.join(', ')}`)

  for (const [place, path, headers] of [
    ['query', `/me?access_token=${token}`, {}],
    ['cookie', '/me', { cookie: `access_token=${token}; token=${token}` }],
    ['other header', '/me', { 'x-access-token': token, 'proxy-authorization': `Bearer ${token}` }],
    ['other scheme', '/me', { authorization: `Basic ${token}` }],
    ['two at once', '/me', { authorization: `Bearer ${token}, Bearer ${token}` }],
  ] as [string, string, Record<string, string>][]) {
    t.equal((await ask('GET', path, headers)).status, 401, `in a ${place}`)
  }
})

t.test('a login cannot carry fields that nobody asked for (T38)', async (t) => {
  const user = await createUser(doorstep)
  const before = evaluations(doorstep)
  for (const extra of [
    { role: 'admin' },
    { user_id: user.id },
    { two_factor: 'off' },
    { two_factor_enabled: false },
    { amr: ['pwd', 'sms', 'mfa'] },
    { acr: 'aal2' },
    { phone: '+12025550100' },
    { email_verified: true },
    { status: 'authenticated' },
  ]) {
    const answer = await login(doorstep, user, { body: extra })
    t.match(answer, { status: 400, body: { code: 'invalid_request' } }, JSON.stringify(extra))
  }
  t.equal(evaluations(doorstep), before, 'no password was evaluated')
  t.equal((await countedFor(doorstep, user.email)).failures, 0, 'nor counted')
  t.equal(textsTo(doorstep, user.phone).length, 0)
})

t.test('wrong passwords, however many, send no text and begin no challenge (SEC-04)', async (t) => {
  const user = await createUser(doorstep)
  const before = evaluations(doorstep)
  const textsBefore = services.inbox?.sent().length
  const [counted] = await sql('SELECT count(*)::integer AS challenges FROM challenges')
  for (let n = 0; n < 50; n += 1) {
    t.equal((await guess(doorstep, user.email)).status, 401)
    if (n % 4 === 3) await forget(doorstep, user.email)
  }
  t.equal(evaluations(doorstep) - before, 50, 'each of them was evaluated')
  t.equal(services.inbox?.sent().length, textsBefore)
  t.same(await sql('SELECT count(*)::integer AS challenges FROM challenges'), [counted])
  t.equal((await sql('SELECT FROM sms_messages WHERE user_id = $1', [user.id])).length, 0)
})
