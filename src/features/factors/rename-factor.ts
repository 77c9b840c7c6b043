import { Problem } from '../../errors.ts'
import type { LiveSession } from '../../store/sessions.ts'
import type { FactorServices } from './factor.ts'
import { viewOf } from './list-factors.ts'
import type { FactorView } from './schemas.ts'

/** Names a factor anew; the factor as it is then. Throws `not_found` if the user has none with this id. */
export async function renameFactor(
  services: FactorServices,
  { session, factorId, name }: { session: LiveSession; factorId: string; name: string },
): Promise<FactorView> {
  const renamed = await services.store.factors.rename(session.user_id, factorId, name)
  if (renamed === null) throw new Problem('not_found')
  return viewOf(services, renamed)
}
