import { invalidField } from '../../../errors.ts'
import type { Event } from '../../../events.ts'
import { canonicalEmail } from '../../../security/email.ts'
import type { Services } from '../../../services.ts'
import type { ClientCall } from './call.ts'
import type { NewUser, User } from './schemas.ts'
import { userConflict } from './user-conflict.ts'
import { viewOf } from './user-view.ts'

/** Of the mails to users who have not chosen a language. */
const firstLocale = 'en'

/**
 * Makes a user without a password and, unless `invite` is false, has a link mailed by which one is set. Throws `invalid_request`,
 * `phone_not_allowed`, `conflict`, which names the user that has the e-mail or the external id.
 */
export async function createUser(
  services: Pick<Services, 'store' | 'events' | 'phoneNumbers' | 'config' | 'mailBell'>,
  given: NewUser,
  call: ClientCall,
): Promise<User> {
  const { store, events, config, mailBell } = services
  const { invite = true, external_id = null, locale = firstLocale, two_factor = config.twoFactor } = given
  if (invite && config.mail.provider === 'none') throw invalidField('/invite', 'must be false: no mail is sent here')
  const event: Event = { type: 'user.created', outcome: invite ? 'invited' : 'created', caller: call.caller }
  const user = {
    email: canonicalEmail(given.email),
    phone: confirmedPhone(services, given),
    external_id,
    locale,
    two_factor,
  }
  const added = await store.admin.add({ ...user, email_confirmed: given.email_confirmed === true, invite }, event)
  if (added.outcome !== 'created') throw userConflict(added)
  events.announce({ ...event, userId: added.user.id })
  if (invite) mailBell.ring()
  return viewOf(services, added.user, call)
}

/** Null for one that nobody has confirmed, which is looked at all the same: what is wrong with it is told at once. */
function confirmedPhone({ phoneNumbers }: Pick<Services, 'phoneNumbers'>, given: NewUser): string | null {
  const { phone, phone_confirmed: isConfirmed } = given
  if (phone === undefined && isConfirmed) throw invalidField('/phone', 'is missing')
  if (phone === undefined) return null
  const number = phoneNumbers.parse(phone)
  return isConfirmed ? number : null
}
