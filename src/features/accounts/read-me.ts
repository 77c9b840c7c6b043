import type { Services } from '../../services.ts'
import type { LiveSession } from '../../store/sessions.ts'
import type { Me } from './schemas.ts'

/** The account behind a session, and how the session was authenticated. */
export function readMe({ phoneNumbers }: Pick<Services, 'phoneNumbers'>, session: LiveSession): Me {
  return {
    id: session.user_id,
    email: session.email,
    phone: phoneNumbers.mask(session.phone),
    two_factor_enabled: session.two_factor !== 'off',
    amr: session.amr,
    acr: session.acr,
    auth_time: session.authenticated_at,
  }
}
