import type { Config } from '../config.ts'
import type { Clock } from '../system.ts'
import type { Network } from './client-address.ts'

/** The limits of requests by name; their numbers are settings. */
export type LimitName =
  | ('loginMinute' | 'loginHour' | 'verifyMinute' | 'resendHour' | 'refreshMinute' | 'default')
  | ('clientMinute' | 'introspectMinute')

/** Keys remembered per counter. This is the shield in front; the budgets that must hold are in the database. */
const rememberedKeys = 50_000

/** What finished requests get in place of the numbers of a limit. */
const finishedTimes = 10

/** A request that was counted, or refused by the limit that will be `spent` for the longest time, in whole seconds. */
export type Charge = {
  spent: { name: LimitName; retryAfter: number } | null
  /** It was not to be counted by this. */
  giveBack(): void
  /** It was what the limit is there for: it counts against ten times the numbers, and no longer against these. */
  finish(): void
}

export type RequestLimits = ReturnType<typeof createRequestLimits>

/**
 * Counts requests in all the networks that they come from (SEC-18, SEC-109), in fixed windows in memory. A request that one
 * of them refuses counts in none: whoever is over his own limit uses up nothing of his neighbours'.
 */
export function createRequestLimits({ config: { rate }, clock }: { config: Pick<Config, 'rate'>; clock: Clock }) {
  const limit = (max: number, seconds: number) => ({
    max,
    counted: createCounter(seconds * 1_000, clock),
    finished: createCounter(seconds * 1_000, clock),
  })
  const limits: Record<LimitName, ReturnType<typeof limit>> = {
    loginMinute: limit(rate.loginMinute, 60),
    loginHour: limit(rate.loginHour, 3_600),
    verifyMinute: limit(rate.verifyMinute, 60),
    resendHour: limit(rate.resendHour, 3_600),
    refreshMinute: limit(rate.refreshMinute, 60),
    default: limit(rate.defaultMinute, 60),
    clientMinute: limit(rate.clientMinute, 60),
    introspectMinute: limit(rate.introspectMinute, 60),
  }
  const waitFor = (name: LimitName, { key, times }: Network): number => {
    const { max, counted, finished } = limits[name]
    return Math.max(counted.wait(key, max * times), finished.wait(key, max * times * finishedTimes))
  }

  return {
    /** Counts one request by all of `keys` under all of `names`, or by none of them. */
    charge: (names: readonly LimitName[], keys: readonly Network[]): Charge => {
      const waits = names.flatMap((name) => keys.map((key) => ({ name, ms: waitFor(name, key) })))
      const longest = waits.reduce((most, wait) => (wait.ms > most.ms ? wait : most))
      if (longest.ms > 0) {
        const spent = { name: longest.name, retryAfter: Math.ceil(longest.ms / 1_000) }
        return { spent, giveBack: () => {}, finish: () => {} }
      }
      const each = names.flatMap((name) => keys.map(({ key }) => ({ key, ...limits[name] })))
      let windows = each.map(({ key, counted }) => counted.count(key))
      const giveBack = (): boolean => {
        const isCounted = windows.length > 0
        for (const window of windows) window.used -= 1
        windows = []
        return isCounted
      }
      return {
        spent: null,
        giveBack,
        finish: () => {
          if (giveBack()) for (const { key, finished } of each) finished.count(key)
        },
      }
    },
  }
}

/** How often something happened in a window that began with the first time. */
type Window = { used: number; endsMs: number }

function createCounter(windowMs: number, clock: Clock) {
  /** The one that was counted last comes last. */
  const windows = new Map<string, Window>()
  const find = (key: string): Window | undefined => {
    const window = windows.get(key)
    const leftMs = (window?.endsMs ?? 0) - clock.nowMs()
    // Longer than a window: the clock was put back.
    return leftMs > 0 && leftMs <= windowMs ? window : undefined
  }
  return {
    /** Milliseconds until `key` may be counted again; 0 while it was counted less than `most` times. */
    wait: (key: string, most: number): number => {
      const window = find(key)
      return window === undefined || window.used < most ? 0 : window.endsMs - clock.nowMs()
    },

    /** Counts `key`; taking it out of the window again after its end harms nobody. */
    count: (key: string): Window => {
      const window = find(key) ?? { used: 0, endsMs: clock.nowMs() + windowMs }
      window.used += 1
      windows.delete(key)
      windows.set(key, window)
      for (const oldest of windows.keys()) {
        if (windows.size <= rememberedKeys) break
        windows.delete(oldest)
      }
      return window
    },
  }
}
