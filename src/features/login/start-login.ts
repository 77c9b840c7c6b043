import { Problem } from '../../errors.ts'
import type { Caller } from '../../events.ts'
import { canonicalEmail } from '../../security/email.ts'
import type { Services } from '../../services.ts'
import type { Account } from '../../store/accounts.ts'
import { startPasswordSession } from '../sessions/start-session.ts'
import { openChallenge } from './open-challenge.ts'
import { chargePassword, type PasswordBudget } from './password-budget.ts'
import type { LoginAnswer } from './schemas.ts'

export type LoginAttempt = {
  email: string
  password: string
  rememberMe: boolean
  returnTo: string | undefined
  deviceToken: string | undefined
  caller: Caller
}

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
    | 'refreshTokens'
    | 'config'
    | 'oneTimeCodes'
    | 'challengeRules'
    | 'sms'
    | 'phoneNumbers'
    | 'background'
  >,
  attempt: LoginAttempt,
): Promise<LoginAnswer> {
  const { passwordHash, store } = services
  const { password, deviceToken, rememberMe, returnTo, caller } = attempt
  const email = canonicalEmail(attempt.email)

  const budget = await chargePassword(services, { email, deviceToken, caller })
  const account = await store.accounts.findByEmail(email)
  const isRight = await verifyPassword(passwordHash, budget, account, password)
  if (account === null || account.disabled || !isRight) {
    const userId = account === null ? {} : { userId: account.id }
    await budget.fail({ type: 'login.failed', outcome: 'invalid_credentials', factor: 'password', caller, ...userId })
    throw new Problem('invalid_credentials')
  }
  await renewHash(services, account, password)

  const proven = { account, identifier: budget.identifier, deviceId: budget.deviceId, rememberMe, returnTo, caller }
  const isEnough = account.twoFactor === 'off' || budget.deviceId !== null
  const session = isEnough ? await startPasswordSession(services, proven) : null
  return session ?? openChallenge(services, { ...proven, purpose: 'login' })
}

async function verifyPassword(
  passwordHash: Services['passwordHash'],
  budget: PasswordBudget,
  account: Account | null,
  password: string,
): Promise<boolean> {
  try {
    return await passwordHash.verify(account?.passwordHash ?? null, password)
  } catch (error) {
    await budget.release()
    throw error
  }
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
