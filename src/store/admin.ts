import { auditRow, type Event, type EventType } from '../events.ts'
import type { Method } from '../methods.ts'
import type { TwoFactor } from './accounts.ts'
import type { ChallengePolicy } from './candidates.ts'
import type { Database } from './client.ts'
import type { DeviceSummary } from './devices.ts'
import type { FactorList } from './factors.ts'
import type { SessionSummary } from './sessions.ts'

export const userStatuses = ['active', 'invited', 'disabled', 'erasing'] as const

/** A user as backends see it; moments in seconds since 1970. `methods`: of the factors that are there, in any order. */
export type UserView = {
  id: string
  external_id: string | null
  email: string
  email_confirmed: boolean
  phone: string | null
  locale: string
  status: (typeof userStatuses)[number]
  two_factor: TwoFactor
  methods: Method[]
  password: 'set' | 'none' | 'imported' | 'reset_required'
  created_at: number
  last_login_at: number | null
}

/** Where a page ends: `at` in microseconds since 1970. */
export type Position = { at: number; id: string }

/** All of these at once; moments in seconds since 1970. */
export type UserFilter = Partial<{
  email: string
  email_prefix: string
  phone: string
  external_id: string
  status: string
  created_after: number
  created_before: number
}>

export type WholeUser = UserView &
  FactorList & {
    sessions: SessionSummary[]
    devices: DeviceSummary[]
    login_locked_until: number | null
    second_factor_locked_until: number | null
  }

/** `phone`: E.164, and confirmed; `invite`: a link is mailed by which a password is set. */
export type InvitedUser = {
  email: string
  external_id: string | null
  phone: string | null
  locale: string
  two_factor: TwoFactor
  email_confirmed: boolean
  invite: boolean
}

/** What is absent stays; `null`: as of a user who has none. */
export type UserChange = {
  email?: string
  external_id?: string | null
  locale?: string | null
  two_factor?: TwoFactor
  disabled?: boolean
  notices: boolean
}

/** `user_id`: whose it is, null if that user has just gone. */
type Taken = { outcome: 'email_taken' | 'external_id_taken' | 'phone_taken'; user_id?: string | null }

type Changed =
  | { outcome: 'changed'; user: UserView; events: { type: EventType; outcome: string }[] }
  | { outcome: 'unknown' }
  | Taken

/** Each call writes one event, with what it does. */
export function createAdmin(db: Database) {
  return {
    /** Those that match, the newest first, at most `limit`, from `after` on; with where each is in that order. */
    search: async (
      filter: UserFilter,
      { after, limit }: { after: Position | null; limit: number },
      event: Event,
    ): Promise<(UserView & { position: Position })[]> => {
      const from = after === null ? null : JSON.stringify(after)
      return await db.decide('search_users', JSON.stringify(filter), from, limit, auditRow(event))
    },

    /** `identifiers`: the e-mail's keyed hashes. Null if there is no such user. */
    read: async (userId: string, identifiers: Uint8Array[], event: Event): Promise<WholeUser | null> => {
      return await db.decide('read_user', userId, identifiers, auditRow(event))
    },

    add: async (user: InvitedUser, event: Event): Promise<{ outcome: 'created'; user: UserView } | Taken> => {
      return await db.decide('add_user', JSON.stringify(user), auditRow(event))
    },

    /** Ends what the change ends; what is so already is no change. `events`: what was recorded. */
    change: async (userId: string, change: UserChange, event: Event): Promise<Changed> => {
      return await db.decide('admin_change_user', userId, JSON.stringify(change), auditRow(event))
    },

    /** `unknown`: no such user; `none`: the user has no such factor. */
    removeFactor: async (
      userId: string,
      factorId: string,
      policy: ChallengePolicy,
      event: Event,
    ): Promise<{ outcome: 'removed'; method: Method } | { outcome: 'unknown' | 'none' }> => {
      return await db.decide('admin_remove_factor', userId, factorId, JSON.stringify(policy), auditRow(event))
    },

    /** False if there is no such user. */
    resetFactors: async (
      userId: string,
      identifiers: Uint8Array[],
      policy: ChallengePolicy,
      event: Event,
    ): Promise<boolean> => {
      return await db.decide('admin_reset_factors', userId, identifiers, JSON.stringify(policy), auditRow(event))
    },

    /** One session, or (`null`) all; how many ended, null if there is no such user. */
    endSessions: async (userId: string, sessionId: string | null, event: Event): Promise<number | null> => {
      return await db.decide('admin_end_sessions', userId, sessionId, auditRow(event))
    },

    /** One device, or (`null`) all, and their sessions; how many were forgotten, null if there is no such user. */
    forgetDevices: async (userId: string, deviceId: string | null, event: Event): Promise<number | null> => {
      return await db.decide('admin_forget_devices', userId, deviceId, auditRow(event))
    },
  }
}
