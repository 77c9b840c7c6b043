/** One job at a time for each name. `navigator.locks` is one, over all tabs and workers of an origin. */
export type Locks = { request<T>(name: string, job: () => Promise<T>): Promise<T> }

/** For this process alone. */
export function createQueue(): Locks {
  let last: Promise<unknown> = Promise.resolve()
  return {
    request: (_name, job) => {
      const mine = last.then(job)
      last = mine.catch(() => {})
      return mine
    },
  }
}

type Navigating = { navigator?: { locks?: Locks } }

/** The browser's locks where it has some (a page without TLS has none). */
export const browserLocks = (): Locks | undefined => (globalThis as Navigating).navigator?.locks
