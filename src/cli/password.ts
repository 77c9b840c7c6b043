import { createInterface } from 'node:readline'
import { Writable } from 'node:stream'
import { Problem } from '../errors.ts'
import { refusal, usageError } from './failures.ts'

/** Bytes of standard input that are looked at: more than any password has that the policy accepts. */
const maxInputBytes = 4_096

/** Where a person types: standard input and standard error, or their like in a test. */
export type Terminal = { input: NodeJS.ReadableStream & { isTTY?: boolean }; output: NodeJS.WritableStream }

/**
 * The password that is all of `input`, less a byte order mark and one line end, `\n` or `\r\n`, as the tools of all systems
 * put them there: otherwise byte for byte what was sent (SEC-05).
 */
export async function readPassword(input: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of input) {
    chunks.push(Buffer.from(chunk))
    size += chunk.length
    if (size > maxInputBytes) throw unreadable('must be shorter')
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks)).replace(/\r?\n$/, '')
  } catch {
    throw unreadable('must be UTF-8')
  }
}

/** Asks twice, shows nothing of what is typed. Throws a usage error where nobody can be asked. */
export async function askForPassword({ input, output }: Terminal): Promise<string> {
  if (!input.isTTY) throw usageError('There is no terminal to ask for the password at: pipe it to --password-stdin.')
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() })
  // The terminal is in raw mode while this is open, and what readline would echo goes nowhere.
  const typing = createInterface({ input, output: nowhere, terminal: true, historySize: 0 })
  const lines = typing[Symbol.asyncIterator]()
  const ask = async (question: string): Promise<string> => {
    output.write(question)
    const { done, value } = await lines.next()
    output.write('\n')
    if (done) throw refusal('No password was given.')
    return value
  }
  try {
    const password = await ask('Password: ')
    if ((await ask('The same again: ')) !== password) throw refusal('The two passwords differ.')
    return password
  } finally {
    typing.close()
  }
}

const unreadable = (message: string) => new Problem('invalid_request', { errors: [{ pointer: '/password', message }] })
