import type { Services } from '../../services.ts'
import type { Introspection } from './schemas.ts'

/**
 * What a backend learns of an access token at this moment (RFC 7662): also whether its session was ended or its user
 * disabled, which the token itself cannot tell. Anything that is not a live access token is just `active: false`.
 */
export async function introspectToken(
  { tokens, store, clock }: Pick<Services, 'tokens' | 'store' | 'clock'>,
  token: string,
): Promise<Introspection> {
  const claims = tokens.readAccess(token)
  // To the second: the leeway that a token has elsewhere is for other clocks than the one that it was issued by.
  if (claims === null || claims.exp * 1_000 <= clock.nowMs()) return { active: false }
  const session = await store.sessions.findLive(claims.sid, claims.sub)
  if (session === null) return { active: false }
  // The token's own words, except for how the session stands now: a step-up since then counts.
  return {
    active: true,
    token_type: 'Bearer',
    ...claims,
    amr: session.amr,
    acr: session.acr,
    auth_time: session.authenticated_at,
  }
}
