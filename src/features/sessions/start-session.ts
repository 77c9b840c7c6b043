import type { Caller, Event } from '../../events.ts'
import { type AuthenticationLevel, passwordLevel } from '../../security/assurance.ts'
import { problemOf } from '../../security/challenge.ts'
import { deviceLife } from '../../security/device-token.ts'
import type { Services } from '../../services.ts'
import type { Account } from '../../store/accounts.ts'
import type { DeviceState } from '../../store/devices.ts'
import type { NewSession, Proof, SessionState } from '../../store/sessions.ts'
import { announceDevice, newDevice } from '../devices/new-device.ts'
import { policyOf } from '../factors/index.ts'
import { isoTime } from '../iso-time.ts'
import type { Authenticated } from './schemas.ts'

/** What it takes to start a session. */
export type SessionServices = Pick<
  Services,
  ('store' | 'events' | 'random' | 'tokens' | 'refreshTokens' | 'deviceTokens') | ('challengeRules' | 'config')
>

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
  {
    level,
    remember,
    mailboxProven = false,
    caller,
  }: { level: AuthenticationLevel; remember: boolean; mailboxProven?: boolean; caller: Caller },
): NewSession {
  return {
    id: random.uuid(),
    ...level,
    remember,
    mailbox_proven: mailboxProven,
    user_agent: caller.userAgent,
    address: caller.address,
    ...(remember ? sessionLife.remembered : sessionLife.normal),
  }
}

/** What an answer says besides its session. `recoveryCodes`: new ones, shown once. */
type SessionExtras = {
  returnTo?: string | undefined
  deviceToken?: string
  recoveryCodes?: string[] | undefined
  codesRemaining?: number | undefined
}

/** The `authenticated` answer for a session that is committed; after a login also what became of its device. */
export function describeSession(
  { tokens, refreshTokens }: Pick<Services, 'tokens' | 'refreshTokens'>,
  session: SessionState & { device?: DeviceState },
  { returnTo, deviceToken, recoveryCodes, codesRemaining }: SessionExtras = {},
): Authenticated {
  const { id, user_id: userId, generation, authenticated_at: authenticatedAt, amr, acr, device } = session
  return {
    status: 'authenticated',
    ...tokens.access({ id, userId, authenticatedAt, amr, acr }),
    refresh_token: refreshTokens.make({ sessionId: id, generation }),
    refresh_expires_in: session.refresh_expires_in,
    ...(returnTo !== undefined && { return_to: returnTo }),
    ...(device?.made &&
      deviceToken !== undefined && { device_token: deviceToken, device_expires_in: deviceLife.known }),
    ...(device?.trusted_until != null && { trusted_until: isoTime(device.trusted_until) }),
    ...(recoveryCodes !== undefined && { recovery_codes: recoveryCodes }),
    ...(codesRemaining !== undefined && { recovery_codes_remaining: codesRemaining }),
  }
}

/**
 * The password was right and nothing more is asked: the account has no second factor, or the login comes from a device
 * that it trusts (`isTrusted`: that is why). Returns null when that device is trusted no longer. Throws `invalid_credentials` if the account
 * changed meanwhile.
 */
export async function startPasswordSession(
  services: SessionServices,
  login: Proof & {
    account: Account
    rememberMe: boolean
    mailboxProven: boolean
    returnTo: string | undefined
    caller: Caller
  },
): Promise<Authenticated | null> {
  const { store, events } = services
  const { account, caller, deviceId, mailboxProven } = login
  const session = newSession(services, { level: passwordLevel, remember: login.rememberMe, mailboxProven, caller })
  const fresh = newDevice(services, { name: undefined, trust: false, caller })
  const event: Event = {
    type: 'session.started',
    outcome: session.acr,
    factor: 'password',
    userId: account.id,
    caller,
    ...(deviceId !== null && { detail: `device ${deviceId}` }),
  }
  const policy = policyOf(services)
  const started = await store.sessions.start(account, login, { session, device: fresh.device, policy, event })
  if (started.outcome === 'untrusted') return null
  if (started.outcome !== 'started') throw problemOf({ outcome: 'stale' })
  events.announce(event)
  announceDevice(services, { userId: account.id, caller }, fresh.device, started.device)
  return describeSession(services, started, { returnTo: login.returnTo, deviceToken: fresh.token })
}
