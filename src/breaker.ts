import type { Clock } from './system.ts'

const failureLimit = 10
const failureWindowMs = 30_000
const probeIntervalMs = 10_000

/**
 * A circuit breaker: while the provider is plainly down, nobody waits for it and it is not hammered.
 * It opens after 10 failures within 30 s, or at once by `trip()`; while open, one attempt per 10 s is let through as a
 * probe; any success closes it (SEC-34, F-08). It lives in this process: each replica finds out for itself.
 */
export function createBreaker(clock: Clock) {
  let failedAtMs: number[] = []
  let nextProbeAtMs: number | null = null

  /** Lets nothing through for the next 10 s. */
  const open = () => {
    nextProbeAtMs ??= clock.nowMs() + probeIntervalMs
    failedAtMs = []
  }

  /** Whether an attempt would be let through now. Only looks: the probe is left for `tryEnter`. */
  const isAvailable = () => {
    if (nextProbeAtMs === null) return true
    const waitMs = nextProbeAtMs - clock.nowMs()
    // Longer than the interval means that the machine's clock was set back; do not wait that hour out.
    return waitMs <= 0 || waitMs > probeIntervalMs
  }

  /** Asks to make one attempt. True: make it, and report how it went. While open this takes the probe. */
  const tryEnter = () => {
    if (!isAvailable()) return false
    // Moved on before the attempt, whatever becomes of it: a probe that hangs cannot let a second one in.
    if (nextProbeAtMs !== null) nextProbeAtMs = clock.nowMs() + probeIntervalMs
    return true
  }

  /** The provider answered as it should: closes the breaker. Does not forgive earlier failures while closed. */
  const succeeded = () => {
    if (nextProbeAtMs === null) return
    nextProbeAtMs = null
    failedAtMs = []
  }

  /** The provider failed. The tenth within 30 s opens the breaker. */
  const failed = () => {
    if (nextProbeAtMs !== null) return
    const nowMs = clock.nowMs()
    failedAtMs = failedAtMs.filter((atMs) => atMs <= nowMs && nowMs - atMs < failureWindowMs)
    failedAtMs.push(nowMs)
    if (failedAtMs.length >= failureLimit) open()
  }

  return { isAvailable, tryEnter, succeeded, failed, trip: open }
}
