import type { Clock } from '../system.ts'

/** The limits of requests by name; their numbers are settings. */
export type LimitName =
  | (
      | 'loginMinute'
      | 'loginHour'
      | 'verifyMinute'
      | 'resendHour'
      | 'refreshMinute'
      | 'mailMinute'
      | 'mailHour'
      | 'default'
    )
  | ('clientMinute' | 'introspectMinute')

/** A request that was counted, or refused by the limit that will be `spent` for the longest time, in whole seconds. */
export type Charge = {
  spent: { name: LimitName; retryAfter: number } | null
  /** It was not to be counted by this. */
  giveBack(): void
  /** It was what the limit is there for: it counts against ten times the numbers, and no longer against these. */
  finish(): Promise<void>
}

/** Keys remembered. This is the shield in front; the budgets that must hold are in the database. */
const rememberedKeys = 400_000

/** How often something happened in a window that began with the first time. */
export type Window = { used: number; endsMs: number }

type Told = (error: null, count: { current: number; ttl: number }) => void

/**
 * Counts in fixed windows in memory: the store of @fastify/rate-limit, which can also take back what it counted. Each
 * limiter asks it under keys of its own; milliseconds.
 */
export function createRequestCounts(clock: Clock) {
  /** The one that was counted last comes last. */
  const windows = new Map<string, Window>()
  const find = (key: string, windowMs: number): Window | undefined => {
    const window = windows.get(key)
    const leftMs = (window?.endsMs ?? 0) - clock.nowMs()
    // Longer than a window: the clock was put back.
    return leftMs > 0 && leftMs <= windowMs ? window : undefined
  }
  const tell = (window: Window | undefined, told: Told): void =>
    told(null, { current: window?.used ?? 0, ttl: window === undefined ? 0 : window.endsMs - clock.nowMs() })

  const counts = {
    /** Counts `key` once more. */
    incr: (key: string, told: Told, windowMs: number): void => {
      const window = find(key, windowMs) ?? { used: 0, endsMs: clock.nowMs() + windowMs }
      window.used += 1
      windows.delete(key)
      windows.set(key, window)
      for (const oldest of windows.keys()) {
        if (windows.size <= rememberedKeys) break
        windows.delete(oldest)
      }
      tell(window, told)
    },

    /** Only looks. */
    read: (key: string, told: Told, windowMs: number): void => tell(find(key, windowMs), told),

    /** The window that `key` was last counted in; taking something out of it after its end harms nobody. */
    windowOf: (key: string): Window | undefined => windows.get(key),

    /** One for all limiters: their keys begin with their names. */
    child: () => counts,
  }
  return counts
}
