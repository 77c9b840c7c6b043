import { auditRow, type Event } from '../events.ts'
import type { Delivery } from '../sms/index.ts'
import type { Database } from './client.ts'
import type { DeviceState, NewDevice } from './devices.ts'
import type { NewSession, SessionState } from './sessions.ts'

export type Purpose = 'login' | 'step_up'

/** A challenge as its holder may know it. Seconds; `resend_after` is null when no further text can be had. */
export type ChallengeState = {
  challenge_id: string
  key_id: string
  expires_in: number
  code_expires_in: number
  resend_after: number | null
  attempts_remaining: number
  delivery: Delivery
}

/** A challenge to be opened unless its client has a live one. `client`: who it belongs to (security/standing.ts). */
export type NewChallenge = {
  id: string
  purpose: Purpose
  client: string
  known: boolean
  device_id: string | null
  code_mac: string
  key_id: string
}

/** The limits that a statement decides by; made in security/challenge.ts. `text`: of a text that may be sent. */
export type ChallengePolicy = {
  code_ttl: number
  challenge_ttl: number
  max_attempts: number
  max_sends: number
  cooldown: number
  may_send?: boolean
  text?: TextBudget & { phone: string }
}

/** What a text is counted by, and how many there may be in an hour, a day; `cooldown` in seconds. */
export type TextBudget = {
  address: string
  cooldown: number
  user_hour: number
  user_day: number
  phone_day: number
  address_hour: number
  address_day: number
  prefix_hour: number
  service_hour: number
  service_day: number
  spend_day: number
}

/** Why no code can be sent or tried. `retry_after` in seconds, absent where waiting does not help. */
export type Refusal =
  | { outcome: 'invalid' | 'stale' | 'expired' }
  | {
      outcome: 'locked' | 'exhausted' | 'resend_too_soon' | 'sms_limit_reached' | 'sms_unavailable'
      retry_after?: number | null
    }

/** `message_id`: the text that is due; null where none is. `spend`: the part of a day's texts that it uses up, at 50, 80, 100 %. */
export type Opened = ChallengeState & { outcome: 'opened' | 'joined'; message_id: number | null; spend: string | null }
type Resent = ChallengeState & { outcome: 'sent'; message_id: number; spend: string | null }
/** `locked`: the class of clients whose codes this wrong one has locked; `ended`: it has ended the session that stepped up. */
export type Answered =
  | ({ outcome: 'completed'; device: DeviceState } & SessionState)
  | { outcome: 'wrong'; attempts_remaining: number; locked: 'known' | 'strangers' | null; ended: boolean }
  | Refusal

export function createChallenges(db: Database) {
  return {
    /** After a right password: joins this client's live challenge or opens one, and reserves the text that is due. */
    open: async (
      account: { id: string; epoch: number },
      throttleKeys: Uint8Array[] | null,
      challenge: NewChallenge,
      policy: ChallengePolicy,
      event: Event,
    ): Promise<Opened | Refusal> => {
      const made = [JSON.stringify(challenge), JSON.stringify(policy), auditRow(event)]
      return await db.decide('open_challenge', account.id, account.epoch, throttleKeys, ...made)
    },

    read: async (
      id: string,
      userId: string,
      policy: ChallengePolicy,
    ): Promise<(ChallengeState & { outcome: 'found'; phone: string }) | { outcome: 'invalid' }> => {
      return await db.decide('read_challenge', id, userId, JSON.stringify(policy))
    },

    /** Whether a pending token is still worth anything. */
    isAlive: async (id: string, userId: string): Promise<boolean> => await db.decide('is_pending', id, userId),

    /** Reserves the same code's next text. */
    resend: async (id: string, userId: string, policy: ChallengePolicy, event: Event): Promise<Resent | Refusal> => {
      return await db.decide('resend_code', id, userId, JSON.stringify(policy), auditRow(event))
    },

    /**
     * One answer: the try counted, judged, and the challenge completed or not, in one commit. `macs`: the keyed hash of what
     * was typed, by key id. Exactly one caller gets `completed`, and with it the session; a step-up raises the session it
     * names instead of starting one.
     */
    answer: async (
      id: string,
      userId: string,
      macs: Record<string, string>,
      policy: ChallengePolicy,
      session: NewSession | Pick<NewSession, 'id' | 'amr' | 'acr'>,
      device: NewDevice,
      event: Event,
    ): Promise<Answered> => {
      const made = [JSON.stringify(policy), JSON.stringify(session), JSON.stringify(device), auditRow(event)]
      return await db.decide('answer_challenge', id, userId, JSON.stringify(macs), ...made)
    },
  }
}
