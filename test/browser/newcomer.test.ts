import t from 'tap'
import { createOwner } from '../helpers/equipped.ts'
import { totpCode } from '../helpers/factors.ts'
import { inspect, type Language, servePage } from '../helpers/page.ts'
import { freshPhone } from '../helpers/story.ts'

// The page alone carries a new person from registering to signing in with nothing but a passkey.

t.setTimeout(600_000)
const { doorstep, visit } = await servePage(t)

t.test('where the browser has no passkeys, none are offered', async (t) => {
  const here = await visit(t)
  const { page, context, words, fill, press, sees, reads } = here
  const passkeyButtons = () => page.getByRole('button', { name: /passkey/i }).count()
  const owner = await createOwner(doorstep, ['passkey', 'totp'])
  const begin = async ({ email, password }: { email: string; password: string }): Promise<void> => {
    await fill(words.signIn.email, email)
    await fill(words.signIn.password, password)
    await press(words.signIn.submit)
  }
  await sees(words.signIn.title)
  t.equal(await passkeyButtons(), 1)
  // As on a page without TLS.
  await context.addInitScript('delete window.PublicKeyCredential; delete Navigator.prototype.clipboard')
  await page.reload()
  await sees(words.signIn.title)
  t.equal(await passkeyButtons(), 0)
  await begin(owner)
  await reads(words.challenge.noPasskeys)
  await inspect(t, here, '15-no-passkeys')
  await page.getByRole('button', { name: words.methods.totp.name }).click()
  await sees(words.challenge.title.totp)
  await page.getByText(words.challenge.another, { exact: true }).click()
  await page.getByRole('button', { name: words.methods.recovery_code.name }).waitFor()
  t.equal(await passkeyButtons(), 0, 'nor as another way')
  await fill(words.challenge.code, totpCode(owner.secret))
  await sees(words.factors.title)
  await page.getByRole('button', { name: words.methods.sms.name }).waitFor()
  t.equal(await page.locator('.choice').filter({ hasText: words.methods.passkey.name }).count(), 0, 'nor to set up')

  await press(`${words.factors.renew}: ${words.methods.recovery_code.name}`)
  await sees(words.recovery.title)
  await page.getByRole('button', { name: words.recovery.print }).waitFor()
  t.equal(await page.getByRole('button', { name: words.recovery.copy }).count(), 0, 'nor is there a clipboard')
})

const password = 'a few words of my own'
const tours: Language[] = process.env.PAGE_PICTURES === undefined ? ['en'] : ['en', 'de']

for (const language of tours) {
  t.test(`a new person, ${language}: registers, sets up every factor, comes back by passkey alone`, async (t) => {
    const here = await visit(t, { language })
    const { page, words, fill, press, follow, sees, reads, takeFromInbox } = here
    const email = `grace-${language}@example.com`
    const look = (state: string) => inspect(t, here, state)

    await sees(words.signIn.title)
    await look('01-sign-in')
    await follow(words.signIn.register)
    await sees(words.register.title)
    await look('02-register')
    await fill(words.signIn.email, email)
    await press(words.register.submit)
    await sees(words.mailSent.title)
    await page.locator('#inbox article', { hasText: email }).waitFor()
    await look('03-mail-sent')

    await takeFromInbox(words.inbox.open, email)
    await sees(words.setPassword.title)
    t.notMatch(page.url(), /token/, 'the token does not stay in the address')
    await look('04-set-password')
    await fill(words.setPassword.password, 'password1')
    await press(words.setPassword.submit)
    await reads(words.problems.passwords.common)
    await look('05-password-refused')
    await fill(words.setPassword.password, 'x'.repeat(300))
    await press(words.setPassword.submit)
    await reads(words.problems.passwords.longest(256))
    await fill(words.setPassword.password, password)
    await press(words.setPassword.submit)

    await sees(words.enrol.title)
    await look('06-enrol')
    await page.getByRole('button', { name: words.methods.totp.name }).click()
    await sees(words.enrol.totpTitle)
    await look('07-totp')
    await page.goBack()
    await sees(words.enrol.title)
    await page.getByRole('button', { name: words.methods.sms.name }).click()
    await fill(words.enrol.phone, '12')
    const isDescribedBy = async (): Promise<number> => {
      const ids = (await page.getByLabel(words.enrol.phone).getAttribute('aria-describedby'))?.split(' ') ?? []
      for (const id of ids) t.equal(await page.locator(`#${id}`).count(), 1, `${id} is there`)
      return ids.length
    }
    const wrong = { code: 'invalid_request', status: 400, errors: [{ pointer: '/phone', message: 'is missing' }] }
    await page.route('**/factors', (route) => route.fulfill({ status: 400, json: wrong }), { times: 1 })
    await press(words.enrol.start)
    await reads(words.problems.phone)
    t.equal(await isDescribedBy(), 2, 'its hint, and what is wrong')
    await press(words.enrol.start)
    await reads(words.problems.byCode.phone_not_allowed ?? '')
    t.equal(await isDescribedBy(), 1, 'its hint')
    const phone = freshPhone()
    await fill(words.enrol.phone, phone)
    await look('08-phone')
    await press(words.enrol.start)
    await sees(words.challenge.title.sms)
    await look('09-sms')
    await takeFromInbox(words.inbox.fill, phone)
    await sees(words.recovery.title)
    await look('10-recovery-codes')
    await press(words.recovery.kept)
    await sees(words.factors.title)
    await page.getByRole('button', { name: words.methods.passkey.name }).first().click()
    await sees(words.enrol.passkeyTitle)
    await look('11-passkey')
    await press(words.enrol.create)
    await sees(words.factors.title)
    await look('12-factors')
    await follow(words.menu.devices)
    await sees(words.devices.title)
    await look('13-devices')
    await follow(words.menu.profile)
    await sees(words.profile.title)
    await look('14-profile')

    await press(words.menu.signOut)
    await reads(words.signIn.ended)
    await page.getByLabel(words.signIn.remember).check()
    const asked = page.waitForRequest('**/login/passkey')
    await press(words.signIn.passkey)
    t.equal((await asked).postDataJSON().remember_me, true, 'and stays signed in where that is ticked')
    await sees(words.factors.title)
  })
}
