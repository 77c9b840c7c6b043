import { canonicalEmail } from '../../../security/email.ts'
import type { Services } from '../../../services.ts'
import { noSuchUser } from '../../accounts/no-such-user.ts'
import { assertScope } from '../../assert-scope.ts'
import { policyOf } from '../../factors/index.ts'
import type { UserCall } from './call.ts'
import type { User, UserChange } from './schemas.ts'
import { userConflict } from './user-conflict.ts'
import { viewOf } from './user-view.ts'

/** What wants `users:security` too: it decides who gets in. */
const guarded = ['email', 'two_factor', 'disabled'] as const

/**
 * Changes what is given of a user, and ends what the change ends: sessions, trust and challenges, unless it is only how the user is
 * called, and links, unless it is only that or the rule for the second factor. Throws `insufficient_scope`, `invalid_request`,
 * `not_found`, `conflict`, which names the other user.
 */
export async function changeUser(
  services: Pick<Services, 'store' | 'events' | 'phoneNumbers' | 'config' | 'challengeRules' | 'mailBell'>,
  given: UserChange,
  call: UserCall,
): Promise<User> {
  const { store, events, mailBell } = services
  if (guarded.some((name) => given[name] !== undefined)) assertScope(call, 'users:security')
  const change = {
    ...given,
    ...(given.email !== undefined && { email: canonicalEmail(given.email) }),
    notices: policyOf(services).notices,
  }
  const { id, caller } = call
  const changed = await store.admin.change(id, change, { type: 'user.changed', outcome: 'changed', caller })
  if (changed.outcome === 'unknown') throw noSuchUser('id')
  if (changed.outcome !== 'changed') throw userConflict(changed)
  for (const event of changed.events) events.announce({ ...event, userId: id, caller })
  mailBell.ring()
  return viewOf(services, changed.user, call)
}
