import { createPrivateKey } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import t from 'tap'
import { age } from '../helpers/age.ts'
import { enter, refresh, tokensOf, trustDevice } from '../helpers/credentials.ts'
import { startDoorstep } from '../helpers/doorstep.ts'
import { ecdsa, forge, nothing, part } from '../helpers/forge.ts'
import { call, codeFor, createUser, finish, login } from '../helpers/story.ts'

t.setTimeout(300_000)

const clients = { billing: 'a-secret-of-the-billing-team-0123', shop: 'another:secret:with:colons-4567' }
const doorstep = await startDoorstep(t, {
  env: {
    INTROSPECTION_CLIENTS: Object.entries(clients)
      .map(([id, secret]) => `${id}:${secret}`)
      .join(','),
  },
})
const bare = await startDoorstep(t, { database: doorstep.database })
const { services, config, app } = doorstep

const form = 'application/x-www-form-urlencoded'
const basicOf = (text: string): string => `Basic ${Buffer.from(text).toString('base64')}`
const billing = basicOf(`billing:${clients.billing}`)

/** What a backend is told of a token. */
const ask = (token: string, authorization: string | undefined = billing, instance = doorstep) =>
  call(instance, '/token/introspect', {
    method: 'POST',
    headers: { 'content-type': form, ...(authorization !== undefined && { authorization }) },
    body: new URLSearchParams({ token }).toString(),
  })

const inactive = { active: false }
const ada = await createUser(doorstep)
const plain = await createUser(doorstep, { twoFactor: 'off' })

t.test('a live access token is described as RFC 7662 has it', async (t) => {
  const { access, sid } = await enter(doorstep, plain)
  const answer = await ask(access)
  t.equal(answer.status, 200)
  t.equal(answer.headers['cache-control'], 'no-store')
  t.match(answer.headers['content-type'], /^application\/json/)
  const claims = part(access, 1)
  t.strictSame(answer.body, { active: true, token_type: 'Bearer', ...claims })
  t.match(answer.body, {
    iss: config.issuer,
    aud: config.tokens.audience,
    sub: plain.id,
    client_id: 'doorstep',
    sid,
    amr: ['pwd'],
    acr: 'aal1',
    scope: 'account',
  })
  const hinted = await call(doorstep, '/token/introspect', {
    method: 'POST',
    headers: { 'content-type': `${form}; charset=UTF-8`, authorization: billing },
    body: new URLSearchParams({ token: access, token_type_hint: 'refresh_token', more: 'ignored' }).toString(),
  })
  t.strictSame(hinted.body, answer.body, 'a hint, wrong or right, and unknown parameters change nothing')
})

t.test('a backend learns at once of a session that ended, ran out or was raised, and of a disabled user', async (t) => {
  const change = (changed: { disabled?: boolean }) =>
    services.store.accounts.change(plain.email, [], changed, { type: 'user.changed', outcome: 'test' })
  const ends: Record<string, (tokens: { access: string; refresh: string }) => Promise<unknown>> = {
    logout: ({ access }) => call(bare, '/logout', { token: access, body: {} }),
    'running out': () => age(doorstep, plain, 43_201),
    disabling: () => change({ disabled: true }),
    theft: async ({ refresh: token }) => {
      await refresh(doorstep, tokensOf(await refresh(doorstep, token)).refresh)
      t.equal((await refresh(doorstep, token)).body.code, 'refresh_token_reused')
    },
  }
  for (const [name, end] of Object.entries(ends)) {
    const tokens = await enter(doorstep, plain)
    t.match((await ask(tokens.access)).body, { active: true })
    await end(tokens)
    t.strictSame((await ask(tokens.access)).body, inactive, name)
    if (name === 'disabling') await change({ disabled: false })
    t.strictSame((await ask(tokens.access)).body, inactive, 'for good')
  }

  const { device } = await trustDevice(doorstep, ada)
  const weak = tokensOf(await login(doorstep, ada, { body: { device_token: device } }))
  t.match((await ask(weak.access)).body, { active: true, acr: 'aal1', amr: ['pwd'] })
  await age(doorstep, ada, 100)
  const pending = (await call(doorstep, '/login/step-up', { token: weak.access, body: {} })).body.pending_token
  await finish(doorstep, pending, codeFor(doorstep, ada.phone))
  const raised = (await ask(weak.access)).body
  t.match(raised, { active: true, acr: 'aal2', amr: ['pwd', 'sms', 'mfa'] }, 'the session as it stands now')
  t.ok(raised.auth_time >= Number(part(weak.access, 1).auth_time))
  t.equal(raised.exp, part(weak.access, 1).exp, 'but the token lives no longer')
})

t.test('a thief learns nothing from asking about anything but a live access token', async (t) => {
  const { access, refresh: token } = await enter(doorstep, plain)
  const { kid, privatePem } = services.keyRing.active()
  const sign = ecdsa(createPrivateKey(privatePem))
  const header = { alg: 'ES256', typ: 'at+jwt', kid }
  const claims = part(access, 1)
  t.match((await ask(forge(header, claims, sign))).body, { active: true }, 'forged rightly it would be active')
  const now = Number(claims.iat)
  const [head = '', body = '', signature = ''] = access.split('.')
  const others: Record<string, string> = {
    'a pending token': (await login(doorstep, ada)).body.pending_token,
    'a refresh token': token,
    garbage: 'garbage',
    'a dot': '.',
    'three dots': '...',
    'no JSON': 'e30.e30.e30',
    'a long text': 'x'.repeat(4_096),
    'a longer one than any token': 'x'.repeat(4_097),
    'as long as the form may be': 'x'.repeat(8_192 - 'token='.length),
    'a token with a long end': access + 'x'.repeat(4_096),
    'another signature': `${head}.${body}.${Buffer.from(signature, 'base64url').reverse().toString('base64url')}`,
    'no signature': forge({ ...header, alg: 'none' }, claims, nothing),
    'an unknown key': forge({ ...header, kid: 'other' }, claims, sign),
    'no key': forge({ alg: 'ES256', typ: 'at+jwt' }, claims, sign),
    'the wrong typ': forge({ ...header, typ: 'JWT' }, claims, sign),
    'an expired one': forge(header, { ...claims, iat: now - 700, exp: now - 40 }, sign),
    'one that expired a second ago': forge(header, { ...claims, iat: now - 601, exp: now - 1 }, sign),
    'one of the future': forge(header, { ...claims, iat: now + 100, exp: now + 700 }, sign),
    'another audience': forge(header, { ...claims, aud: 'https://other.example' }, sign),
    'another issuer': forge(header, { ...claims, iss: 'https://other.example' }, sign),
    'another user': forge(header, { ...claims, sub: ada.id }, sign),
    'no such session': forge(header, { ...claims, sid: '00000000-0000-4000-8000-000000000000' }, sign),
    'a session that is no UUID': forge(header, { ...claims, sid: "' OR true --" }, sign),
    ...Object.fromEntries(
      ['sid', 'sub', 'exp', 'iat', 'iss', 'aud', 'jti', 'acr', 'amr', 'auth_time', 'client_id', 'scope'].map((name) => [
        `one without ${name}`,
        forge(header, Object.fromEntries(Object.entries(claims).filter(([key]) => key !== name)), sign),
      ]),
    ),
  }
  for (const [name, other] of Object.entries(others)) {
    const answer = await ask(other)
    t.equal(answer.status, 200, name)
    t.strictSame(answer.body, inactive, name)
  }
  t.match((await ask('')).status, 400, 'no token at all is a bad request')
})

t.test('a stranger without the secret of a client is told nothing', async (t) => {
  const { access } = await enter(doorstep, plain)
  const wrong: Record<string, string | undefined> = {
    'no credentials': undefined,
    'a wrong secret': basicOf('billing:a-secret-of-the-billing-team-0124'),
    'the beginning of the secret': basicOf(`billing:${clients.billing.slice(0, -1)}`),
    'more than the secret': basicOf(`billing:${clients.billing}x`),
    'the secret of another client': basicOf(`billing:${clients.shop}`),
    'an unknown client': basicOf(`other:${clients.billing}`),
    'no secret': basicOf('billing:'),
    'no colon': basicOf('billing'),
    'a colon': basicOf(':'),
    nothing: 'Basic',
    'an empty pair': 'Basic ',
    'no base64': 'Basic ***',
    'another scheme': billing.replace('Basic', 'Bearer'),
    'a live access token': `Bearer ${access}`,
    'a very long one': basicOf(`billing:${'x'.repeat(5_000)}`),
    'other letters': basicOf(`BILLING:${clients.billing}`),
  }
  for (const [name, authorization] of Object.entries(wrong)) {
    const headers = { 'content-type': form, ...(authorization !== undefined && { authorization }) }
    for (const body of [`token=${access}`, 'nonsense=1', '']) {
      const answer = await call(doorstep, '/token/introspect', { method: 'POST', headers, body })
      t.match(
        answer,
        {
          status: 401,
          body: { code: 'invalid_credentials' },
          headers: { 'www-authenticate': 'Basic realm="clients", charset="UTF-8"' },
        },
        `${name}, whatever the body`,
      )
      t.notOk('active' in answer.body)
    }
  }
})

t.test('every client has its own secret, and may write the scheme as it likes', async (t) => {
  const { access } = await enter(doorstep, plain)
  for (const [id, secret] of Object.entries(clients)) {
    t.match((await ask(access, basicOf(`${id}:${secret}`))).body, { active: true }, id)
  }
  for (const written of [billing.replace('Basic', 'basic'), billing.replace(' ', '  ')]) {
    t.match((await ask(access, written)).body, { active: true }, 'RFC 9110 11.1 and 11.4')
  }
})

t.test('where no client is configured, nobody may ask', async (t) => {
  const { access } = await enter(bare, plain)
  for (const authorization of [undefined, billing, basicOf(':'), basicOf(''), basicOf('undefined:undefined')]) {
    t.match(await ask(access, authorization, bare), { status: 401, body: { code: 'invalid_credentials' } })
  }
})

t.test('the one endpoint that takes a form takes nothing else', async (t) => {
  const { access } = await enter(doorstep, plain)
  const send = (type: string | undefined, payload: string) =>
    app.inject({
      method: 'POST',
      url: '/token/introspect',
      headers: { authorization: billing, ...(type !== undefined && { 'content-type': type }) },
      payload,
    })
  for (const type of ['application/json', 'text/plain', 'multipart/form-data; boundary=x', undefined]) {
    const answer = await send(type, JSON.stringify({ token: access }))
    t.equal(answer.statusCode, 415, String(type))
    t.match(answer.json(), { code: 'unsupported_media_type', detail: 'Send `application/x-www-form-urlencoded`.' })
  }
  t.match((await send(`${form}; charset=latin1`, 'token=x')).json(), { detail: /^Send `application\/x-www-form/ })
  t.equal((await send(form, 'x=1')).statusCode, 400, 'a token is required')
  t.equal((await send(form, `token=${access}&token=${access}`)).statusCode, 400, 'and one only')
  t.equal((await send(form, `token=${'x'.repeat(9_000)}`)).statusCode, 413)
  t.equal((await send(form, 'token=%00')).statusCode, 400)
  const login = await app.inject({
    method: 'POST',
    url: '/login',
    headers: { 'content-type': form },
    payload: 'email=a',
  })
  t.equal(login.statusCode, 415, 'no other endpoint takes a form')
  t.match(login.json(), { detail: /^Send UTF-8 with `Content-Type: application\/json`/ })
  t.notMatch(login.json().title, /JSON/, 'one title for both')
  const query = await app.inject({
    method: 'POST',
    url: `/token/introspect?token=${access}`,
    headers: { authorization: billing },
  })
  t.equal(query.statusCode, 400, 'nor does this one take a token in the address')
})

t.test('secrets are compared in constant time', async (t) => {
  const source = await readFile(new URL('../../src/security/client-credentials.ts', import.meta.url), 'utf8')
  const [compare = ''] = /function knownClient[\s\S]*?\n}/.exec(source) ?? []
  t.match(compare, 'const right = digest(')
  t.match(compare, 'timingSafeEqual(one, right)', 'digests of equal length, in constant time')
  t.notMatch(compare, /secret\s*[!=]==|[!=]==\s*secret/, 'and never with ===')
  t.match(compare, '.filter(', 'every client is looked at, whichever matches')
})
