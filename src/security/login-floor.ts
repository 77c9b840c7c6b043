import { setTimeout as wait } from 'node:timers/promises'
import { longestFloorMs } from '../config/schema.ts'
import type { Config } from '../config.ts'
import { Problem } from '../errors.ts'
import type { Logger } from '../log.ts'
import type { Store } from '../store/index.ts'
import { elapsedMs } from '../system.ts'
import type { PasswordHash } from './password-hash.ts'

/** How often a kind of hash is tried; the quickest counts, since other work on the machine only makes it slower. */
const trials = 3

/** A floor is long enough when it is twice what the slowest kind takes: there is a line for hashing, and a database. */
const margin = 2

/** Kinds that are tried at one look: the service starts with one, and a slow kind takes a second. The others' turn comes. */
const kindsAtOnce = 4

export type LoginFloor = ReturnType<typeof createLoginFloor>

type FloorParts = {
  config: Pick<Config, 'loginFloorMs'>
  store: Pick<Store, 'accounts'>
  passwordHash: PasswordHash
  log: Pick<Logger, 'warn'>
}

/**
 * Hashes that were made otherwise than today, or by another system, take another time, and so tell who has an account (SEC-108).
 * While any is left, a failed login answers no sooner than LOGIN_FLOOR_MS after it came.
 */
export function createLoginFloor({ config, store, passwordHash, log }: FloorParts) {
  const { loginFloorMs } = config
  const tried = new Set<string>()
  let isNeeded = false

  /** Null for a hash that the functions throw on. Throws `busy`. */
  const tryOut = async (hash: string): Promise<number | null> => {
    try {
      return await quickest(passwordHash, hash)
    } catch (error) {
      if (error instanceof Problem) throw error
      return null
    }
  }

  /** A hash of each other kind that is left. */
  const notice = async (): Promise<{ kind: string; hash: string }[]> => {
    const samples = await store.accounts.hashSamples()
    const others = samples.filter(({ hash }) => passwordHash.isOutdated(hash))
    isNeeded = others.length > 0
    return others
  }

  return {
    /** A login has come. What is given back waits until it has taken as long as every failed one takes. */
    begin: (): (() => Promise<void>) => {
      const endMs = elapsedMs() + loginFloorMs
      return async () => {
        // A timer counts from when the event loop last looked at the clock, and so may be early.
        for (let now = elapsedMs(); isNeeded && now < endMs; now = elapsedMs()) await wait(Math.ceil(endMs - now))
      }
    },

    /** Looks whether other hashes are left, which costs a step in an index for each kind. */
    notice: async (): Promise<{ otherHashes: number }> => ({ otherHashes: (await notice()).length }),

    /** The same, and says so once for each kind that the floor does not hide, or that nobody signs in with. */
    look: async (): Promise<{ otherHashes: number }> => {
      const others = await notice()
      const untried = others.filter(({ kind }) => !tried.has(kind)).slice(0, kindsAtOnce)
      const leastMs = untried.length === 0 ? 0 : await quickest(passwordHash, null)
      for (const { kind, hash } of untried) {
        const tookMs = await tryOut(hash)
        const neededMs = Math.ceil(margin * Math.max(tookMs ?? 0, leastMs))
        tried.add(kind)
        if (loginFloorMs < neededMs) log.warn({ kind, loginFloorMs, neededMs }, tooShort(neededMs))
        if (tookMs === null) log.warn({ kind }, broken)
        else if (!passwordHash.canRead(hash)) log.warn({ kind }, unreadable)
      }
      return { otherHashes: others.length }
    },
  }
}

/** Milliseconds that a wrong password takes against `hash`, or against none. */
async function quickest(passwordHash: PasswordHash, hash: string | null): Promise<number> {
  let least = Number.POSITIVE_INFINITY
  for (let trial = 0; trial < trials; trial += 1) {
    const begun = elapsedMs()
    await passwordHash.verify(hash, 'nobody has this password')
    least = Math.min(least, elapsedMs() - begun)
  }
  return least
}

const tooShort = (neededMs: number): string =>
  neededMs > longestFloorMs
    ? 'failed logins show which accounts have a hash of this kind, which takes longer than LOGIN_FLOOR_MS can be'
    : `failed logins show which accounts have a hash of another kind: set LOGIN_FLOOR_MS to ${neededMs} or more`

const broken = 'no password fits a hash of this kind: it cannot be computed'
const unreadable = 'no password fits a hash of this kind: if it is one of Firebase, set IMPORT_FIREBASE_SIGNER_KEY'
