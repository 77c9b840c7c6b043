import { type Assurance, assertAssured, freshSeconds } from '../../security/assurance.ts'
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
