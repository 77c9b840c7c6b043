import type { Event } from '../../events.ts'
import type { Services } from '../../services.ts'
import { noSuchUser } from './no-such-user.ts'
import { doneBy, findUser, type Whom } from './whom.ts'

/**
 * Ends the lock after wrong passwords and the lock after wrong codes. The 24 hour and 30 day budgets of wrong codes
 * stay as they are, since they bound what a thief of the password can guess, whoever is talked into unlocking; with `all`
 * they are emptied too, and what is counted of texts. Throws `invalid_request`, `not_found`.
 */
export async function unlockAccount(
  { store, loginThrottle, events }: Pick<Services, 'store' | 'loginThrottle' | 'events'>,
  { all, ...whom }: Whom & { all: boolean },
): Promise<{ id: string; email: string }> {
  const { id, email } = await findUser({ store }, whom)
  const event: Event = { type: 'user.unlocked', outcome: all ? 'all' : 'unlocked', ...doneBy(whom) }
  if ((await store.accounts.unlock(id, loginThrottle.identifyAll(email), { all }, event)) === null)
    throw noSuchUser('id')
  events.announce({ ...event, userId: id })
  return { id, email }
}
