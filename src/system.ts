import { randomBytes, randomUUID } from 'node:crypto'

/** The time of this machine. What depends on stored state uses the database's clock instead. */
export type Clock = {
  /** Milliseconds since 1970. */
  nowMs(): number
}

/** Chance, from the operating system's cryptographic source. */
export type Random = {
  /** A version 4 UUID (122 random bits). */
  uuid(): string
  bytes(count: number): Buffer
}

export const systemClock: Clock = { nowMs: () => Date.now() }

/** Milliseconds since the process began, whatever becomes of its clock: for how long something takes. */
export const elapsedMs = (): number => performance.now()

export const systemRandom: Random = { uuid: () => randomUUID(), bytes: (count) => randomBytes(count) }
