import type { Caller, Event } from '../../events.ts'
import { type AuthenticationLevel, passwordLevel } from '../../security/assurance.ts'
import { problemOf } from '../../security/challenge.ts'
import type { Services } from '../../services.ts'
import type { Account } from '../../store/accounts.ts'
import type { NewSession, SessionState } from '../../store/sessions.ts'
import type { Authenticated } from './schemas.ts'

/**
 * How long a session may live in all and rest in between, in seconds: 12 hours, or with `remember_me` 30 days of which
 * no 14 in a row may pass without a refresh (contract, section 3).
 */
export const sessionLife = {
  normal: { ttl: 12 * 3_600, idle_ttl: 12 * 3_600 },
  remembered: { ttl: 30 * 86_400, idle_ttl: 14 * 86_400 },
}

/** A session that is about to be stored. */
export function newSession(
  { random }: Pick<Services, 'random'>,
  { level, remember, caller }: { level: AuthenticationLevel; remember: boolean; caller: Caller },
): NewSession {
  return {
    id: random.uuid(),
    ...level,
    remember,
    user_agent: caller.userAgent,
    address: caller.address,
    ...(remember ? sessionLife.remembered : sessionLife.normal),
  }
}

/** The `authenticated` answer for a session that is committed. */
export function describeSession(
  { tokens, refreshTokens }: Pick<Services, 'tokens' | 'refreshTokens'>,
  session: SessionState,
  returnTo?: string,
): Authenticated {
  const { id, generation } = session
  return {
    status: 'authenticated',
    ...tokens.access({
      id,
      userId: session.user_id,
      authenticatedAt: session.authenticated_at,
      amr: session.amr,
      acr: session.acr,
    }),
    refresh_token: refreshTokens.make({ sessionId: id, generation }),
    refresh_expires_in: session.refresh_expires_in,
    ...(returnTo !== undefined && { return_to: returnTo }),
  }
}

/**
 * The password was right and nothing more is asked: the account has no second factor, or the login comes from a device
 * that it trusts. Returns null when that device is trusted no longer. Throws `invalid_credentials` if the account
 * changed meanwhile.
 */
export async function startPasswordSession(
  services: Pick<Services, 'store' | 'events' | 'random' | 'tokens' | 'refreshTokens'>,
  login: {
    account: Account
    /** The counter that the account's failed passwords are kept under; null when the device's own was charged. */
    identifier: Buffer | null
    deviceId: string | null
    rememberMe: boolean
    returnTo: string | undefined
    caller: Caller
  },
): Promise<Authenticated | null> {
  const { store, events } = services
  const { account, identifier, deviceId, caller } = login
  const session = newSession(services, { level: passwordLevel, remember: login.rememberMe, caller })
  const event: Event = {
    type: 'login.succeeded',
    outcome: session.acr,
    factor: 'password',
    userId: account.id,
    caller,
    ...(deviceId !== null && { detail: `device ${deviceId}` }),
  }
  const started = await store.sessions.start(account, { identifier, deviceId }, session, event)
  if (started.outcome === 'untrusted') return null
  if (started.outcome !== 'started') throw problemOf({ outcome: 'stale' })
  events.announce(event)
  return describeSession(services, started, login.returnTo)
}
