import { Problem } from '../../errors.ts'
import type { Caller, Event } from '../../events.ts'
import type { Services } from '../../services.ts'
import type { LiveSession } from '../../store/sessions.ts'
import { freshNoMore } from './assert-fresh.ts'
import type { RecoveryCodesIssued } from './challenge-schemas.ts'
import { policyOf } from './index.ts'

export const noFactorYet = (): Problem =>
  new Problem('conflict', { detail: 'Recovery codes go with a passkey, an authenticator app or a phone only.' })

/**
 * Ten new recovery codes in place of all that are there. Throws `conflict` without a factor, `invalid_token`,
 * `insufficient_user_authentication`.
 */
export async function renewRecoveryCodes(
  services: Pick<Services, 'store' | 'events' | 'recoveryCodes' | 'challengeRules' | 'config' | 'mailBell'>,
  { session, caller }: { session: LiveSession; caller: Caller },
): Promise<RecoveryCodesIssued> {
  const { store, events, recoveryCodes } = services
  const { codes, macs } = recoveryCodes.make(session.user_id)
  const event: Event = {
    ...{ type: 'recovery_codes.renewed', outcome: 'renewed', factor: 'recovery_code' },
    ...{ userId: session.user_id, caller },
  }
  const { outcome } = await store.factors.renewRecoveryCodes(session, macs, policyOf(services), event)
  if (outcome === 'ended') throw new Problem('invalid_token')
  if (outcome === 'stale') throw freshNoMore()
  if (outcome === 'conflict') throw noFactorYet()
  events.announce(event)
  services.mailBell.ring()
  return { status: 'recovery_codes', recovery_codes: codes }
}
