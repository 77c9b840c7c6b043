import type { Caller } from '../../events.ts'
import { factorMethods, type Method } from '../../methods.ts'
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

/** What it takes to go on after a right password. */
export type LoginServices = ChallengeServices & SessionServices

/**
 * Somebody who has proven the password, or has set it by a mailed link (`mailboxProven`). `throttleKeys`: the counters that were
 * charged for it; `isTrusted`: the device skips the second factor.
 */
export type ProvenPassword = {
  account: Account
  known: boolean
  deviceId: string | null
  isTrusted: boolean
  throttleKeys: Buffer[]
  rememberMe: boolean
  returnTo: string | undefined
  mailboxProven: boolean
  caller: Caller
}

/** What was decided of a login: its session, or the challenge that it goes on with. */
export type DecidedLogin = { session: Authenticated } | { user: Challenged; challenge: OpenedChallenge }

/**
 * Who is asked for what (contract, section 2): decides and commits, and sends nothing yet. Throws `invalid_credentials` if the
 * account has changed meanwhile, and what openChallenge throws.
 */
export async function decideLogin(services: LoginServices, proven: ProvenPassword): Promise<DecidedLogin> {
  const { account, caller, known, deviceId, throttleKeys, rememberMe, returnTo } = proven
  const isAsked = hasFactor(services, methodsOf(account)) && account.two_factor !== 'off'
  if (isAsked ? proven.isTrusted : !mustEnrol(account)) {
    // Where the device is trusted no longer there is none, and the factor is asked for.
    const session = await startPasswordSession(services, { ...proven, isTrusted: isAsked })
    if (session !== null) return { session }
  }
  const asked = isAsked
    ? { purpose: 'login' as const, methods: loginMethods(services, account), provesMailbox: false }
    : askedBeforeEnrolment(services, proven)
  const login = { known, deviceId, throttleKeys, rememberMe, returnTo, sessionId: undefined }
  const user: Challenged = { owner: account, caller, ...login, ...asked }
  return { user, challenge: await openChallenge(services, user) }
}

/** Sends what is due, and makes the answer. Throws what sendDue throws. */
export async function answerLogin(services: LoginServices, decided: DecidedLogin): Promise<LoginAnswer> {
  if ('session' in decided) return decided.session
  const { user, challenge } = decided
  if (user.purpose === 'must_enrol') {
    const { challenge_id: challengeId, expires_in: expiresIn } = challenge.opened
    return requireEnrolment(services, user, { userId: user.owner.id, challengeId, expiresIn })
  }
  return beginChallenge(services, user, challenge)
}

const methodsOf = ({ factors }: Account): Method[] => factors.map(({ method }) => method)

/** Whether an account that has nothing to be asked for has to set it up first; also one whose factors are no longer listed. */
const mustEnrol = (account: Account): boolean =>
  account.two_factor === 'required' || (account.two_factor === 'optional' && methodsOf(account).some(isFactor))

const isFactor = (method: Method): boolean => factorMethods.some((it) => it === method)

/** Whoever has bought a password is not to bind their own phone: the mailbox is proven first, where there is mail. */
function askedBeforeEnrolment(services: Pick<Services, 'config'>, { mailboxProven }: ProvenPassword) {
  const methods = mailboxProven ? [] : mailboxMethods(services)
  return methods.length > 0
    ? { purpose: 'login' as const, methods, provesMailbox: true }
    : { purpose: 'must_enrol' as const, methods, provesMailbox: false }
}
