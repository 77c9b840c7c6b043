import { usableMethods } from '../../../methods.ts'
import type { Services } from '../../../services.ts'
import type { UserView } from '../../../store/admin.ts'
import { isoTime } from '../../iso-time.ts'
import type { ClientCall } from './call.ts'
import type { User } from './schemas.ts'

type ViewServices = Pick<Services, 'phoneNumbers' | 'config'>

/** A phone number as this client may see it. */
export const shownPhone = ({ phoneNumbers }: ViewServices, phone: string, { scopes }: ClientCall): string =>
  scopes.includes('users:contact') ? phone : phoneNumbers.mask(phone)

/** A user as this client may see it. */
export function viewOf(services: ViewServices, user: UserView, call: ClientCall): User {
  const { id, external_id, email, email_confirmed, phone, locale, status, two_factor, methods, password } = user
  return {
    ...{ id, external_id, email, email_confirmed },
    phone: phone === null ? null : shownPhone(services, phone, call),
    ...{ locale, status, two_factor },
    methods: usableMethods(methods, email_confirmed, services.config.methods),
    password,
    created_at: isoTime(user.created_at),
    last_login_at: timeOrNull(user.last_login_at),
  }
}

export const timeOrNull = (seconds: number | null): string | null => (seconds === null ? null : isoTime(seconds))
