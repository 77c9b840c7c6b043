import { auditRow, type Event } from '../events.ts'
import type { Method } from '../methods.ts'
import type { ChallengePolicy } from './candidates.ts'
import type { Database } from './client.ts'
import type { StoredFactor } from './factors.ts'

/** Whether a second factor has to be there (`required`), is asked for where there is one (`optional`), or is not asked (`off`). */
export type TwoFactor = 'required' | 'optional' | 'off'

/**
 * A user with what can prove it. `epoch` goes up with every change that ends what was begun before it; `user_handle`: what
 * passkeys know the user by (base64url); `recovery_codes`: how many are left.
 */
export type FactorOwner = {
  id: string
  email: string
  email_confirmed: boolean
  locale: string
  two_factor: TwoFactor
  epoch: number
  user_handle: string
  factors: StoredFactor[]
  recovery_codes: number
}

/** A user as the login sees it. */
export type Account = FactorOwner & { password_hash: string; disabled: boolean }

/**
 * A user to be stored. `phone`: E.164, and confirmed, which makes it a second factor; null without one. `locale`: the
 * language of mails.
 */
export type NewUser = {
  email: string
  phone: string | null
  passwordHash: string
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

type Changed = { outcome: 'changed'; id: string } | { outcome: 'unknown' | 'phone_taken' }

export function createAccounts(db: Database) {
  return {
    /** By its canonical e-mail. */
    findByEmail: async (email: string): Promise<Account | null> => await db.decide('find_account', email),

    create: async (
      { email, phone, passwordHash, twoFactor, locale }: NewUser,
      event: Event,
    ): Promise<{ outcome: 'created'; id: string } | { outcome: 'email_taken' | 'phone_taken' }> => {
      return await db.decide('create_user', email, phone, passwordHash, twoFactor, locale, auditRow(event))
    },

    /** Changes an account and ends everything begun before the change. `identifiers`: the e-mail's keyed hashes. */
    change: async (email: string, identifiers: Uint8Array[], change: AccountChange, event: Event): Promise<Changed> => {
      return await db.decide('change_user', email, identifiers, JSON.stringify(change), auditRow(event))
    },

    /** Takes away all factors and recovery codes, and ends everything begun before; the user's id, or null if there is none. */
    resetFactors: async (
      email: string,
      identifiers: Uint8Array[],
      policy: ChallengePolicy,
      event: Event,
    ): Promise<string | null> => {
      return await db.decide('reset_factors', email, identifiers, JSON.stringify(policy), auditRow(event))
    },

    /** One password hash of each kind that is there, with what all of a kind have in common. */
    hashSamples: async (): Promise<{ kind: string; hash: string }[]> => await db.decide('hash_samples'),

    /** Replaces a hash made with old parameters; false if the password was changed in the meantime. */
    rehash: async (id: string, oldHash: string, newHash: string): Promise<boolean> => {
      return await db.decide('rehash_password', id, oldHash, newHash)
    },

    /**
     * Ends the locks of both steps; with `all` also what is counted of codes and texts in a day and a month. The user's id,
     * or null if there is none.
     */
    unlock: async (
      email: string,
      identifiers: Uint8Array[],
      { all }: { all: boolean },
      event: Event,
    ): Promise<string | null> => {
      return await db.decide('unlock_user', email, identifiers, all, auditRow(event))
    },

    /** Oldest first. */
    list: async (limit: number): Promise<AccountSummary[]> => await db.decide('list_users', limit),
  }
}
