import t from 'tap'
import { age } from '../helpers/age.ts'
import { createAuthenticator } from '../helpers/authenticator.ts'
import { enter, refresh, tokensOf } from '../helpers/credentials.ts'
import { startDoorstep } from '../helpers/doorstep.ts'
import {
  createBareUser,
  enrol,
  enrolSms,
  enrolTotp,
  forgetSteps,
  mailedCode,
  prove,
  proveMailbox,
  totpCode,
  wrongTotpCode,
} from '../helpers/factors.ts'
import { part } from '../helpers/forge.ts'
import {
  call,
  codeFor,
  createUser,
  finish,
  freshPhone,
  login,
  resend,
  signIn,
  textsTo,
  wrongCode,
} from '../helpers/story.ts'

t.setTimeout(300_000)

const doorstep = await startDoorstep(t, { env: { ENROLMENTS_DAY: '10' } })
const { services, sql, config } = doorstep
const origin = config.passkey.origins[0] ?? ''

const invalid = { status: 401, body: { code: 'invalid_token' } }
const invalidRequest = { status: 400, body: { code: 'invalid_request' } }
const me = async (access: string) => (await call(doorstep, '/me', { token: access })).body
const listed = async (access: string) => (await call(doorstep, '/factors', { token: access })).body
const switchTo = (pending: string, method: string) =>
  call(doorstep, '/login/2fa/method', { token: pending, body: { method } })
const status = (pending: string) => call(doorstep, '/login/2fa', { token: pending })
const events = async (userId: string) =>
  (await sql('SELECT type FROM audit_events WHERE user_id = $1 ORDER BY id', [userId])).map(({ type }) => type)

/** A user with an authenticator app and recovery codes, signed in. */
async function withTotp() {
  const user = await createBareUser(doorstep)
  const { secret, answer } = await enrolTotp(doorstep, (await proveMailbox(doorstep, user)).body.pending_token)
  await forgetSteps(doorstep, user)
  return { user, secret, codes: answer.body.recovery_codes as string[], ...tokensOf(answer) }
}

/** A user with a passkey, signed in. */
async function withPasskey() {
  const user = await createBareUser(doorstep)
  const device = createAuthenticator({ origin })
  const begun = await enrol(doorstep, (await proveMailbox(doorstep, user)).body.pending_token, { method: 'passkey' })
  const credential = device.register(begun.body.challenge.setup.public_key)
  return { user, device, begun, ...tokensOf(await prove(doorstep, begun, { credential })) }
}

t.test('whoever has to have a factor proves the mailbox, sets one up, and is in', async (t) => {
  const user = await createBareUser(doorstep)
  const first = await login(doorstep, user, { body: { return_to: '/orders/7', remember_me: true } })
  t.match(first, {
    status: 200,
    body: {
      status: '2fa_required',
      challenge: { method: 'email', channel: 'email', destination: /^b••@e••••••\.com$/, attempts_remaining: 5 },
      methods: ['email'],
    },
  })
  const mailed = mailedCode(doorstep, user.email)
  t.match(await prove(doorstep, first, { code: wrongCode(mailed) }), { status: 422, body: { attempts_remaining: 4 } })
  const proven = await prove(doorstep, first, { code: mailed })
  t.match(proven, {
    status: 200,
    body: {
      status: '2fa_enrolment_required',
      token_type: 'Bearer',
      expires_in: 600,
      methods: ['passkey', 'totp', 'sms'],
    },
  })
  t.notOk('access_token' in proven.body)
  const token = proven.body.pending_token
  t.match(await status(token), { status: 200, body: { challenge: null, methods: ['passkey', 'totp', 'sms'] } })
  t.match(await enrol(doorstep, token, { method: 'recovery_code' }), { status: 409, body: { code: 'conflict' } })
  t.match(await enrol(doorstep, token, { method: 'sms' }), {
    ...invalidRequest,
    body: { errors: [{ pointer: '/phone' }] },
  })
  t.match(await enrol(doorstep, token, { method: 'email' }), invalidRequest)

  const begun = await enrol(doorstep, token, { method: 'totp', name: 'My app' })
  const { setup } = begun.body.challenge
  t.match(begun, { status: 200, body: { status: '2fa_required', methods: ['totp'], challenge: { method: 'totp' } } })
  t.match(setup, { secret: /^[A-Z2-7]{32}$/, uri: /^otpauth:\/\/totp\//, qr: /^data:image\/svg\+xml/ })
  t.strictSame((await status(begun.body.pending_token)).body.challenge.setup, setup, 'phones drop a page')
  t.match(await prove(doorstep, begun, { code: '12345' }), invalidRequest)
  t.match(await prove(doorstep, begun, { code: mailed, method: 'email' }), invalidRequest, 'no other proof counts')
  t.match(await prove(doorstep, begun, { code: wrongTotpCode(setup.secret) }), { status: 422 })

  const done = await prove(doorstep, begun, { code: totpCode(setup.secret) })
  t.match(done, {
    status: 200,
    body: { status: 'authenticated', return_to: '/orders/7', refresh_expires_in: 1_209_600 },
  })
  t.equal(done.body.recovery_codes.length, 10)
  t.match(await me(done.body.access_token), {
    amr: ['pwd', 'otp', 'mfa'],
    acr: 'aal2',
    methods: ['totp', 'recovery_code'],
  })
  t.match(await prove(doorstep, begun, { code: totpCode(setup.secret) }), invalid)
  t.match(await enrol(doorstep, token, { method: 'totp' }), invalid, 'the token that opened it is used up')
  t.match(await listed(done.body.access_token), {
    factors: [
      { method: 'totp', name: 'My app', last_used_at: String },
      { id: 'recovery_code', method: 'recovery_code', remaining: 10, last_used_at: null },
    ],
    available: ['passkey', 'totp', 'sms', 'recovery_code'],
    passkey: { rp_id: 'localhost', user_handle: /^[\w-]{43}$/ },
  })
})

t.test('a pending token opens what it is for, and is judged before the body', async (t) => {
  const user = await createBareUser(doorstep)
  const first = (await login(doorstep, user)).body.pending_token
  t.match(await enrol(doorstep, first, { method: 'totp' }), invalid, 'a password opens no enrolment')
  t.match(await enrol(doorstep, first, { nonsense: 1 }), invalid)
  const token = (await proveMailbox(doorstep, user)).body.pending_token
  t.equal(part(token, 1).pur, 'must_enrol')
  t.match(await finish(doorstep, token, '123456'), invalid)
  t.match(await resend(doorstep, token), invalid)
  t.match(await switchTo(token, 'sms'), invalid)
  t.match(await call(doorstep, '/factors', { token }), invalid)
  t.match(await enrol(doorstep, token, { nonsense: 1 }), invalidRequest)
  const begun = await enrol(doorstep, token, { method: 'totp' })
  t.equal(part(begun.body.pending_token, 1).pur, 'enrol')
  t.match(await enrol(doorstep, begun.body.pending_token, { method: 'totp' }), invalid)
  t.match(await switchTo(begun.body.pending_token, 'totp'), invalidRequest)
  const again = await enrol(doorstep, token, { method: 'totp' })
  t.match(await status(begun.body.pending_token), invalid, 'a new enrolment ends the one before it')
  t.equal((await status(again.body.pending_token)).status, 200)
})

t.test('an account that may be without a factor is signed in without one, and asked once it has one', async (t) => {
  const user = await createBareUser(doorstep, 'optional')
  const { access, sid } = await enter(doorstep, user)
  t.match(await me(access), { acr: 'aal1', amr: ['pwd'] })
  for (const wrong of [{ method: 'sms' }, { method: 'sms', phone: '+123' }]) {
    const status = 'phone' in wrong ? 422 : 400
    t.match(await enrol(doorstep, access, wrong), { status }, 'what is wrong is told before a mail goes out for it')
  }
  t.strictSame(await sql('SELECT FROM mails WHERE user_id = $1', [user.id]), [])
  const begun = await enrol(doorstep, access, { method: 'totp' })
  t.match(begun.body, { status: '2fa_required', methods: ['email'] }, 'a bought password binds no factor')
  t.equal(part(begun.body.pending_token, 1).sid, sid)
  const proven = await prove(doorstep, begun, { code: mailedCode(doorstep, user.email) })
  t.match(proven.body, { status: '2fa_enrolment_required' })
  t.match(await me(access), { email_confirmed: true, acr: 'aal1' })
  const { secret, answer } = await enrolTotp(doorstep, proven.body.pending_token)
  t.equal(tokensOf(answer).sid, sid, 'the same session is raised')
  t.equal(answer.body.recovery_codes.length, 10)
  t.match(await me(access), { acr: 'aal2', amr: ['pwd', 'otp', 'mfa'] })
  await forgetSteps(doorstep, user)
  const next = await login(doorstep, user)
  t.match(next.body, { status: '2fa_required', challenge: { method: 'totp' }, methods: ['totp', 'recovery_code'] })
  t.equal((await prove(doorstep, next, { code: totpCode(secret) })).status, 200)
})

t.test('an authenticator app signs in; each of its codes once, in whatever challenge', async (t) => {
  const { user, secret } = await withTotp()
  const begun = await login(doorstep, user)
  t.strictSame(begun.body.challenge, { method: 'totp', code_length: 6, attempts_remaining: 5 })
  const nothingSent = await resend(doorstep, begun.body.pending_token)
  t.match(nothingSent, { status: 400, body: { errors: [{ pointer: '', message: /sends nothing/ }] } })
  const code = totpCode(secret)
  t.match(await prove(doorstep, begun, { code: wrongCode(code) }), { status: 422, body: { attempts_remaining: 4 } })
  t.match(await prove(doorstep, begun, {}), invalidRequest)
  t.match(await prove(doorstep, begun, { credential: {}, code }), invalidRequest)
  t.match(await prove(doorstep, begun, { code, method: 'sms' }), invalidRequest, 'one that was not begun')
  t.match(tokensOf(await prove(doorstep, begun, { code: `${code.slice(0, 3)} ${code.slice(3)}` })), { access: /^eyJ/ })
  const next = await login(doorstep, user)
  t.match(await prove(doorstep, next, { code }), { status: 422, body: { attempts_remaining: 4 } })
  const two = await Promise.all([next, next].map((it) => prove(doorstep, it, { code })))
  t.strictSame(
    two.map((it) => it.status),
    [422, 422],
  )
})

t.test('three wrong codes after a right password are told; those of a set-up are not', async (t) => {
  const user = await createBareUser(doorstep)
  const told = async () =>
    (await doorstep.sql(`SELECT id FROM mails WHERE user_id = $1 AND topic = 'codes.failed'`, [user.id])).length
  const token = String((await proveMailbox(doorstep, user)).body.pending_token)
  const begun = await enrol(doorstep, token, { method: 'totp' })
  const secret = String(begun.body.challenge.setup.secret)
  const wrong = wrongTotpCode(secret)
  for (const left of [4, 3])
    t.match(await prove(doorstep, begun, { code: wrong }), { body: { attempts_remaining: left } })
  t.equal((await prove(doorstep, begun, { code: totpCode(secret) })).status, 200)

  const first = await login(doorstep, user)
  for (const expected of [0, 0, 1, 1]) {
    t.equal((await prove(doorstep, first, { code: wrong })).status, 422)
    t.equal(await told(), expected)
  }
})

t.test('a recovery code signs in once, and is not asked to be trusted', async (t) => {
  const { user, codes, access } = await withTotp()
  const begun = await login(doorstep, user)
  const [code = '', other = ''] = codes
  const typed = code.toLowerCase().replaceAll('-', ' ')
  t.match(await prove(doorstep, begun, { code }), invalidRequest, 'it has to be named')
  t.match(await prove(doorstep, begun, { code: '123456', method: 'recovery_code' }), invalidRequest)
  const done = await prove(doorstep, begun, { code: typed, method: 'recovery_code', trust_device: true })
  t.match(done, { status: 200, body: { recovery_codes_remaining: 9 } })
  t.notOk('trusted_until' in done.body)
  t.match(await me(done.body.access_token), { amr: ['pwd', 'rcv', 'mfa'], acr: 'aal2' })
  const usedAt = async () => (await listed(access)).factors.at(-1)
  t.match(await usedAt(), { method: 'recovery_code', remaining: 9, last_used_at: /^20/ })
  const next = await login(doorstep, user)
  t.match(await prove(doorstep, next, { code, method: 'recovery_code' }), { status: 422 })
  const fresh = await enrol(doorstep, access, { method: 'recovery_code' })
  t.match(fresh, { status: 200, body: { status: 'recovery_codes', recovery_codes: { length: 10 } } })
  t.match(await usedAt(), { method: 'recovery_code', remaining: 10, last_used_at: null })
  t.match(
    await prove(doorstep, next, { code: other, method: 'recovery_code' }),
    { status: 422 },
    'the old ones are dead',
  )
  const renewed = { code: fresh.body.recovery_codes[0], method: 'recovery_code' }
  t.match(await prove(doorstep, next, renewed), { status: 200, body: { recovery_codes_remaining: 9 } })
  t.ok((await events(user.id)).includes('recovery_codes.renewed'))
})

t.test('a passkey signs in behind a password', async (t) => {
  const { user, device, access } = await withPasskey()
  t.match(await me(access), { amr: ['pwd', 'hwk', 'mfa'], acr: 'aal2' })
  const begun = await login(doorstep, user)
  t.match(begun.body, {
    challenge: { method: 'passkey', public_key: { rpId: 'localhost', allowCredentials: [{ id: device.ids()[0] }] } },
    methods: ['passkey', 'recovery_code'],
  })
  const { public_key: options } = begun.body.challenge
  t.strictSame((await status(begun.body.pending_token)).body.challenge.public_key, options)
  t.match(await prove(doorstep, begun, { code: '123456' }), invalidRequest)
  const wrong = device.assert(options, { flippedBit: 70 })
  t.match(await prove(doorstep, begun, { credential: wrong }), { status: 422, body: { code: 'invalid_code' } })
  const done = await prove(doorstep, begun, { credential: device.assert(options), trust_device: true })
  t.match(done, { status: 200, body: { status: 'authenticated', trusted_until: String } })
  const [row] = (await listed(done.body.access_token)).factors
  t.match(row, { method: 'passkey', credential_id: device.ids()[0], backed_up: false })
  const stepUp = await call(doorstep, '/login/step-up', { token: done.body.access_token, body: {} })
  const raised = await prove(doorstep, stepUp, { credential: device.assert(stepUp.body.challenge.public_key) })
  t.equal(tokensOf(raised).sid, tokensOf(done).sid)
})

t.test('a passkey alone signs in; whatever is wrong with it looks the same', async (t) => {
  const { user, device } = await withPasskey()
  const start = (body: object = {}) => call(doorstep, '/login/passkey', { body })
  const begun = await start({ return_to: '/orders/7' })
  t.match(begun, { status: 200, body: { status: '2fa_required', expires_in: 300, methods: ['passkey'] } })
  const { public_key: options } = begun.body.challenge
  t.match(options, { allowCredentials: [], userVerification: 'required' })
  const claims = part(begun.body.pending_token, 1)
  t.strictSame([claims.pur, claims.jti, 'sub' in claims], ['passkey', options.challenge, false])
  t.strictSame((await status(begun.body.pending_token)).body.challenge.public_key, options)

  const refused = { status: 401, body: { code: 'invalid_credentials' } }
  const stranger = createAuthenticator({ origin })
  stranger.register({ ...(await enrolOptions(user)), excludeCredentials: [] })
  for (const credential of [
    device.assert(options, { flippedBit: 9 }),
    device.assert(options, { verified: false }),
    device.assert(options, { userHandle: null }),
    device.assert({ ...options, challenge: 'AAAA' }),
    stranger.assert(options),
  ]) {
    t.match(await prove(doorstep, begun, { credential }), refused)
  }
  t.match(await prove(doorstep, begun, { code: '123456' }), invalidRequest)
  t.match(await prove(doorstep, begun, { credential: device.assert(options), method: 'totp' }), invalidRequest)
  const done = await prove(doorstep, begun, { credential: device.assert(options) })
  t.match(done, { status: 200, body: { status: 'authenticated', return_to: '/orders/7', device_token: /^dsd_/ } })
  t.match(await me(done.body.access_token), { id: user.id, amr: ['hwk', 'mfa'], acr: 'aal2' })
  t.match(await prove(doorstep, begun, { credential: device.assert(options) }), invalid, 'each start succeeds once')

  const known = await start({ device_token: done.body.device_token })
  const again = await prove(doorstep, known, { credential: device.assert(known.body.challenge.public_key) })
  t.equal(again.status, 200)
  t.notOk('device_token' in again.body, 'it is known')
  await sql('UPDATE users SET disabled_at = now() WHERE id = $1', [user.id])
  const last = await start()
  t.match(await prove(doorstep, last, { credential: device.assert(last.body.challenge.public_key) }), refused)
})

const enrolOptions = async (user: { id: string }) => {
  const handle = (await services.store.factors.list(user.id))?.user_handle ?? ''
  return services.passkeys.creationOptions({ cid: 'x', user: { handle, name: 'x', displayName: 'x' }, exclude: [] })
}

t.test('a new phone takes the place of the old one when it is proven, and the old one is told', async (t) => {
  const user = await createUser(doorstep)
  const { access, sid } = tokensOf(await signIn(doorstep, user))
  const other = tokensOf(await signIn(doorstep, user))
  const begun = await enrol(doorstep, access, { method: 'sms', phone: freshPhone() })
  t.match(begun.body, { challenge: { method: 'sms', channel: 'sms', delivery: 'sent' }, methods: ['sms'] })
  t.match(await listed(access), { factors: [{ method: 'sms', destination: `+1 •••••••• ${user.phone.slice(-2)}` }] })
  await age(doorstep, user, 61)
  const { phone, answer } = await enrolSms(doorstep, access)
  t.equal(tokensOf(answer).sid, sid)
  t.notOk('recovery_codes' in answer.body, 'they come with the first factor')
  t.match(await listed(access), { factors: [{ destination: `+1 •••••••• ${phone.slice(-2)}` }] })
  t.match(await call(doorstep, '/me', { token: other.access }), invalid, 'other sessions end')
  await services.background.drain()
  t.match(textsTo(doorstep, user.phone)[0], /no longer come to this number/)
  t.ok((await events(user.id)).includes('factor.replaced'))
  t.match(await enrol(doorstep, access, { method: 'sms', phone: '+1 202 555 01' }), {
    status: 422,
    body: { code: 'phone_not_allowed' },
  })
})

t.test('a session that is not fresh changes no factor', async (t) => {
  const { user, access } = await withTotp()
  await age(doorstep, user, 601)
  const stale = { status: 401, body: { code: 'insufficient_user_authentication' } }
  const { factors } = await listed(access)
  t.match(await enrol(doorstep, access, { method: 'passkey' }), stale)
  t.match(await enrol(doorstep, access, { nonsense: 1 }), stale, 'which is judged before the body')
  t.match(await call(doorstep, `/factors/${factors[0].id}`, { token: access, method: 'DELETE' }), stale)
  const named = await call(doorstep, `/factors/${factors[0].id}`, {
    token: access,
    method: 'PATCH',
    body: { name: 'App' },
  })
  t.match(named, { status: 200, body: { id: factors[0].id, method: 'totp', name: 'App' } })
  const unknown = `/factors/${services.random.uuid()}`
  t.match(await call(doorstep, unknown, { token: access, method: 'PATCH', body: { name: 'x' } }), { status: 404 })
})

t.test('the last factor stays where one is required; where not it takes the recovery codes along', async (t) => {
  const { user, access } = await withTotp()
  const { phone } = await enrolSms(doorstep, access)
  const { factors } = await listed(access)
  const remove = (id: string) => call(doorstep, `/factors/${id}`, { token: access, method: 'DELETE' })
  t.equal((await remove(factors[0].id)).status, 204)
  t.match(await remove(factors[0].id), { status: 404 })
  t.match(await remove(factors[1].id), { status: 409, body: { code: 'last_factor' } })
  const next = await login(doorstep, user)
  t.match(next.body, { challenge: { method: 'sms' }, methods: ['sms', 'recovery_code'] })
  t.equal((await prove(doorstep, next, { code: codeFor(doorstep, phone) })).status, 200)
  await sql(`UPDATE users SET two_factor = 'optional' WHERE id = $1`, [user.id])
  t.equal((await remove(factors[1].id)).status, 204)
  t.match(await listed(access), { factors: [], available: ['passkey', 'totp', 'sms'] })
  t.match(await enrol(doorstep, access, { method: 'recovery_code' }), { status: 409, body: { code: 'conflict' } })
  t.match((await login(doorstep, user)).body, { status: 'authenticated' })
  t.ok((await events(user.id)).includes('factor.removed'))
})

t.test('a login goes on with another method, with the tries that are left', async (t) => {
  const { user, access, secret } = await withTotp()
  const { phone } = await enrolSms(doorstep, access)
  await forgetSteps(doorstep, user)
  const begun = await login(doorstep, user)
  const pending = begun.body.pending_token
  t.match(begun.body, { challenge: { method: 'totp' }, methods: ['totp', 'sms', 'recovery_code'] })
  await prove(doorstep, begun, { code: wrongTotpCode(secret) })
  const count = textsTo(doorstep, phone).length
  t.match(await switchTo(pending, 'email'), invalidRequest)
  const switched = await switchTo(pending, 'sms')
  t.match(switched.body, { challenge: { method: 'sms', attempts_remaining: 4, delivery: 'sent' } })
  t.equal(textsTo(doorstep, phone).length, count + 1)
  t.match(await switchTo(pending, 'sms'), { status: 429, body: { code: 'resend_too_soon' } })
  t.match(await switchTo(pending, 'totp'), {
    status: 200,
    body: { challenge: { method: 'totp', attempts_remaining: 4 } },
  })
  const code = codeFor(doorstep, phone)
  t.equal((await prove(doorstep, begun, { code, method: 'sms' })).status, 200, 'a code that was sent stays good')

  const stepUp = await call(doorstep, '/login/step-up', { token: access, body: { method: 'recovery_code' } })
  t.match(stepUp.body, { challenge: { method: 'recovery_code' } })
  await age(doorstep, user, 61)
  const byText = await call(doorstep, '/login/step-up', { token: access, body: { method: 'sms' } })
  t.match(byText.body, { challenge: { method: 'sms' }, methods: ['totp', 'sms', 'recovery_code'] })
  t.equal((await prove(doorstep, byText, { code: codeFor(doorstep, phone) })).status, 200)
  t.match(await call(doorstep, '/login/step-up', { token: access, body: { method: 'passkey' } }), invalidRequest)
})

t.test('one goes back to a code that was sent before, also while none may go out', async (t) => {
  const { user, access } = await withTotp()
  const { phone } = await enrolSms(doorstep, access)
  await forgetSteps(doorstep, user)
  await age(doorstep, user, 61)
  const begun = await login(doorstep, user)
  const pending = begun.body.pending_token
  t.match(await switchTo(pending, 'sms'), { status: 200 })
  const count = textsTo(doorstep, phone).length
  for (const other of ['totp', 'recovery_code']) {
    t.equal((await switchTo(pending, other)).status, 200)
    t.match(await switchTo(pending, 'sms'), {
      status: 200,
      body: { challenge: { method: 'sms', delivery: 'sent', attempts_remaining: 5, resend_after: Number } },
    })
  }
  t.equal(textsTo(doorstep, phone).length, count, 'and nothing was sent')
  await switchTo(pending, 'totp')
  await sql('UPDATE challenge_codes SET sends = 3')
  t.equal((await switchTo(pending, 'sms')).status, 200, 'nor would ever be')
  await switchTo(pending, 'totp')
  await sql(`UPDATE sms_messages SET delivery = 'failed' WHERE phone = $1`, [phone])
  t.match(await switchTo(pending, 'sms'), { status: 429, body: { code: 'sms_limit_reached' } }, 'one that never came')
  await sql(`UPDATE sms_messages SET delivery = 'sent' WHERE phone = $1`, [phone])
  await sql(`UPDATE challenge_codes SET expires_at = now()`)
  t.match(await switchTo(pending, 'sms'), { status: 429, body: { code: 'sms_limit_reached' } }, 'or has run out')
  t.match((await status(pending)).body, { challenge: { method: 'totp' } })
})

t.test('a login that has no try left promises no further code', async (t) => {
  const user = await createUser(doorstep)
  const begun = await login(doorstep, user)
  const wrong = wrongCode(codeFor(doorstep, user.phone))
  t.match(begun.body, { challenge: { resend_after: Number } })
  for (let n = 0; n < 5; n += 1) t.equal((await prove(doorstep, begun, { code: wrong })).status, 422)
  const { challenge } = (await status(begun.body.pending_token)).body
  t.match(challenge, { attempts_remaining: 0, resend_after: null })
})

t.test('of the logins with a code that was sent three live, also where they went on with it later', async (t) => {
  const { user, access } = await withTotp()
  await enrolSms(doorstep, access)
  const tokens: string[] = []
  for (const from of ['192.0.2.1', '192.0.2.2', '192.0.2.3', '192.0.2.4'])
    tokens.push((await login(doorstep, user, { from })).body.pending_token)
  const alive = async () => Promise.all(tokens.map(async (token) => (await status(token)).status))
  t.strictSame(await alive(), [200, 200, 200, 200], 'those that sent nothing end nobody')
  // The oldest last: it is not the one that has to go.
  for (const token of tokens.toReversed()) {
    await age(doorstep, user, 61)
    t.equal((await switchTo(token, 'sms')).status, 200)
  }
  t.strictSame(await alive(), [200, 401, 200, 200])
})

t.test('three texts a day go to new numbers; what tells a number that it was replaced is none', async (t) => {
  const { user, access } = await withTotp()
  for (let n = 0; n < 3; n += 1) {
    t.equal((await enrolSms(doorstep, access)).answer.status, 200)
    await age(doorstep, user, 61)
  }
  const fourth = await enrol(doorstep, access, { method: 'sms', phone: freshPhone() })
  t.match(fourth, { status: 429, body: { code: 'sms_limit_reached' } })
})

t.test('a text that certainly does not go lets the login go on with what is left', async (t) => {
  const { user, access } = await withTotp()
  await enrolSms(doorstep, access)
  const { factors } = await listed(access)
  await call(doorstep, `/factors/${factors[0].id}`, { token: access, method: 'DELETE' })
  const { send } = services.sms
  t.teardown(() => Object.assign(services.sms, { send }))
  const refusal = { outcome: 'refused', reason: 'phone', isCertain: true, error: '21614' }
  Object.assign(services.sms, { send: async () => refusal })
  await age(doorstep, user, 61)
  t.match((await login(doorstep, user)).body, {
    status: '2fa_required',
    challenge: { method: 'recovery_code' },
    methods: ['sms', 'recovery_code'],
  })
  const bare = await createUser(doorstep)
  t.match(await login(doorstep, bare), { status: 422, body: { code: 'phone_unreachable' } }, 'or says why not')
})

t.test('while codes are locked passkeys and recovery codes still get in', async (t) => {
  const { user, access, codes } = await withTotp()
  await sql(
    `INSERT INTO factor_guards (user_id, known, streak, locked_until) VALUES ($1, false, 10, now() + interval '15 minutes')
     ON CONFLICT (user_id, known) DO UPDATE SET locked_until = excluded.locked_until`,
    [user.id],
  )
  const begun = await login(doorstep, user)
  t.match(begun.body, { challenge: { method: 'recovery_code' } })
  t.strictSame(begun.body.methods, ['recovery_code'])
  t.match(await prove(doorstep, begun, { code: '123456', method: 'totp' }), {
    status: 429,
    body: { code: 'second_factor_locked' },
  })
  t.equal((await prove(doorstep, begun, { code: codes[0] ?? '' })).status, 200)
  t.match((await listed(access)).factors[1], { remaining: 9 })
})

t.test('an account without a factor steps up by its password; the fifth wrong one ends the session', async (t) => {
  const user = await createBareUser(doorstep, 'optional')
  const { access, sid, refresh: token } = await enter(doorstep, user)
  await age(doorstep, user, 601)
  const stepUp = (body: object) => call(doorstep, '/login/step-up', { token: access, body })
  t.match(await stepUp({}), { ...invalidRequest, body: { errors: [{ pointer: '/password' }] } })
  t.match(await call(doorstep, '/logout', { token: access, body: { scope: 'others' } }), { status: 401 })
  t.match(await stepUp({ password: 'wrong' }), { status: 422, body: { code: 'invalid_password' } })
  t.equal(tokensOf(await stepUp({ password: user.password })).sid, sid)
  t.equal((await call(doorstep, '/logout', { token: access, body: { scope: 'others' } })).status, 204, 'it is fresh')
  for (let n = 0; n < 4; n += 1) t.match(await stepUp({ password: 'wrong' }), { status: 422 })
  t.match(await stepUp({ password: user.password }), invalid, 'also with a right one between them')
  t.match(await refresh(doorstep, token), invalid)
})

t.test('enrolments are counted, and what nobody may have twice is refused', async (t) => {
  const { access } = await withTotp()
  for (let n = 0; n < 9; n += 1) t.equal((await enrol(doorstep, access, { method: 'totp' })).status, 200)
  t.match(await enrol(doorstep, access, { method: 'totp' }), { status: 429, body: { code: 'rate_limited' } })

  const phone = freshPhone()
  for (let n = 0; n < 3; n += 1) await createUser(doorstep, { phone })
  const user = await createUser(doorstep)
  const mine = tokensOf(await signIn(doorstep, user))
  t.match(await enrol(doorstep, mine.access, { method: 'sms', phone }), { status: 409, body: { code: 'conflict' } })
})

t.test('two proofs of one enrolment at once: one wins', async (t) => {
  const { access } = await withTotp()
  const device = createAuthenticator({ origin })
  const begun = await enrol(doorstep, access, { method: 'passkey', name: 'Laptop' })
  const credential = device.register(begun.body.challenge.setup.public_key)
  const both = await Promise.all([1, 2].map(() => prove(doorstep, begun, { credential })))
  t.strictSame(both.map((it) => it.status).sort(), [200, 401])
  const second = await enrol(doorstep, access, { method: 'passkey' })
  t.match(second.body.challenge.setup.public_key.excludeCredentials, [{ id: device.ids()[0] }])
  t.match(await prove(doorstep, second, { credential }), { status: 422 }, 'made for another challenge')
})

t.test('without a mail service the first factor needs no proof of the mailbox', async (t) => {
  const silent = await startDoorstep(t, { env: { MAIL_PROVIDER: 'none', REGISTRATION: 'closed' } })
  const user = await createBareUser(silent)
  const first = await login(silent, user)
  t.match(first.body, { status: '2fa_enrolment_required', methods: ['passkey', 'totp', 'sms'] })
  const { answer } = await enrolTotp(silent, first.body.pending_token)
  t.match(answer.body, { status: 'authenticated', recovery_codes: { length: 10 } })
  const optional = await createBareUser(silent, 'optional')
  const { access } = await enter(silent, optional)
  t.match((await enrol(silent, access, { method: 'totp' })).body, { challenge: { method: 'totp', setup: {} } })
})

t.test('a mail is a fallback where METHODS lists it, and raises no session', async (t) => {
  const mailing = await startDoorstep(t, { env: { METHODS: 'totp,email' } })
  const user = await createBareUser(mailing)
  const { answer } = await enrolTotp(mailing, (await proveMailbox(mailing, user)).body.pending_token)
  const told = mailing.logs.map((line) => JSON.parse(line)).find(({ event }) => event === 'mailbox.proven')
  t.match(told, { factor: 'email', userId: user.id })
  const begun = await login(mailing, user)
  t.match(begun.body, { challenge: { method: 'totp' }, methods: ['totp', 'email', 'recovery_code'] })
  await age(mailing, user, 61)
  const token = begun.body.pending_token
  const switched = await call(mailing, '/login/2fa/method', { token, body: { method: 'email' } })
  t.match(switched.body, { challenge: { method: 'email', delivery: 'sent' } })
  const done = await prove(mailing, begun, { code: mailedCode(mailing, user.email), trust_device: true })
  t.equal(done.status, 200)
  t.notOk('trusted_until' in done.body)
  t.match(part(done.body.access_token, 1), { amr: ['pwd', 'eml'], acr: 'aal1' })
  const { access } = tokensOf(answer)
  const stepUp = await call(mailing, '/login/step-up', { token: access, body: {} })
  t.strictSame(stepUp.body.methods, ['totp', 'recovery_code'])
  t.match(await enrol(mailing, done.body.access_token, { method: 'totp' }), {
    status: 401,
    body: { code: 'insufficient_user_authentication' },
  })
})

t.test('a mail server that is away: whoever needs a mail is told so, others go on without', async (t) => {
  const env = { METHODS: 'totp,email', MAIL_PROVIDER: 'smtp', MAIL_FROM: 'doorstep@example.com' }
  const away = await startDoorstep(t, { env: { ...env, SMTP_URL: 'smtp://127.0.0.1:1' } })
  const user = await createBareUser(away)
  t.match(await login(away, user), { status: 503, body: { code: 'mail_unavailable', retry_after: 30 } })
  t.strictSame(await away.sql('SELECT FROM sessions'), [])
  t.strictSame(await away.sql(`SELECT outcome, factor FROM audit_events WHERE type = 'mail.refused'`), [
    { outcome: 'mail_unavailable', factor: 'email' },
  ])

  await away.sql(
    `INSERT INTO factors (id, user_id, method, data) SELECT gen_random_uuid(), id, 'totp', '{"secret": "sealed"}' FROM users`,
  )
  await away.sql('UPDATE users SET email_confirmed_at = now()')
  await age(away, user, 61)
  const begun = await login(away, user)
  t.match(begun.body, { challenge: { method: 'totp' }, methods: ['totp', 'email'] })
  t.match(await call(away, '/login/2fa/method', { token: begun.body.pending_token, body: { method: 'email' } }), {
    ...{ status: 503, body: { code: 'mail_unavailable' } },
  })
  const still = await call(away, '/login/2fa', { token: begun.body.pending_token })
  t.match(still, { status: 200, body: { methods: ['totp', 'email'] } }, 'and the login lives')
})
