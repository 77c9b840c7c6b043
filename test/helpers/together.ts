import type { Test } from 'tap'
import type { Answer } from './story.ts'

/** `count` calls at once; their answers in order. */
export const together = <T>(count: number, work: (index: number) => Promise<T>): Promise<T[]> =>
  Promise.all(Array.from({ length: count }, (_, index) => work(index)))

/** How many of each answer: `{ '200': 1, '401 invalid_token': 49 }`. */
export function tally(answers: Answer[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const { status, body } of answers) {
    const name = body.code === undefined ? `${status}` : `${status} ${body.code}`
    counts[name] = (counts[name] ?? 0) + 1
  }
  return counts
}

/** Whether the machine was too slow for a burst: a client was told to come again, and no exact count can be asked for. */
export const isOverloaded = (answers: Answer[]): boolean =>
  answers.some(({ body }) => body.code === 'unavailable' || body.code === 'busy')

/**
 * Repeats a burst until `wanted` of them went through without an overload, three times as often at most. `burst` checks
 * its inequalities always and its exact numbers only when it was not overloaded; it returns whether it was not.
 */
export async function repeat(t: Test, wanted: number, burst: (round: number) => Promise<boolean>): Promise<void> {
  let exact = 0
  for (let round = 0; exact < wanted && round < 3 * wanted; round++) if (await burst(round)) exact += 1
  t.equal(exact, wanted, `${wanted} bursts went through without an overload of this machine`)
}
