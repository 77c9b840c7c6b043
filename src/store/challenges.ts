import { auditRow, type Event } from '../events.ts'
import type { Delivery } from '../sms/index.ts'
import type { Database } from './client.ts'
import type { NewDevice } from './devices.ts'
import type { NewSession, SessionState } from './sessions.ts'

export type Purpose = 'login' | 'step_up'

/** A challenge as its holder may know it. Seconds; `resend_after` is null when no further text can be had. */
export type ChallengeState = {
  challenge_id: string
  key_id: string
  code_expires_in: number
  resend_after: number | null
  attempts_remaining: number
  delivery: Delivery
}

/** The limits a statement decides by; made in security/challenge.ts. */
export type ChallengePolicy = {
  code_ttl: number
  challenge_ttl: number
  max_attempts: number
  max_sends: number
  cooldown: number
  may_send?: boolean
  rules?: BudgetRule[]
  totals?: { period: 'hour' | 'day'; max: number }[]
}

/** One budget of texts: `cooldown` in seconds, `hour` and `day` as counts; `refundable`: a success gives it back. */
export type BudgetRule = { key: string; cooldown?: number; hour?: number; day?: number; refundable: boolean }

/** Why no code can be sent or tried. `retry_after` in seconds, absent where waiting does not help. */
export type Refusal =
  | { outcome: 'invalid' | 'stale' | 'expired' }
  | {
      outcome: 'locked' | 'exhausted' | 'resend_too_soon' | 'sms_limit_reached' | 'sms_unavailable'
      retry_after?: number | null
    }

export type Opened = ChallengeState & { outcome: 'opened' | 'joined'; send: boolean }
export type Charged = {
  outcome: 'charged'
  purpose: Purpose
  code_mac: string
  key_id: string
  attempts_remaining: number
}
export type Completed = { outcome: 'completed' } & SessionState

export function createChallenges(db: Database) {
  return {
    /** After a right password: joins the live challenge or opens one, and reserves the text that is due. */
    open: async (
      account: { id: string; epoch: number },
      identifier: Uint8Array | null,
      challenge: { id: string; purpose: Purpose; code_mac: string; key_id: string; message_id: string },
      policy: ChallengePolicy,
      event: Event,
    ): Promise<Opened | Refusal> => {
      const made = [JSON.stringify(challenge), JSON.stringify(policy), auditRow(event)]
      return await db.decide('open_challenge', account.id, account.epoch, identifier, ...made)
    },

    read: async (
      id: string,
      userId: string,
      policy: ChallengePolicy,
    ): Promise<(ChallengeState & { outcome: 'found'; phone: string }) | { outcome: 'invalid' }> => {
      return await db.decide('read_challenge', id, userId, JSON.stringify(policy))
    },

    /** Whether a pending token is still worth anything. */
    isAlive: async (id: string, userId: string): Promise<boolean> => {
      const [row] = await db.$queryRaw<[{ alive: boolean }]>`
        SELECT EXISTS (SELECT FROM pending_challenge(${id}::uuid, ${userId}::uuid, now())) AS alive`
      return row.alive
    },

    /** Reserves one more text with the same code. */
    resend: async (
      id: string,
      userId: string,
      messageId: string,
      policy: ChallengePolicy,
      event: Event,
    ): Promise<(ChallengeState & { outcome: 'sent' }) | Refusal> => {
      return await db.decide('resend_code', id, userId, messageId, JSON.stringify(policy), auditRow(event))
    },

    /** Counts one try at the code, on the challenge and on the account, before anything is compared. */
    charge: async (id: string, userId: string, policy: ChallengePolicy): Promise<Charged | Refusal> => {
      return await db.decide('charge_code', id, userId, JSON.stringify(policy))
    },

    /**
     * Uses the challenge up: exactly one caller gets `completed`, and with it the session; a step-up raises the session it
     * names instead of starting one.
     */
    complete: async (
      id: string,
      userId: string,
      session: NewSession | Pick<NewSession, 'id' | 'amr' | 'acr'>,
      device: NewDevice | null,
      event: Event,
    ): Promise<Completed | { outcome: 'invalid' }> => {
      const made = [JSON.stringify(session), JSON.stringify(device), auditRow(event)]
      return await db.decide('complete_challenge', id, userId, ...made)
    },
  }
}
