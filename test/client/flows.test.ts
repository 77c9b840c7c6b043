import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import {
  type Doorstep as Client,
  type Credentials,
  type DoorstepError,
  hasPasskeys,
  type LoginAnswer,
  type Method,
  type Proof,
  passkeyProof,
  type TwoFactorRequired,
} from '../../src/client/index.ts'
import { age } from '../helpers/age.ts'
import { createAuthenticator } from '../helpers/authenticator.ts'
import { createClient, listen, wiretap } from '../helpers/client.ts'
import { startDoorstep } from '../helpers/doorstep.ts'
import { allMethods, createOwner, type Owner, rightAnswer } from '../helpers/equipped.ts'
import { createBareUser, forgetSteps, mailedCode, totpCode } from '../helpers/factors.ts'
import { mailedToken } from '../helpers/links.ts'
import { codeFor, freshPhone, wrongCode } from '../helpers/story.ts'

// Everything that the client can do, against the service itself.

t.setTimeout(300_000)

const doorstep = await startDoorstep(t, { env: allMethods })
const { sql, services, config } = doorstep
const baseUrl = await listen(doorstep)
const newPassword = 'a long sentence that only she knows'
const freshEmail = (): string => `new-${services.random.uuid().slice(0, 13)}@example.com`

const of = ({ email, password }: Credentials): Credentials => ({ email, password })

/** The answer, which has to be this one. */
function only<T extends { status: string }, Status extends T['status']>(answer: T, status: Status) {
  if (answer.status !== status) throw new Error(`${answer.status} in place of ${status}`)
  return answer as Extract<T, { status: Status }>
}

const right = (owner: Owner, method: Method, login: TwoFactorRequired): Proof =>
  rightAnswer(doorstep, owner, method, login) as Proof

async function begin(client: Client, owner: Owner, method: Method): Promise<TwoFactorRequired> {
  const login = only(await client.signIn(of(owner)), '2fa_required')
  if (login.challenge.method === method) return login
  const { challenge } = await client.switchMethod(login, method)
  if (challenge === null) throw new Error('no challenge')
  return { ...login, challenge }
}

/** Signs in, by a recovery code where nothing else is said: it leaves every other method as it is. */
async function enter(client: Client, owner: Owner, method: Method = 'recovery_code') {
  const login = await begin(client, owner, method)
  return only(await client.finish(login, right(owner, method, login)), 'authenticated')
}

async function problem(call: Promise<unknown>): Promise<DoorstepError> {
  return call.then(
    () => {
      throw new Error('no problem')
    },
    (error) => error,
  )
}

/** A client whose user steps up by a recovery code whenever that is asked for. */
function careful(owner: Owner) {
  const asked: unknown[] = []
  const tap = wiretap()
  const made = createClient(baseUrl, {
    fetch: tap.fetch,
    onStepUp: async (challenge) => {
      asked.push(challenge)
      const begun = only(await made.client.stepUp({ method: 'recovery_code' }), '2fa_required')
      await made.client.finish(begun, { method: 'recovery_code', code: owner.codes.pop() ?? '' })
      return true
    },
  })
  return { ...made, asked, tap }
}

t.test('somebody new registers, sets a password and a first factor, and is in', async (t) => {
  const { client } = createClient(baseUrl)
  const email = freshEmail()
  t.match(await client.register({ email, locale: 'en' }), { status: 'mail_sent', resend_after: 60 })
  const token = await mailedToken(doorstep, email)
  const weak = await problem(client.setPassword({ token, password: 'password' }))
  t.match(weak, { code: 'invalid_request', status: 400, errors: [{ pointer: '/password' }] })
  const enrolling = only(await client.setPassword({ token, password: newPassword }), '2fa_enrolment_required')
  t.equal(await client.isSignedIn(), false)
  const begun = only(await client.factors.add({ method: 'totp', name: 'App' }, enrolling), '2fa_required')
  const { challenge } = begun
  if (challenge.method !== 'totp' || challenge.setup === undefined) throw new Error(challenge.method)
  const done = only(
    await client.factors.confirm(begun, { code: totpCode(challenge.setup.secret), device_name: 'Tests' }),
    'authenticated',
  )
  t.equal(done.recovery_codes?.length, 10)
  t.equal(await client.isSignedIn(), true)
  t.match(await client.me(), { email, email_confirmed: true, methods: ['totp', 'email', 'recovery_code'], acr: 'aal2' })
  t.match(await client.devices.list(), [{ name: 'Tests', current: true }])
})

t.test('every method finishes a login', async (t) => {
  const owner = await createOwner(doorstep)
  for (const method of ['passkey', 'totp', 'sms', 'email', 'recovery_code'] as const) {
    const { client } = createClient(baseUrl)
    const login = await begin(client, owner, method)
    t.equal(login.challenge.method, method)
    t.match(await client.challengeStatus({ pending_token: login.pending_token }), { challenge: { method } })
    const done = only(await client.finish(login, right(owner, method, login)), 'authenticated')
    t.equal(done.recovery_codes_remaining, method === 'recovery_code' ? 9 : undefined)
    t.match(await client.me(), { id: owner.id }, method)
  }
})

t.test('a passkey alone, made and used by the functions of a browser', async (t) => {
  const user = await createBareUser(doorstep)
  const authenticator = createAuthenticator({ origin: config.passkey.origins[0] ?? '' })
  const { client } = createClient(baseUrl)
  const mailbox = only(await client.signIn(of(user)), '2fa_required')
  const enrolling = only(
    await client.finish(mailbox, { code: mailedCode(doorstep, user.email) }),
    '2fa_enrolment_required',
  )
  const begun = only(await client.factors.add({ method: 'passkey' }, enrolling), '2fa_required')
  t.equal(hasPasskeys(), false)
  await t.rejects(passkeyProof(begun.challenge), { name: 'TypeError' })

  pretendBrowser(t, authenticator)
  t.equal(hasPasskeys(), true)
  only(await client.factors.confirm(begun, await passkeyProof(begun.challenge)), 'authenticated')
  await client.signOut()

  const login = await client.signInWithPasskey({ return_to: '/orders/7' })
  const done = only(await client.finish(login, await passkeyProof(login.challenge)), 'authenticated')
  t.equal(done.return_to, '/orders/7')
  t.match(await client.me(), { id: user.id, amr: ['hwk', 'mfa'] })
  await t.rejects(passkeyProof({ method: 'recovery_code', attempts_remaining: 5 }), { name: 'TypeError' })
})

/** The browser's functions for passkeys, with a software authenticator behind them. */
function pretendBrowser(t: Test, authenticator: ReturnType<typeof createAuthenticator>): void {
  const same = (options: unknown) => options
  // biome-ignore lint/suspicious/noExplicitAny: the options of the service as its types have them.
  const answer = (make: (options: any) => unknown) => async (it: { publicKey: unknown }) => ({
    toJSON: () => make(it.publicKey),
  })
  const credentials = { create: answer(authenticator.register), get: answer(authenticator.assert) }
  const set = (name: string, value: unknown) => {
    const before = Object.getOwnPropertyDescriptor(globalThis, name)
    Object.defineProperty(globalThis, name, { value, configurable: true })
    t.teardown(() => {
      Reflect.deleteProperty(globalThis, name)
      if (before) Object.defineProperty(globalThis, name, before)
    })
  }
  set('navigator', { credentials })
  set('PublicKeyCredential', { parseCreationOptionsFromJSON: same, parseRequestOptionsFromJSON: same })
}

t.test('a first factor is set up in a login that proves the mailbox', async (t) => {
  const user = await createBareUser(doorstep)
  const { client } = createClient(baseUrl)
  const login = only(await client.signIn({ ...of(user), return_to: '/a' }), '2fa_required')
  t.match(login, { methods: ['email'] })
  const enrolling = only(
    await client.finish(login, { code: mailedCode(doorstep, user.email) }),
    '2fa_enrolment_required',
  )
  const phone = freshPhone()
  const begun = only(await client.factors.add({ method: 'sms', phone }, enrolling), '2fa_required')
  t.match(await client.challengeStatus(begun), { challenge: { method: 'sms', delivery: 'sent' } })
  const done = only(await client.finish(begun, { code: codeFor(doorstep, phone) }), 'authenticated')
  t.match(done, { return_to: '/a', recovery_codes: { length: 10 } })
})

t.test('wrong codes, and codes that were sent a moment ago', async (t) => {
  const owner = await createOwner(doorstep, ['sms'])
  const { client } = createClient(baseUrl)
  const login = only(await client.signIn(of(owner)), '2fa_required')
  const code = codeFor(doorstep, owner.phone)
  t.match(await problem(client.finish(login, { code: wrongCode(code) })), {
    name: 'DoorstepError',
    ...{ code: 'invalid_code', status: 422, attemptsRemaining: 4, retryAfter: undefined, challenge: undefined },
    requestId: /^[0-9a-f-]{36}$/,
  })
  const early = await problem(client.resend(login))
  t.match(early, { code: 'resend_too_soon', status: 429 })
  t.ok(Number(early.retryAfter) > 0 && Number(early.retryAfter) <= 60)
  await age(doorstep, owner, 61)
  t.match(await client.resend(login), { challenge: { method: 'sms', attempts_remaining: 4 } })
  t.match(await problem(client.finish(login, { code: '12' })), {
    code: 'invalid_request',
    errors: [{ pointer: '/code' }],
  })
  only(await client.finish(login, { code: codeFor(doorstep, owner.phone) }), 'authenticated')
  t.match(await problem(client.finish(login, { code })), { code: 'invalid_token', status: 401 })
  t.equal(await client.isSignedIn(), true, 'a pending token that is used up ends no session')
  t.match(await problem(client.signIn({ ...of(owner), password: 'no' })), { code: 'invalid_credentials', status: 401 })
})

t.test('a device that is known says so at every login, and a trusted one is asked for nothing more', async (t) => {
  const owner = await createOwner(doorstep, ['totp'])
  const { client, device } = createClient(baseUrl)
  const login = await begin(client, owner, 'totp')
  const proof = { code: totpCode(owner.secret), trust_device: true, device_name: 'Laptop' }
  t.match(await client.finish(login, proof), { status: 'authenticated', trusted_until: /^20/ })
  const token = await device()
  t.match(token, /^dsd_/)
  await client.signOut()
  t.equal(await device(), token, 'which outlives the session')
  t.match(await client.signIn(of(owner)), { status: 'authenticated' })
  t.equal(await device(), token)
  const [known] = await client.devices.list()
  if (known === undefined) throw new Error('no device')
  t.match(await client.devices.change(known.id, { name: 'Desk', trusted: false }), {
    name: 'Desk',
    trusted_until: null,
  })
  await client.signOut()
  t.match(await client.signIn(of(owner)), { status: '2fa_required' })

  const stranger = createClient(baseUrl)
  await enter(stranger.client, owner)
  t.not(await stranger.device(), token)
})

t.test('a call that wants more is repeated after a step-up, which many calls share', async (t) => {
  const owner = await createOwner(doorstep)
  const { client, asked, tap } = careful(owner)
  await enter(client, owner)
  const heard: unknown[] = []
  client.onSession((event) => heard.push(event))
  await age(doorstep, owner, 700)
  const [, answer] = await Promise.all([client.exportAccount(), client.changeEmail(freshEmail())])
  t.match(answer, { status: 'mail_sent' })
  t.same(asked, [{ acrValues: 'aal2', maxAge: 600 }])
  t.same(heard, [], 'which is no signing in')
  // The later of the two may have been sent after the step-up.
  t.ok(tap.times('GET /me/export') + tap.times('PUT /me/email') >= 3, 'what was refused was sent again')

  await age(doorstep, owner, 700)
  const refused = createClient(baseUrl, { storage: careful(owner).storage, onStepUp: async () => false })
  await enter(refused.client, owner)
  await age(doorstep, owner, 700)
  const challenge = { acrValues: 'aal2', maxAge: 600 }
  const wanted = { code: 'insufficient_user_authentication', status: 401, challenge }
  t.match(await problem(refused.client.exportAccount()), wanted, 'the user did not want to')
  const silent = createClient(baseUrl, { storage: refused.storage })
  t.match(await problem(silent.client.exportAccount()), wanted, 'nobody to ask')
  t.equal(await silent.client.isSignedIn(), true)
  const useless = createClient(baseUrl, { storage: refused.storage, onStepUp: async () => true })
  t.match(await problem(useless.client.exportAccount()), wanted, 'repeated once, not for ever')
})

t.test('who has no second factor steps up with the password', async (t) => {
  const user = await createBareUser(doorstep, 'optional')
  const { client, kept } = createClient(baseUrl)
  t.match(await client.signIn(of(user)), { status: 'authenticated' })
  const before = await kept()
  t.match(await problem(client.stepUp({ password: 'no' })), { code: 'invalid_password', status: 422 })
  t.match(await client.stepUp({ password: user.password }), { status: 'authenticated' })
  t.not((await kept()).access_token, before.access_token)
})

t.test('passwords: forgotten, changed; and an e-mail address', async (t) => {
  const owner = await createOwner(doorstep)
  const { client, kept } = careful(owner)
  t.match(await client.forgotPassword({ email: owner.email }), { status: 'mail_sent', expires_in: 3600 })
  const token = await mailedToken(doorstep, owner.email)
  const login = only(await client.setPassword({ token, password: newPassword, remember_me: true }), '2fa_required')
  const proof = { method: 'recovery_code' as const, code: owner.codes.pop() ?? '' }
  only(await client.finish(login, proof), 'authenticated')
  t.match(await problem(client.setPassword({ token, password: newPassword })), { code: 'link_expired', status: 410 })

  const other = createClient(baseUrl)
  await enter(other.client, { ...owner, password: newPassword })
  const before = await kept()
  const change = { current_password: newPassword, password: `${newPassword} now` }
  t.match(await problem(client.changePassword({ ...change, current_password: 'no' })), { code: 'invalid_password' })
  t.match(await client.changePassword(change), { status: 'authenticated' })
  t.not((await kept()).refresh_token, before.refresh_token)
  t.match(await client.me(), { id: owner.id }, 'it goes on with the new session')
  const heard: unknown[] = []
  other.client.onSession((event) => heard.push(event))
  t.match(await problem(other.client.me()), { code: 'invalid_token' }, 'the others are over')
  t.match(heard, [{ isSignedIn: false, error: { code: 'invalid_token' } }])
  t.equal(await other.client.isSignedIn(), false)

  const email = freshEmail()
  await client.changeEmail(email)
  const confirmed = await client.confirmEmail(await mailedToken(doorstep, email, 'confirm-email'))
  t.match(confirmed, { email, email_confirmed: true })
  t.match(await client.setLocale('de'), { locale: 'de' })
  const notMe = await mailedToken(doorstep, owner.email, 'not-me')
  t.match(await client.secureAccount(notMe), { status: 'secured' })
  t.match(await problem(client.me()), { code: 'invalid_token' })
})

t.test('factors are listed, named, renewed and removed', async (t) => {
  const owner = await createOwner(doorstep, ['totp', 'sms'])
  const { client } = careful(owner)
  await enter(client, owner)
  const { factors, available, passkey } = await client.factors.list()
  t.same(factors.map(({ method }) => method).sort(), ['recovery_code', 'sms', 'totp'])
  t.ok(available.includes('passkey'))
  t.match(passkey.user_handle, /^[\w-]+$/)
  const sms = factors.find(({ method }) => method === 'sms')?.id ?? ''
  t.match(await client.factors.rename(sms, 'Work'), { id: sms, name: 'Work' })
  const { recovery_codes: codes } = await client.factors.renewRecoveryCodes()
  t.equal(codes.length, 10)
  owner.codes.splice(0, 10, ...codes)
  t.equal(await client.factors.remove(sms), undefined)
  t.match(await problem(client.factors.remove(sms)), { code: 'not_found', status: 404 })
  const totp = factors.find(({ method }) => method === 'totp')?.id ?? ''
  t.match(await problem(client.factors.remove(totp)), { code: 'last_factor', status: 409 })

  const phone = freshPhone()
  const begun = only(await client.factors.add({ method: 'sms', phone }), '2fa_required')
  only(await client.factors.confirm(begun, { code: codeFor(doorstep, phone) }), 'authenticated')
  t.match(await client.me(), { methods: ['totp', 'sms', 'email', 'recovery_code'] })
})

t.test('devices and sessions are listed and ended', async (t) => {
  const owner = await createOwner(doorstep)
  const [one, two, three] = [careful(owner), createClient(baseUrl), createClient(baseUrl)]
  for (const { client } of [one, two, three]) await enter(client, owner)
  const sessions = await one.client.sessions.list()
  t.equal(sessions.length, 3)
  t.equal(sessions.filter(({ current }) => current).length, 1)
  const second = (await two.client.sessions.list()).find(({ current }) => current)?.id ?? ''
  await one.client.sessions.end(second)
  t.match(await problem(two.client.me()), { code: 'invalid_token' })
  const third = (await three.client.devices.list()).find(({ current }) => current)?.id ?? ''
  await one.client.devices.forget(third)
  t.match(await problem(three.client.me()), { code: 'invalid_token' })

  await enter(two.client, owner)
  await one.client.signOut('others')
  t.equal(await one.client.isSignedIn(), true)
  t.match(await problem(two.client.me()), { code: 'invalid_token' })
  await enter(two.client, owner)
  await one.client.signOut('all')
  t.equal(await one.client.isSignedIn(), false)
  t.match(await problem(two.client.me()), { code: 'invalid_token' })
  t.equal(await two.client.signOut(), undefined, 'out is out')
  t.match(await problem(one.client.me()), { code: 'signed_out', status: 0 })
})

t.test('an account is exported and left', async (t) => {
  const owner = await createOwner(doorstep)
  const { client } = careful(owner)
  await enter(client, owner)
  t.match(await client.exportAccount(), { profile: { id: owner.id, email: owner.email } })
  t.match(await client.deleteAccount(), { erases_at: /^20/ })
  t.equal(await client.isSignedIn(), false)
  t.match(await problem(client.signIn(of(owner))), { code: 'invalid_credentials' })
  const [row] = await sql('SELECT disabled_at FROM users WHERE id = $1', [owner.id])
  t.ok(row?.disabled_at)
})

t.test('an answer is told apart by its status', async (t) => {
  const next = (answer: LoginAnswer): string => {
    switch (answer.status) {
      case 'authenticated':
        return answer.access_token
      case '2fa_required':
        return answer.challenge.method
      case '2fa_enrolment_required':
        return answer.methods.join()
      default: {
        const nothing: never = answer
        return nothing
      }
    }
  }
  const { client } = createClient(baseUrl)
  t.equal(next(await client.signIn(of(await createOwner(doorstep, ['totp'])))), 'totp')
})

t.test("README's example signs in, and sets up what the policy wants", async (t) => {
  const readme = readFileSync(fileURLToPath(new URL('../../README.md', import.meta.url)), 'utf8')
  const code = /<!-- client -->\n```js\n(.*?)```\n<!-- \/client -->/s.exec(readme)?.[1] ?? ''
  const own = code
    .replace("'doorstep/client'", JSON.stringify(new URL('../../.build/src/client/index.js', import.meta.url).href))
    .replace("'http://localhost:3000'", JSON.stringify(baseUrl))
  const { signIn } = await import(`data:text/javascript,${encodeURIComponent(own)}`)

  const person = await createBareUser(doorstep)
  let secret = ''
  const asked: string[] = []
  const askFor = async (challenge: TwoFactorRequired['challenge']): Promise<string> => {
    asked.push(challenge.method)
    if (challenge.method === 'email') return mailedCode(doorstep, person.email)
    if (challenge.method === 'totp') secret = challenge.setup?.secret ?? secret
    return totpCode(secret)
  }
  const first = await signIn(person.email, person.password, askFor)
  t.match(first, { status: 'authenticated', recovery_codes: { length: 10 } })
  await forgetSteps(doorstep, person)
  t.match(await signIn(person.email, person.password, askFor), { status: 'authenticated', recovery_codes: undefined })
  t.strictSame(asked, ['email', 'totp', 'totp'])
})
