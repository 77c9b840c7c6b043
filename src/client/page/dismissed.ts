/** Thrown in place of a step-up by somebody who did not want it after all: there is nothing to tell him. */
export const dismissed = new Error('The step-up was dismissed.')
