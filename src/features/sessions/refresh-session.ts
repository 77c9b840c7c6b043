import { Problem } from '../../errors.ts'
import type { Caller, Event } from '../../events.ts'
import type { Services } from '../../services.ts'
import type { Authenticated } from './schemas.ts'
import { describeSession, sessionLife } from './start-session.ts'

/** Seconds in which the token before the newest is answered with the newest once more: a second tab, a lost reply. */
const graceSeconds = 30

/**
 * Exchanges a refresh token for new tokens (RFC 9700 4.14: rotation, and a reused token ends the session). Who
 * authenticated, when and how stays as it is. Throws `invalid_token`, `refresh_token_reused`.
 */
export async function refreshSession(
  services: Pick<Services, 'store' | 'events' | 'tokens' | 'refreshTokens'>,
  { refreshToken, caller }: { refreshToken: string; caller: Caller },
): Promise<Authenticated> {
  const { store, events, refreshTokens } = services
  const claim = refreshTokens.read(refreshToken)
  if (claim === null) throw new Problem('invalid_token')

  const theft: Event = {
    type: 'refresh.reused',
    outcome: 'session ended',
    caller,
    detail: `session ${claim.sessionId}`,
  }
  const limits = { graceSeconds, idleSeconds: sessionLife.remembered.idle_ttl }
  const rotation = await store.sessions.rotate(claim.sessionId, claim.generation, limits, theft)
  if (rotation.outcome === 'ended') throw new Problem('invalid_token')
  if (rotation.outcome === 'reused') {
    events.announce({ ...theft, userId: rotation.user_id })
    throw new Problem('refresh_token_reused')
  }
  if (rotation.outcome === 'within_grace' && rotation.elsewhere) {
    const repeated = { type: 'refresh.repeated', outcome: 'from another address' } as const
    events.announce({ ...theft, ...repeated, userId: rotation.user_id })
  }
  return describeSession(services, rotation)
}
