import { METHODS } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { problemCatalogue } from '../../src/errors.ts'
import { registerBodyRules } from '../../src/http/body.ts'
import { registerProblems } from '../../src/http/problems.ts'
import { createServer } from '../../src/http/server.ts'
import { age } from '../helpers/age.ts'
import { anyPath, anyText } from '../helpers/any-text.ts'
import { ask, makeBackend } from '../helpers/clients.ts'
import { startDoorstep } from '../helpers/doorstep.ts'
import { createOwner, sessionOf } from '../helpers/equipped.ts'
import { createBareUser, proveMailbox } from '../helpers/factors.ts'
import { part } from '../helpers/forge.ts'
import { exchange, type RawAnswer } from '../helpers/raw-http.ts'
import { pathOf, registeredRoutes } from '../helpers/registered-routes.ts'
import { call, codeFor, createUser, finish, login, resend, rightPassword, signIn, wrongCode } from '../helpers/story.ts'
import { setWrongCodes } from '../helpers/wrong-codes.ts'

t.setTimeout(300_000)
const doorstep = await startDoorstep(t)
const { app, services, database } = doorstep
const { store } = services
const secure = await startDoorstep(t, {
  database,
  env: { PUBLIC_URL: 'https://localhost', RATE_DEFAULT_MINUTE: '5' },
})
await app.listen({ host: '127.0.0.1', port: 0 })
const { port } = app.server.address() as AddressInfo

/** Every socket that the server has seen, as the server sees it. */
const sockets: Socket[] = []
app.server.on('connection', (socket) => sockets.push(socket))

let emails = 0
const freshEmail = (): string => {
  emails += 1
  return `nobody-${emails}@example.com`
}

/** The head of a request, with a Host. */
const head = (first: string, ...lines: string[]): string =>
  `${[`${first} HTTP/1.1`, 'Host: localhost', ...lines].join('\r\n')}\r\n\r\n`

const rawLogin = (body: string, ...lines: string[]): string =>
  head(
    'POST /login',
    'Content-Type: application/json',
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Connection: close',
    ...lines,
  ) + body

/** A login in text that is not written by JSON.stringify. */
const sendText = (url: string, payload: string | Buffer, headers: Record<string, string> = {}) =>
  app.inject({ method: 'POST', url, payload, headers: { 'content-type': 'application/json', ...headers } })

/** What leaks when an error says too much: libraries, places in the code, SQL, codes of the database, patterns. */
const internals =
  /P[12]0\d\d|22021|22P02|\bat .*\.[jt]s|node_modules|prisma|FAST_JWT|FST_|\bajv\b|argon2|postgres|SELECT |ECONN|\(\?|\[\^|\bpg\b|fastify|SyntaxError|Unexpected token/i

/** A problem document that is complete, and whose every member is meant for the client. */
function isProblem(
  t: Test,
  reply: { statusCode: number; headers: Record<string, unknown>; body: string },
  code: string,
): void {
  const { type, title, status, detail, instance, ...more } = JSON.parse(reply.body)
  const extras = ['code', 'retry_after', 'attempts_remaining', 'errors']
  t.strictSame(
    {
      contentType: reply.headers['content-type'],
      code: more.code,
      status,
      type: type.replace(/^https?:\/\/[^/]+/, ''),
      isComplete: Boolean(title) && Boolean(detail) && /^[0-9a-f-]{36}$/.test(instance),
      unknown: Object.keys(more).filter((name) => !extras.includes(name)),
      internals: internals.exec(reply.body.replaceAll(instance, ''))?.[0], // a random id may hold any five digits
    },
    {
      contentType: 'application/problem+json; charset=utf-8',
      code,
      status: reply.statusCode,
      type: `/problems/${code}`,
      isComplete: true,
      unknown: [],
      internals: undefined,
    },
  )
}

/** Tokens for the calls about factors: of a login that waits for its first, of a session that is fresh, and one that is not. */
async function holders(): Promise<{ waiting: string; fresh: string; stale: string }> {
  const waiting: string = (await proveMailbox(doorstep, await createBareUser(doorstep))).body.pending_token
  const fresh: string = (await signIn(doorstep, await createUser(doorstep))).body.access_token
  const stale: string = (await login(doorstep, await createUser(doorstep, { twoFactor: 'off' }))).body.access_token
  return { waiting, fresh, stale }
}

const aCredential = {
  ...{ id: 'AAAA', rawId: 'AAAA', type: 'public-key', clientExtensionResults: {} },
  response: { clientDataJSON: 'AAAA', authenticatorData: 'AAAA', signature: 'AAAA' },
}

t.test('a body over its limit is 413, and is not read to its end', async (t) => {
  const ofLength = (length: number): string => {
    const body = JSON.stringify({ email: freshEmail(), password: 'x' })
    return body + ' '.repeat(length - body.length)
  }
  for (const [length, status] of [
    [4_095, 401],
    [4_096, 401],
    [4_097, 413],
    [16_384, 413],
    [16_385, 413],
  ] as const) {
    t.equal((await sendText('/login', ofLength(length))).statusCode, status, `a login of ${length} bytes`)
  }

  const { waiting } = await holders()
  const { pending_token: pending } = (await login(doorstep, await createUser(doorstep))).body
  for (const [url, body, token] of [
    ['/factors', { method: 'totp' }, waiting],
    ['/login/2fa/method', { method: 'email' }, pending],
    ['/login/2fa/resend', { channel: 'email' }, pending],
    ['/login/passkey', {}, pending],
  ] as const) {
    for (const [length, isRefused] of [
      [4_096, false],
      [4_097, true],
    ] as const) {
      const text = JSON.stringify(body)
      const reply = await sendText(url, text + ' '.repeat(length - text.length), { authorization: `Bearer ${token}` })
      t.equal(reply.statusCode === 413, isRefused, `${url} with ${length} bytes: ${reply.statusCode}`)
    }
  }

  // Nearly every route of today has a smaller limit of its own; the limit of the server is what a new one starts with.
  const bare = createServer(services)
  registerProblems(bare, services)
  registerBodyRules(bare)
  bare.post('/any', async () => ({}))
  const json = { 'content-type': 'application/json' }
  for (const [length, status] of [
    [16_383, 200],
    [16_384, 200],
    [16_385, 413],
  ] as const) {
    const payload = `"${'x'.repeat(length - 2)}"`
    t.equal(
      (await bare.inject({ method: 'POST', url: '/any', payload, headers: json })).statusCode,
      status,
      `${length} bytes`,
    )
  }
  await bare.close()

  const announced = await exchange(
    port,
    head('POST /login', 'Content-Type: application/json', 'Content-Length: 10000000'),
  )
  t.equal(announced.answers[0]?.status, 413, 'refused by what it announces')
  t.ok(announced.ended)

  const socket = connect({ port, host: '127.0.0.1' })
  let answer = ''
  socket.on('data', (chunk) => {
    answer += chunk
  })
  socket.on('error', () => {})
  const closed = new Promise((resolve) => socket.once('close', resolve))
  socket.write(head('POST /login', 'Content-Type: application/json', 'Transfer-Encoding: chunked'))
  const chunk = `${(64 * 1_024).toString(16)}\r\n${' '.repeat(64 * 1_024)}\r\n`
  for (let sent = 0; sent < 10_000_000 && !socket.destroyed; sent += 65_536) {
    if (!socket.write(chunk)) await Promise.race([closed, new Promise((resolve) => socket.once('drain', resolve))])
  }
  await Promise.race([closed, sleep(5_000)])
  t.ok(socket.destroyed, 'the connection is cut')
  t.match(answer, /^HTTP\/1\.1 413 /)
  t.ok((sockets.at(-1)?.bytesRead ?? Infinity) < 1_000_000, `read ${sockets.at(-1)?.bytesRead} of 10 MB`)
})

t.test('the longest password is never too large, however a client writes its characters', async (t) => {
  const longest = '\\ud83d\\ude00'.repeat(256)
  const text = 'x'.repeat(128)
  const rest = `"remember_me":false,"device_token":"${text}","return_to":"/${'x'.repeat(511)}"`
  const user = await createBareUser(doorstep, 'off')
  const authorization = `Bearer ${(await login(doorstep, user)).body.access_token}`
  const bodies: [method: 'POST' | 'PUT', url: string, body: string, status: number][] = [
    [
      'POST',
      '/login',
      `{"email":"${'x'.repeat(64)}@${`${'x'.repeat(36)}.`.repeat(5)}com","password":"${longest}",${rest}}`,
      401,
    ],
    ['POST', '/password/set', `{"token":"${text}","password":"${longest}",${rest}}`, 410],
    ['POST', '/login/step-up', `{"password":"${longest}"}`, 422],
    ['PUT', '/me/password', `{"current_password":"${longest}","password":"${longest}"}`, 422],
  ]
  for (const [method, url, payload, status] of bodies) {
    const headers = { 'content-type': 'application/json', authorization }
    t.equal((await app.inject({ method, url, payload, headers })).statusCode, status, `${url}, ${payload.length} bytes`)
  }
})

t.test('a body that is not JSON in UTF-8 is 415', async (t) => {
  const send = (type: string | null, more: string[] = []): Promise<RawAnswer | undefined> => {
    const body = JSON.stringify({ email: freshEmail(), password: 'x' })
    const lines = [
      ...(type === null ? [] : [`Content-Type: ${type}`]),
      `Content-Length: ${body.length}`,
      'Connection: close',
    ]
    return exchange(port, head('POST /login', ...lines, ...more) + body).then(({ answers }) => answers[0])
  }
  const accepted = [
    ...['application/json', 'application/json; charset=utf-8', 'application/json;charset=UTF-8', 'Application/JSON'],
    // White space around a header's value is not part of it (RFC 9110 5.5).
    ...[
      'application/json; charset="utf-8"',
      'application/json ; charset=utf-8',
      'application/json;',
      '  application/json  ',
    ],
  ]
  const refused = [
    ...[
      'text/plain',
      'application/x-www-form-urlencoded',
      'multipart/form-data; boundary=x',
      'application/xml',
      'text/html',
    ],
    ...[
      'text/json',
      'application/vnd.api+json',
      'application/jsonx',
      'application/json, text/plain',
      'application/json\ta',
    ],
    ...[
      'application',
      'json',
      '*/*',
      'application/json/x',
      'application/json; charset=utf-7',
      'application/json;charset=utf-16le',
    ],
    ...[
      'application/json; charset=latin1',
      'application/json; charset=utf-8; charset=utf-7',
      'application/json; charset=',
    ],
    ...['application/json; charset', 'application/json; a=b', "application/json; charset*=utf-8''utf-7"],
    ...['application/json; x="a;charset=utf-8"; charset=utf-16', 'application/json; charset=utf-8x', 'undefined'],
  ]
  for (const type of accepted) t.equal((await send(type))?.status, 401, type)
  for (const type of [null, ...refused]) {
    const answer = await send(type)
    t.equal(answer?.status, 415, type ?? 'no type at all')
    t.equal(JSON.parse(answer?.body ?? '{}').code, 'unsupported_media_type')
  }
  for (const encoding of ['gzip', 'br', 'deflate', 'identity', 'gzip, gzip']) {
    t.equal((await send('application/json', [`Content-Encoding: ${encoding}`]))?.status, 415, encoding)
  }
  t.equal(
    (await call(doorstep, '/health/live', { headers: { 'content-type': 'text/plain' } })).status,
    200,
    'no body, no type',
  )
})

t.test('no coercion, no unknown field, no default: 400', async (t) => {
  const user = await createUser(doorstep)
  const { pending_token: token } = (await login(doorstep, user)).body
  const good = { email: user.email, password: user.password }
  const notText = [1, 0, true, false, null, [], ['x'], {}, { contains: 'a' }]
  const bad: [string, unknown][] = [
    ...notText.flatMap((value): [string, unknown][] => [
      ['/login', { ...good, email: value }],
      ['/login', { ...good, password: value }],
      ['/login', { ...good, return_to: value }],
      ['/login/2fa', { code: value }],
      ['/login/2fa/resend', { channel: value }],
    ]),
    ...['true', 'false', '', 1, 0, null, []].map((value): [string, unknown] => [
      '/login',
      { ...good, remember_me: value },
    ]),
    ...['role', 'id', 'user_id', 'disabled', 'two_factor', 'Email', 'email ', 'devicetoken', '__proto', ''].map(
      (name): [string, unknown] => ['/login', { ...good, [name]: 'x' }],
    ),
    ['/login/2fa', { code: '000000', user_id: user.id }],
    ['/login/2fa/resend', { phone: '+12025550100' }],
    ['/login/2fa/resend', { channel: 'email' }],
    ...[[], [good], 'text', 1, true, null].map((value): [string, unknown] => ['/login', value]),
    ...[[], 'text', 1, null].map((value): [string, unknown] => ['/login/2fa', value]),
    ['/login', { email: user.email }],
    ['/login', { password: user.password }],
    ['/login', {}],
    ['/login/2fa', {}],
    ['/login', { ...good, password: '' }],
    ['/login', { ...good, password: 'x'.repeat(257) }],
    ['/login', { ...good, email: `${'x'.repeat(320)}@example.com` }],
    ['/login/2fa', { code: '1'.repeat(65) }],
    ...notText.flatMap((value): [string, unknown][] => [
      ['/login/2fa', { code: '000000', method: value }],
      ['/login/2fa', { credential: value }],
      ['/login/2fa', { credential: { ...aCredential, id: value } }],
      ['/login/2fa', { credential: { ...aCredential, response: { ...aCredential.response, signature: value } } }],
      ['/login/2fa/method', { method: value }],
      ['/login/passkey', { return_to: value }],
      ['/login/passkey', { device_token: value }],
      ['/factors', { method: value }],
      ['/factors', { method: 'sms', phone: value }],
      ['/factors', { method: 'totp', name: value }],
    ]),
    ...['true', 1, null, {}].map((value): [string, unknown] => ['/login/passkey', { remember_me: value }]),
    ['/login/2fa', { code: '000000', credential: aCredential }],
    ['/login/2fa', { credential: { ...aCredential, id: 'A+A=' } }],
    ['/login/2fa', { credential: { ...aCredential, type: 'password' } }],
    ['/login/2fa', { code: '000000', method: 'SMS' }],
    ['/login/2fa', { code: '000000', method: 'email' }],
    ['/login/2fa', { code: '000000', method: 'totp' }],
    ['/login/2fa/method', {}],
    ['/login/2fa/method', { method: 'email' }],
    ['/login/2fa/method', { method: 'passkey' }],
    ['/login/2fa/method', { method: 'sms', phone: '+12025550100' }],
    ['/login/passkey', { email: user.email }],
    ['/login/passkey', []],
    ['/factors', {}],
    ['/factors', { method: 'email' }],
    ['/factors', { method: 'sms' }],
    ['/factors', { method: 'totp', name: '' }],
    ['/factors', { method: 'totp', name: 'x'.repeat(65) }],
    ['/factors', { method: 'totp', secret: 'JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP' }],
    ['/factors', { method: 'sms', phone: '+12025550100', confirmed: true }],
    ['/factors', { method: 'totp', user_id: user.id }],
  ]
  const { waiting } = await holders()
  for (const [url, body] of bad) {
    const bearer = url === '/factors' ? waiting : token
    const reply = await sendText(url, JSON.stringify(body), { authorization: `Bearer ${bearer}` })
    isProblem(t, reply, 'invalid_request')
    t.equal(reply.statusCode, 400, `${url} ${JSON.stringify(body).slice(0, 60)}`)
    t.ok(
      reply.json().errors.every((error: { pointer: string }) => /^(\/|$)/.test(error.pointer)),
      'and says where',
    )
  }
  const named = await sendText('/login', JSON.stringify({ ...good, 'a/b~c': 1 }))
  t.strictSame(named.json().errors, [{ pointer: '/a~1b~0c', message: 'is not a known field' }], 'RFC 6901')
})

t.test(
  'a name given twice: the last one counts, for the check and for the use, and the documents say so',
  async (t) => {
    const user = await createUser(doorstep)
    const first = await sendText('/login', `{"email":"${user.email}","password":"${rightPassword}","password":"wrong"}`)
    t.equal(first.statusCode, 401)
    const second = await sendText(
      '/login',
      `{"email":"${user.email}","password":"wrong","password":"${rightPassword}"}`,
    )
    t.equal(second.statusCode, 200)
    const split = await sendText('/login', `{"email":"${user.email}","password":"${rightPassword}","password":1}`)
    t.equal(split.statusCode, 400, 'what is used is what was checked')
    t.match((app.swagger() as { info: { description: string } }).info.description, /twice.*last/)
  },
)

t.test("text that is not JSON: 400, without the parser's words", async (t) => {
  const texts = [
    '',
    '{',
    '{"email":',
    "{'email':1}",
    '{"a":1}x',
    '\ufeff{}',
    '{"a":01}',
    '{"a":NaN}',
    '{"a":\t"\n"}',
    '[1,]',
    'null x',
  ]
  for (const text of texts) {
    const reply = await sendText('/login', text)
    t.equal(reply.statusCode, 400, JSON.stringify(text))
    isProblem(t, reply, 'invalid_request')
  }
  const invalidUtf8 = Buffer.from('{"email":"\xff\xfe@example.com","password":"\xc0\xaf"}', 'latin1')
  t.ok([400, 401].includes((await sendText('/login', invalidUtf8)).statusCode), 'bytes that are not UTF-8')
})

t.test('prototype poisoning: 400, and nothing is polluted', async (t) => {
  const rest = `"email":"${freshEmail()}","password":"x"`
  const poison = [
    ...[
      '{"__proto__":{"polluted":1},REST}',
      '{REST,"__proto__":{"polluted":1}}',
      '{"\\u005f\\u005fproto__":{"polluted":1},REST}',
    ],
    ...[
      '{"__proto__":null,REST}',
      '{"constructor":{"prototype":{"polluted":1}},REST}',
      '{"__pr\\u006fto__":{"polluted":1},REST}',
    ],
    ...[
      '{"constructor":{"pr\\u006ftotype":{"polluted":1}},REST}',
      '{"c\\u006fnstructor":{"prototype":{"polluted":1}},REST}',
    ],
    ...[
      '{REST,"remember_me":{"__proto__":{"polluted":1}}}',
      '{REST,"return_to":{"constructor":{"prototype":{"polluted":1}}}}',
    ],
    ...[
      '{"prototype":{"polluted":1},REST}',
      '{"constructor":{"polluted":1},REST}',
      '{"__defineGetter__":"polluted",REST}',
    ],
  ]
  for (const text of poison) {
    const reply = await sendText('/login', text.replace('REST', rest))
    t.equal(reply.statusCode, 400, text)
    isProblem(t, reply, 'invalid_request')
  }
  for (const name of ['__proto__', 'constructor', 'prototype', 'toString', 'hasOwnProperty']) {
    const lines = [`${name}: polluted`, `${name}: twice`, 'Connection: close']
    const { answers } = await exchange(port, head('GET /health/live', ...lines))
    t.equal(answers[0]?.status, 200, `a header named ${name}`)
    const signedOut = await exchange(port, head(`GET /me?${name}[polluted]=1`, ...lines))
    t.equal(signedOut.answers[0]?.status, 401)
    t.equal((await call(doorstep, `/problems/${name}`)).status, 404)
  }
  t.equal(({} as { polluted?: unknown }).polluted, undefined)
  t.equal(([] as { polluted?: unknown }).polluted, undefined)
})

t.test('NUL and ill-formed Unicode are 400 in every text, and no text at all is a 5xx', async (t) => {
  const user = await createUser(doorstep)
  const { pending_token: token } = (await login(doorstep, user)).body
  const fields: [string, (text: string) => object][] = [
    ['/login', (text) => ({ email: text, password: 'x' })],
    ['/login', (text) => ({ email: `${text}@example.com`, password: 'x' })],
    ['/login', (text) => ({ email: freshEmail(), password: text })],
    ['/login', (text) => ({ email: freshEmail(), password: 'x', return_to: `/${text}` })],
    ['/login', (text) => ({ email: freshEmail(), password: 'x', [text]: 'x' })],
    ['/login/2fa', (text) => ({ code: text })],
    ['/login/2fa/resend', (text) => ({ channel: text })],
    ['/login/2fa', (text) => ({ code: '000000', method: text })],
    ['/login/2fa', (text) => ({ code: '000000', device_name: text })],
    ['/login/2fa', (text) => ({ credential: { ...aCredential, authenticatorAttachment: text } })],
    ['/login/2fa', (text) => ({ credential: { ...aCredential, [text]: 'x' } })],
    ['/login/2fa/method', (text) => ({ method: text })],
    ['/login/passkey', (text) => ({ return_to: `/${text}` })],
    ['/login/passkey', (text) => ({ device_token: text })],
    ['/factors', (text) => ({ method: 'totp', name: text })],
    ['/factors', (text) => ({ method: 'sms', phone: text })],
  ]
  const { waiting, fresh } = await holders()
  const send = (url: string, body: object) =>
    sendText(url, JSON.stringify(body), { authorization: `Bearer ${url === '/factors' ? waiting : token}` })

  for (const [url, make] of fields) {
    for (const text of ['\u0000', 'a\u0000', '\ud800', '\udc00', 'a\ud83d', '\ude00\ud83d']) {
      const reply = await send(url, make(text))
      t.equal(reply.statusCode, 400, `${url} ${JSON.stringify(make(text))}`)
      isProblem(t, reply, 'invalid_request')
    }
  }

  const [{ id: factorId }] = (await call(doorstep, '/factors', { token: fresh })).body.factors
  const rename = (name: string) =>
    app.inject({
      ...{ method: 'PATCH', url: `/factors/${factorId}`, payload: JSON.stringify({ name }) },
      headers: { 'content-type': 'application/json', authorization: `Bearer ${fresh}` },
    })
  for (const name of ['\u0000', 'a\ud83d']) isProblem(t, await rename(name), 'invalid_request')

  const trouble = fc.oneof(
    anyText({ maxLength: 60 }),
    fc.string({
      unit: fc.constantFrom(
        '\u0000',
        '\ud800',
        '\udfff',
        '😀',
        '\u202e',
        '\u200b',
        '\ufeff',
        '\u0301',
        'ﬁ',
        '@',
        '/',
        '\\',
        "'",
        '"',
        '%',
        '\r',
        '\n',
        '\u001b',
        '\u007f',
        '\u2028',
        '٣',
        '１',
      ),
      maxLength: 30,
    }),
  )
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...fields.slice(0, 5)), trouble, async ([url, make], text) => {
      const { statusCode, body } = await send(url, make(text))
      if (![400, 401, 429].includes(statusCode)) throw new Error(`${statusCode} ${body}`)
      if (!text.isWellFormed() && statusCode !== 400) throw new Error(`${statusCode} for ill-formed text`)
    }),
    { numRuns: 250 },
  )
  await fc.assert(
    fc.asyncProperty(trouble, async (text) => {
      fc.pre(text.isWellFormed() && !/^[\s\d-]*$/.test(text))
      const { statusCode } = await send('/login/2fa', { code: text })
      if (statusCode !== 400) throw new Error(`${statusCode} for a code that is none`)
    }),
    { numRuns: 80 },
  )
  await fc.assert(
    fc.asyncProperty(trouble, async (name) => {
      const { statusCode, body } = await rename(name)
      if (statusCode !== 200 && statusCode !== 400) throw new Error(`${statusCode} ${body}`)
      if (statusCode === 200 && JSON.parse(body).name !== name) throw new Error(`another name: ${body}`)
    }),
    { numRuns: 80 },
  )
  const [row] = await doorstep.sql('SELECT attempts FROM challenges WHERE user_id = $1', [user.id])
  t.equal(row?.attempts, 0, 'what is not a code costs no try')
  await fc.assert(
    fc.asyncProperty(anyPath(), trouble, async (anywhere, text) => {
      for (const path of [
        `/problems/${encodeURIComponent(text.toWellFormed())}`,
        anywhere,
        `/me?x=${encodeURIComponent(text.toWellFormed())}`,
      ]) {
        const { statusCode, body } = await app.inject(path)
        const isPage = /^\/(\?|$)/.test(path)
        if (statusCode >= 500 || (statusCode < 400 && !isPage)) throw new Error(`${statusCode} ${path} ${body}`)
      }
    }),
    { numRuns: 80 },
  )
  t.pass('property held')
})

t.test('a body nested deeper than the stack is an ordinary bad request', async (t) => {
  const deep = (depth: number): string => '['.repeat(depth) + ']'.repeat(depth)
  t.equal((await sendText('/login', `{"email":${deep(2_000)},"password":"x"}`)).statusCode, 400)
  const bare = createServer(services)
  registerProblems(bare, services)
  registerBodyRules(bare)
  bare.post('/any', async () => ({}))
  const reply = await bare.inject({
    method: 'POST',
    url: '/any',
    payload: deep(8_192),
    headers: { 'content-type': 'application/json' },
  })
  t.equal(reply.statusCode, 200, 'the rule itself reads 16 KiB of brackets')
  const bad = await bare.inject({
    method: 'POST',
    url: '/any',
    payload: `${'['.repeat(8_000)}"\\u0000"${']'.repeat(8_000)}`,
    headers: { 'content-type': 'application/json' },
  })
  t.equal(bad.statusCode, 400, 'and finds what is at the bottom')
  await bare.close()
})

/** Sends a fault through one verb of the store, as a library would throw it. */
async function withFault<T>(name: string, message: string, work: () => Promise<T>): Promise<T> {
  const { begin } = store.throttle
  store.throttle.begin = async () => {
    throw Object.assign(new Error(message), { name, code: 'P2039' })
  }
  try {
    return await work()
  } finally {
    store.throttle.begin = begin
  }
}

t.test(
  'every kind of refusal is a complete problem document, says nothing internal and carries every header',
  async (t) => {
    const ada = await createUser(doorstep)
    const { pending_token: token } = (await login(doorstep, ada)).body
    const right = codeFor(doorstep, ada.phone)
    const authorization = `Bearer ${token}`
    const post = (url: string, body: unknown, headers: Record<string, string> = {}) =>
      sendText(url, JSON.stringify(body), headers)
    const codeEnds = (seconds: number) =>
      doorstep.sql(
        `UPDATE challenge_codes SET expires_at = now() + make_interval(secs => $2)
         WHERE challenge_id IN (SELECT id FROM challenges WHERE user_id = $1)`,
        [ada.id, seconds],
      )
    const expire = () => codeEnds(-1)
    const revive = () => codeEnds(200)

    type Provoked = [
      string,
      number,
      () => Promise<{ statusCode: number; headers: Record<string, unknown>; body: string }>,
    ]
    const { fresh, stale, waiting } = await holders()
    const [factor] = (await call(doorstep, '/factors', { token: fresh })).body.factors
    const start = (await call(doorstep, '/login/passkey', { body: {} })).body.pending_token
    const bearer = (token: string) => ({ authorization: `Bearer ${token}` })
    const remove = (id: string, token: string) =>
      app.inject({ method: 'DELETE', url: `/factors/${id}`, headers: bearer(token) })
    const aboutFactors: Provoked[] = [
      ['insufficient_user_authentication', 401, () => post('/factors', { method: 'totp' }, bearer(stale))],
      ['insufficient_user_authentication', 401, () => remove(services.random.uuid(), stale)],
      ['invalid_token', 401, () => post('/factors', { method: 'totp' }, { authorization })],
      ['invalid_request', 400, () => remove('x', fresh)],
      ['not_found', 404, () => remove(services.random.uuid(), fresh)],
      ['last_factor', 409, () => remove(factor.id, fresh)],
      ['conflict', 409, () => post('/factors', { method: 'recovery_code' }, bearer(waiting))],
      ['invalid_credentials', 401, () => post('/login/2fa', { credential: aCredential }, bearer(start))],
      ['invalid_request', 400, () => post('/login/2fa', { code: '123456' }, bearer(start))],
    ]
    const provoked: Provoked[] = [
      ['invalid_request', 400, () => post('/login', {})],
      ['invalid_request', 400, () => sendText('/login', '{')],
      ['invalid_request', 400, () => post('/login', { email: 'no at sign', password: 'x' })],
      ['invalid_request', 400, () => post('/login', { email: freshEmail(), password: 'x', return_to: '//evil' })],
      ['invalid_request', 400, () => app.inject(`/problems/${'x'.repeat(65)}`)],
      ['invalid_credentials', 401, () => post('/login', { email: freshEmail(), password: 'x' })],
      ['invalid_token', 401, () => app.inject('/me')],
      ['invalid_token', 401, () => app.inject({ url: '/me', headers: { authorization } })],
      ['not_found', 404, () => app.inject('/nothing')],
      ['not_found', 404, () => app.inject('/%zz')],
      ['not_found', 404, () => app.inject('/problems/nothing')],
      ['not_found', 404, () => app.inject('/docs/static/nothing.js')],
      ['not_found', 404, () => sendText('/nothing', '{')],
      ['method_not_allowed', 405, () => app.inject({ method: 'DELETE', url: '/login' })],
      [
        'method_not_allowed',
        405,
        () => app.inject({ method: 'PUT', url: '/login', payload: 'x', headers: { 'content-type': 'text/plain' } }),
      ],
      ['payload_too_large', 413, () => sendText('/login', ' '.repeat(5_000))],
      ['unsupported_media_type', 415, () => sendText('/login', '{}', { 'content-type': 'text/plain' })],
      [
        'code_expired',
        410,
        async () => {
          await expire()
          const reply = await post('/login/2fa', { code: right }, { authorization })
          await revive()
          return reply
        },
      ],
      ['resend_too_soon', 429, () => post('/login/2fa/resend', {}, { authorization })],
      ['invalid_code', 422, () => post('/login/2fa', { code: wrongCode(right) }, { authorization })],
      [
        'code_attempts_exhausted',
        429,
        async () => {
          for (let guess = 0; guess < 4; guess += 1)
            await post('/login/2fa', { code: wrongCode(right) }, { authorization })
          return post('/login/2fa', { code: wrongCode(right) }, { authorization })
        },
      ],
      ...aboutFactors,
      [
        'second_factor_locked',
        429,
        async () => {
          await setWrongCodes(doorstep, ada, { streak: 10, lockedFor: '1 minute' })
          return post('/login', { email: ada.email, password: ada.password })
        },
      ],
      [
        'login_locked',
        429,
        async () => {
          const email = freshEmail()
          for (let guess = 0; guess < 5; guess += 1) await post('/login', { email, password: 'x' })
          return post('/login', { email, password: 'x' })
        },
      ],
      [
        'internal_error',
        500,
        () =>
          withFault('Error', 'Invalid `prisma.user` P2002 at /srv/app/x.ts: SELECT argon2', () =>
            post('/login', { email: freshEmail(), password: 'x' }),
          ),
      ],
      [
        'unavailable',
        503,
        () =>
          withFault('Error', 'timeout exceeded when trying to connect', () =>
            post('/login', { email: freshEmail(), password: 'x' }),
          ),
      ],
      [
        'rate_limited',
        429,
        async () => {
          for (let count = 0; count < 5; count += 1) await secure.app.inject('/%zz')
          return secure.app.inject('/%zz')
        },
      ],
    ]
    for (const [code, status, provoke] of provoked) {
      const reply = await provoke()
      t.equal(reply.statusCode, status, code)
      isProblem(t, reply, code)
      t.equal(reply.headers['cache-control'], 'no-store')
      t.equal(reply.headers['x-content-type-options'], 'nosniff')
      t.match(reply.headers['content-security-policy'], /default-src '(none|self)'/)
      t.notOk(reply.headers.server ?? reply.headers['x-powered-by'], 'no name of a server')
      if (status === 429 || status === 503) {
        const { retry_after: wait } = JSON.parse(reply.body)
        t.ok(
          Number.isInteger(wait) && wait >= 1 && reply.headers['retry-after'] === String(wait),
          'and when to come back',
        )
      }
    }
    t.match(
      (await secure.app.inject({ url: '/health/live', remoteAddress: '10.0.0.9' })).headers[
        'strict-transport-security'
      ],
      /max-age=\d{8}/,
    )
    t.notOk(
      (await app.inject('/health/live')).headers['strict-transport-security'],
      'no HSTS where TLS is not declared',
    )
  },
)

t.test('answers that are no refusals: headers, and what may be cached', async (t) => {
  const metadata = '/.well-known/oauth-authorization-server'
  const cached = ['/.well-known/jwks.json', metadata, '/openapi.json', '/docs', '/docs/static/swagger-ui.css']
  for (const url of [...cached, '/health/live', '/health/ready', '/dev/sms', '/problems/busy']) {
    const { statusCode, headers } = await app.inject(url)
    t.equal(statusCode, 200, url)
    t.match(headers['cache-control'], cached.includes(url) ? /^public, max-age=(0|300)$/ : /^no-store$/)
    t.match(headers['content-type'], /^(application\/json|text\/html|text\/css); charset=utf-8$/)
    t.equal(headers['x-content-type-options'], 'nosniff')
    if (!url.startsWith('/docs')) {
      t.equal(headers['content-security-policy'], "default-src 'none';frame-ancestors 'none'")
    }
  }
  for (const code of Object.keys(problemCatalogue)) {
    const { status, body } = await call(doorstep, `/problems/${code}`)
    t.equal(status, 200)
    t.match(body, { code, status: problemCatalogue[code as 'busy'].status, title: /\w/, advice: /\w/ }, code)
  }
})

t.test('what is not HTTP is answered with the same headers, and its socket is not kept', async (t) => {
  const broken: [string, number, string][] = [
    ['garbage', 400, 'GARBAGE\r\n\r\n'],
    ['an unknown method', 400, 'FOO /login HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['HTTP/2 in clear', 400, 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
    ['TLS to a plain port', 400, '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'],
    ['NUL in a header', 400, head('GET /health/live', 'X: a\0b')],
    ['a header without a colon', 400, head('GET /health/live', 'no colon')],
    ['a folded header', 400, head('GET /health/live', 'X: a', '  Transfer-Encoding: chunked')],
    ['space before the colon', 400, head('POST /login', 'Transfer-Encoding : chunked')],
    ['headers over 16 KiB', 431, head('GET /health/live', `X: ${'x'.repeat(20_000)}`)],
    [
      'many headers over 16 KiB',
      431,
      head('GET /health/live', ...Array.from({ length: 3_000 }, (_, at) => `X-${at}: x`)),
    ],
    ['a target over 16 KiB', 431, head(`GET /${'x'.repeat(20_000)}`)],
    [
      'a bad chunk size',
      400,
      `${head('POST /login', 'Transfer-Encoding: chunked', 'Content-Type: application/json')}zz\r\n`,
    ],
    ['a negative length', 400, head('POST /login', 'Content-Length: -1')],
    ['two lengths', 400, head('POST /login', 'Content-Length: 2', 'Content-Length: 3')],
    ['length and chunked at once', 400, head('POST /login', 'Content-Length: 4', 'Transfer-Encoding: chunked')],
    ['chunked, but not last', 400, head('POST /login', 'Transfer-Encoding: chunked, gzip')],
  ]
  for (const [name, status, bytes] of broken) {
    // After it comes a request that must never be answered on this connection.
    const { answers, ended } = await exchange(port, `${bytes}0\r\n\r\n${head('GET /health/live')}`)
    t.equal(answers.length, 1, `${name}: one answer`)
    const [answer] = answers
    t.equal(answer?.status, status)
    t.ok(ended, 'and the connection is over')
    if (!answer) continue
    isProblem(t, { statusCode: answer.status, headers: answer.headers, body: answer.body }, 'invalid_request')
    t.match(answer.headers, {
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
      'content-security-policy': "default-src 'none';frame-ancestors 'none'",
      connection: 'close',
    })
    t.notOk(answer.headers.server)
  }
  const keeper = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  keeper.on('error', () => {})
  await new Promise((resolve) => keeper.once('connect', resolve))
  keeper.write('GARBAGE\r\n\r\n')
  for (let waited = 0; waited < 40 && !sockets.at(-1)?.destroyed; waited += 1) await sleep(50)
  t.ok(sockets.at(-1)?.destroyed, 'a client that never closes its side does not keep the socket')
  keeper.destroy()
})

t.test('the odd corners of HTTP are answered by the application, not by Node', async (t) => {
  const first = async (bytes: string): Promise<RawAnswer | undefined> => (await exchange(port, bytes)).answers[0]
  const hostless = await first('GET /health/live HTTP/1.1\r\nConnection: close\r\n\r\n')
  t.equal(hostless?.status, 400, 'no Host (RFC 9112 3.2)')
  t.match(hostless?.headers, { 'cache-control': 'no-store', 'content-type': 'application/problem+json; charset=utf-8' })
  for (const more of ['Host: localhost', 'hOST: evil.example', 'Host:']) {
    const twofold = await first(head('GET /health/live', more, 'Connection: close'))
    t.equal(twofold?.status, 400, `two of them: ${more}`)
    t.match(twofold?.headers, { 'content-type': 'application/problem+json; charset=utf-8' })
  }
  t.equal((await first(head('GET /health/live', 'X-Forwarded-Host: x', 'X: Host', 'Connection: close')))?.status, 200)
  t.equal((await first('GET /health/live HTTP/1.0\r\n\r\n'))?.status, 200, 'HTTP/1.0 knows no Host')
  const expecting = await first(head('GET /health/live', 'Expect: something', 'Connection: close'))
  t.equal(expecting?.status, 200, 'an unknown expectation is ignored (RFC 9110 10.1.1)')
  t.equal(expecting?.headers['cache-control'], 'no-store')
  t.equal((await first(head('GET http://evil.example/health/live', 'Connection: close')))?.status, 200)
  t.equal((await first(head('GET /health/live', 'Connection: close, upgrade', 'Upgrade: websocket')))?.status, 200)
  const tunnel = await exchange(port, head('CONNECT evil.example:443'))
  t.strictSame([tunnel.answers, tunnel.ended], [[], true], 'no tunnel')
  const body = JSON.stringify({ email: freshEmail(), password: 'x' })
  const smuggled = await exchange(port, `${rawLogin(body)}${head('GET /dev/sms')}`)
  t.equal(smuggled.answers.length, 1, 'nothing after Connection: close')
  t.notMatch(smuggled.text, /messages/)
})

t.test('a slow client is cut off, a slow handler answers 503, and others notice nothing', async (t) => {
  const { begin } = store.throttle
  store.throttle.begin = () => new Promise(() => {})
  const five = (work: () => ReturnType<typeof exchange>) => Promise.all(Array.from({ length: 5 }, work))
  const waitMs = 30_000
  let answered = 0
  let slowest = 0
  let watching = true
  const watch = async (): Promise<void> => {
    while (watching) {
      const { answers, ms } = await exchange(port, head('GET /health/live', 'Connection: close'), { waitMs: 10_000 })
      if (answers[0]?.status === 200) answered += 1
      slowest = Math.max(slowest, ms)
      await sleep(250)
    }
  }
  const watched = watch()
  const [silent, slowHeaders, slowBody, hung, kept] = await Promise.all([
    five(() => exchange(port, '', { waitMs })),
    five(() => exchange(port, 'GET /health/live HTTP/1.1\r\nHost: x\r\nX: ', { waitMs, drip: 'x'.repeat(100) })),
    five(() =>
      exchange(port, head('POST /login', 'Content-Type: application/json', 'Content-Length: 200'), {
        waitMs,
        drip: ' '.repeat(100),
      }),
    ),
    exchange(port, rawLogin(JSON.stringify({ email: freshEmail(), password: 'x' })), { waitMs }),
    exchange(port, head('GET /health/live'), { waitMs }),
  ])
  store.throttle.begin = begin
  watching = false
  await watched

  for (const [name, connections, atLeastMs] of [
    ['silent', silent, 4_000],
    ['slow headers', slowHeaders, 4_000],
    ['slow body', slowBody, 8_500],
  ] as const) {
    for (const { answers, ended, ms } of connections) {
      t.ok(ended && ms < 25_000 && ms > atLeastMs, `${name}: over after ${Math.round(ms)} ms`)
      t.equal(answers[0]?.status, 408)
      t.equal(answers[0]?.headers['cache-control'], 'no-store')
    }
  }
  const [late] = hung.answers
  t.equal(late?.status, 503, 'the handler had its 8 seconds')
  t.match(JSON.parse(late?.body ?? '{}'), { code: 'unavailable', retry_after: 1 })
  t.ok(hung.ms > 7_500 && hung.ms < 25_000, `${Math.round(hung.ms)} ms`)
  t.equal(kept.answers[0]?.status, 200)
  t.ok(
    kept.ended && kept.ms > 4_500 && kept.ms < 25_000,
    `an idle connection is closed after ${Math.round(kept.ms)} ms`,
  )
  t.ok(
    answered >= 8 && slowest < 9_000,
    `${answered} other clients were answered, the slowest in ${Math.round(slowest)} ms`,
  )
})

t.test('a method that a path does not have is 405 with Allow, on every path and for every method', async (t) => {
  const methods = METHODS.filter((method) => method !== 'CONNECT')
  const paths = new Map<string, string>()
  // Fastify gives the docs page this second spelling, and no hook hears of it. What answers preflights is on no path.
  for (const { method, url } of registeredRoutes(app))
    if (!['/docs/', '*'].includes(url)) paths.set(url, pathOf({ method, url }))
  t.ok(paths.size >= 14)
  for (const [url, path] of paths) {
    const has: string[] = []
    const allows = new Set<unknown>()
    for (const method of methods) {
      // The body is as wrong as can be: it must not come first.
      const { statusCode, headers, body } = await app.inject({
        method: method as 'GET',
        url: path,
        ...(method === 'POST' && { payload: '{', headers: { 'content-type': 'text/plain' } }),
      })
      if (statusCode !== 405) has.push(method)
      else {
        allows.add(headers.allow)
        t.equal(headers['cache-control'], 'no-store')
        if (method !== 'HEAD') t.match(JSON.parse(body), { code: 'method_not_allowed' })
      }
    }
    t.strictSame([...allows], [has.sort().join(', ')], url)
    t.notOk(has.includes('TRACE') || has.includes('OPTIONS'), 'neither TRACE nor, without a preflight, OPTIONS')
  }
  for (const method of methods) {
    t.equal(
      (await app.inject({ method: method as 'GET', url: '/nothing/here' })).statusCode,
      404,
      `${method} where nothing is`,
    )
  }
  const trace = await exchange(port, head('TRACE /login', 'Authorization: Bearer secret', 'Connection: close'))
  t.equal(trace.answers[0]?.status, 405)
  t.notMatch(trace.text, /secret/)
})

type Schema = {
  pattern?: string
  maxLength?: number
  type?: string
  const?: unknown
  enum?: unknown[]
  $ref?: string
  [key: string]: unknown
}

t.test('an id in capitals is the same id, on every path that has one, and is stored as it always is', async (t) => {
  const [owner, helped] = [await createOwner(doorstep, ['totp'], 'optional'), await createOwner(doorstep, ['totp'])]
  const sessions = [await sessionOf(doorstep, owner), await sessionOf(doorstep, owner)] as const
  const other = await sessionOf(doorstep, helped)
  const backend = await makeBackend(doorstep)
  const idsOf = async (list: 'devices' | 'factors', token: string): Promise<string[]> =>
    (await call(doorstep, `/${list}`, { token })).body[list].map(({ id }: { id: string }) => id)
  const newHook = { url: 'https://example.com/hook', events: ['user.created'] }
  const hook: string = (await ask(doorstep, backend, 'POST /admin/webhooks', newHook)).body.id
  const [device = ''] = await idsOf('devices', sessions[1].access)
  const [factor = ''] = await idsOf('factors', sessions[0].access)
  const [itsDevice = ''] = await idsOf('devices', other.access)
  const [itsFactor = ''] = await idsOf('factors', other.access)

  const tried: string[] = []
  const send = async (route: string, status: number, authorization: string, ids: string[], body?: object) => {
    tried.push(route)
    const [method = '', path = ''] = ids.reduce((text, id) => text.replace(/:\w+/, id.toUpperCase()), route).split(' ')
    const sent = { method: method as 'POST', headers: { authorization }, ...(body !== undefined && { body }) }
    const answer = await call(doorstep, path, sent)
    t.equal(answer.status, status, `${route}: ${answer.body.code}`)
    return answer.body
  }
  const [first, second] = [`Bearer ${sessions[0].access}`, `Bearer ${sessions[1].access}`]
  t.equal((await send('PATCH /devices/:id', 200, second, [device], { name: 'phone' })).id, device)
  t.equal((await send('PATCH /factors/:id', 200, first, [factor], { name: 'app' })).id, factor)
  await send('DELETE /factors/:id', 204, second, [factor])
  const last = await login(doorstep, owner)
  const ending = { bearer: `Bearer ${last.body.access_token}`, sid: String(part(last.body.access_token, 1).sid) }
  await age(doorstep, owner, 601)
  await send('DELETE /sessions/:id', 204, ending.bearer, [ending.sid])
  await send('DELETE /devices/:id', 204, second, [device])

  const { basic } = backend
  t.equal((await send('GET /admin/users/:id', 200, basic, [helped.id])).id, helped.id)
  await send('PATCH /admin/users/:id', 200, basic, [helped.id], { external_id: 'one' })
  await send('POST /admin/users/:id/unlock', 204, basic, [helped.id], {})
  await send('DELETE /admin/users/:id/sessions/:part', 204, basic, [helped.id, other.sid])
  await send('DELETE /admin/users/:id/sessions', 204, basic, [helped.id])
  await send('DELETE /admin/users/:id/factors/:part', 204, basic, [helped.id, itsFactor])
  await send('DELETE /admin/users/:id/factors', 204, basic, [helped.id])
  await send('DELETE /admin/users/:id/devices/:part', 204, basic, [helped.id, itsDevice])
  await send('DELETE /admin/users/:id/devices', 204, basic, [helped.id])
  await send('POST /admin/users/:id/password-reset', 202, basic, [helped.id], {})
  const found = await ask(doorstep, backend, `GET /admin/events?user_id=${helped.id.toUpperCase()}&limit=1`)
  t.match(found.body, { events: [{ user_id: helped.id }] })
  await send('DELETE /admin/users/:id', 204, basic, [helped.id])
  t.equal((await send('PATCH /admin/webhooks/:id', 200, basic, [hook], { description: 'x' })).id, hook)
  await send('POST /admin/webhooks/:id/rotate-secret', 200, basic, [hook], {})
  await send('POST /admin/webhooks/:id/redeliver', 202, basic, [hook], { after: new Date().toISOString() })
  await send('DELETE /admin/webhooks/:id', 204, basic, [hook])

  const known: string[] = []
  for (const route of registeredRoutes(app).filter(({ url }) => url.includes(':id'))) {
    const { statusCode } = await app.inject({ method: route.method as 'GET', url: pathOf(route) })
    if (statusCode !== 405) known.push(`${route.method} ${route.url}`)
  }
  t.same(tried.sort(), known.sort(), 'no other path has one')
  const details = await doorstep.sql<{ detail: string }>('SELECT detail FROM audit_events WHERE detail IS NOT NULL')
  t.same(
    details.filter(({ detail }) => /[0-9A-F]{8}-[0-9A-F]{4}-/.test(detail) && detail !== detail.toLowerCase()),
    [],
  )
})

t.test('no pattern can be made slow, every text has an end, and keys that collide cost nothing', async (t) => {
  const { paths } = app.swagger() as {
    paths: Record<string, Record<string, { requestBody?: Schema; parameters?: Schema[] }>>
  }
  const found: Schema[] = []
  const collect = (value: unknown): void => {
    if (typeof value !== 'object' || value === null) return
    if (typeof (value as Schema).type === 'string') found.push(value as Schema)
    for (const [name, member] of Object.entries(value)) if (!name.startsWith('example')) collect(member)
  }
  for (const path of Object.values(paths))
    for (const { requestBody, parameters } of Object.values(path)) collect([requestBody, parameters])
  const texts = found.filter(({ type }) => type === 'string')
  t.ok(texts.length >= 6, `${texts.length} texts can be sent`)
  for (const text of texts)
    t.ok(text.maxLength !== undefined || text.const !== undefined || text.enum, JSON.stringify(text))

  /** The quickest of three, since a busy machine may stop us at any time. */
  const quickest = (work: () => unknown): number =>
    Math.min(
      ...[1, 2, 3].map(() => {
        const startedAt = performance.now()
        work()
        return performance.now() - startedAt
      }),
    )
  const size = 16_384
  const units = ['a', '/', '\\', ' ', '\t', '/\\', 'a/', '%', '\u0000', 'é', '😀', '-', '1', '@', '.', '/a\u0000']
  const patterns = texts.flatMap(({ pattern }) => pattern ?? [])
  t.ok(patterns.length >= 1)
  for (const pattern of patterns) {
    const expression = new RegExp(pattern, 'u')
    for (const unit of units) {
      const body = unit.repeat(size / unit.length)
      for (const input of [body, `/${body}`, `${body}\u0000`, `/${body}\u0000`, `/${body}!`]) {
        const ms = quickest(() => expression.test(input))
        if (ms >= 10) t.fail(`${pattern} took ${ms} ms on ${JSON.stringify(unit)}`)
      }
    }
  }

  const colliding = (step: number): string => {
    const names: string[] = []
    for (let at = 1, length = 2; ; at += 1) {
      const name = `"${at * step}":0`
      length += name.length + 1
      if (length > size) return `{${names.join(',')}}`
      names.push(name)
    }
  }
  for (const step of [1, 2 ** 8, 2 ** 12, 2 ** 16, 2 ** 20, 2 ** 24, 2 ** 32]) {
    const text = colliding(step)
    t.ok(quickest(() => JSON.parse(text)) < 20, `16 KiB of multiples of ${step}`)
    t.equal((await sendText('/login', text)).statusCode, 413)
    t.equal((await sendText('/login', `{${text.slice(1, 4_000).replace(/,[^,]*$/, '')}}`)).statusCode, 400)
  }
})

t.test('return_to is a local path or 400, and comes back as it was', async (t) => {
  const user = await createUser(doorstep, { twoFactor: 'off' })
  const ask = (returnTo: string) => login(doorstep, user, { body: { return_to: returnTo } })
  const good = [
    ...[
      '/',
      '/orders/7',
      '/a?b=c&d=%2F%2Fevil.example#e',
      '/a//b',
      '/a/\\b',
      '/%2F%2Fevil.example',
      '/%5cevil',
      '/.//evil',
      '/..',
      '/ü/😀',
    ],
    ...['/@evil.example', '/:evil', '/a b', '/\'"<script>', `/${'x'.repeat(511)}`, `/${'😀'.repeat(511)}`],
  ]
  const bad = [
    ...[
      '',
      '//',
      '//evil.example',
      '///evil.example',
      '/\\',
      '/\\evil.example',
      '\\/evil.example',
      '\\\\evil.example',
      'evil.example',
    ],
    ...[
      'http:',
      'http://evil.example',
      'https:evil.example',
      'javascript:alert(1)',
      'data:text/html,x',
      ' /orders',
      '\t/orders',
      '\n//evil',
    ],
    ...[
      '/\t/evil.example',
      '/\n/evil.example',
      '/\r\n/evil.example',
      '/\u0000',
      '/a\u0000',
      '/a\rb',
      '/a\nb',
      '/\u001b[31m',
      '/\u007f',
      'orders/7',
    ],
    ...['?x', '#x', '.', '..', `/${'x'.repeat(512)}`, `/${'😀'.repeat(512)}`, '/\ud800', '@evil.example'],
  ]
  for (const path of good) {
    const { status, body } = await ask(path)
    t.equal(status, 200, path.slice(0, 40))
    t.equal(body.return_to, path, 'unchanged')
    t.equal(new URL(path, 'https://login.example.com').host, 'login.example.com', 'a browser stays here')
  }
  for (const path of bad) t.equal((await ask(path)).status, 400, JSON.stringify(path).slice(0, 40))

  const other = await createUser(doorstep)
  const longest = `/${'😀'.repeat(511)}`
  const first = await login(doorstep, other, { body: { return_to: longest } })
  t.ok(first.body.pending_token.length <= 4_096, 'the longest one fits into a token that is accepted')
  const second = await finish(doorstep, first.body.pending_token, codeFor(doorstep, other.phone))
  t.equal(second.body.return_to, longest, 'through both steps')
})

t.test('the credential is judged before the body: a login that is over is 401 whatever is sent with it', async (t) => {
  const user = await createUser(doorstep)
  const first = await login(doorstep, user)
  const { pending_token: token } = first.body
  const bodies: [string, Record<string, string>][] = [
    ['{', {}],
    ['{}', {}],
    ['{"code":1}', {}],
    ['{"code":"\\u0000"}', {}],
    ['{"code":"12"}', {}],
    ['{"__proto__":{}}', {}],
    [' '.repeat(5_000), {}],
    ['{"code":"123456"}', { 'content-type': 'text/plain' }],
    ['{"code":"123456"}', { 'content-encoding': 'gzip' }],
    ['{"code":"123456"}', { 'content-type': 'application/json; charset=utf-16' }],
  ]
  const send = (text: string, headers: Record<string, string>) =>
    sendText('/login/2fa', text, { ...headers, authorization: `Bearer ${token}` })
  for (const [text, headers] of bodies) {
    t.ok([400, 413, 415].includes((await send(text, headers)).statusCode), `alive: ${text.slice(0, 20)}`)
  }
  t.equal((await finish(doorstep, token, codeFor(doorstep, user.phone))).status, 200, 'none of them cost the login')
  for (const [text, headers] of bodies) {
    const reply = await send(text, headers)
    t.equal(reply.statusCode, 401, `over: ${text.slice(0, 20)} ${JSON.stringify(headers)}`)
    isProblem(t, reply, 'invalid_token')
  }
  t.equal((await resend(doorstep, token)).status, 401)
  for (const [text, headers] of bodies) {
    const reply = await sendText('/login/2fa', text, { ...headers, authorization: 'Bearer x.y.z' })
    t.equal(reply.statusCode, 401, 'and a token that never was one')
  }
})
