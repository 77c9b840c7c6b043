import { createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import fc from 'fast-check'
import { createLocalJWKSet, EncryptJWT, importPKCS8, jwtVerify, SignJWT } from 'jose'
import t, { type Test } from 'tap'
import { createTokens } from '../../src/security/tokens.ts'
import { systemClock, systemRandom } from '../../src/system.ts'
import { startDoorstep } from '../helpers/doorstep.ts'
import { thorough } from '../helpers/effort.ts'
import { ecdsa, forge, hmac, nothing, part, plain } from '../helpers/forge.ts'
import { allRoutes, pathOf, type RegisteredRoute, withHead } from '../helpers/registered-routes.ts'
import { type Answer, call, codeFor, createUser, finish, login, signIn } from '../helpers/story.ts'

/**
 * Reviewed by hand: everything that answers without a credential. A route that is new here, or gone, fails this test.
 * Methods that a route does not have (405) are left out.
 */
const publicRoutes = [
  'GET /',
  'GET /confirm-email',
  'GET /not-me',
  'GET /set-password',
  'GET /page/logo.svg',
  'GET /page/page.css',
  'GET /page/page.js',
  'GET /.well-known/jwks.json',
  'GET /.well-known/oauth-authorization-server',
  'GET /dev/mail',
  'GET /dev/sms',
  'GET /docs',
  'GET /docs/',
  'GET /docs/static/*',
  'GET /docs/json',
  'GET /docs/static/index.html',
  'GET /docs/static/swagger-initializer.js',
  'GET /docs/static/theme/doorstep.css',
  'GET /docs/static/theme/doorstep.js',
  'GET /docs/static/theme/mark.svg',
  'GET /docs/yaml',
  'GET /health/live',
  'GET /health/ready',
  'GET /openapi.json',
  'GET /problems/:code',
  'POST /account/secure',
  'POST /login',
  'POST /login/passkey',
  'POST /password/forgot',
  'POST /password/set',
  'POST /register',
  'POST /token/refresh',
  'POST /webhooks/twilio/status',
]
const pendingRoutes = ['GET /login/2fa', 'POST /login/2fa', 'POST /login/2fa/method', 'POST /login/2fa/resend']
const accessRoutes = [
  ...['DELETE /devices/:id', 'DELETE /factors/:id', 'DELETE /sessions/:id'],
  ...['GET /devices', 'GET /factors', 'GET /me', 'GET /sessions', 'PATCH /devices/:id', 'PATCH /factors/:id'],
  ...['DELETE /me', 'GET /me/export', 'PATCH /me', 'PUT /me/email', 'PUT /me/password'],
  ...['POST /factors', 'POST /login/step-up', 'POST /logout', 'POST /me/email/confirm'],
]

t.setTimeout(300_000)
const doorstep = await startDoorstep(t)
const { app, services, config, sql, logs } = doorstep
const ada = await createUser(doorstep)
const bob = await createUser(doorstep)
const accessToken: string = (await signIn(doorstep, ada)).body.access_token
const pendingToken: string = (await login(doorstep, bob)).body.pending_token

const activeKey = services.keyRing.active()
const signingKey = createPrivateKey(activeKey.privatePem)
const pendingSecret = services.secrets.current('pending-token')
const nowSeconds = (): number => systemClock.nowMs() / 1_000

type Kind = 'access' | 'pending'

/** Both kinds: a token that is right in everything, what it is made of, and where it is good. */
const kinds = {
  access: {
    path: '/me',
    header: { alg: 'ES256', typ: 'at+jwt', kid: activeKey.kid },
    claims: part(accessToken, 1),
    sign: ecdsa(signingKey),
  },
  pending: {
    path: '/login/2fa',
    header: { alg: 'HS256', typ: '2fa-pending+jwt', kid: pendingSecret.id },
    claims: part(pendingToken, 1),
    sign: hmac(pendingSecret.key.toString('base64url')),
  },
} as const
const bothKinds: Kind[] = ['access', 'pending']

const show = (kind: Kind, authorization: string): Promise<Answer> =>
  call(doorstep, kinds[kind].path, { headers: { authorization } })
const present = (kind: Kind, token: string): Promise<Answer> => show(kind, `Bearer ${token}`)

/** What every rejected token is told, to the letter, but for the request id. */
function isRejected(t: Test, answer: Answer, name: string): void {
  const { instance, ...body } = answer.body
  t.strictSame(
    { status: answer.status, challenge: answer.headers['www-authenticate'], body },
    {
      status: 401,
      challenge: 'Bearer error="invalid_token"',
      body: {
        type: `${config.publicUrl}/problems/invalid_token`,
        title: 'The token is missing or not valid here',
        status: 401,
        detail: 'Missing, malformed, expired, of the wrong kind, revoked or used. For a pending token: sign in again.',
        code: 'invalid_token',
      },
    },
    name,
  )
  t.match(instance, /^[0-9a-f-]{36}$/)
}

t.test(
  'a thief who has only the password finds no other door with the pending token, on any route or method',
  async (t) => {
    const answersTo = async (route: RegisteredRoute, token?: string): Promise<number> => {
      const { statusCode, body } = await app.inject({
        method: route.method as 'GET',
        url: pathOf(route),
        ...(token !== undefined && { headers: { authorization: `Bearer ${token}` } }),
      })
      t.ok(statusCode < 500, `${route.method} ${route.url} answered ${statusCode}`)
      // A wrong password is an answer, a token that is refused is none.
      return route.url === '/login' && body.includes('"invalid_credentials"') ? 200 : statusCode
    }
    // A method that a path does not have does nothing, whoever asks.
    const routes: RegisteredRoute[] = []
    for (const route of allRoutes(app).filter(({ url }) => url !== '*'))
      if ((await answersTo(route)) !== 405) routes.push(route)
    const opens = async (next: () => Promise<string | undefined>): Promise<string[]> => {
      const open: string[] = []
      for (const route of routes) {
        if ((await answersTo(route, await next())) !== 401) open.push(`${route.method} ${route.url}`)
      }
      return open.sort()
    }
    // A new session for each route, which has just shown a second factor: one of them ends it, one the account.
    const carol = await createUser(doorstep, { twoFactor: 'off' })
    const access = async (): Promise<string> => {
      await sql('UPDATE users SET disabled_at = NULL, erases_at = NULL WHERE id = $1', [carol.id])
      const { access_token: token } = (await login(doorstep, carol)).body
      await sql(`UPDATE sessions SET acr = 'aal2' WHERE id = $1`, [part(token, 1).sid])
      return token
    }
    const and = (more: string[]): string[] => withHead([...publicRoutes, ...more]).sort()
    t.strictSame(await opens(async () => undefined), and([]), 'without a token: the reviewed list and nothing else')
    t.strictSame(
      await opens(async () => pendingToken),
      and(pendingRoutes),
      'a pending token opens the second step only',
    )
    t.strictSame(await opens(access), and(accessRoutes), 'an access token does not open the second step')
    t.strictSame(await opens(async () => 'x.y.z'), and([]), 'a broken token opens nothing')
  },
)

t.test('the tokens that the tests forge are right when nothing is wrong with them', async (t) => {
  for (const kind of bothKinds) {
    const { header, claims, sign } = kinds[kind]
    t.equal((await present(kind, forge(header, claims, sign))).status, 200, kind)
    t.equal((await show(kind, `bearer ${forge(header, claims, sign)}`)).status, 200, 'RFC 9110 11.1: any case')
  }
})

t.test('a token of one kind that is right in two of key, typ and audience is refused for the third', async (t) => {
  const otherKey = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
  for (const kind of bothKinds) {
    const own = kinds[kind]
    const other = kinds[kind === 'access' ? 'pending' : 'access']
    const wrong = {
      audience: forge(own.header, { ...own.claims, aud: other.claims.aud }, own.sign),
      typ: forge({ ...own.header, typ: other.header.typ }, own.claims, own.sign),
      'key of the other kind': forge({ ...other.header, typ: own.header.typ }, own.claims, other.sign),
      'key of the other kind under our algorithm':
        kind === 'access'
          ? forge(own.header, own.claims, hmac(pendingSecret.key))
          : forge(own.header, own.claims, hmac(services.secrets.current('code-mac').key.toString('base64url'))),
      'unknown key': forge(
        own.header,
        own.claims,
        kind === 'access' ? ecdsa(otherKey) : hmac('another key of 32 bytes or more ...'),
      ),
      issuer: forge(own.header, { ...own.claims, iss: 'https://evil.example' }, own.sign),
    }
    for (const [name, token] of Object.entries(wrong)) isRejected(t, await present(kind, token), `${kind}: ${name}`)
  }
})

t.test('algorithm, key id and header tricks (RFC 8725) are refused, and no key is ever fetched', async (t) => {
  let connections = 0
  const evil = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const evilJwk = { ...evil.publicKey.export({ format: 'jwk' }), kid: 'evil', alg: 'ES256', use: 'sig' }
  const lure = createServer((_request, response) => response.end(JSON.stringify({ keys: [evilJwk] })))
  lure.on('connection', () => {
    connections += 1
  })
  await new Promise<void>((resolve) => lure.listen(0, '127.0.0.1', resolve))
  t.teardown(() => lure.close())
  const url = `http://127.0.0.1:${(lure.address() as AddressInfo).port}/jwks.json`

  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey
  const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey
  const ed25519 = generateKeyPairSync('ed25519').privateKey
  const { publicPem } = activeKey
  t.match(publicPem, /^-----BEGIN PUBLIC KEY-----\n/)
  const spellings: Record<string, string> = {
    'PEM as it is': publicPem,
    'PEM after a line break': `\n${publicPem}`,
    'PEM after other text': `x${publicPem}`,
    'JWK as JSON': JSON.stringify(services.keyRing.jwks().keys[0]),
    'PEM without its last line break': publicPem.trimEnd(),
  }

  for (const kind of bothKinds) {
    const { header, claims, sign } = kinds[kind]
    const { kid } = header
    const trick = (changed: object, signature = sign): string => forge({ ...header, ...changed }, claims, signature)
    const raw = (text: string): string => forge(text, claims, sign)
    const whole = forge(header, claims, sign)
    const [head = '', body = '', signature = ''] = whole.split('.')

    const vectors: Record<string, string> = {
      ...Object.fromEntries(
        ['none', 'None', 'nOnE', 'NONE', '', 'constructor', '__proto__'].flatMap((alg) => [
          [`alg "${alg}" without a signature`, trick({ alg }, nothing)],
          [`alg "${alg}" with a signature`, trick({ alg })],
        ]),
      ),
      ...Object.fromEntries(
        Object.entries(spellings).flatMap(([name, key]) => [
          [`HS256 keyed with our public key, ${name}`, trick({ alg: 'HS256' }, hmac(key))],
          [`HS384 keyed with our public key, ${name}`, trick({ alg: 'HS384' }, hmac(key, 'sha384'))],
          [`HS512 keyed with our public key, ${name}`, trick({ alg: 'HS512' }, hmac(key, 'sha512'))],
        ]),
      ),
      'HS256 with an empty key': trick({ alg: 'HS256' }, hmac('')),
      'HS384 with the pending key': trick({ alg: 'HS384' }, hmac(pendingSecret.key.toString('base64url'), 'sha384')),
      RS256: trick({ alg: 'RS256' }, plain(rsa, 'sha256')),
      ES384: trick({ alg: 'ES384' }, ecdsa(p384, 'sha384')),
      EdDSA: trick({ alg: 'EdDSA' }, plain(ed25519, null)),
      'ES384 with our key': trick({ alg: 'ES384' }, ecdsa(signingKey, 'sha384')),
      'ES256 in DER': trick({ alg: 'ES256' }, ecdsa(signingKey, 'sha256', 'der')),
      'ES256 of zeros (CVE-2022-21449)': trick({ alg: 'ES256' }, () => Buffer.alloc(64)),
      'no alg': raw(JSON.stringify({ typ: header.typ, kid })),
      'alg as a number': trick({ alg: 256 }),
      'alg as an array': trick({ alg: [header.alg] }),
      'alg twice': raw(`{"alg":"${header.alg}","typ":"${header.typ}","kid":"${kid}","alg":"none"}`),
      'alg in other letters': trick({ alg: header.alg.toLowerCase() }),

      'no kid': raw(JSON.stringify({ alg: header.alg, typ: header.typ })),
      'kid twice': raw(`{"alg":"${header.alg}","typ":"${header.typ}","kid":"${kid}","kid":"other"}`),
      ...Object.fromEntries(
        [
          'other',
          '',
          '../../../../dev/null',
          '/dev/null',
          "' OR '1'='1",
          `${kid}\u0000`,
          `${kid} `,
          '__proto__',
          'a'.repeat(10_000),
        ].map((id) => [`kid ${JSON.stringify(id).slice(0, 30)}`, trick({ kid: id })]),
      ),
      'kid null': trick({ kid: null }),
      'kid a number': trick({ kid: 1 }),
      'kid an object': trick({ kid: { toString: kid } }),
      'kid that points to a file and an empty key': trick({ alg: 'HS256', kid: '/dev/null' }, hmac('')),

      jku: trick({ jku: url, kid: 'evil' }, ecdsa(evil.privateKey)),
      'jku beside our kid': trick({ jku: url }, ecdsa(evil.privateKey)),
      x5u: trick({ x5u: url }, ecdsa(evil.privateKey)),
      jwk: trick({ jwk: evilJwk }, ecdsa(evil.privateKey)),
      x5c: trick(
        { x5c: [evil.publicKey.export({ format: 'der', type: 'spki' }).toString('base64')] },
        ecdsa(evil.privateKey),
      ),

      'unknown crit': trick({ crit: ['http://example.com/UNDEFINED'], 'http://example.com/UNDEFINED': true }),
      'empty crit': trick({ crit: [] }),
      'crit as text': trick({ crit: 'exp' }),
      'b64 false': trick({ b64: false, crit: ['b64'] }),

      'no typ': raw(JSON.stringify({ alg: header.alg, kid })),
      'typ JWT': trick({ typ: 'JWT' }),
      'typ as an array': trick({ typ: [header.typ] }),

      'trailing =': `${whole}=`,
      '= after the header': `${head}=.${body}.${signature}`,
      '= after the payload': `${head}.${body}=.${signature}`,
      'white space inside': `${head}. ${body}.${signature}`,
      'a tab at the end': `${whole}\t`,
      'a line break inside': `${head}\n.${body}.${signature}`,
      'two parts': `${head}.${body}`,
      'no signature': `${head}.${body}.`,
      'no header': `.${body}.${signature}`,
      'no payload': `${head}..${signature}`,
      'four parts': `${whole}.${signature}`,
      'five parts': `${whole}.${signature}.${signature}`,
      'illegal characters in the signature': `${head}.${body}.${signature.slice(0, -2)}+/`,
      'only dots': '..',
      nothing: '',
      'a header that is not JSON': forge('{', claims, sign),
      'a header that is null': forge('null', claims, sign),
      'a header that is an array': forge('[]', claims, sign),
    }
    const sealed = new EncryptJWT(claims).setProtectedHeader({ alg: 'dir', enc: 'A256GCM', typ: header.typ, kid })
    vectors.JWE = await sealed.encrypt(pendingSecret.key)

    for (const [name, token] of Object.entries(vectors)) isRejected(t, await present(kind, token), `${kind}: ${name}`)

    const ignored = trick({ jku: url, x5u: url, jwk: evilJwk, x5c: ['AAAA'] })
    t.equal((await present(kind, ignored)).status, 200, `${kind}: key headers on a token of ours are ignored`)
  }
  t.equal(connections, 0, 'no key was fetched')
})

t.test('a token without one of its claims, or with one of another type, is refused', async (t) => {
  for (const kind of bothKinds) {
    const { header, claims, sign } = kinds[kind]
    const required =
      kind === 'access' ? Object.keys(claims) : Object.keys(claims).filter((name) => name !== 'return_to')
    t.ok(required.length >= 8)
    for (const name of required) {
      const { [name]: _dropped, ...rest } = claims
      isRejected(t, await present(kind, forge(header, rest, sign)), `${kind} without ${name}`)
    }
    const now = Math.floor(nowSeconds())
    const wrongTypes: Record<string, unknown[]> = {
      iss: [null, 1, [config.issuer], { iss: config.issuer }, ''],
      aud: [null, 1, [], ['https://evil.example'], [[claims.aud]], {}, ''],
      sub: [null, 1, [claims.sub], {}, '', 'not-a-uuid', `${claims.sub}'`],
      exp: [null, `${now + 600}`, [now + 600], {}, true, -1, now + 0.5],
      iat: [null, `${now}`, [now], {}, true],
      nbf: [null, `${now}`, [now], {}],
      jti: [null, 1, [], {}],
      ...(kind === 'access'
        ? { sid: [null, 1, 'x', [claims.sid]], auth_time: [null, '1', []] }
        : { cid: [null, 1, 'x', [claims.cid]], remember_me: ['true', 1, false], return_to: [1, [], {}] }),
    }
    for (const [name, values] of Object.entries(wrongTypes)) {
      for (const value of values) {
        const token = forge(header, { ...claims, [name]: value }, sign)
        isRejected(t, await present(kind, token), `${kind}: ${name} ${JSON.stringify(value)}`)
      }
    }
    const written = JSON.stringify(claims)
    isRejected(t, await present(kind, forge(header, written.replace(/"exp":\d+/, '"exp":1e400'), sign)), 'exp 1e400')
    for (const payload of ['null', '[]', '"text"', '1', '{', '', 'true', `[${written}]`]) {
      isRejected(t, await present(kind, forge(header, payload, sign)), `${kind}: payload ${payload.slice(0, 20)}`)
    }
  }
})

t.test('a token that nobody sent, and one in a header that is not right', async (t) => {
  for (const kind of bothKinds) {
    const none = await call(doorstep, kinds[kind].path)
    t.equal(none.status, 401)
    t.equal(none.body.code, 'invalid_token')
    t.equal(none.headers['www-authenticate'], 'Bearer', 'RFC 6750 3: no error where no token was sent')
    const token = kind === 'access' ? accessToken : pendingToken
    t.equal((await show(kind, `Bearer  ${token}`)).status, 200, 'RFC 9110 11.4: one or more spaces')
    const headers = [
      ...['Bearer', 'Bearer ', `Bearer ${token} x`, `Bearer ${token} `, ` Bearer ${token}`, `Bearer\t${token}`],
      ...[
        token,
        `Basic ${token}`,
        `Token ${token}`,
        `Bearer:${token}`,
        `Bearer ${token},${token}`,
        `Bearer ${token}, Bearer ${token}`,
      ],
      ...['Bearer undefined', 'Bearer null', 'Basic dXNlcjpwYXNz', 'Bearer bm90LWEtdG9rZW4', ''],
    ]
    for (const header of headers)
      isRejected(t, await show(kind, header), `${kind}: ${JSON.stringify(header).slice(0, 40)}`)
  }
})

const mutations = thorough(5_000, 1_000)

t.test(`${mutations} mutations of each kind of token: 401 every time`, async (t) => {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  const anywhere = fc.nat({ max: 1_000 })
  const character = fc.oneof(
    { weight: 9, arbitrary: fc.constantFrom(...alphabet) },
    { weight: 1, arbitrary: fc.constantFrom(...'.=+/ ~') },
  )
  const mutation = fc.oneof(
    fc.record({ kind: fc.constant('replace' as const), at: anywhere, text: character }),
    fc.record({
      kind: fc.constant('insert' as const),
      at: anywhere,
      text: fc.string({ unit: character, minLength: 1, maxLength: 4 }),
    }),
    fc.record({ kind: fc.constant('delete' as const), at: anywhere, count: fc.integer({ min: 1, max: 6 }) }),
    fc.record({ kind: fc.constant('truncate' as const), at: anywhere }),
    fc.record({ kind: fc.constant('last' as const), text: character }),
    fc.record({
      kind: fc.constant('splice' as const),
      part: fc.nat({ max: 2 }),
      from: fc.constantFrom('access', 'pending', 'older'),
    }),
    fc.record({ kind: fc.constant('swap' as const), one: fc.nat({ max: 2 }), two: fc.nat({ max: 2 }) }),
    fc.record({ kind: fc.constant('case' as const), at: anywhere }),
  )
  type Mutation = typeof mutation extends fc.Arbitrary<infer M> ? M : never
  const older: string = (await signIn(doorstep, await createUser(doorstep))).body.access_token
  const donors = { access: accessToken, pending: pendingToken, older }

  const mutate = (token: string, change: Mutation): string => {
    const at = 'at' in change ? change.at % token.length : 0
    const parts = [...token.split('.'), '', ''].slice(0, 3)
    switch (change.kind) {
      case 'replace':
        return token.slice(0, at) + change.text + token.slice(at + 1)
      case 'insert':
        return token.slice(0, at) + change.text + token.slice(at)
      case 'delete':
        return token.slice(0, at) + token.slice(at + change.count)
      case 'truncate':
        return token.slice(0, at)
      case 'last':
        return token.slice(0, -1) + change.text
      case 'splice':
        return parts
          .with(change.part, donors[change.from as keyof typeof donors].split('.')[change.part] ?? '')
          .join('.')
      case 'swap':
        return parts
          .with(change.one, parts[change.two] ?? '')
          .with(change.two, parts[change.one] ?? '')
          .join('.')
      case 'case':
        return (
          token.slice(0, at) +
          token.charAt(at).replace(/[a-z]/i, (c) => (c < 'a' ? c.toLowerCase() : c.toUpperCase())) +
          token.slice(at + 1)
        )
    }
  }
  /** Proven equal: the same signed bytes under the same signature bytes, only its spare bits written otherwise. */
  const isSame = (token: string, mutant: string): boolean => {
    const signed = (text: string): string => text.slice(0, text.lastIndexOf('.'))
    const signature = (text: string): string => text.slice(text.lastIndexOf('.') + 1)
    const inAlphabet = /^[\w-]+$/.test(signature(mutant))
    const bytes = (text: string): string => Buffer.from(signature(text), 'base64url').toString('hex')
    return mutant === token || (signed(token) === signed(mutant) && inAlphabet && bytes(token) === bytes(mutant))
  }

  for (const kind of bothKinds) {
    const token = donors[kind]
    let tried = 0
    await fc.assert(
      fc.asyncProperty(fc.array(mutation, { minLength: 1, maxLength: 3 }), async (changes) => {
        // More spaces after the scheme mean nothing.
        const mutant = changes.reduce(mutate, token).replace(/^ +/, '')
        fc.pre(!isSame(token, mutant) && !isSame(older, mutant))
        tried += 1
        const reply = await app.inject({ url: kinds[kind].path, headers: { authorization: `Bearer ${mutant}` } })
        if (reply.statusCode !== 401 || reply.headers['www-authenticate'] !== 'Bearer error="invalid_token"') {
          throw new Error(`${reply.statusCode} for ${mutant}`)
        }
      }),
      { numRuns: mutations },
    )
    t.equal(tried, mutations, kind)
    t.equal((await present(kind, token)).status, 200, 'and the token itself is as good as before')
  }
})

t.test('what a token tells: exact members, 600 seconds, nothing personal', async (t) => {
  const user = await createUser(doorstep)
  const before = nowSeconds()
  const first = await login(doorstep, user, { body: { remember_me: true, return_to: '/a' } })
  const pending = part(first.body.pending_token, 1)
  t.strictSame(part(first.body.pending_token, 0), { alg: 'HS256', typ: '2fa-pending+jwt', kid: pendingSecret.id })
  t.strictSame(Object.keys(pending).sort(), [
    'amr',
    'aud',
    'cid',
    'exp',
    'iat',
    'iss',
    'jti',
    'pur',
    'remember_me',
    'return_to',
    'sub',
  ])
  t.match(pending, {
    iss: config.issuer,
    aud: `${config.issuer}/login/2fa`,
    sub: user.id,
    pur: 'login',
    amr: ['pwd'],
    return_to: '/a',
  })
  t.strictSame(pending.amr, ['pwd'])
  t.equal(Number(pending.exp) - Number(pending.iat), 600)

  const start = part((await call(doorstep, '/login/passkey', { body: { return_to: '/a' } })).body.pending_token, 1)
  t.strictSame(Object.keys(start).sort(), ['amr', 'aud', 'exp', 'iat', 'iss', 'jti', 'pur', 'return_to'])
  t.match(start, { pur: 'passkey', amr: [], jti: /^[\w-]{43}$/ }, 'nobody is known yet')
  t.equal(Number(start.exp) - Number(start.iat), 300)

  const second = await finish(doorstep, first.body.pending_token, codeFor(doorstep, user.phone))
  const token: string = second.body.access_token
  const access = part(token, 1)
  t.strictSame(part(token, 0), { alg: 'ES256', typ: 'at+jwt', kid: activeKey.kid })
  const members = ['acr', 'amr', 'aud', 'auth_time', 'client_id', 'exp', 'iat', 'iss', 'jti', 'scope', 'sid', 'sub']
  t.strictSame(Object.keys(access).sort(), members)
  const [session] = await sql('SELECT id FROM sessions WHERE user_id = $1', [user.id])
  const { iat, exp, jti, auth_time: authTime, ...fixed } = access
  t.strictSame(fixed, {
    ...{ iss: config.issuer, aud: config.tokens.audience, sub: user.id, client_id: 'doorstep', sid: session?.id },
    ...{ amr: ['pwd', 'sms', 'mfa'], acr: 'aal2', scope: 'account' },
  })
  t.equal(Number(exp) - Number(iat), 600)
  t.match(jti, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  t.ok(Math.abs(Number(authTime) - nowSeconds()) <= 2 + (nowSeconds() - before), 'the moment of the second factor')

  const alone = await createUser(doorstep, { twoFactor: 'off' })
  const passwordOnly = part((await login(doorstep, alone)).body.access_token, 1)
  t.strictSame(
    [passwordOnly.amr, passwordOnly.acr],
    [['pwd'], 'aal1'],
    'without the second factor nothing else is claimed',
  )

  const personal = [user.email, user.email.split('@')[0] ?? '', user.phone, user.phone.slice(2), user.password]
  for (const text of [JSON.stringify(pending), JSON.stringify(access)]) {
    for (const secret of personal) t.notOk(text.includes(secret), 'no e-mail, phone or password in a token')
  }
})

t.test('no two tokens share a jti', async (t) => {
  const sign = { pending: JSON.stringify, access: JSON.stringify, verifyAccess: JSON.parse }
  const tokens = createTokens({ config, clock: systemClock, random: systemRandom, sign })
  const seen = new Set<string>()
  for (let count = 0; count < 10_000; count += 1) {
    const { access_token: token } = tokens.access({ id: 's', userId: 'u', authenticatedAt: 1, amr: [], acr: 'aal1' })
    seen.add(JSON.parse(token).jti)
  }
  t.equal(seen.size, 10_000)
})

t.test('clocks may differ by 30 seconds and no more', async (t) => {
  for (const kind of bothKinds) {
    const { header, claims, sign } = kinds[kind]
    const at = (changed: object): Promise<Answer> => present(kind, forge(header, { ...claims, ...changed }, sign))
    const [floor, ceiling] = [Math.floor(nowSeconds()), Math.ceil(nowSeconds())]
    t.equal((await at({ exp: ceiling - 29 })).status, 200, 'expired 29 s ago')
    t.equal((await at({ iat: floor + 29 })).status, 200, 'made 29 s ahead')
    t.equal((await at({ nbf: floor + 29 })).status, 200, 'good from 29 s ahead')
    isRejected(t, await at({ exp: floor - 31 }), 'expired 31 s ago')
    isRejected(t, await at({ iat: Math.ceil(nowSeconds()) + 31 }), 'made 31 s ahead')
    isRejected(t, await at({ nbf: Math.ceil(nowSeconds()) + 31 }), 'good from 31 s ahead')
  }
})

t.test('a token in the URL, the body, a cookie or another header is no token', async (t) => {
  const sent = [
    { url: `/me?access_token=${accessToken}` },
    { url: `/me?token=${accessToken}&Authorization=Bearer%20${accessToken}` },
    { url: '/me', headers: { cookie: `token=${accessToken}; access_token=${accessToken}` } },
    { url: '/me', headers: { 'x-access-token': accessToken, 'proxy-authorization': `Bearer ${accessToken}` } },
    { url: `/login/2fa?pending_token=${pendingToken}` },
    { url: '/login/2fa', payload: { code: '123456', pending_token: pendingToken, access_token: pendingToken } },
    { url: '/login/2fa', payload: { code: '123456' }, headers: { cookie: `token=${pendingToken}` } },
  ]
  for (const { url, payload, headers } of sent) {
    const reply = await app.inject({
      method: payload ? 'POST' : 'GET',
      url,
      headers: headers ?? {},
      ...(payload && { payload }),
    })
    t.equal(reply.statusCode, 401, url.slice(0, 30))
    t.equal(reply.headers['www-authenticate'], 'Bearer')
  }
})

t.test('a token over 4 KiB is refused before any crypto, however well it is signed', async (t) => {
  const outcome = (): string | undefined =>
    logs.map((line) => JSON.parse(line)).findLast(({ event }) => event === 'token.rejected')?.outcome
  for (const kind of bothKinds) {
    const { header, claims, sign } = kinds[kind]
    const ofLength = (length: number): string => {
      for (let count = 0; count < 40; count += 1) {
        const pad = { header: 'x'.repeat(count % 4), claims: 'x'.repeat(length * 0.6 + count) }
        const short = forge({ ...header, x: pad.header }, { ...claims, x: pad.claims }, sign)
        const more = 'x'.repeat(Math.max(0, Math.floor(((length - short.length) * 3) / 4)))
        const token = forge({ ...header, x: pad.header }, { ...claims, x: pad.claims + more }, sign)
        if (token.length === length) return token
      }
      throw new Error(`no token of ${length} characters`)
    }
    t.equal((await present(kind, ofLength(4_096))).status, 200, 'at the limit')
    isRejected(t, await present(kind, ofLength(4_097)), 'one more')
    t.equal(outcome(), 'malformed', 'judged by its length, not by its signature')
    isRejected(t, await present(kind, forge(header, { ...claims, pad: 'x'.repeat(10_000) }, sign)), 'far over')
  }
})

t.test('an ended session refuses its token, and the twin of it that differs in spare signature bits', async (t) => {
  const user = await createUser(doorstep)
  const token: string = (await signIn(doorstep, user)).body.access_token
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  const last = alphabet.indexOf(token.slice(-1))
  const twin = token.slice(0, -1) + alphabet.charAt(last ^ 1)
  t.not(twin, token)
  t.equal(
    Buffer.from(twin.split('.')[2] ?? '', 'base64url').toString('hex'),
    Buffer.from(token.split('.')[2] ?? '', 'base64url').toString('hex'),
  )
  t.equal((await present('access', token)).status, 200)
  await sql('UPDATE sessions SET ended_at = now() WHERE id = $1', [part(token, 1).sid])
  isRejected(t, await present('access', token), 'the token')
  isRejected(t, await present('access', twin), 'its twin')
})

t.test('a token of one user with the session of another is refused', async (t) => {
  const { header, claims, sign } = kinds.access
  isRejected(t, await present('access', forge(header, { ...claims, sub: bob.id }, sign)), 'sub of another user')
  isRejected(
    t,
    await present('access', forge(header, { ...claims, sid: systemRandom.uuid() }, sign)),
    'no such session',
  )
  const { header: h, claims: c, sign: s } = kinds.pending
  const over = { status: 401, body: { code: 'invalid_token', detail: 'This login is over. Sign in again.' } }
  t.match(await present('pending', forge(h, { ...c, sub: ada.id }, s)), over, 'sub of another user')
  t.match(await present('pending', forge(h, { ...c, cid: systemRandom.uuid() }, s)), over, 'no such challenge')
})

t.test('jose agrees with us, both ways', async (t) => {
  const jwks = createLocalJWKSet((await call(doorstep, '/.well-known/jwks.json')).body as { keys: [] })
  const { payload, protectedHeader } = await jwtVerify(accessToken, jwks, {
    issuer: config.issuer,
    audience: config.tokens.audience,
    typ: 'at+jwt',
    algorithms: ['ES256'],
    requiredClaims: ['sub', 'jti', 'iat', 'exp', 'sid', 'client_id', 'scope', 'auth_time', 'amr', 'acr'],
  })
  t.equal(payload.sub, ada.id)
  t.equal(protectedHeader.kid, activeKey.kid)

  const { header, claims } = kinds.access
  const joseKey = await importPKCS8(activeKey.privatePem, 'ES256')
  const theirs = await new SignJWT(claims).setProtectedHeader(header).sign(joseKey)
  t.equal((await present('access', theirs)).status, 200, 'an access token signed by jose')
  const secret = new TextEncoder().encode(pendingSecret.key.toString('base64url'))
  await jwtVerify(pendingToken, secret, { audience: `${config.issuer}/login/2fa`, typ: '2fa-pending+jwt' })
  const theirPending = await new SignJWT(kinds.pending.claims).setProtectedHeader(kinds.pending.header).sign(secret)
  t.equal((await present('pending', theirPending)).status, 200, 'a pending token signed by jose')

  const notOurs: KeyObject = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
  await t.rejects(jwtVerify(forge(header, claims, ecdsa(notOurs)), jwks), {
    code: 'ERR_JWS_SIGNATURE_VERIFICATION_FAILED',
  })
})
