import { auditRow, type Event, type EventType } from '../events.ts'
import type { Method } from '../methods.ts'
import type { Delivery } from '../sms/index.ts'
import type { FactorOwner } from './accounts.ts'
import type { Candidate, ChallengePolicy } from './candidates.ts'
import type { Database } from './client.ts'
import type { DeviceState, NewDevice } from './devices.ts'
import type { JudgingTraits, NewFactor, StoredFactor, Verdict } from './factors.ts'
import type { NewSession, SessionState } from './sessions.ts'

/** What a challenge is for: a login, a session that asks for more, the first factor that is to come, a new factor. */
export type Purpose = 'login' | 'step_up' | 'must_enrol' | 'enrol'

/** A code that was sent, as the holder of the challenge may know it. Seconds; `resend_after`: null when it is not sent again. */
export type CodeState = { key_id: string; code_expires_in: number; resend_after: number | null; delivery: Delivery }

/**
 * A challenge as its holder may know it, in seconds. `method`: what it goes on with, null while it waits for the first
 * factor; `begun`: what it has gone on with so far; `code`: what `method` has sent; `codes_locked`: for this class of clients.
 */
export type ChallengeState = {
  challenge_id: string
  method: Method | null
  begun: Method[]
  proves_mailbox: boolean
  expires_in: number
  attempts_remaining: number
  codes_locked: boolean
  code: CodeState | null
}

/** A challenge to be opened unless its client has a live one. `client`: who it belongs to (security/standing.ts). */
export type NewChallenge = {
  id: string
  purpose: Purpose
  client: string
  known: boolean
  device_id: string | null
  proves_mailbox: boolean
}

/** Why no code can be sent or tried. `retry_after` in seconds, absent where waiting does not help. */
export type Refusal =
  | { outcome: 'invalid' | 'stale' | 'expired' }
  | {
      outcome:
        | ('locked' | 'exhausted' | 'resend_too_soon' | 'too_many')
        | ('sms_limit_reached' | 'sms_unavailable' | 'mail_limit_reached' | 'mail_unavailable')
      retry_after?: number | null
    }

/** `message_id`: the text or mail that is due, if one is. `spend`: the part of a day's texts that it uses up, at 50, 80, 100 %. */
export type Due = { message_id?: number | null; spend?: string | null }
export type Opened = ChallengeState & Due & { outcome: 'opened' | 'joined' | 'switched' | 'sent' }
type Found = ChallengeState & { outcome: 'found'; known: boolean; setup: string | null; account: FactorOwner }

/**
 * What somebody answers with. `method`: as named, null for the challenge's; `codes`: the keyed hashes of the typed code by
 * method and key id, `recovery`: those of a recovery code. `verdict`: of the service, on a
 * proof that only it can judge; `new_factor`: that an enrolment proves by a code. `fresh_recovery`: to be stored where this confirms the first factor; `next_id`: of the
 * challenge that then waits for the first factor. `traits`: of the methods that it may be an answer to.
 */
export type Proof = {
  method: Method | null
  codes: Partial<Record<Method, Record<string, string>>>
  recovery: string[]
  verdict?: Verdict & { method: Method }
  new_factor?: NewFactor
  traits: Partial<Record<Method, JudgingTraits>>
  fresh_recovery: string[]
  next_id: string
}

export type Completed = SessionState & {
  outcome: 'completed'
  method: Method
  device: DeviceState
  /** Of an enrolment: whether recovery codes came with it, it took another's place, and which number is to be told that it was replaced. */
  recovery_issued?: boolean
  replaced?: boolean
  notice_text?: { message_id: number; phone: string }
  /** After one was used. */
  recovery_codes_remaining?: number
  /** What its owner is told of a proof that was right all the same. */
  notices?: EventType[]
}
type NeedsVerdict = {
  outcome: 'needs_verdict'
  method: Method
  factors: StoredFactor[]
  setup: string | null
  user: { email: string; user_handle: string }
}
/** `locked`: the class of clients whose codes this wrong one has locked; `ended`: it has ended the session that stepped up. */
type Wrong = {
  outcome: 'wrong'
  method: Method
  attempts_remaining: number
  locked: 'known' | 'strangers' | null
  ended: boolean
}
export type Answered =
  | Completed
  | NeedsVerdict
  | Wrong
  | { outcome: 'mailbox_proven'; challenge_id: string; expires_in: number; method: Method }
  | { outcome: 'unreadable'; method: Method }
  | { outcome: 'not_begun'; method: Method | null }
  | { outcome: 'conflict' }
  | Refusal

/** The challenge that a pending token names. */
export type Pending = { cid: string; sub: string; pur: Purpose }

/** Goes on with `candidate`, and reserves what that sends. */
const goOn =
  (db: Database, decision: 'switch_method' | 'resend_code') =>
  async (
    { cid, sub, pur }: Pending,
    candidate: Candidate,
    policy: ChallengePolicy,
    event: Event,
  ): Promise<Opened | Refusal> => {
    const made = [JSON.stringify(candidate), JSON.stringify(policy), auditRow(event)]
    return await db.decide(decision, cid, sub, pur, ...made)
  }

export function createChallenges(db: Database) {
  return {
    /**
     * After a right password, or for a session that asks: joins this client's live challenge or opens one, goes on with the
     * first candidate that can go on, and reserves what that sends.
     */
    open: async (
      account: { id: string; epoch: number },
      throttleKeys: Uint8Array[] | null,
      challenge: NewChallenge,
      candidates: Candidate[],
      policy: ChallengePolicy,
      event: Event,
    ): Promise<Opened | Refusal> => {
      const made = [challenge, candidates, policy].map((it) => JSON.stringify(it))
      return await db.decide('open_challenge', account.id, account.epoch, throttleKeys, ...made, auditRow(event))
    },

    read: async (pending: Pending, policy: ChallengePolicy): Promise<Found | { outcome: 'invalid' }> => {
      return await db.decide('read_challenge', pending.cid, pending.sub, pending.pur, JSON.stringify(policy))
    },

    /** Whether a pending token is still worth anything. */
    isAlive: async ({ cid, sub, pur }: Pending): Promise<boolean> => await db.decide('is_pending', cid, sub, pur),

    /** Goes on with another method. */
    switch: goOn(db, 'switch_method'),

    /** Sends the same code once more. */
    resend: goOn(db, 'resend_code'),

    /**
     * One answer: the try counted, judged, and the challenge completed or not, in one commit. Exactly one caller gets
     * `completed`, and with it the session; a step-up raises the session it names instead of starting one. `needs_verdict`
     * counts nothing yet: the same answer comes again with the service's verdict.
     */
    answer: async (
      { cid, sub, pur }: Pending,
      proof: Proof,
      policy: ChallengePolicy,
      session: NewSession | Pick<NewSession, 'id'>,
      device: NewDevice,
      event: Event,
    ): Promise<Answered> => {
      const made = [proof, policy, session, device].map((it) => JSON.stringify(it))
      return await db.decide('answer_challenge', cid, sub, pur, ...made, auditRow(event))
    },
  }
}
