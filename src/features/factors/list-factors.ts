import { Problem } from '../../errors.ts'
import type { Services } from '../../services.ts'
import type { StoredFactor } from '../../store/factors.ts'
import type { LiveSession } from '../../store/sessions.ts'
import { isoTime } from '../iso-time.ts'
import type { FactorServices } from './factor.ts'
import { enrollable, factorOf, hasFactor } from './index.ts'
import type { FactorList, FactorView } from './schemas.ts'

/** A factor as its owner sees it. */
export function viewOf(services: FactorServices, factor: StoredFactor): FactorView {
  const { id, method, name, created_at, last_used_at } = factor
  return {
    ...{ id, method, name, ...factorOf(method).view(services, factor) },
    created_at: isoTime(created_at),
    last_used_at: last_used_at === null ? null : isoTime(last_used_at),
  }
}

/** What the user can finish a login with, and what more can be set up. Throws `invalid_token`. */
export async function listFactors(
  services: FactorServices & Pick<Services, 'store'>,
  session: LiveSession,
): Promise<FactorList> {
  const list = await services.store.factors.list(session.user_id)
  if (list === null) throw new Problem('invalid_token')
  const { factors, recovery_codes: codes, user_handle } = list
  const views = factors.map((it) => viewOf(services, it))
  const recovery: FactorView[] = codes
    ? [
        {
          ...{ id: 'recovery_code', method: 'recovery_code', name: null, remaining: codes.remaining },
          created_at: isoTime(codes.created_at),
          last_used_at: codes.last_used_at === null ? null : isoTime(codes.last_used_at),
        },
      ]
    : []
  const mayRenew = hasFactor(
    services,
    factors.map(({ method }) => method),
  )
  return {
    factors: [...views, ...recovery],
    available: [...enrollable(services), ...(mayRenew ? (['recovery_code'] as const) : [])],
    passkey: { rp_id: services.config.passkey.rpId, user_handle },
  }
}
