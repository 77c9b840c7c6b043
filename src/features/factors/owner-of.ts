import { Problem } from '../../errors.ts'
import type { Services } from '../../services.ts'
import type { FactorOwner } from '../../store/accounts.ts'
import type { LiveSession } from '../../store/sessions.ts'

/**
 * The user of a session with all that can prove it, as the guard found the account: what has changed since is stale. Throws
 * `invalid_token` when the account has another e-mail by now.
 */
export async function ownerOf({ store }: Pick<Services, 'store'>, session: LiveSession): Promise<FactorOwner> {
  const account = await store.accounts.findByEmail(session.email)
  if (account === null || account.id !== session.user_id) throw new Problem('invalid_token')
  return { ...account, epoch: session.epoch }
}
