import { readFileSync } from 'node:fs'
import t from 'tap'
import { age } from '../helpers/age.ts'
import { createOwner, loginBy, type Owner, rightAnswer } from '../helpers/equipped.ts'
import { createBareUser, forgetSteps, prove, totpCode } from '../helpers/factors.ts'
import { inspect, servePage, type Visit } from '../helpers/page.ts'
import { type Answer, call } from '../helpers/story.ts'

// What people do with their account on the page, in the order in which somebody may.

t.setTimeout(600_000)
const { doorstep, visit, url } = await servePage(t, { SMS_COOLDOWN: '2' })

const here = await visit(t)
const { page, words, fill, press, follow, sees, reads, takeFromInbox } = here
const owner: Owner = await createOwner(doorstep, ['totp', 'sms'])

/** What the app shows next. */
async function appCode(): Promise<string> {
  await forgetSteps(doorstep, owner)
  return totpCode(owner.secret)
}

async function signIn(visit: Visit, { email, password }: { email: string; password: string }): Promise<void> {
  await visit.fill(words.signIn.email, email)
  await visit.fill(words.signIn.password, password)
  await visit.press(words.signIn.submit)
}

/** On how many lines of a narrow phone the menu stands. */
async function menuLines({ page }: Visit): Promise<number> {
  const size = page.viewportSize() ?? { width: 1_280, height: 800 }
  await page.setViewportSize({ ...size, width: 375 })
  const middles = (await page.evaluate(`[...document.querySelectorAll('#menu > *')].map((it) => {
    const { top, bottom } = it.getBoundingClientRect()
    return Math.round((top + bottom) / 10)
  })`)) as number[]
  await page.setViewportSize(size)
  t.equal(middles.length, 4)
  return new Set(middles).size
}

/** Answers the dialog that asks once more. */
async function proveAgain(): Promise<void> {
  await page
    .getByRole('dialog')
    .getByLabel(words.challenge.code)
    .fill(await appCode())
  await page.getByRole('dialog').waitFor({ state: 'detached' })
}

t.test('factors: rename, remove, add, renew; what matters asks once more who it is', async (t) => {
  await signIn(here, owner)
  await fill(words.challenge.code, await appCode())
  await sees(words.factors.title)
  t.equal(await menuLines(here), 1)
  await press(`${words.factors.rename}: ${words.methods.totp.name}`)
  await fill(words.factors.newName, 'My old phone')
  await press(words.save)
  await reads('My old phone')

  await age(doorstep, owner, 700)
  const remove = `${words.factors.remove}: ${words.methods.sms.name}`
  await press(remove)
  await page.getByRole('dialog', { name: words.stepUp.title }).getByLabel(words.challenge.code).waitFor()
  await inspect(t, here, '30-step-up')
  await page.keyboard.press('Escape')
  await page.locator(`button[aria-label="${remove}"]:not([aria-disabled])`).waitFor()
  t.equal(await page.getByRole('alert').count(), 0, 'who does not want to is told nothing')
  await press(remove)
  await proveAgain()
  await reads(words.factors.removed(words.methods.sms.name))
  t.equal(await page.getByRole('button', { name: remove }).count(), 0)

  await press(`${words.factors.remove}: My old phone`)
  await reads(words.problems.byCode.last_factor ?? '')
  await inspect(t, here, '31-last-factor')
  await press(`${words.factors.renew}: ${words.methods.recovery_code.name}`)
  await sees(words.recovery.title)
  const codes = await page.locator('ol.codes li').allTextContents()
  t.equal(codes.length, 10)
  t.notOk(codes.includes(owner.codes[0] ?? ''), 'new ones')
  await press(words.recovery.copy)
  t.equal(await page.evaluate('navigator.clipboard.readText()'), codes.join('\n'))
  await page.evaluate('navigator.clipboard.writeText = () => Promise.reject(new DOMException("no", "NotAllowedError"))')
  await press(words.recovery.copy)
  await reads(words.recovery.notCopied)
  await inspect(t, here, '41-not-copied')
  await page.evaluate('window.print = () => { window.isPrinted = true }')
  await press(words.recovery.print)
  t.equal(await page.evaluate('window.isPrinted'), true)
  await page.emulateMedia({ media: 'print' })
  for (const code of codes) t.ok(await page.getByText(code, { exact: true }).isVisible(), 'on paper')
  t.notOk(await page.locator('#inbox').isVisible(), 'and nothing of what was sent')
  t.equal(await page.getByRole('button').count(), 0)
  await page.emulateMedia({ media: 'screen' })
  await press(words.recovery.kept)
  await sees(words.factors.title)
  await page.getByRole('button', { name: words.methods.passkey.name }).last().click()
  await press(words.enrol.create)
  await sees(words.factors.title)
  await page.getByRole('button', { name: /^Rename: (Chrome|Safari)/ }).waitFor()
})

t.test('devices and sessions: rename, trust no longer, end one, sign out elsewhere, forget', async (t) => {
  const signInElsewhere = async (device: { trust_device?: boolean } = {}) => {
    const begun = await loginBy(doorstep, owner, 'totp')
    await forgetSteps(doorstep, owner)
    return prove(doorstep, begun, { ...rightAnswer(doorstep, owner, 'totp', begun.body), ...device })
  }
  const isIn = async ({ body }: Answer) => (await call(doorstep, '/me', { token: body.access_token })).status === 200
  const elsewhere = await signInElsewhere({ trust_device: true })
  t.ok(await isIn(elsewhere))
  await follow(words.menu.devices)
  await sees(words.devices.title)
  const rename = page.getByRole('button', { name: new RegExp(`^${words.factors.rename}`) })
  t.equal(await rename.count(), 2, 'two devices')
  await inspect(t, here, '32-two-devices')
  await rename.first().click()
  await fill(words.factors.newName, 'Kitchen')
  await press(words.save)
  await reads('Kitchen')

  const { email, password } = owner
  const withDevice = { body: { email, password, device_token: elsewhere.body.device_token } }
  t.equal(
    (await call(doorstep, '/login', withDevice)).body.status,
    'authenticated',
    'a trusted device is asked for none',
  )
  const untrust = page.getByText(words.devices.untrust, { exact: true })
  await untrust.click()
  await untrust.waitFor({ state: 'detached' })
  t.equal((await call(doorstep, '/login', withDevice)).body.status, '2fa_required')

  const sessions = page.getByRole('listitem').filter({ hasText: words.devices.end })
  const others = { hasNotText: words.devices.current }
  const third = await signInElsewhere()
  await follow(words.menu.profile)
  await sees(words.profile.title)
  await follow(words.menu.devices)
  await sees(words.devices.title)
  t.equal(await sessions.count(), 4, 'here, elsewhere, with the trusted device, once more')
  await sessions.filter(others).first().getByText(words.devices.end, { exact: true }).click()
  await reads(words.devices.ended)
  t.equal(await sessions.count(), 3)
  t.strictSame([await isIn(third), await isIn(elsewhere)], [false, true], 'the one whose button it was')
  await press(words.devices.others)
  await sessions.filter(others).first().waitFor({ state: 'detached' })
  t.notOk(await isIn(elsewhere))
  const forget = page.getByRole('listitem').filter(others).getByText(words.devices.forget, { exact: true })
  const known = await forget.count()
  await forget.first().click()
  await reads(words.devices.forgotten)
  t.equal(await rename.count(), known)
})

t.test('profile: language, password, e-mail with its link, everything to take along', async (t) => {
  await follow(words.menu.profile)
  await sees(words.profile.title)
  await page.getByLabel(words.profile.mails).selectOption('de')
  await press(words.save)
  await reads(words.profile.mailsIn('Deutsch'))

  const change = async (current: string): Promise<void> => {
    await fill(words.profile.current, current)
    await fill(words.setPassword.password, 'another sentence of mine')
    await press(words.profile.changePassword)
  }
  await change('not the right one')
  await reads(words.problems.byCode.invalid_password ?? '')
  await inspect(t, here, '33-wrong-password')
  await change('x'.repeat(300))
  await reads(words.problems.passwords.longest(256))
  const unknown = { pointer: '/current_password', message: 'must NOT be like this' }
  const json = { code: 'invalid_request', status: 400, errors: [unknown] }
  await page.route('**/me/password', (route) => route.fulfill({ status: 400, json }), { times: 1 })
  await change(owner.password)
  await reads(words.problems.byCode.invalid_request ?? '')
  await change(owner.password)
  await reads(words.profile.passwordChanged)
  owner.password = 'another sentence of mine'

  const email = `new-${owner.email}`
  await fill(words.profile.newEmail, email)
  await press(words.profile.changeEmail)
  await reads(words.profile.emailAsked(email))
  await takeFromInbox(words.inbox.open, email)
  await sees(words.confirmEmail.title)
  await inspect(t, here, '34-confirm-email')
  await press(words.confirmEmail.submit)
  await reads(words.confirmEmail.done(email))

  const [download] = await Promise.all([page.waitForEvent('download'), press(words.profile.export)])
  const taken = JSON.parse(readFileSync(await download.path(), 'utf8'))
  t.equal(taken.profile.email, email)
  owner.email = email
})

t.test('a link for a new e-mail in another browser: sign in first, then it is there', async (t) => {
  const other = await visit(t, { path: '/confirm-email#token=dsm_unknown' })
  await other.reads(words.confirmEmail.signInFirst)
  t.notMatch(other.page.url(), /token/)
  await signIn(other, owner)
  await other.page.getByText(words.challenge.another, { exact: true }).click()
  await other.page.getByRole('button', { name: words.methods.totp.name }).click()
  await other.fill(words.challenge.code, await appCode())
  await other.sees(words.confirmEmail.title)
  await other.press(words.confirmEmail.submit)
  await other.reads(words.problems.byCode.link_expired ?? '')
  await inspect(t, other, '35-link-expired')
})

t.test('“that was not me”: the account is secured, this browser too, and a new password leads back in', async (t) => {
  await page.locator('#inbox a[href*="/not-me#token="]').first().click()
  await sees(words.notMe.title)
  await inspect(t, here, '36-not-me')
  await press(words.notMe.submit)
  await reads(words.notMe.done)
  await page.locator('#inbox a[href*="/set-password#token="]').first().click()
  await sees(words.setPassword.title)
  await fill(words.setPassword.password, 'a third sentence of mine')
  await press(words.setPassword.submit)
  await sees(words.challenge.title.passkey)
})

t.test('somebody without a second factor proves himself with the password, and leaves', async (t) => {
  const bare = await createBareUser(doorstep, 'optional')
  const other = await visit(t, { language: 'de' })
  const { words: german } = other
  await other.fill(german.signIn.email, bare.email)
  await other.fill(german.signIn.password, bare.password)
  await other.press(german.signIn.submit)
  await other.sees(german.factors.title)
  await inspect(t, other, '37-no-factor')
  t.equal(await menuLines(other), 1)
  await other.follow(german.menu.profile)
  await age(doorstep, bare, 700)
  await other.page.getByText(german.profile.leave, { exact: true }).click()
  await inspect(t, other, '38-leave')
  await other.press(german.profile.leaveSure)
  const dialog = other.page.getByRole('dialog')
  await dialog.getByLabel(german.signIn.password, { exact: true }).fill(bare.password)
  await inspect(t, other, '39-step-up-password')
  await dialog.getByRole('button', { name: german.challenge.submit }).click()
  await other.sees(german.signIn.title)
  await other.reads(german.profile.left('').slice(0, 20))
  const again = await call(doorstep, '/login', { body: { email: bare.email, password: bare.password } })
  t.match(again, { status: 401, body: { code: 'invalid_credentials' } })
})

t.test('a link that is none says so', async (t) => {
  const other = await visit(t, { path: '/set-password' })
  await other.reads(words.noLink)
  await inspect(t, other, '40-no-link')
  await other.page.goto(`${url}/not-me#token=dsm_unknown`)
  await other.press(words.notMe.submit)
  await other.reads(words.problems.byCode.link_expired ?? '')
})

t.test('a second link of the same kind in the same tab takes the place of the first', async (t) => {
  const other = await visit(t, { path: '/set-password#token=dsm_first' })
  await other.sees(words.setPassword.title)
  await other.page.goto(`${url}/set-password#token=dsm_second`)
  await other.page.waitForFunction('location.hash === ""')
  await other.sees(words.setPassword.title)
  await other.fill(words.setPassword.password, 'a fourth sentence of mine')
  const asked = other.page.waitForRequest('**/password/set')
  await other.press(words.setPassword.submit)
  t.equal((await asked).postDataJSON().token, 'dsm_second')
  await other.reads(words.problems.byCode.link_expired ?? '')
  await inspect(t, other, '42-set-password-expired')
  await other.follow(words.signIn.forgot)
  await other.sees(words.forgot.title)
})
