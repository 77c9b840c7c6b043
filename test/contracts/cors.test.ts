import t, { type Test } from 'tap'
import { loadConfig } from '../../src/config.ts'
import { type Doorstep, startDoorstep, testKeys } from '../helpers/doorstep.ts'
import { pathOf, registeredRoutes } from '../helpers/registered-routes.ts'
import { call, createUser, login } from '../helpers/story.ts'

t.setTimeout(300_000)

const app = 'https://app.example.com'
const phone = 'capacitor://localhost'
const listed = { CORS_ORIGINS: `${app}, ${phone}`, INTROSPECTION_CLIENTS: 'billing:0123456789abcdef' }
const open = await startDoorstep(t, { env: listed })
const start = (t: Test, env: Record<string, string>): Promise<Doorstep> =>
  startDoorstep(t, { database: open.database, env: { LOG_LEVEL: 'silent', ...env } })

/** The headers of an answer that speak to browsers. */
const corsOf = (headers: Record<string, unknown>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(headers).filter(([name]) => name.startsWith('access-control-')))

const preflight = (target: Doorstep, url: string, origin: string, more: Record<string, string> = {}) =>
  target.app.inject({
    method: 'OPTIONS',
    url,
    headers: { origin, 'access-control-request-method': 'POST', ...more },
  })

t.test('a page of a listed origin may call, and read what tells it when and how to come back', async (t) => {
  for (const origin of [app, phone]) {
    const asked = await preflight(open, '/login', origin, {
      'access-control-request-headers': 'authorization,content-type',
    })
    t.equal(asked.statusCode, 204)
    t.equal(asked.body, '')
    t.strictSame(corsOf(asked.headers), {
      'access-control-allow-origin': origin,
      'access-control-allow-methods': 'GET, HEAD, POST, PUT, PATCH, DELETE',
      'access-control-allow-headers': 'Authorization, Content-Type',
      'access-control-expose-headers': 'Retry-After, WWW-Authenticate',
      'access-control-max-age': '600',
    })
    const user = await createUser(open, { twoFactor: 'off' })
    const answer = await call(open, '/login', {
      body: { email: user.email, password: user.password },
      headers: { origin },
    })
    t.equal(answer.status, 200)
    t.strictSame(corsOf(answer.headers), {
      'access-control-allow-origin': origin,
      'access-control-expose-headers': 'Retry-After, WWW-Authenticate',
    })
    t.match(answer.headers.vary, /\bOrigin\b/)
    const refused = await call(open, '/me', { headers: { origin } })
    t.equal(refused.status, 401)
    t.equal(refused.headers['access-control-allow-origin'], origin, 'refusals can be read too')
  }
})

t.test('every call of people and none of clients is open to listed origins', async (t) => {
  const closed: string[] = []
  for (const route of registeredRoutes(open.app)) {
    if (!['GET', 'POST', 'DELETE', 'PATCH'].includes(route.method)) continue
    const url = pathOf(route)
    const reply = await open.app.inject({ method: route.method as 'GET', url, headers: { origin: app } })
    const asked = await preflight(open, url, app)
    const isOpen = reply.headers['access-control-allow-origin'] === app
    t.equal(asked.headers['access-control-allow-origin'] === app, isOpen, `${route.method} ${url}: as its preflight`)
    if (isOpen) t.equal(asked.statusCode, 204)
    if (!isOpen && reply.statusCode !== 405) closed.push(`${route.method} ${route.url}`)
  }
  t.ok(closed.includes('POST /admin/users'))
  t.strictSame(
    closed.filter((it) => !/^[A-Z]+ \/admin\//.test(it)),
    ['POST /token/introspect'],
  )
  const introspect = await preflight(open, '/token/introspect', app)
  t.equal(introspect.statusCode, 405)
  t.strictSame(corsOf(introspect.headers), {})
  const nowhere = await call(open, '/nothing', { headers: { origin: app } })
  t.match(nowhere, { status: 404, headers: { 'access-control-allow-origin': app } })
})

t.test('a page of any other origin learns nothing, whatever it looks like', async (t) => {
  const others = [
    ...['https://evil.example', 'null', '*', '', `${app}.evil.example`, `${app}:443`, `${app}:8443`, `${app}/`],
    ...['http://app.example.com', 'https://APP.example.com', 'https://xapp.example.com', 'https://example.com'],
    ...['capacitor://localhost:1', 'ionic://localhost', 'http://localhost', `${app} ${app}`, `${app},${app}`],
  ]
  for (const origin of others) {
    const asked = await preflight(open, '/login', origin)
    t.equal(asked.statusCode, 405, origin)
    t.strictSame(corsOf(asked.headers), {}, origin)
    const answer = await call(open, '/health/live', { headers: { origin } })
    t.equal(answer.status, 200, 'who is not a browser is not kept out')
    t.strictSame(corsOf(answer.headers), {}, origin)
    t.match(answer.headers.vary, /\bOrigin\b/, 'no cache gives one page the answer of another')
  }
  t.strictSame(corsOf((await call(open, '/health/live')).headers), {}, 'nor without any')
})

t.test('no page ever sends credentials of the browser', async (t) => {
  for (const origin of [app, phone, 'https://evil.example']) {
    for (const { headers } of [
      await preflight(open, '/me', origin),
      await call(open, '/me', { headers: { origin } }),
    ]) {
      t.notOk('access-control-allow-credentials' in headers)
      t.not(headers['access-control-allow-origin'], '*')
    }
  }
})

t.test('preflights are not limited, and what only looks like one is', async (t) => {
  const few = await start(t, { ...listed, RATE_DEFAULT_MINUTE: '3', RATE_LOGIN_MINUTE: '1' })
  for (let n = 0; n < 20; n += 1) t.equal((await preflight(few, '/login', app)).statusCode, 204)
  const user = await createUser(few, { twoFactor: 'off' })
  t.equal((await login(few, user)).status, 200, 'nothing was used up')
  const statuses: number[] = []
  // Another origin, no origin, no method: no preflight of a listed page.
  for (const headers of [
    { origin: 'https://evil.example', 'access-control-request-method': 'POST' },
    {},
    { origin: app },
  ]) {
    statuses.push((await few.app.inject({ method: 'OPTIONS', url: '/login', headers })).statusCode)
  }
  statuses.push((await few.app.inject({ method: 'OPTIONS', url: '/login' })).statusCode)
  t.strictSame(statuses, [405, 405, 405, 429])
  const limited = await call(few, '/me', { headers: { origin: app } })
  t.equal(limited.status, 429)
  t.equal(limited.headers['access-control-allow-origin'], app, 'a page can read that it is to wait')
  t.ok(Number(limited.headers['retry-after']) > 0)
})

t.test('unless told otherwise: every localhost page in development, none in production', async (t) => {
  const development = await start(t, {})
  const pages = ['http://localhost', 'http://localhost:5173', 'https://localhost:8443', 'http://127.0.0.1:3001']
  for (const origin of [...pages, 'http://[::1]:4000', 'http://app.localhost:3000', 'capacitor://localhost']) {
    t.equal((await preflight(development, '/login', origin)).headers['access-control-allow-origin'], origin, origin)
  }
  const others = ['null', 'http://localhost.evil.example', 'http://evil.example', 'http://localhost:1@evil.example']
  for (const origin of [
    ...others,
    'http://evillocalhost',
    'http://localhost:5173/',
    'http://192.168.1.2:5173',
    'http://10.0.0.1',
  ]) {
    t.strictSame(corsOf((await preflight(development, '/login', origin)).headers), {}, origin)
  }
  const settings = { ...testKeys, NODE_ENV: 'test' }
  t.equal(loadConfig(settings).corsOrigins, 'localhost')
  t.strictSame(loadConfig({ ...settings, CORS_ORIGINS: app }).corsOrigins, [app])
})

t.test('CORS_ORIGINS takes exact origins of any scheme, and nothing that would be wider', async (t) => {
  const load = (value: string): unknown => loadConfig({ ...testKeys, NODE_ENV: 'test', CORS_ORIGINS: value })
  for (const value of [
    ...[
      app,
      'http://localhost:5173',
      'capacitor://localhost',
      'ionic://localhost',
      'tauri://localhost',
      'app://obsidian.md',
    ],
    ...['chrome-extension://abcdefghijklmnopabcdefghijklmnop', 'http://[::1]:3000', 'https://xn--mnchen-3ya.example'],
    `${app},${phone} , http://127.0.0.1:1`,
  ]) {
    t.doesNotThrow(() => load(value), value)
  }
  for (const value of [
    ...[
      'null',
      '*',
      'https://*',
      'https://*.example.com',
      'app.example.com',
      'https://',
      `${app}/`,
      `${app}/x`,
      `${app}?`,
    ],
    ...[`${app}#`, 'https://user@app.example.com', 'HTTPS://app.example.com', 'https://App.example.com', `${app}:443`],
    ...[
      'http://localhost:80',
      'https://münchen.example',
      'file://',
      `${app},null`,
      `${app},`,
      `${app};${phone}`,
      '//x',
    ],
  ]) {
    t.throws(() => load(value), { name: 'ConfigError', problems: [/^CORS_ORIGINS must be exact origins/] }, value)
  }
})
