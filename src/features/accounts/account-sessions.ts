import type { Services } from '../../services.ts'
import { listSessions } from '../sessions/list-sessions.ts'
import { findUser } from './whom.ts'

/** The live sessions of a user, for operators. Throws `invalid_request`, `not_found`. */
export async function accountSessions(services: Pick<Services, 'store'>, email: string) {
  const { id: userId } = await findUser(services, { email })
  return listSessions(services, { userId })
}
