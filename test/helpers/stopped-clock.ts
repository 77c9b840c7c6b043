import type { Test } from 'tap'

/** Stops the machine's clock until the test ends; it moves by hand only. */
export function stopClock(t: Test): { forward(seconds: number): void } {
  const real = Date.now
  let nowMs = real()
  Date.now = () => nowMs
  t.teardown(() => {
    Date.now = real
  })
  return {
    forward: (seconds) => {
      nowMs += seconds * 1_000
    },
  }
}
