import type { Services } from '../../services.ts'
import type { LiveSession } from '../../store/sessions.ts'
import type { Me } from './schemas.ts'

/** The account behind a session, and how the session was authenticated. */
export function readMe({ phoneNumbers }: Pick<Services, 'phoneNumbers'>, session: LiveSession): Me {
  return {
    id: session.userId,
    email: session.email,
    phone: phoneNumbers.mask(session.phone),
    two_factor_enabled: session.twoFactor !== 'off',
    amr: session.amr,
    acr: session.acr,
    auth_time: Math.floor(session.authenticatedAt.getTime() / 1_000),
  }
}
