import { type ParseArgsConfig, parseArgs } from 'node:util'
import type { Config } from '../config.ts'
import type { AccountEdit } from '../features/accounts/change-account.ts'
import type { BaseServices } from '../services.ts'
import { explainFailure, usageError } from './failures.ts'
import { askForPassword, readPassword } from './password.ts'

/** Where a command runs: its streams, and the settings it finds. */
export type Place = Pick<NodeJS.Process, 'stdin' | 'stdout' | 'stderr'> & {
  settings(): Record<string, string | undefined>
}

type Given = Record<string, unknown>
type Command = {
  usage: string
  options: NonNullable<ParseArgsConfig['options']>
  run(given: Given, place: Place): Promise<object>
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
    usage: '--email E [--all]',
    options: { email: text, all: flag },
    run: async (given, place) => {
      const email = required(given, 'email')
      const { unlockAccount } = await import('../features/accounts/unlock-account.ts')
      return serve(place, (services) => unlockAccount(services, { email, all: given.all === true }))
    },
  },
  'user disable': changing('disabled', { disabled: true }),
  'user enable': changing('enabled', { disabled: false }),
  'user revoke': changing('revoked', {}),
  'user set-phone': {
    usage: '--email E --phone P',
    options: { email: text, phone: text },
    run: (given, place) => changeUser(given, place, 'phone changed', { phone: required(given, 'phone') }),
  },
  'user set-password': {
    usage: '--email E [--password-stdin]',
    options: { email: text, 'password-stdin': flag },
    run: async (given, place) => {
      required(given, 'email')
      return changeUser(given, place, 'password changed', { password: await givenPassword(given, place) })
    },
  },
  'user sessions': {
    usage: '--email E',
    options: { email: text },
    run: async (given, place) => {
      const email = required(given, 'email')
      const { accountSessions } = await import('../features/accounts/account-sessions.ts')
      return serve(place, (services) => accountSessions(services, email))
    },
  },
  'user list': {
    usage: '[--limit N]',
    options: { limit: text },
    run: async ({ limit = '100' }, place) => {
      if (!/^[1-9]\d{0,5}$/.test(String(limit))) throw usageError('--limit must be a whole number from 1 to 999999.')
      const { listAccounts } = await import('../features/accounts/list-accounts.ts')
      return serve(place, (services) => listAccounts(services, Number(limit)))
    },
  },
  migrate: {
    usage: '',
    options: {},
    run: async (_given, place) => {
      const config = await configOf(place)
      return (await import('./services.ts')).migrateDatabase(config, sayAt(place))
    },
  },
  'keys rotate': {
    usage: '[--now]',
    options: { now: flag },
    run: async ({ now = false }, place) => {
      const { rotateKeys } = await import('../features/keys/rotate-keys.ts')
      if (now !== true) return serve(place, rotateKeys)
      return serve(place, async ({ keyRing }) => ({ id: keyRing.active().kid, active_in: 0 }), { replacesKeys: true })
    },
  },
  'keys list': {
    usage: '',
    options: {},
    run: async (_given, place) => {
      const { listKeys } = await import('../features/keys/list-keys.ts')
      return serve(place, listKeys)
    },
  },
  'secrets generate': {
    usage: '',
    options: {},
    run: async () => {
      const { generateSecretKeys } = await import('../security/secrets.ts')
      const { systemRandom } = await import('../system.ts')
      return { SECRET_KEYS: generateSecretKeys(systemRandom) }
    },
  },
  openapi: {
    usage: '[--output FILE] [--check]',
    options: { output: text, check: flag },
    run: async ({ output, check = false }) => {
      const { writeOpenApi } = await import('./openapi.ts')
      return writeOpenApi({ ...(output !== undefined && { path: String(output) }), check: Boolean(check) })
    },
  },
}

const usage = `Usage: npm run cli -- COMMAND
${Object.entries(commands)
  .map(([name, command]) => `  ${name} ${command.usage}`.trimEnd())
  .join('\n')}`

async function createUser(given: Given, place: Place): Promise<object> {
  const user = { email: required(given, 'email'), phone: required(given, 'phone') }
  const twoFactor = given['two-factor'] ?? 'sms'
  if (twoFactor !== 'sms' && twoFactor !== 'off') throw usageError('--two-factor must be sms or off.')
  const password = await givenPassword(given, place)
  const { createAccount } = await import('../features/accounts/create-account.ts')
  return serve(place, (services) => createAccount(services, { ...user, password, twoFactor }))
}

function givenPassword(given: Given, { stdin, stderr }: Place): Promise<string> {
  return given['password-stdin'] === true ? readPassword(stdin) : askForPassword({ input: stdin, output: stderr })
}

function changing(outcome: string, edit: AccountEdit): Command {
  return {
    usage: '--email E',
    options: { email: text },
    run: (given, place) => changeUser(given, place, outcome, edit),
  }
}

async function changeUser(given: Given, place: Place, outcome: string, edit: AccountEdit): Promise<object> {
  const email = required(given, 'email')
  const { changeAccount } = await import('../features/accounts/change-account.ts')
  return serve(place, (services) => changeAccount(services, { email, edit, outcome }))
}

async function serve(
  place: Place,
  work: (services: BaseServices) => Promise<object>,
  how: { replacesKeys?: boolean } = {},
): Promise<object> {
  const config = await configOf(place)
  const { withServices } = await import('./services.ts')
  return withServices({ config, log: place.stderr, say: sayAt(place), ...how }, work)
}

async function configOf(place: Place): Promise<Config> {
  const settings = place.settings()
  return (await import('../config.ts')).loadConfig(settings)
}

const sayAt =
  ({ stderr }: Place) =>
  (line: string) =>
    void stderr.write(`${line}\n`)

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

/** Runs the command that `words` say; its exit code: 0, 1 (refused) or 2 (usage). Its answer is one line of JSON. */
export async function runCommand(words: string[], place: Place): Promise<0 | 1 | 2> {
  try {
    if (words.includes('--help') || words.includes('-h')) {
      place.stderr.write(`${usage}\n`)
      return 0
    }
    const { command, given } = parse(words)
    place.stdout.write(`${JSON.stringify(await command.run(given, place))}\n`)
    return 0
  } catch (error) {
    const { message, exitCode } = explainFailure(error)
    place.stderr.write(`${message}\n`)
    return exitCode
  }
}
