import { type ParseArgsConfig, parseArgs } from 'node:util'
import { explainFailure, usageError } from './cli/failures.ts'
import { askForPassword, readPassword } from './cli/password.ts'
import type { Config } from './config.ts'
import { readDotEnv } from './console.ts'
import type { AccountEdit } from './features/accounts/change-account.ts'
import type { BaseServices } from './services.ts'

type Given = Record<string, unknown>
type Command = {
  usage: string
  options: NonNullable<ParseArgsConfig['options']>
  run(given: Given): Promise<object>
}

const text = { type: 'string' } as const
const flag = { type: 'boolean' } as const

/** Every command: its words, what may follow them, and the use case behind it. */
const commands: Record<string, Command> = {
  'user create': {
    usage: '--email E --phone P [--two-factor sms|off] [--password-stdin]',
    options: { email: text, phone: text, 'two-factor': text, 'password-stdin': flag },
    run: createUser,
  },
  'user unlock': {
    usage: '--email E',
    options: { email: text },
    run: async (given) => {
      const email = required(given, 'email')
      const { unlockAccount } = await import('./features/accounts/unlock-account.ts')
      return serve((services) => unlockAccount(services, email))
    },
  },
  'user disable': changing('disabled', { disabled: true }),
  'user enable': changing('enabled', { disabled: false }),
  'user revoke': changing('revoked', {}),
  'user set-phone': {
    usage: '--email E --phone P',
    options: { email: text, phone: text },
    run: (given) => changeUser(given, 'phone changed', { phone: required(given, 'phone') }),
  },
  'user set-password': {
    usage: '--email E [--password-stdin]',
    options: { email: text, 'password-stdin': flag },
    run: async (given) => {
      required(given, 'email')
      return changeUser(given, 'password changed', { password: await givenPassword(given) })
    },
  },
  'user sessions': {
    usage: '--email E',
    options: { email: text },
    run: async (given) => {
      const email = required(given, 'email')
      const { accountSessions } = await import('./features/accounts/account-sessions.ts')
      return serve((services) => accountSessions(services, email))
    },
  },
  'user list': {
    usage: '[--limit N]',
    options: { limit: text },
    run: async ({ limit = '100' }) => {
      if (!/^[1-9]\d{0,5}$/.test(String(limit))) throw usageError('--limit must be a whole number from 1 to 999999.')
      const { listAccounts } = await import('./features/accounts/list-accounts.ts')
      return serve((services) => listAccounts(services, Number(limit)))
    },
  },
  migrate: {
    usage: '',
    options: {},
    run: async () => {
      const config = await settings()
      return (await import('./cli/services.ts')).migrateDatabase(config)
    },
  },
  'keys rotate': {
    usage: '',
    options: {},
    run: async () => {
      const { rotateKeys } = await import('./features/keys/rotate-keys.ts')
      return serve(rotateKeys)
    },
  },
  'keys list': {
    usage: '',
    options: {},
    run: async () => {
      const { listKeys } = await import('./features/keys/list-keys.ts')
      return serve(listKeys)
    },
  },
  'secrets generate': {
    usage: '',
    options: {},
    run: async () => {
      const { generateSecretKeys } = await import('./security/secrets.ts')
      const { systemRandom } = await import('./system.ts')
      return { SECRET_KEYS: generateSecretKeys(systemRandom) }
    },
  },
  openapi: {
    usage: '[--output FILE] [--check]',
    options: { output: text, check: flag },
    run: async ({ output, check = false }) => {
      const { writeOpenApi } = await import('./cli/openapi.ts')
      return writeOpenApi({ ...(output !== undefined && { path: String(output) }), check: Boolean(check) })
    },
  },
}

const usage = `Usage: npm run cli -- COMMAND
${Object.entries(commands)
  .map(([name, command]) => `  ${name} ${command.usage}`.trimEnd())
  .join('\n')}`

async function createUser(given: Given): Promise<object> {
  const user = { email: required(given, 'email'), phone: required(given, 'phone') }
  const twoFactor = given['two-factor'] ?? 'sms'
  if (twoFactor !== 'sms' && twoFactor !== 'off') throw usageError('--two-factor must be sms or off.')
  const password = await givenPassword(given)
  const { createAccount } = await import('./features/accounts/create-account.ts')
  return serve((services) => createAccount(services, { ...user, password, twoFactor }))
}

function givenPassword(given: Given): Promise<string> {
  return given['password-stdin'] === true
    ? readPassword(process.stdin)
    : askForPassword({ input: process.stdin, output: process.stderr })
}

function changing(outcome: string, edit: AccountEdit): Command {
  return { usage: '--email E', options: { email: text }, run: (given) => changeUser(given, outcome, edit) }
}

async function changeUser(given: Given, outcome: string, edit: AccountEdit): Promise<object> {
  const email = required(given, 'email')
  const { changeAccount } = await import('./features/accounts/change-account.ts')
  return serve((services) => changeAccount(services, { email, edit, outcome }))
}

async function serve(work: (services: BaseServices) => Promise<object>): Promise<object> {
  const config = await settings()
  const { withServices } = await import('./cli/services.ts')
  return withServices(config, work)
}

async function settings(): Promise<Config> {
  readDotEnv()
  return (await import('./config.ts')).loadConfig(process.env)
}

function required(given: Given, name: string): string {
  const value = given[name]
  if (typeof value !== 'string') throw usageError(`--${name} is missing.`)
  return value
}

/** The command that `words` begin with, and its options. Never repeats what was typed: it could be a password. */
function parse(words: string[]): { command: Command; given: Given } {
  const name = Object.keys(commands).find((name) => name === words.slice(0, name.split(' ').length).join(' '))
  const command = name === undefined ? undefined : commands[name]
  if (name === undefined || command === undefined) throw usageError(`There is no such command.\n${usage}`)
  try {
    const { values } = parseArgs({ args: words.slice(name.split(' ').length), options: command.options })
    return { command, given: values }
  } catch {
    throw usageError(`Usage: npm run cli -- ${name} ${command.usage}`.trimEnd())
  }
}

async function main(words: string[]): Promise<void> {
  let exitCode = 0
  try {
    if (words.includes('--help') || words.includes('-h')) process.stderr.write(`${usage}\n`)
    else {
      const { command, given } = parse(words)
      process.stdout.write(`${JSON.stringify(await command.run(given))}\n`)
    }
  } catch (error) {
    const failure = explainFailure(error)
    exitCode = failure.exitCode
    process.stderr.write(`${failure.message}\n`)
  }
  // Once everything written has gone out.
  process.stdout.write('', () => process.exit(exitCode))
}

await main(process.argv.slice(2))
