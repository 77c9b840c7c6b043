import argon2 from 'argon2'
import { Problem } from '../errors.ts'

export type HashParameters = {
  memoryKib: number
  time: number
  /** Hashes computed at once. */
  concurrency: number
  /** Callers that may wait for their turn; one more is refused. */
  queue: number
}

export type PasswordHash = Awaited<ReturnType<typeof createPasswordHash>>

/**
 * argon2id (RFC 9106; OWASP's minimum 19 MiB, t=2, p=1), never more than `concurrency` at once: each hash takes a core
 * and `memoryKib`, so a flood of logins must wait or be refused instead of taking the machine down.
 */
export async function createPasswordHash({ memoryKib, time, concurrency, queue }: HashParameters) {
  const options = { type: argon2.argon2id, memoryCost: memoryKib, timeCost: time, parallelism: 1, hashLength: 32 }
  const inTurn = createTurns(concurrency, queue)
  const hash = (password: string): Promise<string> => inTurn(() => argon2.hash(password, options))
  // Made at start, with the current parameters: an unknown e-mail costs the same work as a wrong password.
  const dummy = await argon2.hash('no account has this password', options)

  return {
    /** A PHC string with a fresh 16 byte salt. Throws `busy`. */
    hash,

    /** Whether `password` made `stored`; null does the same work and is never right. Throws `busy`. */
    verify: async (stored: string | null, password: string): Promise<boolean> => {
      const matches = await inTurn(() => argon2.verify(stored ?? dummy, password))
      return matches && stored !== null
    },

    /** True for a hash that was made with other parameters than today's. */
    isOutdated: (stored: string): boolean => !stored.startsWith('$argon2id$') || argon2.needsRehash(stored, options),

    /** Hashes being computed and waiting at this moment, and computed since the start. */
    load: inTurn.load,
  }
}

/** Runs at most `limit` jobs at once and lets at most `queue` more wait in line; the next one gets `busy`. */
function createTurns(limit: number, queue: number) {
  const waiting: (() => void)[] = []
  let running = 0
  let started = 0
  const inTurn = async <T>(job: () => Promise<T>): Promise<T> => {
    if (running >= limit) {
      if (waiting.length >= queue) throw new Problem('busy', { retryAfter: 1 })
      await new Promise<void>((resolve) => waiting.push(resolve))
    } else {
      running += 1
    }
    started += 1
    try {
      return await job()
    } finally {
      // The place goes straight to the next in line, so that nobody can slip in between.
      const next = waiting.shift()
      if (next) next()
      else running -= 1
    }
  }
  inTurn.load = () => ({ running, waiting: waiting.length, started })
  return inTurn
}
