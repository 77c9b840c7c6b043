import { Problem } from '../../../errors.ts'
import type { Event } from '../../../events.ts'
import type { Services } from '../../../services.ts'
import { noSuchUser } from '../../accounts/no-such-user.ts'
import { findUser } from '../../accounts/whom.ts'
import { policyOf } from '../../factors/index.ts'
import type { UserCall } from './call.ts'

type RemoveServices = Pick<Services, 'store' | 'events' | 'config' | 'challengeRules' | 'loginThrottle' | 'mailBell'>

/** Takes all second factors and recovery codes of a user away; where one is required, the next login enrols. Throws `not_found`. */
export async function removeFactors(services: RemoveServices, call: UserCall): Promise<void> {
  const { store, events, loginThrottle, mailBell } = services
  const { id, email } = await findUser(services, call)
  const event: Event = { type: 'factor.removed', outcome: 'all', userId: id, caller: call.caller }
  const removed = await store.admin.resetFactors(id, loginThrottle.identifyAll(email), policyOf(services), event)
  if (!removed) throw noSuchUser('id')
  events.announce(event)
  mailBell.ring()
}

/** Takes one of them away, be it the last. Throws `not_found`. */
export async function removeOneFactor(services: RemoveServices, factorId: string, call: UserCall): Promise<void> {
  const { store, events, mailBell } = services
  const { id, caller } = call
  const event: Event = {
    type: 'factor.removed',
    outcome: 'by a client',
    userId: id,
    caller,
    detail: `factor ${factorId}`,
  }
  const removed = await store.admin.removeFactor(id, factorId, policyOf(services), event)
  if (removed.outcome === 'unknown') throw noSuchUser('id')
  if (removed.outcome !== 'removed') throw new Problem('not_found', { detail: 'The user has no such factor.' })
  events.announce({ ...event, factor: removed.method })
  mailBell.ring()
}
