import type { Caller } from '../../events.ts'
import type { LiveSession } from '../../store/sessions.ts'
import { beginChallenge, type ChallengedUser, type ChallengeServices, openChallenge } from './open-challenge.ts'
import type { TwoFactorRequired } from './schemas.ts'

/**
 * A fresh challenge for somebody who is signed in (RFC 9470): finishing it gives the same session a new `auth_time` and
 * `aal2`. A session is known. Throws what openChallenge and beginChallenge throw.
 */
export async function stepUp(
  services: ChallengeServices,
  { session, caller }: { session: LiveSession; caller: Caller },
): Promise<TwoFactorRequired> {
  const user: ChallengedUser = {
    account: { id: session.user_id, epoch: session.epoch, phone: session.phone },
    purpose: 'step_up',
    known: true,
    deviceId: session.device_id,
    throttleKeys: null,
    sessionId: session.id,
    caller,
  }
  return beginChallenge(services, user, await openChallenge(services, user))
}
