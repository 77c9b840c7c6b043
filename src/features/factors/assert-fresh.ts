import type { Problem } from '../../errors.ts'
import { type Assurance, assertAssured, freshSeconds, notAssured } from '../../security/assurance.ts'
import type { Services } from '../../services.ts'
import type { LiveSession } from '../../store/sessions.ts'
import { hasFactor } from './index.ts'

/**
 * What changes to an account want (ASVS 7.5): the best that the account can reach, at most ten minutes ago. Throws
 * `insufficient_user_authentication`.
 */
export function assertFresh(
  services: Pick<Services, 'config'>,
  session: Pick<LiveSession, 'acr' | 'age' | 'methods'>,
): void {
  const wanted: Assurance = { acr: hasFactor(services, session.methods) ? 'aal2' : 'aal1', maxAgeSeconds: freshSeconds }
  assertAssured(session, wanted)
}

/**
 * A session was found fresh, and then the account has changed: for all that is known by now it has a factor that the session
 * has never shown.
 */
export const freshNoMore = (): Problem => notAssured({ acr: 'aal2', maxAgeSeconds: freshSeconds })
