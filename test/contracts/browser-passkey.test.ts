import type {
  AuthenticationResponseJSON,
  PublicKeyCredentialCreationOptionsJSON,
  PublicKeyCredentialRequestOptionsJSON,
} from '@simplewebauthn/server'
import type { Frame, Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { Check } from 'typebox/value'
import { CredentialSchema } from '../../src/features/factors/passkey/credential.ts'
import { createPasskeys, type NewPasskey, type StoredPasskey } from '../../src/security/passkey.ts'
import { createSecrets } from '../../src/security/secrets.ts'
import { attachAuthenticator, launchBrowser, passkeyScript, serveSite } from '../helpers/browser.ts'

// What passkeys are worth is what browsers make of our options, and we of their answers.

t.setTimeout(300_000)

const document = `<!doctype html><title>Passkeys</title><body><script>${passkeyScript}</script>`

const handle = Buffer.alloc(32, 3).toString('base64url')
const user = { handle, name: 'ada@example.com', displayName: 'ada@example.com' }

const browser = await launchBrowser(t)

/** The page in a browser of its own, and the service's side of it. */
async function opened(t: Test) {
  const origin = await serveSite(t, document)
  const context = await browser.newContext()
  t.teardown(() => context.close())
  const page = await context.newPage()
  await page.goto(origin)
  const secrets = createSecrets([{ id: 'k1', key: Buffer.alloc(32, 1) }])
  const passkeys = createPasskeys({ config: { rpId: 'localhost', rpName: 'Example', origins: [origin] }, secrets })
  return { origin, context, page, passkeys }
}

const create = async (page: Page | Frame, options: PublicKeyCredentialCreationOptionsJSON): Promise<unknown> =>
  JSON.parse(await page.evaluate(`create(${JSON.stringify(options)})`))

const get = async (page: Page | Frame, options: PublicKeyCredentialRequestOptionsJSON): Promise<unknown> =>
  JSON.parse(await page.evaluate(`get(${JSON.stringify(options)})`))

const clientDataOf = (response: unknown): unknown =>
  JSON.parse(Buffer.from((response as AuthenticationResponseJSON).response.clientDataJSON, 'base64url').toString())

const stored = ({ credential_id, data, counter }: NewPasskey): StoredPasskey => ({
  credential_id: credential_id.toString('base64url'),
  data,
  counter,
})

type Opened = Awaited<ReturnType<typeof opened>>

async function enrol(t: Test, { page, passkeys }: Opened) {
  const response = await create(page, passkeys.creationOptions({ cid: 'enrol', user, exclude: [] }))
  t.ok(Check(CredentialSchema, response), 'the answer has the form that our bodies take')
  const made = await passkeys.verifyRegistration({ cid: 'enrol', response })
  if (!made) throw new Error(`the registration was refused: ${JSON.stringify(response)}`)
  return { made, credential: stored(made) }
}

/** The options for a passkey behind a password, or, without one to allow, for a passkey alone. */
function asked({ passkeys }: Opened, cid: string, allow: StoredPasskey[]) {
  const userVerification = allow.length > 0 ? 'preferred' : 'required'
  return passkeys.requestOptions({ challenge: passkeys.challengeOf(cid), allow, userVerification })
}

const judge = ({ passkeys }: Opened, cid: string, credential: StoredPasskey, response: unknown, isAlone = false) =>
  passkeys.verifyAssertion({
    challenges: passkeys.challengesOf(cid),
    credential,
    userHandle: handle,
    requireVerification: isAlone,
    response,
  })

/** Both ways to use it; what comes back of the second. */
async function use(t: Test, it: Opened, credential: StoredPasskey) {
  const second = await get(it.page, asked(it, 'login', [credential]))
  t.ok(Check(CredentialSchema, second))
  t.match(await judge(it, 'login', credential, second), { userVerified: true }, 'behind a password')
  t.equal(await judge(it, 'other', credential, second), null, 'for this login only')
  const alone = await get(it.page, asked(it, 'alone', []))
  t.ok(Check(CredentialSchema, alone))
  return judge(it, 'alone', credential, alone, true)
}

t.test('a passkey of this device is made, used behind a password, and alone', async (t) => {
  const it = await opened(t)
  const { setUserVerified } = await attachAuthenticator(it.context, it.page)
  const { made, credential } = await enrol(t, it)
  t.match(made, { amr: 'hwk', data: { algorithm: -8, backup_eligible: false, transports: ['internal'] } })
  const proven = await use(t, it, credential)
  t.match(proven, { userVerified: true, amr: 'hwk' })
  t.ok((proven?.counter ?? 0) > credential.counter, 'it counts')

  const again = it.passkeys.creationOptions({ cid: 'again', user, exclude: [credential] })
  t.same(await create(it.page, again), { refused: 'InvalidStateError' }, 'one that is there is not made again')

  await setUserVerified(false)
  const refused = { refused: 'NotAllowedError' }
  t.same(await get(it.page, asked(it, 'alone', [])), refused, 'whoever is not its user')
  t.same(await get(it.page, asked(it, 'login', [credential])), refused, 'behind a password neither')
})

t.test('a passkey that is backed up is a key in software', async (t) => {
  const it = await opened(t)
  await attachAuthenticator(it.context, it.page, { isBackedUp: true })
  const { made, credential } = await enrol(t, it)
  t.match(made, { amr: 'swk', data: { backup_eligible: true, backed_up: true } })
  t.match(await use(t, it, credential), { amr: 'swk', backedUp: true })
})

t.test('a security key of the first kind is a second factor', async (t) => {
  const it = await opened(t)
  await attachAuthenticator(it.context, it.page, { protocol: 'u2f', transport: 'usb' })
  const { made, credential } = await enrol(t, it)
  t.match(made, { amr: 'hwk', data: { algorithm: -7, transports: ['usb'] } })
  const response = await get(it.page, asked(it, 'login', [credential]))
  t.match(await judge(it, 'login', credential, response), { userVerified: false, counter: Number })
  t.equal(await judge(it, 'login', credential, response, true), null, 'and no more')
})

t.test('an authenticator that signs with ES256', async (t) => {
  const it = await opened(t)
  await it.context.credentials.install()
  await it.page.goto(it.origin)
  const { made, credential } = await enrol(t, it)
  t.equal(made.data.algorithm, -7)
  t.ok(await use(t, it, credential))
})

t.test('an attacker who has a page under the same name gets no proof for ours', async (t) => {
  const it = await opened(t)
  await attachAuthenticator(it.context, it.page)
  const { credential } = await enrol(t, it)
  const other = await serveSite(t, document)
  await it.page.goto(other)
  const elsewhere = await get(it.page, asked(it, 'login', [credential]))
  t.ok(Check(CredentialSchema, elsewhere), 'the browser lets them ask')
  t.equal(await judge(it, 'login', credential, elsewhere), null, 'at another port')

  const embed = `const frame = document.createElement('iframe'); frame.allow = 'publickey-credentials-get *'
    frame.src = ${JSON.stringify(it.origin)}
    new Promise((resolve) => { frame.onload = resolve; document.body.append(frame) })`
  await it.page.evaluate(embed)
  const [, frame] = it.page.frames()
  if (!frame) throw new Error('the page has no frame')
  t.match(frame.url(), it.origin)
  const framed = await get(frame, asked(it, 'login', [credential]))
  t.ok(Check(CredentialSchema, framed), 'the browser lets them frame ours')
  t.match(clientDataOf(framed), { origin: it.origin, crossOrigin: true })
  t.equal(await judge(it, 'login', credential, framed), null, 'with our page in a frame of theirs')

  await it.page.goto(it.origin)
  t.ok(
    await judge(it, 'login', credential, await get(it.page, asked(it, 'login', [credential]))),
    'at home it is right',
  )
})
