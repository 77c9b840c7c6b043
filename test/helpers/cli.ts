import { spawn } from 'node:child_process'
import { Readable, Writable } from 'node:stream'
import type { Place } from '../../src/cli/command.ts'
import { runCommand } from '../../src/cli/commands.ts'
import { settings } from '../../src/config.ts'
import { codeOf, loader } from './program.ts'

export type CliRun = { exitCode: number | null; stdout: string; stderr: string; result: Record<string, unknown> }

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
    const child = spawn(process.execPath, [...loader, codeOf('src/cli.ts'), ...words], {
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
      try {
        resolve(read(exitCode, output))
      } catch (error) {
        reject(error)
      }
    })
    child.stdin.on('error', () => {}) // A command that refuses at once does not read what it is given.
    child.stdin.end(given.input ?? '')
  })
}

/** The same within this process, which has loaded already what a process of its own takes seconds to load. */
export async function runHere(
  words: string[],
  given: { env: Record<string, string>; input?: string },
): Promise<CliRun> {
  const output = { stdout: '', stderr: '' }
  const into = (name: keyof typeof output) =>
    new Writable({
      decodeStrings: false,
      write: (text, _encoding, done) => {
        output[name] += text
        done()
      },
    })
  const streams = {
    stdin: Readable.from([Buffer.from(given.input ?? '')]),
    stdout: into('stdout'),
    stderr: into('stderr'),
  }
  const exitCode = await runCommand(words, { ...(streams as object as Place), settings: () => given.env })
  return read(exitCode, output)
}

function read(exitCode: number | null, output: { stdout: string; stderr: string }): CliRun {
  if (!/^(.+\n)?$/.test(output.stdout)) throw new Error(`not one line of JSON on standard output:\n${output.stdout}`)
  return { exitCode, ...output, result: output.stdout === '' ? {} : JSON.parse(output.stdout) }
}
