import { spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { chromium } from 'playwright-core'
import t from 'tap'
import { settings } from '../src/config.ts'
import { createDemoUser } from '../src/features/accounts/demo-user.ts'
import { startMailSender } from '../src/features/mails/mail-sender.ts'
import { runHere } from './helpers/cli.ts'
import { startDoorstep, testKeys } from './helpers/doorstep.ts'
import { freePort } from './helpers/service-process.ts'
import { call, createUser, signIn } from './helpers/story.ts'

// What README tells a newcomer to type, typed: every line in its order, against a service whose settings nobody has touched.

t.setTimeout(300_000)
const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8')
const between = (mark: string): string => {
  const [, text] = new RegExp(`<!-- ${mark} -->\n([\\s\\S]*?)<!-- /${mark} -->`).exec(readme) ?? []
  if (text === undefined) throw new Error(`README has no ${mark}`)
  return text
}
const blocks = (text: string, language: string): string =>
  [...text.matchAll(new RegExp(`^\`\`\`${language}\n([\\s\\S]*?)^\`\`\`$`, 'gm'))].map(([, code]) => code).join('\n')

const port = await freePort()
const origin = `http://localhost:${port}`
const defaults = settings.filter((it) => it.constant && it.default !== '').map((it) => [it.name, it.default])
const doorstep = await startDoorstep(t, {
  env: { ...Object.fromEntries(defaults), PORT: String(port), PUBLIC_URL: origin },
})
const { app, services, database, config } = doorstep
await createDemoUser(services)
await app.listen({ host: '127.0.0.1', port })

/** `parts` one after the other in one bash, with what `next` does between them; all that they print. */
function inBash(
  parts: string[],
  next: () => Promise<unknown>,
): Promise<{ code: number | null; out: string; err: string }> {
  return new Promise((resolve, reject) => {
    const bash = spawn('bash', ['-eu', '-o', 'pipefail'], { stdio: 'pipe' })
    const said = { out: '', err: '' }
    const [first = '', ...rest] = parts
    const mark = '-- next --\n'
    bash.stdout.setEncoding('utf8').on('data', (text: string) => {
      said.out += text
      if (!said.out.endsWith(mark)) return
      said.out = said.out.slice(0, -mark.length)
      const part = rest.shift()
      next().then(() => bash.stdin.write(part === undefined ? 'exit\n' : `${part}\necho '${mark.trim()}'\n`), reject)
    })
    bash.stderr.setEncoding('utf8').on('data', (text: string) => {
      said.err += text
    })
    bash.stdin.on('error', () => {}) // It ends at the first line that fails.
    bash.on('error', reject).on('close', (code) => resolve({ code, ...said }))
    bash.stdin.write(`${first}\necho '${mark.trim()}'\n`)
  })
}

t.test('every way to sign in, line by line', async (t) => {
  const env = {
    DATABASE_URL: database.url,
    DATA_DIR: config.dataDir,
    ...testKeys,
  }
  const made = [...blocks(between('users'), 'sh').matchAll(/^npm run -s cli -- (.*) <<< '(.*)'$/gm)]
  t.equal(made.length, 2, 'users to make')
  for (const [, words = '', input = ''] of made) {
    t.match(await runHere(words.split(' '), { env, input }), { exitCode: 0, stderr: '' }, words)
  }

  // A mail may take longer on a busy machine.
  const script = blocks(between('walk'), 'sh').replace('http://localhost:3000', origin).replace('sleep 1;', 'sleep 3;')
  const expected = [...script.matchAll(/^# → (.*)$/gm)].map(([, line]) => line)
  t.ok(expected.length > 12, 'it says what is printed')
  // Nobody waits for an authenticator app here: its codes work again instead.
  const parts = script.split(/^sleep 30$/m)
  t.equal(parts.length, 2, 'one wait')
  t.teardown(startMailSender(services))
  const { code, out, err } = await inBash(parts, () => doorstep.sql('UPDATE factors SET counter = 0'))
  t.strictSame(out.trimEnd().split('\n'), expected, 'what README says')
  t.match({ code, err }, { code: 0, err: '' }, 'and nothing else')
})

t.test('passkeys in a browser: one is set up, one signs in without a password, one is the second factor', async (t) => {
  const executablePath = '/usr/bin/chromium'
  if (!existsSync(executablePath)) throw new Error(`There is no ${executablePath}; install Debian's package chromium.`)
  const browser = await chromium.launch({ executablePath, args: ['--headless', '--no-sandbox', '--disable-gpu'] })
  t.teardown(() => browser.close())
  const page = await (await browser.newContext()).newPage()
  const devtools = await page.context().newCDPSession(page)
  await devtools.send('WebAuthn.enable')
  await devtools.send('WebAuthn.addVirtualAuthenticator', {
    options: {
      ...{ protocol: 'ctap2', transport: 'internal', hasResidentKey: true },
      ...{ hasUserVerification: true, isUserVerified: true, automaticPresenceSimulation: true },
    },
  })
  await page.goto(`${origin}/docs/`)
  const pasted = blocks(between('passkeys'), 'js')
  const inPage = (expression: string): Promise<unknown> =>
    page.evaluate(`(async () => { ${pasted}; return ${expression} })()`)

  const user = await createUser(doorstep)
  const { body } = await signIn(doorstep, user)
  t.match(await inPage(`addPasskey('${body.access_token}')`), { status: 'authenticated' }, 'set up')
  const alone = (await inPage(`usePasskey(await post('/login/passkey', {}))`)) as { access_token: string }
  t.match(alone, { status: 'authenticated' }, 'alone')
  t.match(
    (await call(doorstep, '/me', { token: alone.access_token })).body,
    { id: user.id, acr: 'aal2' },
    'stands for both',
  )
  const { email, password } = user
  const second = await inPage(`usePasskey(await post('/login', ${JSON.stringify({ email, password })}))`)
  t.match(second, { status: 'authenticated' }, 'after the password')
})
