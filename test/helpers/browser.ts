import { existsSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type Browser, type BrowserContext, type CDPSession, chromium, type Page } from 'playwright-core'

type Ending = { teardown(work: () => unknown): void }

const executablePath = '/usr/bin/chromium'

/** Debian's Chromium, without a window. */
export async function launchBrowser(t: Ending): Promise<Browser> {
  if (!existsSync(executablePath)) throw new Error(`There is no ${executablePath}; install Debian's package chromium.`)
  const browser = await chromium.launch({
    executablePath,
    args: [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  })
  t.teardown(() => browser.close())
  return browser
}

/** A site of its own, whose every path is this page; browsers let passkeys be used without TLS at this name only. */
export async function serveSite(t: Ending, page: string): Promise<string> {
  const server = createServer((_, answer) => answer.writeHead(200, { 'content-type': 'text/html' }).end(page))
  await new Promise<void>((resolve) => server.listen(0, 'localhost', resolve))
  t.teardown(() => new Promise((resolve) => server.close(resolve).closeAllConnections()))
  return `http://localhost:${(server.address() as AddressInfo).port}`
}

/** What a page has to do with passkeys: no library, and nothing but what the browser brings along. */
export const passkeyScript = `
  const told = (asked) => asked.then((it) => JSON.stringify(it), ({ name }) => JSON.stringify({ refused: name }))
  const create = (options) =>
    told(navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options) }))
  const get = (options) =>
    told(navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options) }))`

type Held = Awaited<ReturnType<typeof heldBy>>

const heldBy = async (devtools: CDPSession, authenticatorId: string) =>
  (await devtools.send('WebAuthn.getCredentials', { authenticatorId })).credentials

export type VirtualOptions = { transport?: 'internal' | 'usb'; protocol?: 'ctap2' | 'u2f'; isBackedUp?: boolean }

/** Chromium's own virtual authenticator, for this page. */
export async function attachAuthenticator(context: BrowserContext, page: Page, options: VirtualOptions = {}) {
  const { transport = 'internal', protocol = 'ctap2', isBackedUp = false } = options
  const devtools: CDPSession = await context.newCDPSession(page)
  await devtools.send('WebAuthn.enable')
  const { authenticatorId } = await devtools.send('WebAuthn.addVirtualAuthenticator', {
    options: {
      protocol,
      transport,
      hasResidentKey: protocol === 'ctap2',
      hasUserVerification: protocol === 'ctap2',
      isUserVerified: protocol === 'ctap2',
      automaticPresenceSimulation: true,
      defaultBackupEligibility: isBackedUp,
      defaultBackupState: isBackedUp,
    },
  })
  return {
    setUserVerified: async (isUserVerified: boolean): Promise<void> =>
      void (await devtools.send('WebAuthn.setUserVerified', { authenticatorId, isUserVerified })),

    /** All that it holds, private keys and counters too. */
    copy: (): Promise<Held> => heldBy(devtools, authenticatorId),

    /** Makes it hold nothing but that. */
    restore: async (credentials: Held): Promise<void> => {
      await devtools.send('WebAuthn.clearCredentials', { authenticatorId })
      for (const credential of credentials) {
        await devtools.send('WebAuthn.addCredential', { authenticatorId, credential })
      }
    },
  }
}
