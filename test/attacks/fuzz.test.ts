import fc from 'fast-check'
import t from 'tap'
import { problemCatalogue } from '../../src/errors.ts'
import { anyPath } from '../helpers/any-text.ts'
import { createAuthenticator } from '../helpers/authenticator.ts'
import { startDoorstep } from '../helpers/doorstep.ts'
import { thorough } from '../helpers/effort.ts'
import { createBareUser, enrol, proveMailbox } from '../helpers/factors.ts'
import { pathOf, registeredRoutes } from '../helpers/registered-routes.ts'
import { call, codeFor, createUser, login, resend, signIn } from '../helpers/story.ts'

t.setTimeout(300_000)

/** Runs of each property, as many of them as fit into this time; a failure prints its seed. */
const bounds = { numRuns: 3_000, interruptAfterTimeLimit: thorough(12_000, 4_000), markInterruptAsFailure: false }

const doorstep = await startDoorstep(t)
const { app } = doorstep
const victim = await createUser(doorstep)
const { pending_token: pending } = (await login(doorstep, victim)).body
const code = codeFor(doorstep, victim.phone)
const { access_token: access } = (await signIn(doorstep, await createUser(doorstep))).body
const waiting = (await proveMailbox(doorstep, await createBareUser(doorstep))).body.pending_token
const setUp = (await enrol(doorstep, waiting, { method: 'totp', name: 'an app' })).body
const start = (await call(doorstep, '/login/passkey', { body: {} })).body
const device = createAuthenticator({ origin: doorstep.config.passkey.origins[0] ?? '' })
const newKey = (
  await enrol(doorstep, (await signIn(doorstep, await createUser(doorstep))).body.access_token, { method: 'passkey' })
).body.challenge.setup.public_key
const credential = device.register(newKey)

const routes = registeredRoutes(app)
const methods = [...new Set(routes.map(({ method }) => method))]
const paths = [...new Set(routes.map(pathOf))]

const odd = fc.constantFrom(
  ...[
    '\u0000',
    '\ud800',
    '\udc00',
    '\u202e',
    '😀',
    '"',
    '\\',
    "'",
    '%',
    '{',
    '}',
    '[',
    '\r',
    '\n',
    '\t',
    '\u007f',
    'é',
    '-',
    ' ',
  ],
)
const text = fc.oneof(
  fc.constantFrom(
    victim.email,
    victim.email.toUpperCase(),
    ` ${victim.email} `,
    victim.password,
    code,
    `${code.slice(0, 3)}-${code.slice(3)}`,
    'sms',
    '/',
    '//',
    '/a',
    '',
    '__proto__',
    'constructor',
    'true',
    '0',
    'null',
    "' OR 1=1 --",
    '$(id)',
    '../../etc/passwd',
    'x'.repeat(257),
    'x'.repeat(600),
  ),
  fc.string({ unit: 'grapheme', maxLength: 20 }),
  fc.string({ unit: odd, maxLength: 8 }),
)
const names = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.constantFrom(
      'email',
      'password',
      'remember_me',
      'return_to',
      'code',
      'channel',
      'device_token',
      'trust_device',
      'method',
      'name',
      'phone',
      'credential',
      'response',
      'id',
    ),
  },
  { weight: 1, arbitrary: text },
)
const { value } = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 3, withCrossShrink: true },
    { weight: 4, arbitrary: text },
    fc.constantFrom(null, true, false, 0, -1, 1.5, 1e21, 123456, Number.MAX_SAFE_INTEGER),
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(names, tie('value'), { maxKeys: 5 }),
  ),
}))

const someMethod = fc.constantFrom('passkey', 'totp', 'sms', 'email', 'recovery_code')

/** An answer of an authenticator in which something else stands, or stands elsewhere. */
const someCredential = fc
  .tuple(
    fc.record({ id: value, rawId: value, type: value, response: value, more: value }, { requiredKeys: [] }),
    fc.dictionary(
      fc.constantFrom('clientDataJSON', 'attestationObject', 'authenticatorData', 'signature', 'userHandle'),
      value,
    ),
    fc.constantFrom(
      ...Object.values(credential.response).filter((it) => typeof it === 'string'),
      'oA',
      'AAAA',
      '_'.repeat(5_000),
    ),
  )
  .map(([outer, inner, bytes]) => ({
    ...{ ...credential, ...outer },
    response: { ...credential.response, signature: bytes, authenticatorData: bytes, ...inner },
  }))

/** Bodies that are nearly right: the right fields with right and wrong values, sometimes broken as text. */
const nearly = fc.oneof(
  fc.record({
    email: fc.oneof(fc.constant(victim.email), value),
    password: fc.oneof(fc.constant(victim.password), value),
  }),
  fc.record(
    { email: fc.constant(victim.email), password: fc.constant(victim.password), remember_me: value, return_to: value },
    { requiredKeys: ['email', 'password'] },
  ),
  fc.record({ code: fc.oneof(fc.constant(code), value) }),
  fc.record({ channel: fc.oneof(fc.constant('sms'), value) }),
  fc.record(
    { method: fc.oneof(someMethod, value), name: value, phone: fc.oneof(fc.constantFrom('+12025550111', '+1'), value) },
    { requiredKeys: ['method'] },
  ),
  fc.record({ code: fc.oneof(fc.constant(code), value), method: fc.oneof(someMethod, value) }),
  fc.record({ credential: fc.oneof(someCredential, value) }),
  fc.constant({}),
  value,
)
const body = fc.oneof(
  { weight: 4, arbitrary: nearly.map((it) => JSON.stringify(it)) },
  {
    weight: 1,
    arbitrary: fc.tuple(nearly, fc.nat({ max: 80 }), text).map(([it, at, extra]) => {
      const whole = JSON.stringify(it)
      return whole.slice(0, at) + extra + whole.slice(at + extra.length)
    }),
  },
  {
    weight: 1,
    arbitrary: fc
      .tuple(nearly, nearly)
      .map(([one, two]) => `${JSON.stringify(one).slice(0, -1)},${JSON.stringify(two).slice(1)}`),
  },
  {
    weight: 1,
    arbitrary: fc.oneof(
      text,
      fc.constant('['.repeat(9_000)),
      fc.constant('{"a":'.repeat(2_000)),
      fc.constant('1'.repeat(20_000)),
    ),
  },
)
const bytes = fc.oneof(
  { weight: 6, arbitrary: body.map((it) => Buffer.from(it)) },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 200 }).map((it) => Buffer.from(it)) },
)

const wire = fc.string({
  unit: fc
    .integer({ min: 32, max: 255 })
    .filter((unit) => unit !== 127)
    .map((unit) => String.fromCharCode(unit)),
  maxLength: 40,
})
const token = fc.oneof(
  fc.constantFrom(
    ...[pending, access, waiting, setUp.pending_token, start.pending_token].map(String),
    ...[`${pending}x`, `${access}`.slice(1), 'x.y.z', ''],
  ),
  wire,
)
const headers = fc.record(
  {
    'content-type': fc.oneof(
      { weight: 4, arbitrary: fc.constant('application/json') },
      fc.constantFrom(
        'application/json; charset=utf-8',
        'text/plain',
        'application/x-www-form-urlencoded',
        'multipart/form-data; boundary=x',
      ),
      wire,
    ),
    authorization: fc.oneof(
      { weight: 4, arbitrary: token.map((it) => `Bearer ${it}`) },
      token.map((it) => `bearer ${it}`),
      wire,
    ),
    'user-agent': wire,
    'x-forwarded-for': fc.oneof(wire, fc.ipV4(), fc.ipV6()),
    'content-encoding': fc.constantFrom('gzip', 'identity', ''),
    'content-length': fc.constantFrom('0', '5', '-1', '1e3', '99999999'),
    'transfer-encoding': fc.constantFrom('chunked', 'gzip, chunked', 'x'),
    accept: wire,
    'accept-version': wire,
    origin: wire,
    cookie: wire,
    host: fc.oneof(wire, fc.domain()),
    expect: wire,
    range: fc.constantFrom('bytes=0-0', 'bytes=-1', 'bytes=9-1', 'x'),
    'if-modified-since': wire,
    'if-none-match': wire,
    __proto__: wire,
  },
  { requiredKeys: [], noNullPrototype: true },
)
const url = fc
  .tuple(
    fc.oneof(
      { weight: 5, arbitrary: fc.constantFrom(...paths) },
      anyPath(),
      fc.constantFrom(
        '/problems/',
        '/docs/static/..%2f..%2f',
        '/%zz',
        '//',
        '/login/',
        '/LOGIN',
        '/login%00',
        '/.well-known/',
        '/problems/%00',
        '*',
      ),
    ),
    fc.oneof(
      { weight: 3, arbitrary: fc.constant('') },
      fc.webQueryParameters().map((it) => `?${it}`),
      fc.webFragments().map((it) => `#${it}`),
      fc.constantFrom('?__proto__[x]=1', '?a[]=1&a=2', '?%zz', ';x=1'),
    ),
  )
  .map((parts) => parts.join('') || '/')

/** What went wrong with an answer; nothing if it is one that a client can work with. */
function faultOf(
  reply: { statusCode: number; headers: Record<string, unknown>; body: string },
  isHead: boolean,
): string | undefined {
  const { statusCode: status } = reply
  if (status < 200 || status >= 500) return `status ${status}`
  if (reply.headers['x-content-type-options'] !== 'nosniff' || !reply.headers['cache-control']) return 'headers'
  if (status < 400 || isHead) return undefined
  if (reply.headers['content-type'] !== 'application/problem+json; charset=utf-8') return 'type of a problem'
  const problem = JSON.parse(reply.body)
  const known = problemCatalogue[problem.code as keyof typeof problemCatalogue]
  if (known?.status !== status || problem.status !== status || problem.title !== known.title) return 'problem'
  if (typeof problem.detail !== 'string' || typeof problem.instance !== 'string') return 'problem'
  if (
    /\bat .*\.[jt]s|prisma|FST_|argon2|SELECT /i.test(
      JSON.stringify({ ...problem, errors: problem.errors?.map((it: { message: string }) => it.message) }),
    )
  )
    return 'internals'
  return undefined
}

t.test('no method, path, header and body together is answered with a 5xx or with half a problem', async (t) => {
  const seen = new Map<number, number>()
  const method = fc.oneof({ weight: 4, arbitrary: fc.constantFrom('GET', 'POST') }, fc.constantFrom(...methods))
  const operations = Object.entries(app.swagger().paths ?? {}).flatMap(([path, item]) =>
    Object.keys(item ?? {}).map((name): [string, string] => [name.toUpperCase(), path.replace(/{\w+}/g, 'example')]),
  )
  const property = fc.asyncProperty(
    fc.oneof(fc.constantFrom(...operations), fc.tuple(method, url)),
    headers,
    fc.option(bytes, { nil: undefined }),
    async ([method, target], sent, payload) => {
      const reply = await app.inject({
        method: method as 'GET',
        url: target,
        headers: sent as Record<string, string>,
        ...(payload !== undefined && { payload }),
      })
      seen.set(reply.statusCode, (seen.get(reply.statusCode) ?? 0) + 1)
      const fault = faultOf(reply, method === 'HEAD')
      if (fault !== undefined) throw new Error(`${fault}: ${reply.statusCode} ${reply.body.slice(0, 300)}`)
    },
  )
  // Each status once for certain, however few tries the machine has time for.
  const plain = ['GET /health/live', 'POST /login', 'GET /me', 'GET /nothing', 'DELETE /login'].map(
    (it): [[string, string], Record<string, string>, undefined] => [it.split(' ') as [string, string], {}, undefined],
  )
  await fc.assert(property, { ...bounds, examples: plain })
  t.comment(Object.fromEntries([...seen].sort()))
  for (const status of [200, 400, 401, 404, 405]) t.ok((seen.get(status) ?? 0) > 0, `${status} was among the answers`)
})

t.test('nothing but the right password and the right code is ever a success', async (t) => {
  const others = [access, waiting, setUp.pending_token, start.pending_token, `${pending}x`].map(String)
  const tokens = fc.oneof(
    { weight: 2, arbitrary: fc.constant(String(pending)) },
    { weight: 1, arbitrary: fc.constantFrom(...others, undefined) },
  )
  const target = fc.constantFrom('/login', '/login/2fa', '/login/2fa/resend', '/login/2fa/method')
  let successes = 0
  let tried = 0
  const property = fc.asyncProperty(target, tokens, bytes, async (path, bearer, payload) => {
    // Whatever the fuzz has locked is opened again: what is tested here is what is accepted.
    await doorstep.sql('DELETE FROM login_throttles')
    await doorstep.sql("UPDATE factor_guards SET streak = 0, locked_until = NULL, failed_at = '{}'")
    const reply = await app.inject({
      method: 'POST',
      url: path,
      headers: {
        'content-type': 'application/json',
        ...(bearer !== undefined && { authorization: `Bearer ${bearer}` }),
      },
      payload,
    })
    tried += 1
    const fault = faultOf(reply, false)
    if (fault !== undefined) throw new Error(`${fault}: ${reply.body.slice(0, 300)}`)
    if (reply.statusCode !== 200) return
    successes += 1
    const sent = JSON.parse(payload.toString())
    const isRight =
      path === '/login'
        ? sent.email.normalize('NFKC').trim().toLowerCase() === victim.email && sent.password === victim.password
        : bearer === pending &&
          (path === '/login/2fa/resend' ||
            (path === '/login/2fa/method' ? sent.method === 'sms' : sent.code.replace(/[ -]/g, '') === code))
    if (!isRight) throw new Error(`${path} was answered with 200`)
  })
  // One that is right comes first, so that a slow machine too has seen what a success is.
  const right = Buffer.from(JSON.stringify({ email: victim.email, password: victim.password }))
  await fc.assert(property, { ...bounds, examples: [['/login', undefined, right]] })
  t.ok(tried > 10, `${tried} bodies`)
  t.ok(successes > 0, `${successes} of them were right`)
  const after = await resend(doorstep, String(pending))
  t.ok(after.status < 500)
})
