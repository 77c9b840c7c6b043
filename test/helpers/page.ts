import { mkdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import type { AxeResults, RunOptions } from 'axe-core'
import type { Page } from 'playwright-core'
import type { Test } from 'tap'
import { de } from '../../src/client/page/words/de.ts'
import { en } from '../../src/client/page/words/en.ts'
import { startMailSender } from '../../src/features/mails/mail-sender.ts'
import { attachAuthenticator, launchBrowser } from './browser.ts'
import { startDoorstep } from './doorstep.ts'
import { freePort } from './service-process.ts'

/** Where pictures of every state go, for people to look at; none are made without it. */
const pictures = process.env.PAGE_PICTURES

const languages = { en, de }
export type Language = keyof typeof languages
export type Visit = Awaited<ReturnType<Awaited<ReturnType<typeof servePage>>['visit']>>

const axe = createRequire(import.meta.url).resolve('axe-core/axe.min.js')

/** The service with its page and a browser, both for the whole file. */
export async function servePage(t: Test, env: Record<string, string> = {}) {
  const port = await freePort()
  const url = `http://localhost:${port}`
  const doorstep = await startDoorstep(t, {
    env: { PUBLIC_URL: url, APP_URL: url, PORT: String(port), METHODS: 'passkey,totp,sms,email', ...env },
  })
  t.teardown(startMailSender(doorstep.services))
  await doorstep.app.listen({ host: '127.0.0.1', port })
  const browser = await launchBrowser(t)

  /** The page in a browser of its own, with an authenticator in it. What the browser complains of fails `t`. */
  const visit = async (t: Test, { language = 'en' as Language, width = 1_280, path = '/' } = {}) => {
    const context = await browser.newContext({
      locale: language,
      viewport: { width, height: 800 },
      reducedMotion: 'reduce',
      permissions: ['clipboard-read', 'clipboard-write'],
    })
    t.teardown(() => context.close())
    const page = await context.newPage()
    const complaints = listen(page)
    t.teardown(() => {
      if (complaints.length > 0) throw new Error(`the browser complains: ${complaints.join('; ')}`)
    })
    const authenticator = await attachAuthenticator(context, page)
    await page.goto(url + path)
    return { page, context, authenticator, words: languages[language], language, ...hands(page) }
  }
  return { doorstep, url, browser, visit }
}

/** Errors of scripts, refusals of the policy, and whatever else is written in red; problems of the API and a lost network are none. */
export function listen(page: Page): string[] {
  const complaints: string[] = []
  page.on('pageerror', (error) => complaints.push(String(error)))
  page.on('console', (message) => {
    const isProblem =
      /^Failed to load resource: (the server responded with a status of (4(00|01|09|10|22|29)|503)|net::ERR_(INTERNET_DISCONNECTED|CONNECTION_RESET))/
    if (message.type() === 'error' && !isProblem.test(message.text())) complaints.push(message.text())
  })
  return complaints
}

/** What a person does, by the words on the screen. Whoever waits in vain is told what is there instead. */
function hands(page: Page) {
  const wait = async (asked: Promise<unknown>): Promise<void> => {
    try {
      await asked
    } catch (error) {
      throw new Error(`${(error as Error).message}\nthere is: ${await page.locator('body').innerText()}`)
    }
  }
  return {
    fill: (label: string, text: string) => wait(page.getByLabel(label, { exact: true }).last().fill(text)),
    press: (name: string) => wait(page.getByRole('button', { name, exact: true }).last().click()),
    follow: (name: string) => wait(page.getByRole('link', { name, exact: true }).click()),
    sees: (heading: string) => wait(page.getByRole('heading', { name: heading, exact: true }).first().waitFor()),
    reads: (text: string) => wait(page.getByText(text).first().waitFor()),
    /** Takes the newest code or link that somebody was sent out of the inbox, which also holds what others were. */
    takeFromInbox: (name: string, to: string) => {
      const theirs = page.locator('#inbox article', { has: page.locator('small', { hasText: to }) })
      return wait(theirs.getByText(name, { exact: true }).first().click())
    },
  }
}

/**
 * Looks at a state of the page as people do who see little, see it at 200 % or in the dark: no violation that axe-core finds, nothing
 * that has to be scrolled sideways. Saves pictures where those are asked for.
 */
export async function inspect(
  t: Test,
  { page, language }: Pick<Visit, 'page' | 'language'>,
  state: string,
): Promise<void> {
  await page.waitForFunction('document.querySelector("#view h1") !== null')
  t.match(await page.title(), /^[^\u00ad]+ · Doorstep$/, `${state}: its title`)
  t.strictSame(await violations(page), [], `${state}: light`)
  await page.emulateMedia({ colorScheme: 'dark' })
  t.strictSame(await violations(page, { runOnly: ['color-contrast'] }), [], `${state}: dark`)
  const size = page.viewportSize() ?? { width: 1_280, height: 800 }
  for (const colorScheme of ['dark', 'light'] as const) {
    await page.emulateMedia({ colorScheme })
    for (const width of [size.width, 375]) await photograph(page, width, `${state}-${language}-${colorScheme}-${width}`)
  }
  // 1280 at 200 % and 400 % (WCAG 1.4.4, 1.4.10).
  for (const width of [640, 320]) {
    await page.setViewportSize({ ...size, width })
    const over = await page.evaluate('document.documentElement.scrollWidth - document.documentElement.clientWidth')
    t.equal(over, 0, `${state}: nothing to scroll to at ${width}`)
  }
  await page.setViewportSize(size)
}

async function photograph(page: Page, width: number, name: string): Promise<void> {
  if (pictures === undefined) return
  mkdirSync(pictures, { recursive: true })
  const size = page.viewportSize() ?? { width, height: 800 }
  await page.setViewportSize({ ...size, width })
  await page.screenshot({ path: join(pictures, `${name}.png`), fullPage: true })
  await page.setViewportSize(size)
}

async function violations(page: Page, options: RunOptions = {}): Promise<string[]> {
  const isThere = await page.evaluate('typeof axe === "object"')
  if (!isThere) await page.evaluate(axeSource())
  const { violations } = (await page.evaluate(`axe.run(document, ${JSON.stringify(options)})`)) as AxeResults
  return violations.flatMap(({ id, nodes }) =>
    nodes.map(({ html, failureSummary }) => `${id}: ${html} ${failureSummary}`),
  )
}

let source: string | undefined
const axeSource = (): string => {
  source ??= readFileSync(axe, 'utf8')
  return source
}
