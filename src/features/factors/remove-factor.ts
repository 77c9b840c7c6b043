import { Problem } from '../../errors.ts'
import type { Caller, Event } from '../../events.ts'
import type { Services } from '../../services.ts'
import type { LiveSession } from '../../store/sessions.ts'
import { policyOf } from './index.ts'

const refusals = { unknown: 'not_found', ended: 'invalid_token', last_factor: 'last_factor' } as const

/**
 * Takes a factor away; other sessions and the trust in devices end with it, and with the last factor the recovery codes.
 * Throws `not_found`, `invalid_token`, `last_factor` where the policy wants one.
 */
export async function removeFactor(
  services: Pick<Services, 'store' | 'events' | 'challengeRules' | 'config' | 'mailBell'>,
  { session, factorId, caller }: { session: LiveSession; factorId: string; caller: Caller },
): Promise<void> {
  const { store, events } = services
  const event: Event = { type: 'factor.removed', outcome: 'removed', userId: session.user_id, caller }
  const removed = await store.factors.remove(session, factorId, policyOf(services), event)
  if (removed.outcome !== 'removed') throw new Problem(refusals[removed.outcome])
  events.announce({ ...event, factor: removed.method })
  services.mailBell.ring()
}
