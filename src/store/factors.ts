import { auditRow, type Event, type EventType } from '../events.ts'
import type { Method } from '../methods.ts'
import type { Candidate, ChallengePolicy } from './candidates.ts'
import type { ChallengeState, Due, Refusal } from './challenges.ts'
import type { Database } from './client.ts'
import type { DeviceState } from './devices.ts'
import { type LiveSession, loginRows, type NewLogin, type SessionState } from './sessions.ts'

/** A confirmed factor; moments in seconds since 1970, `credential_id` in base64url. `data` is its method's own. */
export type StoredFactor = {
  id: string
  method: Method
  name: string | null
  phone: string | null
  credential_id: string | null
  counter: number
  data: Record<string, unknown>
  created_at: number
  last_used_at: number | null
}

/**
 * What the decisions have to know of a method. `judged_by`: a sent code's keyed hash, a stored recovery code's, or the
 * service. `guarded`: refused while codes are locked, its failures counted. `any_time`: may be named without having been
 * begun in this login. `may_trust`: a device can be trusted with it; `tells`: its owner is told of every use; `at_most`: how
 * many a user may have.
 */
export type FactorTraits = {
  judged_by: 'code' | 'recovery' | 'service'
  guarded: boolean
  sends: 'sms' | 'mail' | null
  any_time: boolean
  may_trust: boolean
  steps_up: boolean
  tells: boolean
  at_most: number
  amr: string[]
  acr: 'aal1' | 'aal2'
}

/** Of these, what an answer is judged by. */
export type JudgingTraits = Pick<FactorTraits, 'judged_by' | 'any_time' | 'may_trust' | 'tells' | 'amr' | 'acr'>

/** A factor to be stored; `credential_id` in hex. */
export type NewFactor = {
  id: string
  method: Method
  name: string | null
  phone?: string
  credential_id?: string
  counter?: number
  data: object
  at_most: number
}

/**
 * What the service found of a proof. `counter`: to be stored with the factor, `rises`: only if it is higher than the one
 * that is there; `data`: what changes in the factor's; `amr` in place of the method's own; `notices`: what its owner is told.
 */
export type Verdict =
  | { right: false }
  | {
      right: true
      factor_id?: string
      counter?: number
      rises?: boolean
      data?: object
      amr?: string[]
      new_factor?: NewFactor
      /** What it is called when the counter is no higher than the one that is stored. */
      if_back?: EventType
    }

/** Who begins an enrolment: a session, with the account's epoch as it was found fresh, or a login that waits for the first factor. */
export type EnrolmentParent = { session: string; epoch: number; challenge: null } | { session: null; challenge: string }

/** `setup`: sealed, in hex. */
type NewEnrolment = { id: string; setup: string }

/** `stale`: the account has changed since the session was found fresh. */
export type Enrolment = (ChallengeState & Due & { outcome: 'opened' }) | Refusal | { outcome: 'conflict' }

export type FactorList = {
  factors: StoredFactor[]
  recovery_codes: { remaining: number; created_at: number; last_used_at: number | null } | null
  user_handle: string
}

/** The owner of a passkey, found by its credential. */
export type PasskeyOwner = {
  user_id: string
  epoch: number
  disabled: boolean
  user_handle: string
  factor: StoredFactor
}

/** `start`: the token that it began with; `deviceHash`: of a device token that came along. */
type PasskeyProof = { start: { jti: string; expires_at: number }; verdict: Verdict; deviceHash: Uint8Array | null }

type PasskeyStarted =
  | (SessionState & { outcome: 'started'; device: DeviceState; notices?: EventType[] })
  | { outcome: 'used' | 'stale' }

export function createFactors(db: Database) {
  return {
    /** Opens the challenge that proves a new factor, in place of the one before it, and reserves what that sends. */
    enrol: async (
      userId: string,
      parent: EnrolmentParent,
      challenge: NewEnrolment,
      candidate: Candidate,
      policy: ChallengePolicy,
      event: Event,
    ): Promise<Enrolment> => {
      const made = [parent, challenge, candidate, policy].map((it) => JSON.stringify(it))
      return await db.decide('begin_enrolment', userId, ...made, auditRow(event))
    },

    /** Oldest first; null if there is no such user. */
    list: async (userId: string): Promise<FactorList | null> => await db.decide('list_factors', userId),

    /** The factor as it is then; null if the user has none with this id. */
    rename: async (userId: string, id: string, name: string): Promise<StoredFactor | null> => {
      return await db.decide('rename_factor', userId, id, name)
    },

    /** Removes a factor, unless the account's policy wants one and it is the last; `ended`: the session is over. */
    remove: async (
      { id: sessionId, user_id: userId }: Pick<LiveSession, 'id' | 'user_id'>,
      id: string,
      policy: ChallengePolicy,
      event: Event,
    ): Promise<{ outcome: 'removed'; method: Method } | { outcome: 'last_factor' | 'unknown' | 'ended' }> => {
      return await db.decide('remove_factor', userId, sessionId, id, JSON.stringify(policy), auditRow(event))
    },

    /** New recovery codes (keyed hashes in hex) in place of all, next to a factor only. `stale`: the account has changed. */
    renewRecoveryCodes: async (
      { id: sessionId, user_id: userId, epoch }: Pick<LiveSession, 'id' | 'user_id' | 'epoch'>,
      macs: string[],
      policy: ChallengePolicy,
      event: Event,
    ): Promise<{ outcome: 'renewed' | 'conflict' | 'stale' | 'ended' }> => {
      const made = [JSON.stringify(macs), JSON.stringify(policy), auditRow(event)]
      return await db.decide('renew_recovery_codes', userId, sessionId, epoch, ...made)
    },

    /** Whose passkey a credential is. */
    findPasskey: async (credentialId: Uint8Array): Promise<PasskeyOwner | null> => {
      return await db.decide('find_passkey', credentialId)
    },

    /** A sign-in with nothing but a passkey. `used`: this start has succeeded before; `stale`: the account has changed. */
    startSession: async (
      { user_id: userId, epoch }: PasskeyOwner,
      { start, verdict, deviceHash }: PasskeyProof,
      made: NewLogin,
    ): Promise<PasskeyStarted> => {
      const proof = [JSON.stringify(start), JSON.stringify(verdict), deviceHash]
      return await db.decide('start_passkey_session', userId, epoch, ...proof, ...loginRows(made))
    },
  }
}
