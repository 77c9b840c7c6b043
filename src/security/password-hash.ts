import argon2 from 'argon2'
import { Problem } from '../errors.ts'
import type { Judge } from './foreign-hashes/hash-kind.ts'
import { createForeignHashes, type ForeignHashes } from './foreign-hashes/index.ts'

export type HashParameters = {
  memoryKib: number
  time: number
  /** Hashes computed at once. */
  concurrency: number
  /** Callers that may wait for their turn; one more is refused. */
  queue: number
}

/** Who waits for a hash: a known device or a stranger, and the widest network that it counts in. */
export type Place = { known: boolean; network: string | null }

export type PasswordHash = Awaited<ReturnType<typeof createPasswordHash>>

/** Who is no client: an operator's command. */
const operator: Place = { known: true, network: null }

/**
 * argon2id (RFC 9106; OWASP's minimum 19 MiB, t=2, p=1), never more than `concurrency` at once: each hash takes a core
 * and `memoryKib`, so a flood of logins must wait or be refused instead of taking the machine down.
 */
export async function createPasswordHash(
  { memoryKib, time, concurrency, queue }: HashParameters,
  foreign: ForeignHashes = createForeignHashes(null),
) {
  const options = { type: argon2.argon2id, memoryCost: memoryKib, timeCost: time, parallelism: 1, hashLength: 32 }
  const today = [`t=${time},p=1`, `p=1,t=${time}`].map((rest) => `$argon2id$v=19$m=${memoryKib},${rest}$`)
  const inTurn = createLine(concurrency, queue)
  // Made at start, with the current parameters: an unknown e-mail costs the same work as a wrong password.
  const dummy = await argon2.hash('no account has this password', options)
  // Those that this service makes are bounded by its settings, which may be wider than what others may bring along.
  const judgeOf = (stored: string): Judge | null =>
    stored.startsWith('$argon2id$') ? (password) => argon2.verify(stored, password) : foreign.read(stored)

  return {
    /** A PHC string with a fresh 16 byte salt. Throws `busy`. */
    hash: (password: string, place = operator): Promise<string> => inTurn(place, () => argon2.hash(password, options)),

    /** Whether `password` made `stored`; null, and what cannot be read, costs a hash and is never right. Throws `busy`. */
    verify: async (stored: string | null, password: string, place = operator): Promise<boolean> => {
      const judge = stored === null ? null : judgeOf(stored)
      const matches = await inTurn(place, () => (judge === null ? argon2.verify(dummy, password) : judge(password)))
      return matches && judge !== null
    },

    /** False for a hash of another system that no password will ever be right for, with the settings of today. */
    canRead: (stored: string): boolean => judgeOf(stored) !== null,

    /** What would be accepted in place of a hash that a user brings along; null if it is accepted. */
    refusalOf: (brought: string): string | null => (foreign.read(brought) === null ? foreign.wanted(brought) : null),

    /** True for a hash that was made with other parameters than today's. */
    isOutdated: (stored: string): boolean => !today.some((beginning) => stored.startsWith(beginning)),

    /** Hashes being computed and waiting at this moment, and computed since the start. */
    load: inTurn.load,
  }
}

/** Places in the line that one network gets, so that its flood keeps nobody else out (SEC-109). */
const placesPerNetwork = 4

/**
 * Runs at most `limit` jobs at once and lets at most `queue` more wait in line, of them strangers at most three quarters
 * (rounded up) and one network at most 4; the next one gets `busy`. Known devices come first, then who came first.
 */
function createLine(limit: number, queue: number) {
  const waiting: { place: Place; start: () => void }[] = []
  let running = 0
  let started = 0
  const count = (isOne: (place: Place) => boolean): number => waiting.filter(({ place }) => isOne(place)).length
  const isFull = ({ known, network }: Place): boolean =>
    waiting.length >= queue ||
    (!known && count((it) => !it.known) >= Math.ceil(queue * 0.75)) ||
    (network !== null && count((it) => it.network === network) >= placesPerNetwork)
  const takeNext = (): (() => void) | undefined => {
    const firstKnown = waiting.findIndex(({ place }) => place.known)
    return waiting.splice(Math.max(firstKnown, 0), 1)[0]?.start
  }

  const inTurn = async <T>(place: Place, job: () => Promise<T>): Promise<T> => {
    if (running >= limit) {
      if (isFull(place)) throw new Problem('busy', { retryAfter: 1 })
      await new Promise<void>((start) => waiting.push({ place, start }))
    } else {
      running += 1
    }
    started += 1
    try {
      return await job()
    } finally {
      // The place goes straight to the next in line, so that nobody can slip in between.
      const next = takeNext()
      if (next) next()
      else running -= 1
    }
  }
  inTurn.load = () => ({ running, waiting: waiting.length, started })
  return inTurn
}
