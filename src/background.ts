export type Background = ReturnType<typeof createBackground>

/** Work that may outlive the request it belongs to, such as a provider that answers late. */
export function createBackground() {
  const running = new Set<Promise<unknown>>()
  return {
    /** The value of `work` if it comes within `ms`, otherwise undefined; the work goes on. Throws if it fails in time. */
    within: async <T>(ms: number, work: Promise<T>): Promise<T | undefined> => {
      const tracked = work.catch(() => {}).finally(() => running.delete(tracked))
      running.add(tracked)
      let timer: NodeJS.Timeout | undefined
      const tooLate = new Promise<undefined>((resolve) => {
        timer = setTimeout(resolve, ms, undefined)
      })
      return await Promise.race([work, tooLate]).finally(() => clearTimeout(timer))
    },

    /** Waits for everything that is still running. */
    drain: async (): Promise<void> => {
      await Promise.all(running)
    },
  }
}
