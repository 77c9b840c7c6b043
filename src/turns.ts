export type InTurn = ReturnType<typeof createTurns>

/** Runs the jobs of one key one after another, in the order they came; those of different keys do not wait. */
export function createTurns() {
  const newest = new Map<string, Promise<unknown>>()
  return async <T>(key: string, job: () => Promise<T>): Promise<T> => {
    const mine = (newest.get(key) ?? Promise.resolve()).then(job)
    const over = mine.then(
      () => {},
      () => {},
    )
    newest.set(key, over)
    void over.then(() => {
      if (newest.get(key) === over) newest.delete(key)
    })
    return await mine
  }
}
