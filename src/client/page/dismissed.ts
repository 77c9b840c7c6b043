/** Thrown in place of a step-up by somebody who did not want it after all: there is nothing to tell him. */
export class Dismissed extends Error {
  override readonly name = 'Dismissed'
}
