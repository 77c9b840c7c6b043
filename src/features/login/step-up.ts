import type { Caller } from '../../events.ts'
import type { LiveSession } from '../../store/sessions.ts'
import { openChallenge } from './open-challenge.ts'
import type { TwoFactorRequired } from './schemas.ts'

/**
 * A fresh challenge for somebody who is signed in (RFC 9470): finishing it gives the same session a new `auth_time` and
 * `aal2`. Throws what openChallenge throws.
 */
export async function stepUp(
  services: Parameters<typeof openChallenge>[0],
  { session, caller }: { session: LiveSession; caller: Caller },
): Promise<TwoFactorRequired> {
  const account = { id: session.userId, epoch: session.epoch, phone: session.phone }
  return openChallenge(services, { account, purpose: 'step_up', sessionId: session.id, identifier: null, caller })
}
