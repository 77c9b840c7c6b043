import t, { type Test } from 'tap'
import { de } from '../../src/client/page/words/de.ts'
import { age } from '../helpers/age.ts'
import { createOwner } from '../helpers/equipped.ts'
import { createBareUser, mailedCode, totpCode } from '../helpers/factors.ts'
import { inspect, servePage, type Visit } from '../helpers/page.ts'
import { codeFor, createUser, login, type TestUser, textsTo, wrongCode } from '../helpers/story.ts'

// How people sign in, with what they have, what they do wrong, and without a mouse.

t.setTimeout(600_000)
const { doorstep, visit, url } = await servePage(t, { SMS_COOLDOWN: '3' })

const withPassword = async ({ words, fill, press }: Visit, { email, password }: TestUser): Promise<void> => {
  await fill(words.signIn.email, email)
  await fill(words.signIn.password, password)
  await press(words.signIn.submit)
}

const codeOnScreen = (page: Visit['page']) => page.locator('[autocomplete="one-time-code"]')

t.test('by text: a wrong password, a wrong code, a second text, a code pasted with spaces', async (t) => {
  const here = await visit(t)
  const { page, words, press, sees, reads } = here
  const ada = await createUser(doorstep)
  await withPassword(here, { ...ada, password: 'not the right one' })
  await reads(words.problems.byCode.invalid_credentials ?? '')
  t.match(
    await page.getByRole('alert').textContent(),
    /Request [0-9a-f-]{36}/,
    'with what to name when asking for help',
  )
  await inspect(t, here, '20-wrong-password')
  await withPassword(here, ada)
  await sees(words.challenge.title.sms)
  t.equal(await page.evaluate('document.activeElement.name'), 'code', 'the focus is where the code goes')

  const malformed = async (): Promise<void> => {
    await codeOnScreen(page).fill('12')
    await codeOnScreen(page).press('Enter')
    await reads(words.problems.codeForm(6))
  }
  await malformed()
  await reads(words.challenge.triesLeft(5))
  const code = codeFor(doorstep, ada.phone)
  await codeOnScreen(page).fill('')
  await codeOnScreen(page).fill(wrongCode(code))
  await reads(words.challenge.triesLeft(4))
  await inspect(t, here, '21-wrong-code')
  await codeOnScreen(page).press('Enter')
  await reads(words.problems.refusedAlready)
  await reads(words.challenge.triesLeft(4))
  t.equal(await page.getByText(words.challenge.triesLeft(4)).filter({ visible: true }).count(), 1, 'said once')
  await malformed()
  await page.getByText(words.challenge.triesLeft(4)).filter({ visible: true }).waitFor()
  await codeOnScreen(page).selectText()
  const otherWrong = wrongCode(wrongCode(code))
  await page.evaluate(`navigator.clipboard.writeText('${otherWrong}')`)
  await codeOnScreen(page).press('ControlOrMeta+v')
  await reads(words.challenge.triesLeft(3))
  t.equal(
    await codeOnScreen(page).inputValue(),
    otherWrong,
    'pasted in the place of the wrong one, and sent by itself; what was refused is not sent again and costs nothing',
  )
  // What is announced stays only until something else is.
  await page.evaluate(`window.announced = []
    new MutationObserver(() => announced.push(document.querySelector('#announcer').textContent))
      .observe(document.querySelector('#announcer'), { childList: true, characterData: true, subtree: true })`)
  await page.getByRole('button', { name: words.challenge.resend, exact: true }).click()
  await page.waitForFunction(
    (text) => (globalThis as { announced?: string[] }).announced?.includes(text),
    words.challenge.resent,
  )
  t.equal(textsTo(doorstep, ada.phone).length, 2, 'one more text')
  t.equal(codeFor(doorstep, ada.phone), code, 'with the same code')

  await page.evaluate(`navigator.clipboard.writeText('${code.slice(0, 3)} ${code.slice(3)} ')`)
  await codeOnScreen(page).press('ControlOrMeta+v')
  await sees(words.factors.title)
  await here.takeFromInbox(words.inbox.fill, ada.phone)
  await reads(words.inbox.nowhere)
  await press(words.menu.signOut)
  await reads(words.signIn.ended)
})

t.test('a code that the phone fills in is sent by itself; back and forward lead where one was', async (t) => {
  const here = await visit(t)
  const { page, words, sees, reads } = here
  const ada = await createUser(doorstep)
  await withPassword(here, ada)
  await sees(words.challenge.title.sms)
  await page.goBack()
  await sees(words.signIn.title)
  await page.goForward()
  await sees(words.challenge.title.sms)
  await page.reload()
  await sees(words.challenge.title.sms)
  t.equal(await codeOnScreen(page).getAttribute('inputmode'), 'numeric')
  await codeOnScreen(page).fill(codeFor(doorstep, ada.phone))
  await sees(words.factors.title)
  await page.goBack()
  await sees(words.factors.title)
  t.notMatch(page.url(), /#code/, 'a login that is over does not come back')

  // Too late: it is said, and one begins anew.
  const later = await visit(t)
  await age(doorstep, ada, 60)
  await withPassword(later, ada)
  await later.sees(words.challenge.title.sms)
  await age(doorstep, ada, 700)
  await codeOnScreen(later.page).fill('123456')
  await later.reads(words.signIn.again)
  await reads(words.factors.title)
})

t.test('after a reload, back, and in another language: the times and tries of now', async (t) => {
  const here = await visit(t)
  const { page, words, press, sees, reads } = here
  const ada = await createUser(doorstep)
  await withPassword(here, ada)
  await sees(words.challenge.title.sms)
  await reads(words.challenge.triesLeft(5))
  await codeOnScreen(page).fill(wrongCode(codeFor(doorstep, ada.phone)))
  await reads(words.challenge.triesLeft(4))
  await page.reload()
  await reads(words.challenge.triesLeft(4))
  await age(doorstep, ada, 120)
  await page.goBack()
  await sees(words.signIn.title)
  await page.goForward()
  await reads(words.challenge.triesLeft(4))
  t.match(await page.locator('#view').innerText(), /The code works for [0-3]:\d\d\./, 'five minutes less two')
  await press('Deutsch')
  await reads(de.challenge.triesLeft(4))
  await press('English')
  await sees(words.challenge.title.sms)
  await age(doorstep, ada, 700)
  await page.reload()
  await reads(words.signIn.again)
  await sees(words.signIn.title)
  await page.goto(`${url}/#code`)
  await sees(words.signIn.title)
})

t.test('signing out leaves nothing of what was begun', async (t) => {
  const here = await visit(t)
  const { page, words, fill, press, sees } = here
  const owner = await createOwner(doorstep, ['totp'])
  await withPassword(here, owner)
  await fill(words.challenge.code, totpCode(owner.secret))
  await sees(words.factors.title)
  await page.getByRole('button', { name: words.methods.totp.name }).last().click()
  await sees(words.enrol.totpTitle)
  await press(words.menu.signOut)
  await sees(words.signIn.title)
  t.equal(await page.evaluate('sessionStorage.length'), 0)
})

t.test(
  'a phone’s browser that reads the text is asked once, and fills in the code; nobody is asked after the login',
  async (t) => {
    const here = await visit(t)
    const { page, context, words, sees } = here
    // WebOTP as the page meets it: what Chromium has on Android only.
    await context.addInitScript(`
    window.OTPCredential = class {}
    window.asked = []
    const ask = navigator.credentials.get.bind(navigator.credentials)
    navigator.credentials.get = (options) => options.otp === undefined ? ask(options) : new Promise((resolve, reject) => {
      asked.push({ transport: options.otp.transport, isOver: () => options.signal.aborted, read: (code) => resolve({ code }) })
      options.signal.addEventListener('abort', () => reject(options.signal.reason))
    })`)
    await page.reload()
    const ada = await createUser(doorstep)
    await withPassword(here, ada)
    await sees(words.challenge.title.sms)
    t.strictSame(await page.evaluate('asked.map((it) => [it.transport, it.isOver()])'), [[['sms'], false]])
    await page.goBack()
    await sees(words.signIn.title)
    t.strictSame(await page.evaluate('asked.map((it) => it.isOver())'), [true], 'whoever leaves is asked no more')
    await page.goForward()
    await sees(words.challenge.title.sms)
    await page.evaluate(`asked.at(-1).read('${codeFor(doorstep, ada.phone)}')`)
    await sees(words.factors.title)
    t.strictSame(await page.evaluate('asked.map((it) => it.isOver())'), [true, true])
  },
)

t.test('every method that there is, each at its turn, and a trusted device that is asked for none', async (t) => {
  const here = await visit(t)
  const { page, words, fill, press, sees, reads, takeFromInbox } = here
  const owner = await createOwner(doorstep, ['totp', 'sms'])
  const another = async (name: string): Promise<void> => {
    await page.getByText(words.challenge.another, { exact: true }).click()
    await page.getByRole('button', { name }).click()
  }
  await withPassword(here, owner)
  await sees(words.challenge.title.totp)
  await page.getByText(words.challenge.another, { exact: true }).click()
  await inspect(t, here, '22-other-ways')
  await page.getByText(words.challenge.another, { exact: true }).click()
  await another(words.methods.recovery_code.name)
  await sees(words.challenge.title.recovery_code)
  await inspect(t, here, '23-recovery-code')
  await fill(words.challenge.recoveryCode, (owner.codes[0] ?? '').toLowerCase())
  await press(words.challenge.submit)
  await reads(words.recovery.left(9))
  await press(words.menu.signOut)

  await withPassword(here, owner)
  await another(words.methods.email.name)
  await sees(words.challenge.title.email)
  await takeFromInbox(words.inbox.fill, owner.email)
  await sees(words.factors.title)
  await press(words.menu.signOut)

  await withPassword(here, owner)
  await page.getByText(words.challenge.trust).click()
  await fill(words.challenge.code, totpCode(owner.secret))
  await sees(words.factors.title)
  await press(words.menu.signOut)
  await withPassword(here, owner)
  await sees(words.factors.title)
})

t.test('a first login: the mailbox, then a second factor; five wrong answers end a login', async (t) => {
  const here = await visit(t)
  const { page, words, sees, reads } = here
  const bare = await createBareUser(doorstep)
  await withPassword(here, bare)
  await sees(words.challenge.title.email)
  await inspect(t, here, '24-email')
  let code = mailedCode(doorstep, bare.email)
  const fillInAnother = async (): Promise<void> => {
    code = wrongCode(code)
    await codeOnScreen(page).fill('')
    await codeOnScreen(page).fill(code)
  }
  for (const left of [4, 3, 2, 1, 0]) {
    await fillInAnother()
    await reads(words.challenge.triesLeft(left))
  }
  await fillInAnother()
  await reads(words.problems.byCode.code_attempts_exhausted ?? '')
  await inspect(t, here, '25-exhausted')
})

t.test('too many wrong passwords: the page says how long to wait, and counts', async (t) => {
  const here = await visit(t, { language: 'de' })
  const { page, words } = here
  const ada = await createUser(doorstep)
  const wrong = { ...ada, password: 'not the right one' }
  for (let times = 0; times < 5; times += 1) {
    await withPassword(here, wrong)
    await page.getByRole('alert').waitFor()
  }
  await withPassword(here, wrong)
  await here.reads(words.problems.byCode.login_locked ?? '')
  await page.getByText(/Versuchen Sie es in \d+ Sekunden/).waitFor()
  t.equal(
    await page.getByRole('button', { name: words.signIn.submit, exact: true }).getAttribute('aria-disabled'),
    'true',
  )
  await inspect(t, here, '26-locked')
})

/** Presses Tab until the focus is on something of this name; everything on the way is to be seen. */
async function tabTo(t: Test, page: Visit['page'], name: string): Promise<void> {
  for (let times = 0; times < 40; times += 1) {
    await page.keyboard.press('Tab')
    const at = (await page.evaluate(`(() => {
      const it = document.activeElement
      const label = it.labels?.[0]?.textContent ?? it.textContent
      return { label: label.trim(), outline: getComputedStyle(it).outlineStyle }
    })()`)) as { label: string; outline: string }
    if (at.label !== name) continue
    t.not(at.outline, 'none', `${name}: one sees where one is`)
    return
  }
  throw new Error(`the keyboard does not lead to ${name}`)
}

t.test('with the keyboard alone, in German, and back to the page that asked for it', async (t) => {
  const here = await visit(t, { language: 'de', path: '/?return_to=/orders/7' })
  const { page, words, sees, reads } = here
  const ada = await createUser(doorstep)
  await sees(words.signIn.title)
  t.equal(await page.evaluate('document.documentElement.lang'), 'de')
  await page.keyboard.type(ada.email)
  await tabTo(t, page, words.signIn.password)
  await page.keyboard.type(ada.password)
  await tabTo(t, page, words.signIn.remember)
  await page.keyboard.press('Space')
  await tabTo(t, page, words.signIn.submit)
  await page.keyboard.press('Enter')
  await sees(words.challenge.title.sms)
  await page.keyboard.type('12')
  await page.keyboard.press('Enter')
  await reads(words.problems.codeForm(6))
  for (const digit of codeFor(doorstep, ada.phone)) await page.keyboard.press(digit)
  await page.keyboard.press('Enter')
  await sees(words.factors.title)
  await reads(words.profile.returnTo('/orders/7'))
  await tabTo(t, page, words.inbox.fill)
  const eve = await createUser(doorstep)
  await login(doorstep, eve)
  await page.locator('#inbox article', { hasText: codeFor(doorstep, eve.phone) }).waitFor()
  t.equal(
    await page.evaluate('document.activeElement.textContent'),
    words.inbox.fill,
    'another message leaves the focus where it is',
  )
  await tabTo(t, page, words.menu.signOut)
  await page.keyboard.press('Enter')
  await reads(words.signIn.ended)
  await tabTo(t, page, 'English')
  await page.keyboard.press('Enter')
  await page.getByRole('heading', { name: 'Sign in', exact: true }).waitFor()
})
