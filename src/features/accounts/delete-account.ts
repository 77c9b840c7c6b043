import { Problem } from '../../errors.ts'
import type { Caller, Event } from '../../events.ts'
import type { LiveSession } from '../../store/sessions.ts'
import { policyOf } from '../factors/index.ts'
import { isoTime } from '../iso-time.ts'
import type { ChangeServices } from './change-email.ts'

/**
 * Disables the account of somebody who leaves, at once; it is erased after ERASE_AFTER_DAYS, and can be taken back until then by
 * the mail about it. Throws `invalid_token`.
 */
export async function deleteAccount(
  services: ChangeServices,
  session: LiveSession,
  caller: Caller,
): Promise<{ erases_at: string }> {
  const { store, events, mailBell, config } = services
  const event: Event = { type: 'user.deletion_requested', outcome: 'begun', userId: session.user_id, caller }
  const at = await store.selfService.beginDeletion(session, config.eraseAfterDays, policyOf(services), event)
  if (at === null) throw new Problem('invalid_token')
  events.announce(event)
  mailBell.ring()
  return { erases_at: isoTime(at) }
}
