import argon2 from 'argon2'
import type { Load, Sample } from './load.ts'

/** A child process that does nothing but verify one password: the most that any login could reach. */
process.on('message', (task: Task) => {
  void measure(task).then((sample) => process.send?.(sample))
})

export type Task = { hash: string; password: string; load: Load }

async function measure({ hash, password, load: { clients, untilMs } }: Task): Promise<Sample> {
  const latencies: number[] = []
  const startedAt = performance.now()
  const client = async (): Promise<void> => {
    for (let now = performance.now(); now - startedAt < untilMs; ) {
      if (!(await argon2.verify(hash, password))) throw new Error('the password is right, argon2 says otherwise')
      const doneAt = performance.now()
      latencies.push(doneAt - now)
      now = doneAt
    }
  }
  await Promise.all(Array.from({ length: clients }, client))
  const ms = performance.now() - startedAt
  return { operations: latencies.length, failed: 0, ms, latencies: latencies.sort((a, b) => a - b) }
}
