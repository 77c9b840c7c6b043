import { Problem } from './errors.ts'

export type InTurn = ReturnType<typeof createTurns>

/**
 * Runs the jobs of one key one after another, in the order they came; those of different keys do not wait. Throws `busy`
 * where `most` jobs of a key are in line already.
 */
export function createTurns(most = Number.POSITIVE_INFINITY) {
  const lines = new Map<string, { last: Promise<void>; length: number }>()
  return async <T>(key: string, job: () => Promise<T>): Promise<T> => {
    const line = lines.get(key) ?? { last: Promise.resolve(), length: 0 }
    if (line.length >= most) throw new Problem('busy', { retryAfter: 1 })
    lines.set(key, line)
    line.length += 1
    const mine = line.last.then(job)
    line.last = mine.then(
      () => {},
      () => {},
    )
    return await mine.finally(() => {
      line.length -= 1
      if (line.length === 0) lines.delete(key)
    })
  }
}
