import { createHash } from 'node:crypto'
import type { Config } from '../config.ts'
import type { Logger } from '../log.ts'

const patienceMs = 1_000

/** Bytes: some eight times what the service of that name answers. */
const maxAnswer = 262_144

const prefixLength = 5

/** The rest of a SHA-1, and how often it was seen; 0 in lines that are padding. */
const line = /^([0-9A-F]{35}):(\d+)$/

/**
 * Whether a password is known from breaches, by the range query of Have I Been Pwned: the first five hex digits of its SHA-1 go
 * out, padded answers come back. Where there is no such answer within a second the password passes, and the log says so (SEC-06).
 */
export function createBreachedPasswords(
  { breachedPasswords: { source, url } }: Pick<Config, 'breachedPasswords'>,
  log: Pick<Logger, 'warn'>,
): (password: string) => Promise<boolean> {
  if (source === 'list') return async () => false
  return async (password) => {
    const hash = createHash('sha1').update(password).digest('hex').toUpperCase()
    try {
      const seen = await readRange(`${url}/range/${hash.slice(0, prefixLength)}`)
      return seen.has(hash.slice(prefixLength))
    } catch (error) {
      // No more than its name: a message may hold the address that was asked.
      log.warn({ name: (error as Error).name }, 'breached passwords were not looked for')
      return false
    }
  }
}

/** The ends of those hashes of a range that were seen. Throws where the answer is not one. */
async function readRange(url: string): Promise<Set<string>> {
  const signal = AbortSignal.timeout(patienceMs)
  const answer = await fetch(url, { headers: { 'Add-Padding': 'true' }, redirect: 'error', signal })
  if (answer.status !== 200) throw unusable(`Status${answer.status}`)
  const lines = (await readText(answer)).trim().split(/\r?\n/)
  const seen = new Set<string>()
  for (const text of lines) {
    const [, rest, count] = line.exec(text) ?? []
    if (rest === undefined) throw unusable('NoRange')
    if (Number(count) > 0) seen.add(rest)
  }
  return seen
}

async function readText({ body }: Response): Promise<string> {
  const chunks: Uint8Array[] = []
  let length = 0
  for await (const chunk of body ?? []) {
    length += chunk.length
    if (length > maxAnswer) throw unusable('TooLong')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('latin1')
}

const unusable = (name: string): Error => Object.assign(new Error('no range of hashes'), { name })
