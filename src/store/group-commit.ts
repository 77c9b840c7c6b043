/**
 * Lets many callers share one wait for the disk. Each gets the first `flush` that begins after it asked, which covers
 * whatever was committed before that; while one is under way the next one gathers. Throws what that flush throws.
 */
export function createGroupCommit(flush: () => Promise<unknown>): () => Promise<void> {
  let last = Promise.resolve()
  let gathering: Promise<void> | undefined
  const begin = async (): Promise<void> => {
    gathering = undefined
    await flush()
  }
  return () => {
    gathering ??= last.then(begin, begin)
    last = gathering
    return gathering
  }
}
