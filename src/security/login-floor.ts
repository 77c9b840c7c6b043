import { setTimeout as wait } from 'node:timers/promises'
import type { Config } from '../config.ts'
import type { Logger } from '../log.ts'
import type { Store } from '../store/index.ts'
import type { Clock } from '../system.ts'
import type { PasswordHash } from './password-hash.ts'

/** How often a kind of hash is tried; the quickest counts, since other work on the machine only makes it slower. */
const trials = 3

/** A floor is long enough when it is twice what the slowest kind takes: there is a line for hashing, and a database. */
const margin = 2

export type LoginFloor = ReturnType<typeof createLoginFloor>

type FloorParts = {
  config: Pick<Config, 'loginFloorMs'>
  store: Pick<Store, 'accounts'>
  passwordHash: PasswordHash
  clock: Clock
  log: Pick<Logger, 'warn'>
}

/**
 * Hashes that were made otherwise than today take another time, and so tell who has an account (SEC-108). While any is
 * left, a failed login answers no sooner than LOGIN_FLOOR_MS after it came.
 */
export function createLoginFloor({ config, store, passwordHash, clock, log }: FloorParts) {
  const { loginFloorMs } = config
  const tried = new Set<string>()
  let isNeeded = false

  /** Milliseconds that a wrong password takes against `hash`, or against none. */
  const quickest = async (hash: string | null): Promise<number> => {
    let least = Number.POSITIVE_INFINITY
    for (let trial = 0; trial < trials; trial += 1) {
      const begun = clock.nowMs()
      await passwordHash.verify(hash, 'nobody has this password')
      least = Math.min(least, clock.nowMs() - begun)
    }
    return least
  }

  return {
    /** Waits until a login that came at `cameMs` has taken as long as every failed one takes. */
    reached: async (cameMs: number): Promise<void> => {
      const leftMs = Math.min(cameMs + loginFloorMs - clock.nowMs(), loginFloorMs)
      if (isNeeded && leftMs > 0) await wait(leftMs)
    },

    /** Looks whether other hashes are left, and says so once for each kind that the floor does not hide. */
    look: async (): Promise<{ otherHashes: number }> => {
      const samples = await store.accounts.hashSamples()
      const others = samples.filter(({ hash }) => passwordHash.isOutdated(hash))
      isNeeded = others.length > 0
      for (const { kind, hash } of others.filter((it) => !tried.has(it.kind))) {
        const neededMs = Math.ceil(margin * Math.max(await quickest(hash), await quickest(null)))
        tried.add(kind)
        if (loginFloorMs < neededMs) log.warn({ kind, loginFloorMs, neededMs }, tooShort(neededMs))
      }
      return { otherHashes: others.length }
    },
  }
}

const tooShort = (neededMs: number): string =>
  `failed logins show which accounts have a hash of another kind: set LOGIN_FLOOR_MS to ${neededMs} or more`
