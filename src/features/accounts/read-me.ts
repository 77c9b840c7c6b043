import { usableMethods } from '../../methods.ts'
import type { Services } from '../../services.ts'
import type { LiveSession } from '../../store/sessions.ts'
import type { Me } from './schemas.ts'

/** The account behind a session, and how the session was authenticated. */
export function readMe({ phoneNumbers, config }: Pick<Services, 'phoneNumbers' | 'config'>, session: LiveSession): Me {
  const { email, email_confirmed, locale, phone, two_factor, amr, acr } = session
  return {
    id: session.user_id,
    email,
    email_confirmed,
    locale,
    phone: phone === null ? null : phoneNumbers.mask(phone),
    two_factor,
    methods: usableMethods(session.methods, email_confirmed, config.methods),
    amr,
    acr,
    auth_time: session.authenticated_at,
  }
}
