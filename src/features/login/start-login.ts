import { Problem } from '../../errors.ts'
import type { Caller, Event } from '../../events.ts'
import { canonicalEmail } from '../../security/email.ts'
import type { Services } from '../../services.ts'
import type { Account } from '../../store/accounts.ts'
import { startPasswordSession } from '../sessions/start-session.ts'
import { openChallenge } from './open-challenge.ts'
import type { LoginAnswer } from './schemas.ts'

export type LoginAttempt = {
  email: string
  password: string
  rememberMe: boolean
  returnTo: string | undefined
  caller: Caller
}

/** An account whose password was just proven, and the counter that its failures are kept under. */
export type ProvenLogin = LoginAttempt & { account: Account; identifier: Buffer }

/**
 * The first step: e-mail and password. Until the password is proven every failure looks and costs the same, whether
 * the account exists or not. Throws `login_locked`, `invalid_credentials`, `busy`, and what openChallenge throws.
 */
export async function startLogin(
  services: Pick<
    Services,
    | 'loginThrottle'
    | 'passwordHash'
    | 'store'
    | 'events'
    | 'random'
    | 'tokens'
    | 'config'
    | 'oneTimeCodes'
    | 'challengeRules'
    | 'sms'
    | 'phoneNumbers'
    | 'background'
  >,
  attempt: LoginAttempt,
): Promise<LoginAnswer> {
  const { loginThrottle, store } = services
  const email = canonicalEmail(attempt.email)
  const identifier = loginThrottle.identify(email)

  await charge(services, identifier, attempt.caller)
  const account = await store.accounts.findByEmail(email)
  const isRight = await verifyPassword(services, identifier, account, attempt.password)
  if (account === null || account.disabled || !isRight) {
    await fail(services, identifier, account, attempt.caller)
    throw new Problem('invalid_credentials')
  }
  await renewHash(services, account, attempt.password)

  const proven = { ...attempt, account, identifier }
  return account.twoFactor === 'off' ? startPasswordSession(services, proven) : openChallenge(services, proven)
}

async function charge(
  { loginThrottle, events }: Pick<Services, 'loginThrottle' | 'events'>,
  identifier: Buffer,
  caller: Caller,
): Promise<void> {
  try {
    await loginThrottle.charge(identifier)
  } catch (error) {
    if (error instanceof Problem) {
      events.announce({ type: 'login.locked', outcome: 'refused', factor: 'password', identifier, caller })
    }
    throw error
  }
}

async function verifyPassword(
  { passwordHash, loginThrottle }: Pick<Services, 'passwordHash' | 'loginThrottle'>,
  identifier: Buffer,
  account: Account | null,
  password: string,
): Promise<boolean> {
  try {
    return await passwordHash.verify(account?.passwordHash ?? null, password)
  } catch (error) {
    await loginThrottle.release(identifier)
    throw error
  }
}

async function fail(
  { loginThrottle, events }: Pick<Services, 'loginThrottle' | 'events'>,
  identifier: Buffer,
  account: Account | null,
  caller: Caller,
): Promise<void> {
  const event: Event = {
    type: 'login.failed',
    outcome: 'invalid_credentials',
    factor: 'password',
    identifier,
    caller,
    ...(account && { userId: account.id }),
  }
  await loginThrottle.fail(identifier, event)
  events.announce(event)
}

/**
 * Replaces a hash made with old parameters, now that the password is at hand (ASVS 11.4.2). While the line for hashing
 * is full it stays for another login: this one has proven its password and is not turned away.
 */
async function renewHash(
  { passwordHash, store }: Pick<Services, 'passwordHash' | 'store'>,
  account: Account,
  password: string,
): Promise<void> {
  if (!passwordHash.isOutdated(account.passwordHash)) return
  const renewed = await passwordHash.hash(password).catch((error: unknown) => {
    if (error instanceof Problem) return null
    throw error
  })
  if (renewed !== null) await store.accounts.rehash(account.id, account.passwordHash, renewed)
}
