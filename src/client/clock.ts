/** The time of this machine, in milliseconds since 1970. Only compared with itself: a wrong clock does no harm. */
export const nowMs = (): number => Date.now()

/** Waits. */
export const pause = (milliseconds: number): Promise<void> =>
  new Promise((resolve) => void setTimeout(resolve, milliseconds))
