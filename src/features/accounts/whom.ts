import type { Caller, Event } from '../../events.ts'
import { canonicalEmail } from '../../security/email.ts'
import type { Services } from '../../services.ts'
import type { Account } from '../../store/accounts.ts'
import { noSuchUser } from './no-such-user.ts'

/** Whom something is done to: an operator says the e-mail, a backend, which then is the `caller`, the id. */
export type Whom = ({ email: string } | { id: string }) & { caller?: Caller }

/** Who does it, for the records. */
export const doneBy = ({ caller }: { caller?: Caller }): Pick<Event, 'caller' | 'byOperator'> =>
  caller === undefined ? { byOperator: true } : { caller }

/** The user. Throws `invalid_request`, `not_found`. */
export async function findUser({ store: { accounts } }: Pick<Services, 'store'>, whom: Whom): Promise<Account> {
  const found = await ('id' in whom ? accounts.findById(whom.id) : accounts.findByEmail(canonicalEmail(whom.email)))
  if (found === null) throw noSuchUser('id' in whom ? 'id' : 'e-mail')
  return found
}
