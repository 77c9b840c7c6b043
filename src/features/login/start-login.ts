import { Problem } from '../../errors.ts'
import type { Caller } from '../../events.ts'
import { factorMethods, type Method } from '../../methods.ts'
import { widestNetworkOf } from '../../security/client-address.ts'
import { canonicalEmail } from '../../security/email.ts'
import type { BegunLogin } from '../../security/login-throttle.ts'
import type { Place } from '../../security/password-hash.ts'
import type { Services } from '../../services.ts'
import type { Account } from '../../store/accounts.ts'
import { beginChallenge, requireEnrolment } from '../factors/begin-challenge.ts'
import { hasFactor, loginMethods, mailboxMethods } from '../factors/index.ts'
import {
  type Challenged,
  type ChallengeServices,
  type OpenedChallenge,
  openChallenge,
} from '../factors/open-challenge.ts'
import type { Authenticated } from '../sessions/schemas.ts'
import { type SessionServices, startPasswordSession } from '../sessions/start-session.ts'
import type { LoginAnswer } from './schemas.ts'

/** What it takes to begin a login. */
export type LoginServices = ChallengeServices &
  SessionServices &
  Pick<Services, 'loginThrottle' | 'loginFloor' | 'passwordHash' | 'loginTurns' | 'clock'>

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
 * the account exists or not. Throws `login_locked`, `rate_limited`, `invalid_credentials`, `busy`, and what openChallenge
 * and sendDue throw.
 */
export async function startLogin(services: LoginServices, attempt: LoginAttempt): Promise<LoginAnswer> {
  const email = canonicalEmail(attempt.email)
  const deviceHash = services.deviceTokens.read(attempt.deviceToken)
  // One after another, from the charge to the answer of the decision: many right logins of one client at once all get in,
  // and many wrong ones still get five evaluations. Known devices have a line of their own, which strangers cannot fill.
  const line = deviceHash?.toString('base64url') ?? email
  const cameMs = services.clock.nowMs()
  const login = await services
    .loginTurns(line, () => provePassword(services, { ...attempt, email }, deviceHash))
    .catch((error: unknown) => failedNoSooner(services, error, cameMs))
  if ('session' in login) return login.session
  const { user, challenge } = login
  if (user.purpose === 'must_enrol') {
    const { challenge_id: challengeId, expires_in: expiresIn } = challenge.opened
    return requireEnrolment(services, user, { userId: user.owner.id, challengeId, expiresIn })
  }
  return beginChallenge(services, user, challenge)
}

/** A wrong password is told when all of them are, whatever the hash took. Nobody stands in line behind this wait. */
async function failedNoSooner(
  { loginFloor }: Pick<Services, 'loginFloor'>,
  error: unknown,
  cameMs: number,
): Promise<never> {
  if (error instanceof Problem && error.code === 'invalid_credentials') await loginFloor.reached(cameMs)
  throw error
}

type ProvenLogin = { session: Authenticated } | { user: Challenged; challenge: OpenedChallenge }

async function provePassword(
  services: LoginServices,
  attempt: LoginAttempt,
  deviceHash: Buffer | null,
): Promise<ProvenLogin> {
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
  await renewHash(services, account, password, place)

  const isAsked = hasFactor(services, methodsOf(account)) && account.two_factor !== 'off'
  const isEnough = isAsked ? begun.isTrusted : !mustEnrol(account)
  const proof = { ...begun, isTrusted: isAsked }
  const session = isEnough
    ? await startPasswordSession(services, { ...proof, account, rememberMe, returnTo, caller })
    : null
  if (session !== null) return { session }
  const { known, deviceId, throttleKeys } = begun
  const asked = isAsked
    ? { purpose: 'login' as const, methods: loginMethods(services, account), provesMailbox: false }
    : askedBeforeEnrolment(services)
  const login = { known, deviceId, throttleKeys, rememberMe, returnTo, sessionId: undefined }
  const user: Challenged = { owner: account, caller, ...login, ...asked }
  return { user, challenge: await openChallenge(services, user) }
}

const methodsOf = ({ factors }: Account): Method[] => factors.map(({ method }) => method)

/** Whether an account that has nothing to be asked for has to set it up first; also one whose factors are no longer listed. */
const mustEnrol = (account: Account): boolean =>
  account.two_factor === 'required' || (account.two_factor === 'optional' && methodsOf(account).some(isFactor))

const isFactor = (method: Method): boolean => factorMethods.some((it) => it === method)

/** Whoever has bought a password is not to bind their own phone: the mailbox is proven first, where there is mail. */
function askedBeforeEnrolment(services: Pick<Services, 'config'>) {
  const methods = mailboxMethods(services)
  return methods.length > 0
    ? { purpose: 'login' as const, methods, provesMailbox: true }
    : { purpose: 'must_enrol' as const, methods, provesMailbox: false }
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
 * Replaces a hash made with old parameters, now that the password is at hand (ASVS 11.4.2). While the line for hashing
 * is full it stays for another login: this one has proven its password and is not turned away.
 */
async function renewHash(
  { passwordHash, store }: Pick<Services, 'passwordHash' | 'store'>,
  account: Account,
  password: string,
  place: Place,
): Promise<void> {
  if (!passwordHash.isOutdated(account.password_hash)) return
  const renewed = await passwordHash.hash(password, place).catch((error: unknown) => {
    if (error instanceof Problem) return null
    throw error
  })
  if (renewed !== null) await store.accounts.rehash(account.id, account.password_hash, renewed)
}
