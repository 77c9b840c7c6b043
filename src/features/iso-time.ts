/** A moment as answers give it (RFC 3339, UTC). @param seconds since 1970, as the decisions give them */
export const isoTime = (seconds: number): string => new Date(seconds * 1_000).toISOString()
