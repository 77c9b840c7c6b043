import { invalidField, Problem } from '../../errors.ts'
import type { Caller, Event } from '../../events.ts'
import type { Method } from '../../methods.ts'
import { passwordLevel } from '../../security/assurance.ts'
import type { Services } from '../../services.ts'
import type { LiveSession } from '../../store/sessions.ts'
import { beginChallenge } from '../factors/begin-challenge.ts'
import type { TwoFactorRequired } from '../factors/challenge-schemas.ts'
import { policyOf, stepUpMethods } from '../factors/index.ts'
import { type ChallengeServices, openChallenge } from '../factors/open-challenge.ts'
import { ownerOf } from '../factors/owner-of.ts'
import type { Authenticated } from '../sessions/schemas.ts'
import { describeSession, type SessionServices } from '../sessions/start-session.ts'
import { assertPassword } from './assert-password.ts'

export type StepUpServices = ChallengeServices & SessionServices & Pick<Services, 'passwordHash' | 'tryTurns'>

export type StepUp = { method: Method | undefined; password: string | undefined; caller: Caller }

/**
 * A fresh proof of somebody who is signed in (RFC 9470): it gives the same session a new `auth_time` and the level of that
 * proof. A session is known. An account without a factor proves its password at once. Throws `invalid_request`,
 * `invalid_password`, `busy`, and what openChallenge and sendDue throw.
 */
export async function stepUp(
  services: StepUpServices,
  session: LiveSession,
  { method, password, caller }: StepUp,
): Promise<TwoFactorRequired | Authenticated> {
  const owner = await ownerOf(services, session)
  const methods = stepUpMethods(services, owner)
  if (methods.length === 0) {
    if (method !== undefined) throw invalidField('/method', 'is not one that this account has')
    if (password === undefined) throw invalidField('/password', 'is what this account proves itself with')
    return services.tryTurns(session.id, () => provePassword(services, session, { password, caller }))
  }
  if (method !== undefined && !methods.includes(method))
    throw invalidField('/method', 'is not one that this account has')
  const user = {
    ...{ owner, purpose: 'step_up' as const, methods: method === undefined ? methods : [method], provesMailbox: false },
    ...{ caller, known: true, deviceId: session.device_id, throttleKeys: null, sessionId: session.id },
    ...{ rememberMe: false, returnTo: undefined },
  }
  return beginChallenge(services, user, await openChallenge(services, user))
}

async function provePassword(
  services: StepUpServices,
  session: LiveSession,
  given: { password: string; caller: Caller },
): Promise<Authenticated> {
  const { store, events } = services
  const account = await assertPassword(services, session, given)
  const about = { factor: 'password' as const, userId: account.id, caller: given.caller }
  const event: Event = { type: 'session.raised', outcome: passwordLevel.acr, ...about }
  const raised = await store.sessions.raise(session, passwordLevel, policyOf(services), event)
  if (raised.outcome !== 'raised') throw new Problem('invalid_token')
  events.announce(event)
  return describeSession(services, raised)
}
