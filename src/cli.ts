import { runCommand } from './cli/commands.ts'
import { readDotEnv } from './console.ts'

const { stdin, stdout, stderr, env, argv } = process
const settings = (): NodeJS.ProcessEnv => {
  readDotEnv()
  return env
}

const exitCode = await runCommand(argv.slice(2), { stdin, stdout, stderr, settings })
// Once everything written has gone out.
stdout.write('', () => process.exit(exitCode))
