export type Bell = ReturnType<typeof createBell>

/** Lets one part of the process tell another that there is work, without knowing it: rung with nobody there, it is not heard. */
export function createBell() {
  let answer = (): void => {}
  return {
    ring: (): void => answer(),
    /** Who hears it from now on. */
    answerWith: (work: () => void): void => {
      answer = work
    },
  }
}
