import { Problem } from '../../errors.ts'
import type { Caller, Event } from '../../events.ts'
import type { Services } from '../../services.ts'
import { policyOf } from '../factors/index.ts'
import type { ChangeServices } from './change-email.ts'

/**
 * The owner says that a notice is not about him: whatever the account's sessions have changed since is taken back, everything that
 * is signed in ends, and the password has to be set anew. Throws `link_expired`.
 */
export async function secureAccount(
  services: ChangeServices & Pick<Services, 'mailLinks'>,
  { token, caller }: { token: string; caller: Caller },
): Promise<{ status: 'secured' }> {
  const { store, events, mailBell, mailLinks } = services
  const link = mailLinks.read(token)
  const event: Event = { type: 'account.secured', outcome: 'by mail', caller }
  const secured = link && (await store.selfService.secure(link, policyOf(services), event))
  if (secured?.outcome !== 'secured') throw new Problem('link_expired')
  events.announce({ ...event, userId: secured.user })
  mailBell.ring()
  return { status: 'secured' }
}
