import type { AddressInfo } from 'node:net'
import t from 'tap'
import { createAccount } from '../../src/features/accounts/create-account.ts'
import { startDoorstep } from '../helpers/doorstep.ts'
import { exchange, type RawAnswer } from '../helpers/raw-http.ts'
import { allRoutes, pathOf } from '../helpers/registered-routes.ts'
import { call, codeFor, createUser, finish, freshPhone, login, rightPassword } from '../helpers/story.ts'

t.setTimeout(300_000)

/** As issue 10 found it: a secret with the signs that forms encode. */
const clients = { billing: 'kJ3+aZ/9Qw==pP0xYt5R', shop: 'another:secret%2Bwith 100% signs&more' }
const doorstep = await startDoorstep(t, {
  env: { LOG_LEVEL: 'silent', INTROSPECTION_CLIENTS: `billing:${clients.billing},a-b_c:0123456789abcdef` },
})
await doorstep.app.listen({ host: '127.0.0.1', port: 0 })
const { port } = doorstep.app.server.address() as AddressInfo
const plain = await createUser(doorstep, { twoFactor: 'off' })
const ada = await createUser(doorstep)
const enter = async () => (await login(doorstep, plain)).body

/** One request over the wire, byte for byte. */
async function raw(head: string[], body: string | Buffer = ''): Promise<RawAnswer> {
  const lines = [...head, 'Host: localhost', 'Connection: close', '', '']
  const { answers } = await exchange(port, `${lines.join('\r\n')}${Buffer.from(body).toString('latin1')}`)
  const [answer] = answers
  if (answer === undefined) throw new Error('no answer')
  return answer
}

t.test('HEAD wherever there is GET: the same headers, no body (RFC 9110 9.3.2)', async (t) => {
  const { access_token: token } = await enter()
  const authorization = `Bearer ${token}`
  const routes = allRoutes(doorstep.app)
  const gets = new Set(routes.filter(({ method }) => method === 'GET').map(({ url }) => url))
  const heads = new Set(routes.filter(({ method }) => method === 'HEAD').map(({ url }) => url))
  t.ok(gets.size > 15)
  for (const url of gets) {
    t.ok(heads.has(url), url)
    const path = pathOf({ method: 'GET', url })
    const [get, head] = [
      await doorstep.app.inject({ method: 'GET', url: path }),
      await doorstep.app.inject({ method: 'HEAD', url: path }),
    ]
    t.equal(head.statusCode, get.statusCode, `${url}: no other door than GET, to a stranger`)
  }

  const paths = ['/health/live', '/health/ready', '/.well-known/jwks.json', '/.well-known/oauth-authorization-server']
  const more = ['/openapi.json', '/docs', '/docs/', '/docs/static/swagger-ui.css', '/problems/busy', '/dev/sms']
  for (const path of [...paths, ...more, '/me', '/sessions', '/devices', '/problems/none', '/nothing']) {
    const [get, head] = await Promise.all(
      (['GET', 'HEAD'] as const).map((method) =>
        doorstep.app.inject({ method, url: path, headers: { authorization } }),
      ),
    )
    t.equal(head?.statusCode, get?.statusCode, `HEAD ${path}`)
    t.equal(head?.body, '')
    for (const name of ['content-type', 'content-length', 'cache-control', 'etag']) {
      t.equal(head?.headers[name], get?.headers[name], `${path}: ${name}`)
    }
  }
  // The odd one that is unlike GET: where there is no GET there is no HEAD.
  const none = await doorstep.app.inject({ method: 'HEAD', url: '/login' })
  t.equal(none.statusCode, 405)
  t.equal(none.headers.allow, 'POST')
  const wrong = await doorstep.app.inject({ method: 'PUT', url: '/sessions' })
  t.equal(wrong.headers.allow, 'GET, HEAD')
  t.equal((await raw(['HEAD /health/live HTTP/1.1'])).status, 200, 'over the wire')
  t.equal((await doorstep.app.inject({ method: 'HEAD', url: '/me' })).statusCode, 401, 'guarded as GET is')
})

t.test('every 401 says how to authenticate (RFC 9110 15.5.2)', async (t) => {
  const { access_token: access, refresh_token: refresh } = await enter()
  const bearer = (token: string) => ({ headers: { authorization: `Bearer ${token}` } })
  const invalid = 'Bearer error="invalid_token"'
  const renew = (token: string) => call(doorstep, '/token/refresh', { body: { refresh_token: token } })
  const next = (await renew(refresh)).body.refresh_token
  await renew(next)
  const pending = (await login(doorstep, ada)).body.pending_token
  const ghost = { email: 'nobody@example.com', password: 'x' }

  const cases: [string, Awaited<ReturnType<typeof call>>, string, string][] = [
    ['no token', await call(doorstep, '/me'), 'invalid_token', 'Bearer'],
    ['a bad token', await call(doorstep, '/me', bearer('a.b.c')), 'invalid_token', invalid],
    ['an empty header', await call(doorstep, '/me', { headers: { authorization: '' } }), 'invalid_token', invalid],
    [
      'another scheme',
      await call(doorstep, '/me', { headers: { authorization: 'Basic eDp5' } }),
      'invalid_token',
      invalid,
    ],
    ['a token of another kind', await call(doorstep, '/me', bearer(pending)), 'invalid_token', invalid],
    ['no pending token', await call(doorstep, '/login/2fa', { body: { code: '123456' } }), 'invalid_token', 'Bearer'],
    ['a wrong password', await login(doorstep, { ...ada, password: 'x' }), 'invalid_credentials', 'Bearer'],
    ['an unknown e-mail', await login(doorstep, ghost), 'invalid_credentials', 'Bearer'],
    ['a refresh token that is none', await renew('x'), 'invalid_token', invalid],
    ['a spent refresh token', await renew(refresh), 'refresh_token_reused', invalid],
    ['its session afterwards', await call(doorstep, '/me', bearer(access)), 'invalid_token', invalid],
  ]
  for (const [name, { status, body, headers }, code, header] of cases) {
    t.match({ status, code: body.code }, { status: 401, code }, name)
    t.equal(headers['www-authenticate'], header, name)
  }
  const asked = { body: 'token=x', headers: { 'content-type': 'application/x-www-form-urlencoded' } }
  for (const authorization of [undefined, 'Bearer a.b.c', 'Basic eDp5', 'Basic', 'Basic !']) {
    const headers = { ...asked.headers, ...(authorization !== undefined && { authorization }) }
    const answer = await call(doorstep, '/token/introspect', { ...asked, headers })
    t.equal(answer.status, 401)
    t.match(String(answer.headers['www-authenticate']), /^Basic realm="[^"]+", charset="UTF-8"$/, `${authorization}`)
  }
})

t.test('one or more spaces may follow the scheme, whose case does not count (RFC 9110 11.4)', async (t) => {
  const { access_token: token } = await enter()
  const status = async (authorization: string) => (await call(doorstep, '/me', { headers: { authorization } })).status
  for (const it of [`Bearer ${token}`, `Bearer  ${token}`, `bearer     ${token}`, `BEARER ${token}`]) {
    t.equal(await status(it), 200, it.slice(0, 12))
  }
  for (const it of [
    'Bearer',
    'Bearer ',
    `Bearer\t${token}`,
    `Bearer${token}`,
    `Bearer ${token} x`,
    `Bearer ${token},`,
    token,
  ]) {
    t.equal(await status(it), 401, it.slice(0, 12))
  }
  const first = await login(doorstep, ada)
  const answer = await call(doorstep, '/login/2fa', {
    headers: { authorization: `Bearer   ${first.body.pending_token}` },
    body: { code: codeFor(doorstep, ada.phone) },
  })
  t.equal(answer.status, 200, 'a pending token too')
})

t.test('a client may send its id and secret as they are, or as a form is encoded (RFC 6749 2.3.1)', async (t) => {
  const { access_token: token } = await enter()
  const ask = async (credentials: string, scheme = 'Basic ') => {
    const authorization = `${scheme}${Buffer.from(credentials).toString('base64')}`
    const headers = { 'content-type': 'application/x-www-form-urlencoded', authorization }
    return (await call(doorstep, '/token/introspect', { body: `token=${token}`, headers })).status
  }
  const { billing: secret } = clients
  t.equal(await ask(`billing:${secret}`), 200, 'as it is')
  t.equal(await ask(`billing:${encodeURIComponent(secret)}`), 200, 'encoded')
  t.equal(await ask(`${new URLSearchParams({ billing: secret })}`.replace('=', ':')), 200, 'encoded as forms are')
  t.equal(await ask('a%2Db%5Fc:0123456789%61bcdef'), 200, 'the id too, and what need not be encoded')
  t.equal(await ask(`billing:${secret}`, 'basic   '), 200, 'more spaces')
  for (const [wrong, why] of [
    [`billing:${encodeURIComponent(encodeURIComponent(secret))}`, 'encoded twice'],
    [`billing:${secret.replace('+', ' ')}`, 'a plus that became a space'],
    [`billing:${secret.toLowerCase()}`, 'in another case'],
    [`billing%3A${encodeURIComponent(secret)}x`, 'with one sign more'],
    ['billing:%', 'half of an encoding'],
    ['billing:', 'nothing'],
    [secret, 'without an id'],
  ] as const) {
    t.equal(await ask(wrong), 401, why)
  }
})

t.test('a body of length 0 is no body, whatever its type is said to be (issue 10)', async (t) => {
  const types = ['application/json', 'application/json; charset=utf-8', 'text/plain', 'application/xml', 'nonsense', '']
  for (const type of types) {
    const { access_token: token } = await enter()
    const head = ['POST /logout HTTP/1.1', `Authorization: Bearer ${token}`, `Content-Type: ${type}`]
    t.equal((await raw([...head, 'Content-Length: 0'])).status, 204, `length 0, ${type || 'no type'}`)
  }
  for (const type of ['application/json', 'application/octet-stream']) {
    const { access_token: token } = await enter()
    const head = ['POST /logout HTTP/1.1', `Authorization: Bearer ${token}`, `Content-Type: ${type}`]
    t.equal((await raw(head)).status, 204, `no length, ${type}`)
    const { access_token: other } = await enter()
    const chunked = ['POST /logout HTTP/1.1', `Authorization: Bearer ${other}`, `Content-Type: ${type}`]
    const answer = await raw([...chunked, 'Transfer-Encoding: chunked'], '0\r\n\r\n')
    t.equal(answer.status, 204, `chunked, ${type}`)
  }
  const { access_token: token } = await enter()
  const id = (await call(doorstep, '/sessions', { token })).body.sessions[0].id
  const own = ['Content-Type: application/json', 'Content-Length: 0', `Authorization: Bearer ${token}`]
  t.equal(
    (await raw([`DELETE /sessions/${id} HTTP/1.1`, ...own])).status,
    204,
    'DELETE, from clients that always name a type',
  )
  const get = ['Content-Type: application/json', 'Content-Length: 0']
  t.equal((await raw(['GET /health/live HTTP/1.1', ...get])).status, 200, 'GET')
  t.match(
    JSON.parse((await raw(['POST /login HTTP/1.1', 'Content-Type: application/json', 'Content-Length: 0'])).body),
    {
      code: 'invalid_request',
      errors: [{ pointer: '/email' }],
    },
  )

  // A body that is not empty is judged by its type as ever.
  for (const [type, body] of [
    ['text/plain', 'x'],
    ['application/xml', ' '],
    ['', '{}'],
  ] as const) {
    const chunk = `${body.length}\r\n${body}\r\n0\r\n\r\n`
    const head = ['POST /login HTTP/1.1', ...(type ? [`Content-Type: ${type}`] : [])]
    t.equal((await raw([...head, 'Transfer-Encoding: chunked'], chunk)).status, 415, `chunked ${type}`)
    t.equal((await raw([...head, `Content-Length: ${body.length}`], body)).status, 415, type)
  }
  t.equal((await raw(['POST /login HTTP/1.1', 'Content-Type: application/json', 'Content-Length: 1'], ' ')).status, 400)
})

t.test('a charset is spelled as it is in the field; any other is 415', async (t) => {
  const status = async (type: string) => {
    const body = JSON.stringify({ email: plain.email, password: rightPassword })
    const head = ['POST /login HTTP/1.1', `Content-Type: ${type}`, `Content-Length: ${body.length}`]
    return (await raw(head, body)).status
  }
  const spellings = ['utf-8', 'UTF-8', 'Utf-8', 'utf8', 'UTF8', '"utf-8"', '"UTF-8"', '"utf8"', 'utf-8;', 'utf-8 ;']
  for (const it of spellings) t.equal(await status(`application/json; charset=${it}`), 200, it)
  t.equal(await status('application/json;charset=UTF-8'), 200)
  t.equal(await status('application/json;'), 200)
  t.equal(await status('Application/JSON; Charset=utf-8'), 200)
  const others = ['utf-16', 'iso-8859-1', 'utf-7', '"utf-8', "'utf-8'", 'utf-88', 'utf--8', '']
  for (const it of others) t.equal(await status(`application/json; charset=${it}`), 415, it)
  t.equal(await status('application/json; charset=utf-8; charset=utf-8'), 415)
  t.equal(await status('application/json; charset=utf-8; x=y'), 415)
})

t.test('bytes that are not UTF-8 are 400, and never another password (SEC-68)', async (t) => {
  const user = await createUser(doorstep, { twoFactor: 'off', password: 'caf\ufffd caf\ufffd caf\ufffd' })
  t.equal((await login(doorstep, user)).status, 200, 'the sign that stands for what cannot be read')
  const send = async (password: Buffer) => {
    const start = `{"email":"${user.email}","password":"`
    const body = Buffer.concat([Buffer.from(start), password, Buffer.from('"}')])
    const head = ['POST /login HTTP/1.1', 'Content-Type: application/json', `Content-Length: ${body.length}`]
    const { answers } = await exchange(
      port,
      `${[...head, 'Host: x', 'Connection: close', '', ''].join('\r\n')}${body.toString('latin1')}`,
    )
    return answers[0]
  }
  const bad: Record<string, number[]> = {
    'Latin-1': [0xe9],
    'half of two': [0xc3],
    'a stray half': [0xa9],
    overlong: [0xc0, 0xaf],
    'a surrogate': [0xed, 0xa0, 0x80],
    'beyond Unicode': [0xf4, 0x90, 0x80, 0x80],
    'never a byte': [0xff],
  }
  for (const [name, bytes] of Object.entries(bad)) {
    const once = Buffer.concat([Buffer.from('caf'), Buffer.from(bytes)])
    const answer = await send(Buffer.concat([once, Buffer.from(' '), once, Buffer.from(' '), once]))
    t.match(JSON.parse(answer?.body ?? '{}'), { status: 400, code: 'invalid_request', detail: /UTF-8/ }, name)
  }
  t.equal((await send(Buffer.from(user.password)))?.status, 200, 'what is UTF-8 is taken')

  const authorization = `Basic ${Buffer.from(`billing:${clients.billing}`).toString('base64')}`
  const form = async (body: string) => {
    const type = 'Content-Type: application/x-www-form-urlencoded'
    const head = ['POST /token/introspect HTTP/1.1', `Authorization: ${authorization}`, type]
    const { answers } = await exchange(
      port,
      `${[...head, `Content-Length: ${body.length}`, 'Host: x', 'Connection: close', '', ''].join('\r\n')}${body}`,
    )
    return answers[0]?.status
  }
  t.equal(await form('token=a.b.c'), 200)
  t.equal(await form('token=\xff'), 400, 'in a form')
  t.equal(await form('token=%ff'), 400, 'and as a form encodes it')
  t.equal(await form('token=%'), 400)
})

t.test('a pasted code is read with whatever came along; what is no code costs no try', async (t) => {
  const user = await createUser(doorstep)
  const first = await login(doorstep, user)
  const code = codeFor(doorstep, user.phone)
  const [a, b] = [code.slice(0, 3), code.slice(3)]
  const answer = (text: string) => finish(doorstep, first.body.pending_token, text)

  const notCodes = [
    '',
    ' ',
    a,
    `${code}0`,
    `${a}.${b}`,
    `${a}_${b}`,
    `${a}+${b}`,
    `${code}\u0301`,
    `#${code}`,
    `x${code}`,
  ]
  const digits = [...code].map(Number)
  const fullWidth = digits.map((n) => String.fromCodePoint(0xff10 + n)).join('')
  const arabic = digits.map((n) => String.fromCodePoint(0x660 + n)).join('')
  for (const text of [...notCodes, fullWidth, arabic]) {
    t.match(await answer(text), { status: 400, body: { code: 'invalid_request' } }, JSON.stringify(text))
  }
  const { body } = await call(doorstep, '/login/2fa', { token: first.body.pending_token })
  t.equal(body.challenge.attempts_remaining, 5)
  t.equal((await answer(`\u2068${a}\u00a0\u2013 ${b}\u2069\r\n`)).status, 200)

  const { oneTimeCodes } = doorstep.services
  const spaces = [
    ' ',
    '\t',
    '\n',
    '\r\n',
    '\v',
    '\f',
    '\u0085',
    '\u00a0',
    '\u1680',
    '\u2000',
    '\u2002',
    '\u2003',
    '\u2009',
  ]
  const more = [
    '\u200a',
    '\u2028',
    '\u2029',
    '\u202f',
    '\u205f',
    '\u3000',
    '\ufeff',
    '\u200b',
    '\u200e',
    '\u202c',
    '\u2060',
  ]
  const dashes = [
    '-',
    '\u2010',
    '\u2011',
    '\u2012',
    '\u2013',
    '\u2014',
    '\u2015',
    '\u2212',
    '\u2043',
    '\ufe58',
    '\ufe63',
    '\uff0d',
    '\u00ad',
  ]
  for (const sign of [...spaces, ...more, ...dashes]) {
    const name = `U+${sign.codePointAt(0)?.toString(16).padStart(4, '0')}`
    t.equal(oneTimeCodes.read(`${sign}123${sign}${sign}456${sign}`), '123456', name)
  }
})

t.test('an e-mail with an international domain is one identity in both spellings (issue 10)', async (t) => {
  const unicode = 'ada@münchen.example'
  const ascii = 'ada@xn--mnchen-3ya.example'
  const make = (email: string) =>
    createAccount(doorstep.services, { email, phone: freshPhone(), password: rightPassword, twoFactor: 'off' })
  t.equal((await make(unicode)).email, ascii)
  await t.rejects(make(ascii), { code: 'conflict' }, 'there is one user, however it is written')
  const spellings = [ascii.toUpperCase(), `${unicode}.`, 'ada@mu\u0308nchen.example', 'ada@münchen。example']
  for (const email of [unicode, ascii, ...spellings]) {
    t.equal((await login(doorstep, { email, password: rightPassword })).status, 200, email)
  }
  const other = 'bea@bücher.example'
  const wrong = async (email: string) => (await login(doorstep, { email, password: 'x' })).body.code
  const spelled = [other, 'bea@xn--bcher-kva.example', 'BEA@BÜCHER.example', `${other}.`, other]
  for (const email of spelled) t.equal(await wrong(email), 'invalid_credentials')
  t.equal(await wrong('bea@xn--bcher-kva.example'), 'login_locked', 'and one counter')
})
