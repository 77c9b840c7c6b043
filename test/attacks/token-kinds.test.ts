import t from 'tap'
import { makeBackend } from '../helpers/clients.ts'
import { codeOf, enter, refresh, tokensOf, trustDevice } from '../helpers/credentials.ts'
import { startDoorstep } from '../helpers/doorstep.ts'
import { createBareUser, enrol, proveMailbox, totpCode } from '../helpers/factors.ts'
import { forge, hmac, part } from '../helpers/forge.ts'
import { mailedToken } from '../helpers/links.ts'
import { allRoutes, pathOf, withHead } from '../helpers/registered-routes.ts'
import { type Answer, call, createUser, login, type TestUser } from '../helpers/story.ts'

t.setTimeout(300_000)

const client = 'billing:a-secret-of-the-billing-team-0123'
const doorstep = await startDoorstep(t, { env: { INTROSPECTION_CLIENTS: client } })
const { app, services, sql } = doorstep

/** What each kind of credential opens, besides what is public; reviewed by hand. A route that is new or gone fails this. */
const pendingRoutes = ['GET /login/2fa', 'POST /login/2fa', 'POST /login/2fa/method', 'POST /login/2fa/resend']
const diagonal = {
  'pending token of a login': pendingRoutes,
  'pending token of a step-up': pendingRoutes,
  'pending token of an enrolment': pendingRoutes,
  'pending token of an enrolment in a login': pendingRoutes,
  'pending token of a login that waits for its first factor': ['GET /login/2fa', 'POST /factors'],
  'pending token of a start with a passkey': ['GET /login/2fa', 'POST /login/2fa'],
  'access token': [
    ...['DELETE /devices/:id', 'DELETE /factors/:id', 'DELETE /sessions/:id'],
    ...['GET /devices', 'GET /factors', 'GET /me', 'GET /sessions', 'PATCH /devices/:id', 'PATCH /factors/:id'],
    ...['DELETE /me', 'GET /me/export', 'PATCH /me', 'PUT /me/email', 'PUT /me/password'],
    ...['POST /factors', 'POST /login/step-up', 'POST /logout', 'POST /me/email/confirm'],
  ],
  'refresh token': [],
  'device token': [],
  'link of a mail': [],
  'client id and secret': ['POST /token/introspect'],
  'id and secret of a backend': [
    ...['POST /token/introspect', 'POST /admin/users', 'POST /admin/users/search'],
    ...['GET /admin/users/:id', 'PATCH /admin/users/:id', 'DELETE /admin/users/:id'],
    ...['POST /admin/users/:id/password-reset', 'POST /admin/users/:id/unlock'],
    ...['factors', 'sessions', 'devices'].flatMap((it) => [
      `DELETE /admin/users/:id/${it}`,
      `DELETE /admin/users/:id/${it}/:part`,
    ]),
    ...['GET /admin/events', 'GET /admin/webhooks', 'POST /admin/webhooks'],
    ...['PATCH /admin/webhooks/:id', 'DELETE /admin/webhooks/:id'],
    ...['POST /admin/webhooks/:id/redeliver', 'POST /admin/webhooks/:id/rotate-secret'],
  ],
  'client id and secret as a bearer token': [],
  'access token as Basic': [],
} satisfies Record<string, string[]>
type Kind = keyof typeof diagonal
const kinds = Object.keys(diagonal) as Kind[]
const openedBy = (kind: Kind): string[] => withHead(diagonal[kind])

const ada = await createUser(doorstep)
const bob = await createUser(doorstep)
const plain = await createUser(doorstep, { twoFactor: 'off' })
const trusted = await trustDevice(doorstep, ada)
const newcomer = await createBareUser(doorstep)
const loginBegun = await login(doorstep, bob)
const stepUpBegun = await call(doorstep, '/login/step-up', { token: trusted.access, body: {} })
const enrolBegun = await enrol(doorstep, trusted.access, { method: 'totp' })
const mailboxProven = await proveMailbox(doorstep, newcomer)
const firstBegun = await enrol(doorstep, mailboxProven.body.pending_token, { method: 'totp' })
await call(doorstep, '/password/forgot', { body: { email: ada.email } })
const link = await mailedToken(doorstep, ada.email)
const backend = await makeBackend(doorstep)
const passkeyBegun = await call(doorstep, '/login/passkey', { body: {} })
const pendingOf = ({ status, body }: Answer): string => {
  if (body.pending_token === undefined) throw new Error(`nothing was begun: ${status} ${body.code}`)
  return body.pending_token
}
const loginPending = pendingOf(loginBegun)
const stepUpPending = pendingOf(stepUpBegun)

/** A credential as the header has it. An access token is fresh each time, since a route may end its session. */
const headers: Record<Kind, () => Promise<string> | string> = {
  'pending token of a login': () => `Bearer ${loginPending}`,
  'pending token of a step-up': () => `Bearer ${stepUpPending}`,
  'pending token of an enrolment': () => `Bearer ${pendingOf(enrolBegun)}`,
  'pending token of an enrolment in a login': () => `Bearer ${pendingOf(firstBegun)}`,
  'pending token of a login that waits for its first factor': () => `Bearer ${pendingOf(mailboxProven)}`,
  'pending token of a start with a passkey': () => `Bearer ${pendingOf(passkeyBegun)}`,
  'access token': async () => `Bearer ${await enterFresh(plain)}`,
  'refresh token': () => `Bearer ${trusted.refresh}`,
  'device token': () => `Bearer ${trusted.device}`,
  'link of a mail': () => `Bearer ${link}`,
  'client id and secret': () => `Basic ${Buffer.from(client).toString('base64')}`,
  'id and secret of a backend': () => backend.basic,
  'client id and secret as a bearer token': () => `Bearer ${Buffer.from(client).toString('base64')}`,
  'access token as Basic': async () => `Basic ${Buffer.from(`billing:${await enterFresh(plain)}`).toString('base64')}`,
}

/** Signs in, also after the account was left; the access token is that of a session which has just shown a second factor. */
async function enterFresh(user: TestUser): Promise<string> {
  await sql('UPDATE users SET disabled_at = NULL, erases_at = NULL WHERE id = $1', [user.id])
  const { access, sid } = await enter(doorstep, user)
  await sql(`UPDATE sessions SET acr = 'aal2' WHERE id = $1`, [sid])
  return access
}

const routes = allRoutes(app).filter(({ url }) => url !== '*')

/** Whether the guard of a route lets this credential pass; what the route then says of an empty body does not matter. */
async function passes(route: { method: string; url: string }, authorization?: string): Promise<boolean> {
  const { statusCode } = await app.inject({
    method: route.method as 'GET',
    url: pathOf(route),
    headers: { ...(authorization !== undefined && { authorization }) },
  })
  if (statusCode >= 500) throw new Error(`${route.method} ${route.url}: ${statusCode}`)
  // 403: a client that may not.
  return statusCode !== 401 && statusCode !== 403
}

/** The routes that let nobody pass without a credential. */
const guarded: typeof routes = []
for (const route of routes) {
  const { statusCode } = await app.inject({ method: route.method as 'GET', url: pathOf(route) })
  if (statusCode === 401) guarded.push(route)
}

t.test('every guarded route belongs to exactly one kind of credential', async (t) => {
  const opened = [...new Set(kinds.flatMap(openedBy))].sort()
  t.strictSame(guarded.map(({ method, url }) => `${method} ${url}`).sort(), opened)
})

for (const kind of kinds) {
  t.test(`a thief of a ${kind} opens with it what it is for, and nothing else`, async (t) => {
    const passed: string[] = []
    for (const route of guarded) {
      if (await passes(route, await headers[kind]())) passed.push(`${route.method} ${route.url}`)
    }
    t.strictSame(passed.sort(), openedBy(kind).sort())
  })
}

// Whoever could make a token of one purpose out of another would finish a login with the code of a step-up, set up a factor
// of their own with no more than a password, or skip the challenge. So what a challenge is for is asked of the database, too.
t.test('a pending token for one purpose is worth nothing for another, even one that we signed', async (t) => {
  const secret = services.secrets.current('pending-token')
  const sign = hmac(secret.key.toString('base64url'))
  const mint = (claims: object): string => forge({ alg: 'HS256', typ: '2fa-pending+jwt', kid: secret.id }, claims, sign)
  const begun: Record<string, [Answer, code: string]> = {
    login: [loginBegun, codeOf(doorstep, loginBegun)],
    step_up: [stepUpBegun, codeOf(doorstep, stepUpBegun)],
    enrol: [enrolBegun, totpCode(enrolBegun.body.challenge.setup.secret)],
    'enrol in a login': [firstBegun, totpCode(firstBegun.body.challenge.setup.secret)],
    must_enrol: [mailboxProven, '123456'],
  }
  const callsOf = (token: string, code: string): Record<string, () => Promise<Answer>> => ({
    'GET /login/2fa': () => call(doorstep, '/login/2fa', { token }),
    'POST /login/2fa': () => call(doorstep, '/login/2fa', { token, body: { code } }),
    'POST /login/2fa/resend': () => call(doorstep, '/login/2fa/resend', { token, body: {} }),
    'POST /login/2fa/method': () => call(doorstep, '/login/2fa/method', { token, body: { method: 'recovery_code' } }),
    'POST /factors': () => call(doorstep, '/factors', { token, body: { method: 'totp' } }),
  })
  const refused = { status: 401, body: { code: 'invalid_token' } }
  const books = () =>
    sql(`SELECT id, attempts, method, begun, consumed_at, superseded_at, (SELECT count(*)::integer FROM sessions) AS sessions,
      (SELECT count(*)::integer FROM factors) AS factors FROM challenges ORDER BY id`)
  const before = await books()
  for (const [own, [answer, code]] of Object.entries(begun)) {
    const claims = part(pendingOf(answer), 1)
    const { sid = trusted.sid, ...others } = claims
    for (const pur of ['login', 'step_up', 'enrol', 'must_enrol'].filter((it) => it !== claims.pur)) {
      const token = mint({ ...others, pur, ...(pur !== 'login' && { sid }) })
      for (const [name, ask] of Object.entries(callsOf(token, code))) {
        t.match(await ask(), refused, `${own} as ${pur}: ${name}`)
      }
    }
    for (const pur of ['', 'LOGIN', 'login ', 'signup', null, ['login'], undefined]) {
      const token = mint({ ...claims, pur })
      for (const ask of Object.values(callsOf(token, code))) {
        t.match(await ask(), refused, `${own} as ${JSON.stringify(pur)}`)
      }
    }
    // A start with a passkey is what its token says and nothing else: nothing of the account is in it.
    const { jti } = part(pendingOf(passkeyBegun), 1)
    const start = callsOf(mint({ ...claims, pur: 'passkey', jti }), code)
    const told = await start['GET /login/2fa']?.()
    t.match(told, { status: 200, body: { methods: ['passkey'], challenge: { method: 'passkey' } } }, own)
    t.same(told?.body, (await call(doorstep, '/login/2fa', { token: pendingOf(passkeyBegun) })).body, own)
    t.match(await start['POST /login/2fa']?.(), { status: 400 }, `${own}: no code finishes it`)
    for (const name of ['POST /login/2fa/resend', 'POST /login/2fa/method', 'POST /factors']) {
      t.match(await start[name]?.(), refused, `${own} as passkey: ${name}`)
    }
  }
  t.same(await books(), before, 'no try was counted, and nothing was begun or ended')
  for (const [own, [answer]] of Object.entries(begun)) {
    const same = mint(part(pendingOf(answer), 1))
    t.equal((await call(doorstep, '/login/2fa', { token: same })).status, 200, `${own}: such tokens are good`)
  }
})

t.test('in a body, too, each kind of token is good in its own place only', async (t) => {
  const { access } = await enter(doorstep, plain)
  const basic = { authorization: `Basic ${Buffer.from(client).toString('base64')}` }
  const tokens = {
    access,
    refresh: trusted.refresh,
    device: trusted.device,
    login: loginPending,
    stepUp: stepUpPending,
    enrol: pendingOf(enrolBegun),
    mustEnrol: pendingOf(mailboxProven),
    passkey: pendingOf(passkeyBegun),
  }
  for (const [kind, token] of Object.entries(tokens)) {
    const refreshed = await refresh(doorstep, token)
    t.equal(refreshed.status === 200, kind === 'refresh', `${kind} at /token/refresh: ${refreshed.status}`)
    t.ok(refreshed.status === 200 || [400, 401].includes(refreshed.status))

    const answer = await login(doorstep, ada, { body: { device_token: token } })
    t.equal(answer.body.status === 'authenticated', kind === 'device', `${kind} as device_token: ${answer.status}`)

    const told = await call(doorstep, '/token/introspect', {
      method: 'POST',
      headers: { ...basic, 'content-type': 'application/x-www-form-urlencoded' },
      body: new URLSearchParams({ token }).toString(),
    })
    t.equal(told.status, 200)
    t.equal(told.body.active, kind === 'access', `${kind} at /token/introspect`)
  }
})

const change = ({ email }: TestUser, changed: { disabled?: boolean; password_hash?: string }) =>
  services.store.accounts.change(email, [], changed, { type: 'user.changed', outcome: 'test' })

const endings: Record<string, (user: TestUser, access: string, sid: string) => Promise<unknown>> = {
  'its own logout': (_user, access) => call(doorstep, '/logout', { token: access, body: {} }),
  'a logout of the others': async (user) =>
    call(doorstep, '/logout', { token: await enterFresh(user), body: { scope: 'others' } }),
  'being ended from the list': async (user, _access, sid) =>
    call(doorstep, `/sessions/${sid}`, { method: 'DELETE', token: await enterFresh(user) }),
  'disabling its user': (user) => change(user, { disabled: true }),
  'a password change': async (user) =>
    change(user, { password_hash: await services.passwordHash.hash('another password, quite new') }),
}

for (const [name, end] of Object.entries(endings)) {
  t.test(`an access token is refused everywhere at once after ${name}`, async (t) => {
    const user = await createUser(doorstep, { twoFactor: 'off' })
    const { access, sid, refresh: token } = await enter(doorstep, user)
    t.equal((await call(doorstep, '/me', { token: access })).status, 200)
    await end(user, access, sid)
    for (const route of guarded.filter(({ method, url }) => openedBy('access token').includes(`${method} ${url}`))) {
      const answer = await call(doorstep, pathOf(route), { method: route.method as 'GET', token: access })
      t.match(
        answer,
        {
          status: 401,
          ...(route.method !== 'HEAD' && { body: { code: 'invalid_token' } }),
          headers: { 'www-authenticate': 'Bearer error="invalid_token"' },
        },
        `${route.method} ${route.url}`,
      )
    }
    t.equal((await refresh(doorstep, token)).status, 401, 'and its refresh token with it')
  })
}

t.test('a user cannot see or end the sessions of another', async (t) => {
  const [mine, his] = [
    await enter(doorstep, plain),
    tokensOf(await login(doorstep, ada, { body: { device_token: trusted.device } })),
  ]
  const list = await call(doorstep, '/sessions', { token: mine.access })
  t.notOk(JSON.stringify(list.body).includes(his.sid))
  t.ok(list.body.sessions.some(({ id, current }: { id: string; current: boolean }) => id === mine.sid && current))
  const fresh = await enterFresh(plain)
  t.match(await call(doorstep, `/sessions/${his.sid}`, { method: 'DELETE', token: fresh }), {
    status: 404,
    body: { code: 'not_found' },
  })
  t.equal((await call(doorstep, '/logout', { token: fresh, body: { scope: 'all' } })).status, 204)
  t.equal((await call(doorstep, '/me', { token: mine.access })).status, 401)
  t.equal((await call(doorstep, '/me', { token: his.access })).status, 200)
})
