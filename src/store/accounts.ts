import { auditRow, type Event, type EventType } from '../events.ts'
import type { Method } from '../methods.ts'
import type { ChallengePolicy } from './candidates.ts'
import type { Database } from './client.ts'
import type { StoredFactor } from './factors.ts'

/** Whether a second factor has to be there (`required`), is asked for where there is one (`optional`), or is not asked (`off`). */
export type TwoFactor = 'required' | 'optional' | 'off'

/**
 * A user with what can prove it. `epoch` goes up with every change that ends what was begun before it; `user_handle`: what
 * passkeys know the user by (base64url); `recovery_codes`: how many are left; `email_codes_off`: the password was set by a
 * mailed link, and nothing but the mailbox has been proven since.
 */
export type FactorOwner = {
  id: string
  email: string
  email_confirmed: boolean
  email_codes_off: boolean
  locale: string
  two_factor: TwoFactor
  epoch: number
  user_handle: string
  factors: StoredFactor[]
  recovery_codes: number
}

/**
 * A user as the login sees it. Without a hash nobody can sign in by a password; `reset_required`: nor by the right one, until
 * it is set anew; `imported`: the hash is another system's.
 */
export type Account = FactorOwner & {
  password_hash: string | null
  password_state: 'set' | 'none' | 'imported' | 'reset_required'
  disabled: boolean
}

/**
 * A user to be stored. `phone`: E.164, and confirmed, which makes it a second factor; null without one. Without a password one
 * is set by a mailed link. `locale`: the language of mails.
 */
export type NewUser = {
  email: string
  phone: string | null
  passwordHash: string | null
  twoFactor: TwoFactor
  locale: string
}

/** What an operator sees of a user. `methods`: those that the user has, in any order; `created_at`: seconds since 1970. */
export type AccountSummary = {
  id: string
  email: string
  email_confirmed: boolean
  locale: string
  phone: string | null
  two_factor: TwoFactor
  methods: Method[]
  disabled: boolean
  created_at: number
}

export type AccountChange = {
  password_hash?: string
  phone?: string
  two_factor?: TwoFactor
  disabled?: boolean
  notices?: boolean
}

/** `type`: of the event that was recorded. */
type Changed = { outcome: 'changed'; id: string; type: EventType } | { outcome: 'unknown' | 'phone_taken' }

/** `whom`, here and elsewhere: a user by the canonical e-mail, or by the id. */
export function createAccounts(db: Database) {
  return {
    /** By its canonical e-mail. */
    findByEmail: async (email: string): Promise<Account | null> => await db.decide('find_account', email),

    findById: async (id: string): Promise<Account | null> => await db.decide('find_account', id),

    create: async (
      { email, phone, passwordHash, twoFactor, locale }: NewUser,
      event: Event,
    ): Promise<{ outcome: 'created'; id: string } | { outcome: 'email_taken' | 'phone_taken' }> => {
      return await db.decide('create_user', email, phone, passwordHash, twoFactor, locale, auditRow(event))
    },

    /** Changes an account and ends everything begun before the change. `identifiers`: the e-mail's keyed hashes. */
    change: async (whom: string, identifiers: Uint8Array[], change: AccountChange, event: Event): Promise<Changed> => {
      return await db.decide('change_user', whom, identifiers, JSON.stringify(change), auditRow(event))
    },

    /** Takes away all factors and recovery codes, and ends everything begun before; the user's id, or null if there is none. */
    resetFactors: async (
      whom: string,
      identifiers: Uint8Array[],
      policy: ChallengePolicy,
      event: Event,
    ): Promise<string | null> => {
      return await db.decide('reset_factors', whom, identifiers, JSON.stringify(policy), auditRow(event))
    },

    /** One password hash of each kind that is there, with what all of a kind have in common. */
    hashSamples: async (): Promise<{ kind: string; hash: string }[]> => await db.decide('hash_samples'),

    /** Replaces a hash made with old parameters or by another system; false if the password was changed in the meantime. */
    rehash: async (id: string, oldHash: string, newHash: string): Promise<boolean> => {
      return await db.decide('rehash_password', id, oldHash, newHash)
    },

    /**
     * Ends the locks of both steps; with `all` also what is counted of codes and texts in a day and a month. The user's id,
     * or null if there is none.
     */
    unlock: async (
      whom: string,
      identifiers: Uint8Array[],
      { all }: { all: boolean },
      event: Event,
    ): Promise<string | null> => {
      return await db.decide('unlock_user', whom, identifiers, all, auditRow(event))
    },

    /** Oldest first. */
    list: async (limit: number): Promise<AccountSummary[]> => await db.decide('list_users', limit),
  }
}
