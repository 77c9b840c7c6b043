import { Problem } from '../../errors.ts'
import type { Caller, Event } from '../../events.ts'
import { widestNetworkOf } from '../../security/client-address.ts'
import type { Services } from '../../services.ts'
import { policyOf } from '../factors/index.ts'
import { answerLogin, decideLogin, type LoginServices, type ProvenPassword } from '../login/go-on.ts'
import type { LoginAnswer } from '../login/schemas.ts'
import type { PasswordSet } from './schemas.ts'

export type SetPasswordServices = LoginServices &
  Pick<Services, 'passwordPolicy' | 'passwordHash' | 'mailLinks' | 'loginThrottle'>

export type NewPassword = {
  token: string
  password: string
  rememberMe: boolean
  returnTo: string | undefined
  deviceToken: string | undefined
  caller: Caller
}

/**
 * Sets the password of a mailed link's address, or makes its account, and goes on as a login after a right password: the second
 * factor is still asked for (SEC-115). Once the password is stored the call does not fail: where the login cannot go on, the
 * answer says only that. Throws `link_expired`, before anything is hashed, `invalid_request` (the link lives on), `busy`.
 */
export async function setPassword(
  services: SetPasswordServices,
  given: NewPassword,
): Promise<LoginAnswer | PasswordSet> {
  const { store, events, passwordHash, passwordPolicy, mailLinks, loginThrottle, deviceTokens, config } = services
  const { password, rememberMe, returnTo, caller } = given
  const link = mailLinks.read(given.token)
  const found = link === null ? null : await store.links.read(link)
  if (link === null || found?.outcome !== 'found') throw new Problem('link_expired')
  if (found.two_factor === null && config.registration === 'closed') throw new Problem('link_expired')
  const twoFactor = found.two_factor ?? config.twoFactor
  await passwordPolicy.assertGood(password, { email: found.email, twoFactor })
  const hash = await passwordHash.hash(password, { known: false, network: widestNetworkOf(caller.address) })

  const event: Event = { type: 'password.changed', outcome: 'by link', factor: 'password', caller }
  const identifiers = loginThrottle.identifyAll(found.email)
  const made = { passwordHash: hash, twoFactor }
  const device = deviceTokens.read(given.deviceToken)
  const set = await store.passwords.set(link, made, identifiers, device, policyOf(services), event)
  if (set.outcome !== 'set') throw new Problem('link_expired')
  events.announce({
    ...event,
    userId: set.account.id,
    ...(set.made && { type: 'user.created', outcome: 'registered' }),
  })
  services.mailBell.ring()
  const login = { account: set.account, known: set.device !== null, deviceId: set.device, rememberMe, returnTo, caller }
  return await goOn(services, { ...login, mailboxProven: true, isTrusted: false, throttleKeys: [] })
}

/** Goes on with the login. The password is stored: whatever keeps it from going on is no failure of the call. */
async function goOn(services: SetPasswordServices, proven: ProvenPassword): Promise<LoginAnswer | PasswordSet> {
  try {
    return await answerLogin(services, await decideLogin(services, proven))
  } catch (error) {
    if (!(error instanceof Problem))
      services.log.warn({ name: (error as Error).name }, 'a login after a new password failed')
    const retryAfter = error instanceof Problem ? error.extras.retryAfter : undefined
    return { status: 'password_set', ...(retryAfter != null && { retry_after: retryAfter }) }
  }
}
