import { parseArgs } from 'node:util'
import { clientCommands } from './client-commands.ts'
import { type Command, configOf, flag, type Given, type Place, sayAt, serve, text } from './command.ts'
import { explainFailure, usageError } from './failures.ts'
import { userCommands } from './user-commands.ts'
import { webhookCommands } from './webhook-commands.ts'

/** Every command: its words, what may follow them, and the use case behind it. */
const commands: Record<string, Command> = {
  ...userCommands,
  ...clientCommands,
  ...webhookCommands,
  'sessions revoke-all': {
    usage: '',
    options: {},
    run: async (_given, place) => {
      const { revokeAllSessions } = await import('../features/sessions/revoke-all-sessions.ts')
      return serve(place, revokeAllSessions)
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

/** The command that `words` begin with, and its options. Never repeats what was typed: it could be a password. */
function parse(words: string[]): { command: Command; given: Given } {
  const name = Object.keys(commands).find((name) => name === words.slice(0, name.split(' ').length).join(' '))
  const command = name === undefined ? undefined : commands[name]
  if (name === undefined || command === undefined) throw usageError(`There is no such command.\n${usage}`)
  const { values, tokens } = read(name, command, words)
  const twice = twiceIn(tokens, command)
  if (twice !== undefined) throw usageError(`--${twice} is given more than once.`)
  return { command, given: values }
}

function read(name: string, { options, usage }: Command, words: string[]) {
  try {
    return parseArgs({ args: words.slice(name.split(' ').length), options, tokens: true })
  } catch {
    throw usageError(`Usage: npm run cli -- ${name} ${usage}`.trimEnd())
  }
}

/** An option that comes more often than it may: of two values one would be dropped without a word. */
function twiceIn(tokens: { kind: string; name?: string }[], { options }: Command): string | undefined {
  const names = tokens.flatMap(({ kind, name }) => (kind === 'option' && name !== undefined ? [name] : []))
  return names.find((name, at) => names.indexOf(name) < at && options[name]?.multiple !== true)
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
