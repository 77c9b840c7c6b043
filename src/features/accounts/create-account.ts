import { Problem } from '../../errors.ts'
import type { Event } from '../../events.ts'
import { canonicalEmail } from '../../security/email.ts'
import type { Services } from '../../services.ts'
import type { TwoFactor } from '../../store/accounts.ts'
import { doneBy } from './whom.ts'

export type NewAccount = { email: string; phone?: string; password: string; twoFactor?: TwoFactor }

const taken = {
  email_taken: 'A user has this e-mail already.',
  phone_taken: 'This phone number serves as many users as it may.',
}

/** Of the mails to users who have not chosen a language. */
const firstLocale = 'en'

/**
 * Makes a user who can sign in. A phone number counts as confirmed, so that it is a second factor; whether one is needed
 * is TWO_FACTOR's word unless `twoFactor` says it. Returns the e-mail in its canonical form and the phone number in E.164.
 * Throws `invalid_request` (e-mail, password), `phone_not_allowed`, `conflict` (the e-mail has a user, the phone has three).
 */
export async function createAccount(
  {
    store,
    passwordHash,
    passwordPolicy,
    phoneNumbers,
    events,
    config,
  }: Pick<Services, 'store' | 'passwordHash' | 'passwordPolicy' | 'phoneNumbers' | 'events' | 'config'>,
  { password, twoFactor = config.twoFactor, ...given }: NewAccount,
): Promise<{ id: string; email: string; phone: string | null }> {
  const email = canonicalEmail(given.email)
  const phone = given.phone === undefined ? null : phoneNumbers.parse(given.phone)
  await passwordPolicy.assertGood(password, { email, twoFactor })

  const event: Event = { type: 'user.created', outcome: 'created', ...doneBy({}) }
  const user = { email, phone, passwordHash: await passwordHash.hash(password), twoFactor, locale: firstLocale }
  const created = await store.accounts.create(user, event)
  if (created.outcome !== 'created') throw new Problem('conflict', { detail: taken[created.outcome] })
  events.announce({ ...event, userId: created.id })
  return { id: created.id, email, phone }
}
