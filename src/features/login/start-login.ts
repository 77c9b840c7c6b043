import { Problem } from '../../errors.ts'
import type { Caller } from '../../events.ts'
import { widestNetworkOf } from '../../security/client-address.ts'
import { canonicalEmail } from '../../security/email.ts'
import type { BegunLogin } from '../../security/login-throttle.ts'
import type { Place } from '../../security/password-hash.ts'
import type { Services } from '../../services.ts'
import type { Account } from '../../store/accounts.ts'
import { answerLogin, decideLogin, type LoginServices, type ProvenPassword } from './go-on.ts'
import type { LoginAnswer } from './schemas.ts'

/** What it takes to begin a login. */
export type FirstStepServices = LoginServices &
  Pick<Services, 'loginThrottle' | 'loginFloor' | 'passwordHash' | 'loginTurns'>

export type LoginAttempt = {
  email: string
  password: string
  rememberMe: boolean
  returnTo: string | undefined
  deviceToken: string | undefined
  /** Told once the password has been found right. */
  onProven: () => Promise<void>
  caller: Caller
}

/**
 * The first step: e-mail and password. Until the password is proven every failure looks and costs the same, whether
 * the account exists or not. Throws `login_locked`, `rate_limited`, `invalid_credentials`, `password_reset_required`, `busy`,
 * and what decideLogin and answerLogin throw.
 */
export async function startLogin(services: FirstStepServices, attempt: LoginAttempt): Promise<LoginAnswer> {
  const email = canonicalEmail(attempt.email)
  const deviceHash = services.deviceTokens.read(attempt.deviceToken)
  // One after another, from the charge to the answer of the decision: many right logins of one client at once all get in,
  // and many wrong ones still get five evaluations. Known devices have a line of their own, which strangers cannot fill.
  const line = deviceHash?.toString('base64url') ?? email
  const floorReached = services.loginFloor.begin()
  const decided = await services
    .loginTurns(line, async () =>
      decideLogin(services, await provePassword(services, { ...attempt, email }, deviceHash)),
    )
    .catch((error: unknown) => failedNoSooner(error, floorReached))
  return answerLogin(services, decided)
}

/** A wrong password is told when all of them are, whatever the hash took. Nobody stands in line behind this wait. */
async function failedNoSooner(error: unknown, floorReached: () => Promise<void>): Promise<never> {
  if (error instanceof Problem && error.code === 'invalid_credentials') await floorReached()
  throw error
}

async function provePassword(
  services: FirstStepServices,
  attempt: LoginAttempt,
  deviceHash: Buffer | null,
): Promise<ProvenPassword> {
  const { loginThrottle, challengeRules, events } = services
  const { email, password, rememberMe, returnTo, caller } = attempt
  const begun = await loginThrottle.begin(email, deviceHash, challengeRules.textBudget(caller.address), () =>
    events.announce({ type: 'login.locked', outcome: 'refused', factor: 'password', caller }),
  )
  const place: Place = { known: begun.known, network: widestNetworkOf(caller.address) }
  const account = await verifyPassword(services, begun, password, place)
  if (account === null) {
    const userId = begun.account === null ? {} : { userId: begun.account.id }
    const failure = { type: 'login.failed', outcome: 'invalid_credentials', factor: 'password', caller } as const
    await loginThrottle.fail(begun, { ...failure, ...userId })
    events.announce({ ...failure, ...userId })
    throw new Problem('invalid_credentials')
  }
  await attempt.onProven()
  if (account.password_state === 'reset_required') {
    await loginThrottle.giveBack(begun)
    throw new Problem('password_reset_required')
  }
  await renewHash(services, account, password, place)
  return { ...begun, account, rememberMe, returnTo, caller, mailboxProven: false }
}

/** The account, if the password is its own and it is not disabled. The same work without an account. Throws `busy`. */
async function verifyPassword(
  { passwordHash, loginThrottle }: Pick<Services, 'passwordHash' | 'loginThrottle'>,
  begun: BegunLogin,
  password: string,
  place: Place,
): Promise<Account | null> {
  const { account } = begun
  try {
    const isRight = await passwordHash.verify(account?.password_hash ?? null, password, place)
    return isRight && account !== null && !account.disabled ? account : null
  } catch (error) {
    await loginThrottle.giveBack(begun)
    throw error
  }
}

/**
 * Replaces a hash made with old parameters or by another system, now that the password is at hand (ASVS 11.4.2). While
 * the line for hashing is full it stays for another login: this one has proven its password and is not turned away.
 */
async function renewHash(
  { passwordHash, store }: Pick<Services, 'passwordHash' | 'store'>,
  account: Account,
  password: string,
  place: Place,
): Promise<void> {
  const isImported = account.password_state === 'imported'
  if (account.password_hash === null || !(isImported || passwordHash.isOutdated(account.password_hash))) return
  const renewed = await passwordHash.hash(password, place).catch((error: unknown) => {
    if (error instanceof Problem) return null
    throw error
  })
  if (renewed !== null) await store.accounts.rehash(account.id, account.password_hash, renewed)
}
