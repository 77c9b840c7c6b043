import type { Event } from '../../events.ts'
import { canonicalEmail } from '../../security/email.ts'
import type { Services } from '../../services.ts'
import { policyOf } from '../factors/index.ts'
import { noSuchUser } from './no-such-user.ts'

/**
 * Takes away all second factors and recovery codes of a user who has lost them, and ends sessions, the trust in devices and
 * live challenges with them. Where a factor is required, the next login enrols a new one. Throws `invalid_request`,
 * `not_found`.
 */
export async function resetFactors(
  services: Pick<Services, 'store' | 'loginThrottle' | 'events' | 'challengeRules' | 'config'>,
  text: string,
): Promise<{ id: string; email: string }> {
  const { store, loginThrottle, events } = services
  const email = canonicalEmail(text)
  const event: Event = { type: 'user.changed', outcome: 'factors reset' }
  const id = await store.accounts.resetFactors(email, loginThrottle.identifyAll(email), policyOf(services), event)
  if (id === null) throw noSuchUser()
  events.announce({ ...event, userId: id })
  return { id, email }
}
