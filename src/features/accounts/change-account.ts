import type { Event } from '../../events.ts'
import { canonicalEmail } from '../../security/email.ts'
import type { Services } from '../../services.ts'
import { noSuchUser } from './no-such-user.ts'

/**
 * Disables or enables a user. Either ends the sessions and the logins that were begun before; from then on a disabled
 * user's password is answered like a wrong one. Throws `invalid_request`, `not_found`.
 */
export async function changeAccount(
  { store, events }: Pick<Services, 'store' | 'events'>,
  { email: text, disabled }: { email: string; disabled: boolean },
): Promise<{ id: string; email: string; disabled: boolean }> {
  const email = canonicalEmail(text)
  const event: Event = { type: 'user.changed', outcome: disabled ? 'disabled' : 'enabled' }
  const id = await store.accounts.change(email, { disabled }, event)
  if (id === null) throw noSuchUser()
  events.announce({ ...event, userId: id })
  return { id, email, disabled }
}
