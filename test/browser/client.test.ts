import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import type { Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { createOwner } from '../helpers/equipped.ts'
import { totpCode } from '../helpers/factors.ts'
import { inspect, listen, servePage, type Visit } from '../helpers/page.ts'
import { codeFor, createUser, type TestUser } from '../helpers/story.ts'

// The typed client in a real browser: tabs that share a session, a network that fails, an application on another origin.

t.setTimeout(600_000)
const { doorstep, browser, visit, url } = await servePage(t)

/** The access token that is kept is as old as makes the client ask for another: no test here depends on its own speed. */
const runOut = (page: Page) =>
  page.evaluate(`for (const [key, text] of Object.entries(localStorage)) {
    if (key.endsWith('.session')) localStorage.setItem(key, JSON.stringify({ ...JSON.parse(text), renewAtMs: 0 }))
  }`)

async function enter({ page, words, fill, press, sees }: Visit, { email, password, phone }: TestUser): Promise<void> {
  await fill(words.signIn.email, email)
  await fill(words.signIn.password, password)
  await press(words.signIn.submit)
  await sees(words.challenge.title.sms)
  await page.locator('[autocomplete="one-time-code"]').fill(codeFor(doorstep, phone))
  await sees(words.factors.title)
}

t.test('two tabs whose token has run out ask at once: one new token for both, and both go on', async (t) => {
  const here = await visit(t)
  const { context, page, words } = here
  await enter(here, await createUser(doorstep))
  const other = await context.newPage()
  await other.goto(`${url}/#factors`)
  await other.getByRole('heading', { name: words.factors.title }).waitFor()
  const spent = new Set<string>()
  context.on('request', (request) => {
    if (request.url().endsWith('/token/refresh') && request.method() === 'POST') {
      spent.add(request.postDataJSON().refresh_token)
    }
  })
  for (const round of [1, 2, 3]) {
    await runOut(page)
    spent.clear()
    const [link, title] =
      round % 2 ? [words.menu.profile, words.profile.title] : [words.menu.factors, words.factors.title]
    const tabs = [page, other]
    await Promise.all(tabs.map((tab) => tab.getByRole('link', { name: link, exact: true }).click()))
    await Promise.all(tabs.map((tab) => tab.getByRole('heading', { name: title, exact: true }).waitFor()))
    // A tab may read what the other has stored a moment late: then it asks as well, with the same token, and gets the same.
    t.equal(spent.size, 1, `round ${round}`)
  }
})

t.test('who signs out in one tab is signed out in the other, which asks for nothing more', async (t) => {
  const here = await visit(t)
  const { context, page, words } = here
  const other = await context.newPage()
  const asked: string[] = []
  other.on('request', (request) => {
    if (!/\/(dev|page)\//.test(request.url())) asked.push(request.url())
  })
  // Again and again: what one tab has stored the other often reads late. It was told, and goes by that.
  for (let times = 0; times < 8; times += 1) {
    await enter(here, await createUser(doorstep))
    await other.goto(`${url}/?times=${times}#factors`)
    await other.getByRole('heading', { name: words.factors.title }).waitFor()
    asked.length = 0
    await page.getByRole('button', { name: words.menu.signOut }).click()
    await other.getByText(words.signIn.ended).waitFor()
    t.strictSame(asked, [])
  }
})

t.test('a reply that is lost in the middle of a refresh, and a network that is gone, end no session', async (t) => {
  const here = await visit(t)
  const { context, page, words, follow, sees, reads } = here
  await enter(here, await createUser(doorstep))
  let lost = 0
  await context.route('**/token/refresh', async (route) => {
    lost += 1
    if (lost > 1) return route.continue()
    // The service has done it; nobody hears of it.
    await route.fetch()
    await route.abort('connectionreset')
  })
  await runOut(page)
  await follow(words.menu.devices)
  await sees(words.devices.title)
  t.equal(lost, 2, 'the same token once more')
  await context.unroute('**/token/refresh')

  await runOut(page)
  await context.setOffline(true)
  await follow(words.menu.profile)
  await sees(words.again.title)
  await inspect(t, here, '50-offline')
  await context.setOffline(false)
  await sees(words.profile.title)
  await reads(words.profile.level.aal2)
})

/** An application of its own, with nothing but the client. */
async function serveApplication(t: Test): Promise<string> {
  const entry = fileURLToPath(new URL('../../src/client/index.ts', import.meta.url))
  const { outputFiles } = await build({ entryPoints: [entry], bundle: true, format: 'esm', write: false })
  const files: Record<string, [type: string, text: string]> = {
    '/client.js': ['text/javascript', outputFiles[0]?.text ?? ''],
    '/app.js': ['text/javascript', `import * as client from './client.js'; Object.assign(window, client)`],
    '/': [
      'text/html',
      '<!doctype html><title>Application</title><link rel="icon" href="data:,"><script type="module" src="app.js"></script>',
    ],
  }
  const server = createServer((request, answer) => {
    const [type, text] = files[request.url ?? ''] ?? ['text/plain', '']
    answer.writeHead(text ? 200 : 404, { 'content-type': type }).end(text)
  })
  await new Promise<void>((resolve) => server.listen(0, 'localhost', resolve))
  t.teardown(() => new Promise((resolve) => server.close(resolve).closeAllConnections()))
  return `http://localhost:${(server.address() as AddressInfo).port}`
}

t.test('an application on another origin: signs in, lists factors, stays signed in, reads problems', async (t) => {
  const origin = await serveApplication(t)
  t.not(new URL(origin).port, new URL(url).port)
  const context = await browser.newContext()
  t.teardown(() => context.close())
  const page = await context.newPage()
  const complaints = listen(page)
  await page.goto(origin)
  await page.waitForFunction('typeof createDoorstep === "function"')
  const owner = await createOwner(doorstep, ['totp'])
  const inPage = (code: string) => page.evaluate(`(async () => { ${code} })()`)
  const { email, password } = owner
  t.match(
    await inPage(`
      window.doorstep = createDoorstep({ baseUrl: ${JSON.stringify(url)}, storage: webStorage(localStorage) })
      const wrong = await doorstep.signIn({ email: ${JSON.stringify(email)}, password: 'wrong' }).catch((it) => it)
      window.login = await doorstep.signIn(${JSON.stringify({ email, password })})
      return { wrong: wrong.code, requestId: wrong.requestId, status: login.status, method: login.challenge.method }`),
    { wrong: 'invalid_credentials', requestId: /^[0-9a-f-]{36}$/, status: '2fa_required', method: 'totp' },
  )
  t.match(
    await inPage(`
      const done = await doorstep.finish(login, { code: '${totpCode(owner.secret)}' })
      const { factors } = await doorstep.factors.list()
      return { status: done.status, methods: factors.map((it) => it.method) }`),
    { status: 'authenticated', methods: ['totp', 'recovery_code'] },
  )
  await runOut(page)
  await page.reload()
  await page.waitForFunction('typeof createDoorstep === "function"')
  t.match(
    await inPage(`
      const doorstep = createDoorstep({ baseUrl: ${JSON.stringify(url)}, storage: webStorage(localStorage) })
      const { email } = await doorstep.me()
      await doorstep.signOut()
      return { email, isSignedIn: await doorstep.isSignedIn() }`),
    { email, isSignedIn: false },
    'after a reload, with a new token',
  )
  t.strictSame(complaints, [])
})
