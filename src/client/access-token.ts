/** What an access token says of itself. Nobody has verified it: it only tells sessions and people apart. */
function claimsOf(token: string): { sub?: unknown; sid?: unknown } {
  try {
    const [, claims = ''] = token.split('.')
    return JSON.parse(atob(claims.replaceAll('-', '+').replaceAll('_', '/')))
  } catch {
    return {}
  }
}

/** The session of an access token, if it can be read. */
export const sessionOf = (token: string): unknown => claimsOf(token).sid

/** Whether two access tokens are of two people (`sub`) or of two sessions (`sid`). One that cannot be read is like any. */
export function differIn(claim: 'sub' | 'sid', one: string, other: string): boolean {
  const [first, second] = [claimsOf(one)[claim], claimsOf(other)[claim]]
  return first !== undefined && second !== undefined && first !== second
}
