import type { Clock } from '../../system.ts'

/** Keys that are remembered at a time; beyond, all are forgotten, and what they stood for is recorded once more. */
const mostKeys = 10_000

export type Hourly = ReturnType<typeof createHourly>

/**
 * What reads of backends are recorded by: the first of each hour, for each replica. A backend that polls the log would
 * otherwise fill it with its own calls, and find a new one at every poll.
 */
export function createHourly({ nowMs }: Clock) {
  const recorded = new Map<string, number>()
  const hour = (): number => Math.floor(nowMs() / 3_600_000)
  return {
    isDue: (key: string): boolean => recorded.get(key) !== hour(),
    /** Only once it is recorded: what failed is due again. */
    done: (key: string): void => {
      if (recorded.size >= mostKeys) recorded.clear()
      recorded.set(key, hour())
    },
  }
}
