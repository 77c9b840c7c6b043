import type { Event } from '../../events.ts'
import type { Services } from '../../services.ts'
import { policyOf } from '../factors/index.ts'
import { noSuchUser } from './no-such-user.ts'
import { doneBy, findUser } from './whom.ts'

/**
 * Takes away all second factors and recovery codes of a user who has lost them, and ends sessions, the trust in devices and
 * live challenges with them. Where a factor is required, the next login enrols a new one. Throws `invalid_request`,
 * `not_found`.
 */
export async function resetFactors(
  services: Pick<Services, 'store' | 'loginThrottle' | 'events' | 'challengeRules' | 'config'>,
  emailOfUser: string,
): Promise<{ id: string; email: string }> {
  const { store, loginThrottle, events } = services
  const { id, email } = await findUser(services, { email: emailOfUser })
  const event: Event = { type: 'factor.removed', outcome: 'all', ...doneBy({}) }
  const reset = await store.accounts.resetFactors(id, loginThrottle.identifyAll(email), policyOf(services), event)
  if (reset === null) throw noSuchUser('e-mail')
  events.announce({ ...event, userId: id })
  return { id, email }
}
