import type { AuthenticationResponseJSON, PublicKeyCredentialRequestOptionsJSON } from '@simplewebauthn/server'
import type { Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { sendDueMails } from '../../src/features/mails/mail-sender.ts'
import { attachAuthenticator, launchBrowser, passkeyScript, serveSite } from '../helpers/browser.ts'
import { type Doorstep, startDoorstep } from '../helpers/doorstep.ts'
import { createBareUser, mailedCode } from '../helpers/factors.ts'
import { part } from '../helpers/forge.ts'
import { freePort } from '../helpers/service-process.ts'
import type { Answer, TestUser } from '../helpers/story.ts'

// A page of an application and the service, each at an address of its own, in a browser that keeps them apart.

t.setTimeout(300_000)

/** The page of an application. Nothing here knows the service but what it is told to call. */
const application = `<!doctype html><title>Application</title><body><script>${passkeyScript}
  const send = async (url, { token, body, method = 'POST' }) => {
    const headers = { ...(body && { 'content-type': 'application/json' }), ...(token && { authorization: 'Bearer ' + token }) }
    const reply = await fetch(url, { method, headers, ...(body && { body: JSON.stringify(body) }) })
    return JSON.stringify({ status: reply.status, body: await reply.json() })
  }
</script>`

const browser = await launchBrowser(t)
const origin = await serveSite(t, application)
const port = await freePort()
const url = `http://localhost:${port}`
const doorstep: Doorstep = await startDoorstep(t, {
  env: { PUBLIC_URL: url, APP_URL: url, PORT: String(port), PASSKEY_ORIGINS: origin },
})
await doorstep.app.listen({ host: '127.0.0.1', port })

type Sent = { token?: string; body?: object; method?: 'GET' | 'POST' }

const eddsa = -8
const es256 = -7

/** The page in a browser of its own, with an authenticator in it. */
async function openPage(t: Test) {
  const context = await browser.newContext()
  t.teardown(() => context.close())
  const page = await context.newPage()
  await page.goto(origin)
  const authenticator = await attachAuthenticator(context, page)
  return { page, authenticator }
}

/** A call of the page's. */
const ask = async (page: Page, path: string, sent: Sent): Promise<Answer> =>
  JSON.parse(await page.evaluate(`send(${JSON.stringify(url + path)}, ${JSON.stringify(sent)})`))

const create = async (page: Page, options: object): Promise<object> =>
  JSON.parse(await page.evaluate(`create(${JSON.stringify(options)})`))

const get = async (page: Page, options: object): Promise<AuthenticationResponseJSON> =>
  JSON.parse(await page.evaluate(`get(${JSON.stringify(options)})`))

const finish = (page: Page, { body }: Answer, proof: object): Promise<Answer> =>
  ask(page, '/login/2fa', { token: body.pending_token, body: proof })

const login = (page: Page, { email, password }: TestUser): Promise<Answer> =>
  ask(page, '/login', { body: { email, password } })

const startAlone = (page: Page): Promise<Answer> => ask(page, '/login/passkey', { body: {} })

const optionsOf = ({ body }: Answer): PublicKeyCredentialRequestOptionsJSON => body.challenge.public_key

const amrOf = ({ body }: Answer) => part(body.access_token, 1).amr

/** Whatever the browser makes of the options, sent as the proof. */
const prove = async (page: Page, asked: Answer, options: object = optionsOf(asked)): Promise<Answer> =>
  finish(page, asked, { credential: await get(page, options) })

/** Sets up the first factor of a new user, all of it in the page: password, mailbox, passkey. */
async function register(t: Test, page: Page, algorithm: number): Promise<TestUser> {
  const user = await createBareUser(doorstep)
  const first = await login(page, user)
  t.match(first, { status: 200, body: { status: '2fa_required', methods: ['email'] } })
  const proven = await finish(page, first, { code: mailedCode(doorstep, user.email) })
  t.match(proven, { status: 200, body: { status: '2fa_enrolment_required' } })
  t.ok(proven.body.methods.includes('passkey'))

  const token = proven.body.pending_token
  const begun = await ask(page, '/factors', { token, body: { method: 'passkey', name: 'This browser' } })
  const { public_key: options } = begun.body.challenge.setup
  t.match(options, { rp: { id: 'localhost' }, user: { name: user.email } })
  const reloaded = await ask(page, '/login/2fa', { token: begun.body.pending_token, method: 'GET' })
  t.strictSame(reloaded.body.challenge.setup.public_key, options, 'a page that was dropped asks for the same')
  const only = options.pubKeyCredParams.filter(({ alg }: { alg: number }) => alg === algorithm)
  t.equal(only.length, 1)
  const added = await finish(page, begun, { credential: await create(page, { ...options, pubKeyCredParams: only }) })
  t.match(added, { status: 200, body: { status: 'authenticated' } })
  t.equal(added.body.recovery_codes.length, 10)
  t.strictSame(amrOf(added), ['pwd', 'hwk', 'mfa'])

  const list = await ask(page, '/factors', { token: added.body.access_token, method: 'GET' })
  t.match(list.body.factors, [
    { method: 'passkey', name: 'This browser', backed_up: false },
    { method: 'recovery_code' },
  ])
  const [stored] = await doorstep.sql(`SELECT data ->> 'algorithm' AS algorithm FROM factors WHERE user_id = $1`, [
    user.id,
  ])
  t.equal(Number(stored?.algorithm), algorithm)
  return user
}

for (const [name, algorithm] of Object.entries({ EdDSA: eddsa, ES256: es256 })) {
  t.test(`${name}: a passkey is set up, used behind a password, and alone`, async (t) => {
    const { page } = await openPage(t)
    const user = await register(t, page, algorithm)

    const second = await login(page, user)
    t.match(second.body, { challenge: { method: 'passkey' }, methods: ['passkey', 'recovery_code'] })
    t.equal(optionsOf(second).allowCredentials?.length, 1)
    const behind = await prove(page, second)
    t.match(behind, { status: 200, body: { status: 'authenticated' } })
    t.strictSame(amrOf(behind), ['pwd', 'hwk', 'mfa'])

    const start = await startAlone(page)
    t.match(start.body, { status: '2fa_required', methods: ['passkey'], expires_in: 300 })
    t.match(optionsOf(start), { allowCredentials: [], userVerification: 'required' })
    const credential = await get(page, optionsOf(start))
    const alone = await finish(page, start, { credential })
    t.match(alone, { status: 200, body: { status: 'authenticated' } })
    t.strictSame(amrOf(alone), ['hwk', 'mfa'])
    const me = await ask(page, '/me', { token: alone.body.access_token, method: 'GET' })
    t.match(me, { status: 200, body: { id: user.id, email: user.email } })

    const again = await finish(page, start, { credential })
    t.match(again, { status: 401, body: { code: 'invalid_token' } }, 'each start succeeds once')
    const late = await finish(page, await startAlone(page), { credential })
    t.match(late, { status: 401, body: { code: 'invalid_credentials' } }, 'and no proof is one for another start')
  })
}

t.test('a thief who copied a passkey is told of to its owner, who is not refused', async (t) => {
  const { page, authenticator } = await openPage(t)
  const user = await register(t, page, es256)
  const copied = await authenticator.copy()
  t.equal(copied.length, 1)
  for (const times of [1, 2]) t.equal((await prove(page, await login(page, user))).status, 200, `use ${times}`)
  const told = async () => {
    await sendDueMails(doorstep.services)
    const mails = doorstep.services.mailbox?.sent() ?? []
    return mails.filter(({ to, subject }) => to === user.email && /may have been copied/.test(subject))
  }
  t.strictSame(await told(), [], 'as long as it counts on')

  await authenticator.restore(copied)
  t.match(await prove(page, await login(page, user)), { status: 200, body: { status: 'authenticated' } })
  t.equal((await told()).length, 1)

  t.match(await prove(page, await startAlone(page)), { status: 200 })
})

t.test('whoever holds a device but is not its user gets in nowhere without the password', async (t) => {
  const { page, authenticator } = await openPage(t)
  const user = await register(t, page, eddsa)
  await authenticator.setUserVerified(false)

  const start = await startAlone(page)
  t.strictSame(await get(page, optionsOf(start)), { refused: 'NotAllowedError' }, 'the browser asks for its user')
  const weakened = { ...optionsOf(start), userVerification: 'discouraged' }
  const sneaked = await prove(page, start, weakened)
  t.match(sneaked, { status: 401, body: { code: 'invalid_credentials' } }, 'and a page that does not is refused')

  const second = await login(page, user)
  const behind = await prove(page, second, { ...optionsOf(second), userVerification: 'discouraged' })
  t.match(behind, { status: 200, body: { status: 'authenticated' } }, 'behind the password presence is enough')
})

t.test('an attacker who lures a user to a page under the same name gets no session with what it signs', async (t) => {
  const { page } = await openPage(t)
  const user = await register(t, page, eddsa)
  const lure = await serveSite(t, application)
  await page.goto(lure)

  const start = await startAlone(page)
  t.equal(start.status, 200, 'the service lets it ask, as any page of this machine in development')
  t.match(await prove(page, start), { status: 401, body: { code: 'invalid_credentials' } })
  const second = await login(page, user)
  t.match(await prove(page, second), { status: 422, body: { code: 'invalid_code', attempts_remaining: 4 } })

  await page.goto(origin)
  t.equal((await prove(page, start)).status, 200, 'at home it is right')
  t.equal((await prove(page, second)).status, 200)
})
