import type { Event } from '../../events.ts'
import type { Services } from '../../services.ts'
import { noSuchUser } from './no-such-user.ts'
import { doneBy, findUser, type Whom } from './whom.ts'

/** Forgets a user at once. Throws `invalid_request`, `not_found`. */
export async function forgetAccount(
  { store, events }: Pick<Services, 'store' | 'events'>,
  whom: Whom,
): Promise<{ id: string }> {
  const id = 'id' in whom ? whom.id : (await findUser({ store }, whom)).id
  const event: Event = { type: 'user.deleted', outcome: 'forgotten', ...doneBy(whom) }
  if (!(await store.selfService.forget(id, event))) throw noSuchUser('id')
  events.announce(event)
  return { id }
}
