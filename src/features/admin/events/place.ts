import { readMoment } from '../../iso-time.ts'

/** A place in the log: an event's number, in digits, or a moment in seconds since 1970. */
export type Place = { id: string } | { at: number }

/** The form of an event's id; its number is below 9 * 10^18, which the database's numbers are, too. */
export const eventId = /^evt_([0-8]\d{18})$/

/** The place that an event's id or a time (RFC 3339) means; null for anything else. */
export function placeOf(text: string): Place | null {
  const [, id] = eventId.exec(text) ?? []
  if (id !== undefined) return { id }
  const ms = readMoment(text)
  return ms === null ? null : { at: ms / 1_000 }
}
