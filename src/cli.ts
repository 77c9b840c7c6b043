import { runCommand } from './cli/commands.ts'
import { readDotEnv } from './console.ts'

const { stdin, stdout, stderr, env, argv } = process
const settings = (): NodeJS.ProcessEnv => {
  readDotEnv()
  return env
}

// A full disk or a closed pipe: the last write says so.
stdout.on('error', () => {})
const exitCode = await runCommand(argv.slice(2), { stdin, stdout, stderr, settings })
// Once everything written has gone out.
stdout.write('', (error) => {
  if (!error) process.exit(exitCode)
  stderr.write('The answer could not be written to standard output.\n', () => process.exit(1))
})
