import type { Caller, Event } from '../../events.ts'
import { type AuthenticationLevel, passwordLevel } from '../../security/assurance.ts'
import { problemOf } from '../../security/challenge.ts'
import type { Services } from '../../services.ts'
import type { Account } from '../../store/accounts.ts'
import type { NewSession } from '../../store/sessions.ts'
import type { Authenticated } from './schemas.ts'

/** How long a session may live in all, in seconds: 12 hours, or 30 days with `remember_me`. */
const sessionLife = { normal: 12 * 3_600, remembered: 30 * 86_400 }

/** A session that is about to be stored. */
export function newSession(
  { random }: Pick<Services, 'random'>,
  { level, remember, caller }: { level: AuthenticationLevel; remember: boolean; caller: Caller },
): NewSession {
  return {
    id: random.uuid(),
    amr: level.amr,
    acr: level.acr,
    remember,
    user_agent: caller.userAgent,
    address: caller.address,
    ttl: remember ? sessionLife.remembered : sessionLife.normal,
  }
}

/** The `authenticated` answer for a session that is committed. */
export function describeSession(
  { tokens }: Pick<Services, 'tokens'>,
  started: { userId: string; session: NewSession; authenticatedAt: number; returnTo: string | undefined },
): Authenticated {
  const { userId, session, authenticatedAt, returnTo } = started
  return {
    status: 'authenticated',
    ...tokens.access({ id: session.id, userId, authenticatedAt, amr: session.amr, acr: session.acr }),
    ...(returnTo !== undefined && { return_to: returnTo }),
  }
}

/** The password was right and the account asks for nothing more. Throws `invalid_credentials` if it changed meanwhile. */
export async function startPasswordSession(
  services: Pick<Services, 'store' | 'events' | 'random' | 'tokens'>,
  login: {
    account: Account
    /** The counter that the account's failed passwords are kept under. */
    identifier: Buffer
    rememberMe: boolean
    returnTo: string | undefined
    caller: Caller
  },
): Promise<Authenticated> {
  const { store, events } = services
  const { account, identifier, caller } = login
  const session = newSession(services, { level: passwordLevel, remember: login.rememberMe, caller })
  const event: Event = {
    type: 'login.succeeded',
    outcome: session.acr,
    factor: 'password',
    userId: account.id,
    caller,
  }
  const started = await store.sessions.start(account, identifier, session, event)
  if (started.outcome !== 'started') throw problemOf(started)
  events.announce(event)
  return describeSession(services, {
    userId: account.id,
    session,
    authenticatedAt: started.authenticated_at,
    returnTo: login.returnTo,
  })
}
