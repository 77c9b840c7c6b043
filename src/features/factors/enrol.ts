import { invalidField, Problem } from '../../errors.ts'
import type { Caller, Event } from '../../events.ts'
import type { Method } from '../../methods.ts'
import { problemOf } from '../../security/challenge.ts'
import type { ChallengeClaims } from '../../security/claims.ts'
import type { FactorOwner } from '../../store/accounts.ts'
import type { Opened } from '../../store/challenges.ts'
import type { EnrolmentParent } from '../../store/factors.ts'
import type { LiveSession } from '../../store/sessions.ts'
import { announceSpend } from '../sms-codes/send-code.ts'
import { freshNoMore } from './assert-fresh.ts'
import { beginChallenge } from './begin-challenge.ts'
import { candidateOf } from './candidates.ts'
import type { RecoveryCodesIssued, TwoFactorRequired } from './challenge-schemas.ts'
import type { ChallengeContext, SetUpInput } from './factor.ts'
import { enrollable, factorOf, hasFactor, mailboxMethods, policyOf } from './index.ts'
import { type ChallengeServices, openChallenge, refused } from './open-challenge.ts'
import { ownerOf } from './owner-of.ts'
import { readChallenge } from './read-challenge.ts'
import { noFactorYet, renewRecoveryCodes } from './renew-recovery-codes.ts'
import { sealSetUp } from './set-up.ts'

/** Who sets up a factor: a session, or a login that waits for the first one. */
export type Enroller = { session: LiveSession } | { pending: ChallengeClaims }

export type Enrolment = SetUpInput & { method: Method; caller: Caller }

/** The factor that is to be, and what the answer to its challenge carries on. */
type Begun = {
  owner: FactorOwner
  parent: EnrolmentParent
  sessionId: string | undefined
  rememberMe: boolean
  returnTo: string | undefined
}

/**
 * Begins to set up a factor. It counts from its own first proof on, at `POST /login/2fa`. For the first factor of an account
 * a session, which is fresh, has to show first that it reads the mailbox, unless it began with a link from there. Recovery
 * codes are made at once. Throws `invalid_request`, `invalid_token`, `insufficient_user_authentication`, `conflict`,
 * `rate_limited`, and what keeps a text from being sent.
 */
export async function enrol(
  services: ChallengeServices,
  enroller: Enroller,
  enrolment: Enrolment,
): Promise<TwoFactorRequired | RecoveryCodesIssued> {
  const { method, caller } = enrolment
  if ('pending' in enroller) {
    const { pending } = enroller
    const { context } = await readChallenge(services, pending, caller)
    if (method === 'recovery_code') throw noFactorYet()
    return begin(services, enrolment, {
      owner: context.owner,
      parent: { session: null, challenge: pending.cid },
      sessionId: pending.sid,
      rememberMe: pending.remember_me === true,
      returnTo: pending.return_to,
    })
  }
  const { session } = enroller
  if (method === 'recovery_code') return renewRecoveryCodes(services, { session, caller })
  const owner = await ownerOf(services, session)
  if (!hasFactor(services, session.methods) && !session.mailbox_proven && mailboxMethods(services).length > 0) {
    assertEnrollable(services, enrolment)
    // What is wrong with what was sent is told before a mail goes out for it.
    factorOf(method).setUp?.(services, enrolment)
    return proveMailbox(services, owner, session, caller)
  }
  const parent = { session: session.id, epoch: session.epoch, challenge: null }
  return begin(services, enrolment, { owner, parent, sessionId: session.id, rememberMe: false, returnTo: undefined })
}

function assertEnrollable(services: ChallengeServices, { method }: Enrolment): void {
  if (!enrollable(services).includes(method)) throw invalidField('/method', 'cannot be set up here')
}

/** Whoever has bought a password and a session is not to bind their own phone. */
async function proveMailbox(services: ChallengeServices, owner: FactorOwner, session: LiveSession, caller: Caller) {
  const user = {
    ...{ owner, purpose: 'step_up' as const, methods: mailboxMethods(services), provesMailbox: true, caller },
    ...{ known: true, deviceId: session.device_id, throttleKeys: null, sessionId: session.id },
    ...{ rememberMe: false, returnTo: undefined },
  }
  return beginChallenge(services, user, await openChallenge(services, user))
}

async function begin(services: ChallengeServices, enrolment: Enrolment, begun: Begun) {
  assertEnrollable(services, enrolment)
  const { store, events, random } = services
  const { method, caller } = enrolment
  const { owner, parent } = begun
  const own = factorOf(method).setUp?.(services, enrolment) ?? {}
  const setUp = { id: random.uuid(), method, name: enrolment.name ?? null, ...own }
  const challengeId = random.uuid()
  const context: ChallengeContext = { challengeId, purpose: 'enrol', owner, setUp, caller }
  const candidate = candidateOf(services, context, method)
  const challenge = { id: challengeId, setup: sealSetUp(services, owner.id, challengeId, setUp) }
  const event: Event = { type: 'factor.enrolment', outcome: 'begun', factor: method, userId: owner.id, caller }
  const opened = await store.factors.enrol(owner.id, parent, challenge, candidate, policyOf(services), event)
  if (opened.outcome === 'stale') throw freshNoMore()
  if (opened.outcome === 'conflict') throw new Problem('conflict', { detail: 'No more of this kind can be set up.' })
  if (!('challenge_id' in opened)) {
    if (opened.outcome === 'too_many' || opened.outcome === 'invalid') throw problemOf(opened)
    throw await refused(services, context, [candidate], opened)
  }
  events.announce(event)
  announceSpend(events, opened.spend)
  return beginChallenge(services, begun, { context, opened: opened as Opened, methods: [method] })
}
