/** A moment as answers give it (RFC 3339, UTC). @param seconds since 1970, as the decisions give them */
export const isoTime = (seconds: number): string => new Date(seconds * 1_000).toISOString()

/** RFC 3339, with a space in place of the T if need be, as it allows. */
const moment =
  /^(\d{4}-\d\d-\d\d)[Tt ]((?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d+)?)([Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)$/

/** Milliseconds since 1970 of a moment as it comes in (RFC 3339); null for anything else, and for a day that no calendar has. */
export function readMoment(text: string): number | null {
  const [, day, time, zone] = moment.exec(text) ?? []
  if (day === undefined || !isDay(day)) return null
  return Date.parse(`${day}T${time}${zone?.toUpperCase()}`)
}

/** By itself JavaScript takes 30 February for 2 March. */
function isDay(day: string): boolean {
  const date = new Date(`${day}T00:00:00Z`)
  return !Number.isNaN(date.getTime()) && date.toISOString().startsWith(day)
}
