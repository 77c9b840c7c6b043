import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { settings } from '../../src/config.ts'

export type CliRun = { exitCode: number | null; stdout: string; stderr: string; result: Record<string, unknown> }

const program = fileURLToPath(new URL('../../src/cli.ts', import.meta.url))
const settingNames = settings.flatMap(({ name }) => [name, `${name}_FILE`])

/** This process's environment without any setting of the service, so that a test knows all that are set. */
function cleanEnvironment(): Record<string, string | undefined> {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !settingNames.includes(name)))
}

/**
 * Runs an operator command as its own process: `cwd` should be a folder of the test, since `.env` is read there.
 * `result` is what standard output says, which is one line of JSON or nothing. Throws if it is anything else.
 */
export function runCli(
  words: string[],
  given: { cwd: string; env?: Record<string, string>; input?: string | Uint8Array },
): Promise<CliRun> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [`--import=${import.meta.resolve('tsx')}`, program, ...words], {
      cwd: given.cwd,
      env: { ...cleanEnvironment(), ...given.env },
    })
    const output = { stdout: '', stderr: '' }
    child.stdout.setEncoding('utf8').on('data', (chunk) => {
      output.stdout += chunk
    })
    child.stderr.setEncoding('utf8').on('data', (chunk) => {
      output.stderr += chunk
    })
    child.on('error', reject)
    child.on('close', (exitCode) => {
      const lines = output.stdout.split('\n')
      if (output.stdout !== '' && (lines.length !== 2 || lines[1] !== '')) {
        reject(new Error(`not one line of JSON on standard output:\n${output.stdout}`))
        return
      }
      resolve({ exitCode, ...output, result: output.stdout === '' ? {} : JSON.parse(output.stdout) })
    })
    child.stdin.on('error', () => {}) // A command that refuses at once does not read what it is given.
    child.stdin.end(given.input ?? '')
  })
}
