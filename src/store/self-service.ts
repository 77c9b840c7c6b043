import { auditRow, type Event } from '../events.ts'
import type { ChallengePolicy } from './candidates.ts'
import type { Database } from './client.ts'
import type { LiveSession } from './sessions.ts'

type Session = Pick<LiveSession, 'id' | 'user_id'>

type ExportAnswer =
  | ({ outcome: 'exported' } & AccountExport)
  | { outcome: 'too_many'; retry_after: number }
  | { outcome: 'ended' }

export function createSelfService(db: Database) {
  return {
    /** Has a link mailed to another address, at most `changesDay` times in 24 hours. */
    requestEmailChange: async (
      { id, user_id: userId }: Session,
      email: string,
      policy: ChallengePolicy & { changes_day: number },
      event: Event,
    ): Promise<{ outcome: 'queued' | 'ended' } | { outcome: 'too_many'; retry_after: number }> => {
      return await db.decide('request_email_change', userId, id, email, JSON.stringify(policy), auditRow(event))
    },

    /** The new mailbox is proven: its address is the account's, unless it is somebody's by now. */
    confirmEmail: async (
      { id, user_id: userId }: Session,
      tokenHash: Uint8Array,
      policy: ChallengePolicy,
      event: Event,
    ): Promise<{ outcome: 'changed' | 'expired' }> => {
      return await db.decide('confirm_email', userId, id, tokenHash, JSON.stringify(policy), auditRow(event))
    },

    setLocale: async (userId: string, locale: string, event: Event): Promise<void> => {
      await db.decide('set_locale', userId, locale, auditRow(event))
    },

    /** What there is of a user, without secrets, at most `most` times in 24 hours. */
    export: async (userId: string, most: number, event: Event): Promise<ExportAnswer> => {
      return await db.decide('export_account', userId, most, auditRow(event))
    },

    /** When the account that leaves now will be erased, in seconds since 1970; null if the session is over. */
    beginDeletion: async (
      { id, user_id: userId }: Session,
      days: number,
      policy: ChallengePolicy,
      event: Event,
    ): Promise<number | null> => {
      return await db.decide('begin_deletion', userId, id, days, JSON.stringify(policy), auditRow(event))
    },

    /** Takes back what sessions have changed since the notice of this link; whose account it is. */
    secure: async (
      tokenHash: Uint8Array,
      policy: ChallengePolicy,
      event: Event,
    ): Promise<{ outcome: 'secured'; user: string } | { outcome: 'expired' }> => {
      return await db.decide('secure_account', tokenHash, JSON.stringify(policy), auditRow(event))
    },

    /** Forgets a user at once; false if there is none. */
    forget: async (userId: string, event: Event): Promise<boolean> => {
      return await db.decide('forget_account', userId, auditRow(event))
    },
  }
}

/** Moments in seconds since 1970. */
export type AccountExport = {
  profile: {
    id: string
    email: string
    email_confirmed: boolean
    locale: string
    two_factor: string
    created_at: number
  }
  factors: {
    id: string
    method: string
    name: string | null
    phone: string | null
    created_at: number
    last_used_at: number | null
  }[]
  recovery_codes: number
  sessions: {
    id: string
    created_at: number
    last_used_at: number
    user_agent: string | null
    address: string | null
  }[]
  devices: {
    id: string
    name: string | null
    created_at: number
    last_used_at: number
    address: string | null
    user_agent: string | null
  }[]
  events: { at: number; type: string; outcome: string; factor: string | null; address: string | null }[]
  texts: { at: number; phone: string; delivery: string }[]
  mails: { at: number; address: string; topic: string; delivery: string }[]
}
