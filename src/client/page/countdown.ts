import { nowMs } from '../clock.ts'

/**
 * Calls `tick` with the seconds that are left, now and every second until 0, or until `ended`. Measured, not counted: a page in the
 * background is woken less often.
 */
export function countDown(seconds: number, ended: AbortSignal, tick: (left: number) => void): void {
  const begunAt = nowMs()
  const left = (): number => Math.max(0, Math.ceil(seconds - (nowMs() - begunAt) / 1_000))
  tick(left())
  const timer = setInterval(() => {
    if (left() === 0) clearInterval(timer)
    tick(left())
  }, 1_000)
  ended.addEventListener('abort', () => clearInterval(timer))
}

/** Seconds as a clock shows them. */
export const clockOf = (seconds: number): string =>
  `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`
