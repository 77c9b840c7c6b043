import type { Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { launchBrowser } from '../helpers/browser.ts'
import { startDoorstep } from '../helpers/doorstep.ts'
import { part } from '../helpers/forge.ts'
import { freePort } from '../helpers/service-process.ts'
import { codeFor, createUser } from '../helpers/story.ts'

// The page of the documents, in a browser: what a developer does there before a line of code is written.

t.setTimeout(600_000)
const browser = await launchBrowser(t)
const port = await freePort()
const url = `http://localhost:${port}`
const doorstep = await startDoorstep(t, { env: { PUBLIC_URL: url, PORT: String(port) } })
await doorstep.app.listen({ host: '127.0.0.1', port })

type Told = { status: string; body: Record<string, string> }

/** What the pages complained of: an error of a script, something that their policy forbids. */
const complaints: string[] = []

async function openDocs(t: Test, { at = url, dark = false, width = 1280 } = {}): Promise<Page> {
  const context = await browser.newContext({
    colorScheme: dark ? 'dark' : 'light',
    viewport: { width, height: 900 },
  })
  t.teardown(() => context.close())
  const page = await context.newPage()
  page.setDefaultTimeout(120_000)
  page.on('pageerror', (error) => complaints.push(error.message))
  page.on('console', (line) => {
    // What a call answers is no complaint of the page.
    if (line.type() === 'error' && !line.text().startsWith('Failed to load resource')) complaints.push(line.text())
  })
  await page.goto(`${at}/docs`)
  await page.waitForSelector('.opblock')
  return page
}

type Call = readonly [tag: string, operation: string]

/** Opens a call, writes its body, presses “Execute”, and reads what is shown of the answer. */
async function execute(page: Page, [tag, operation]: Call, body?: object): Promise<Told> {
  const block = page.locator(`#operations-${tag}-${operation}`)
  if (!(await block.locator('.btn.execute').isVisible())) await block.locator('.opblock-summary-control').click()
  if (body) await block.locator('textarea').fill(JSON.stringify(body))
  if (await block.locator('.btn-clear').isVisible()) await block.locator('.btn-clear').click()
  await block.locator('.btn.execute').click()
  const answer = block.locator('.live-responses-table')
  const status = await answer.locator('tr.response td.response-col_status').innerText()
  const text = await answer.locator('.highlight-code pre').first().innerText()
  return { status: status.trim(), body: JSON.parse(text) }
}

/** What the last request of a call was sent with. */
async function tokenSent(page: Page, [tag, operation]: Call): Promise<string> {
  const sent = await page.locator(`#operations-${tag}-${operation} .curl`).innerText()
  return /Bearer ([\w.-]+)/.exec(sent)?.[1] ?? ''
}

t.test('a login is walked through by pressing “Execute”: each token is filled in as it is handed out', async (t) => {
  const page = await openDocs(t)
  const { email, password, phone } = await createUser(doorstep)
  const me = ['account', 'readMe'] as const
  t.match(await execute(page, me), { status: '401', body: { code: 'invalid_token' } })

  const first = await execute(page, ['login', 'startLogin'], { email, password })
  t.match(first, { status: '200', body: { status: '2fa_required', pending_token: /^ey/ } })
  // Takes either token, and gets the one that was handed out last.
  const enrol = ['factors', 'enrolFactor'] as const
  t.match(await execute(page, enrol, { method: 'totp' }), { status: '401', body: { code: 'invalid_token' } })
  t.match(part(await tokenSent(page, enrol), 1), { pur: 'login' })

  const second = await execute(page, ['login', 'finishLogin'], { code: codeFor(doorstep, phone) })
  t.match(second, { status: '200', body: { status: 'authenticated' } })
  t.match(await execute(page, me), { status: '200', body: { email } })
  t.match(await execute(page, enrol, { method: 'totp' }), { status: '200', body: { status: '2fa_required' } })
  t.equal(await tokenSent(page, enrol), second.body.access_token)

  const { refresh_token } = second.body
  const third = await execute(page, ['sessions', 'refreshSession'], { refresh_token })
  t.match(third, { status: '200', body: { status: 'authenticated' } })
  t.match(await execute(page, me), { status: '200', body: { email } })
  t.equal(await tokenSent(page, me), third.body.access_token, 'the new one is what is sent')
})

t.test('the page says whose it is: name, icon and colours, light and dark, wide and narrow', async (t) => {
  for (const [dark, width, at] of [
    [false, 1280, url],
    // Another of its addresses: its policy still lets it call the one that clients use.
    [true, 390, url.replace('localhost', '127.0.0.1')],
  ] as const) {
    const page = await openDocs(t, { dark, width, at })
    t.match(await page.title(), /^Doorstep/)
    t.match(await page.locator('.info h1').innerText(), /^Doorstep/)
    t.equal(await page.locator('.topbar').count(), 0)
    t.notMatch(await page.locator('body').innerText(), /swagger|smartbear/i)
    const icon = new URL((await page.locator('link[rel=icon]').getAttribute('href')) ?? '', page.url())
    t.match(await (await fetch(icon)).text(), /^<svg /)
    const colours = await page.evaluate(`[
      getComputedStyle(document.body).backgroundColor,
      getComputedStyle(document.querySelector('.opblock-post .opblock-summary-method')).backgroundColor,
      document.documentElement.scrollWidth <= innerWidth
    ]`)
    const [paper, accent] = dark ? ['rgb(15, 23, 21)', 'rgb(127, 214, 197)'] : ['rgb(245, 242, 234)', 'rgb(13, 92, 84)']
    t.strictSame(colours, [paper, accent, true])
    if (at !== url) t.match(await execute(page, ['health', 'readLiveness']), { status: '200' })
  }
})

t.test('no page complained of anything', async (t) => t.strictSame(complaints, []))
