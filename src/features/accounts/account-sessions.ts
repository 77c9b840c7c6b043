import { canonicalEmail } from '../../security/email.ts'
import type { Services } from '../../services.ts'
import { listSessions } from '../sessions/list-sessions.ts'
import { noSuchUser } from './no-such-user.ts'

/** The live sessions of a user, for operators. Throws `invalid_request`, `not_found`. */
export async function accountSessions({ store }: Pick<Services, 'store'>, text: string) {
  const account = await store.accounts.findByEmail(canonicalEmail(text))
  if (account === null) throw noSuchUser()
  return listSessions({ store }, { userId: account.id })
}
