import { auditRow, type Event } from '../events.ts'
import type { Database } from './client.ts'

/** Whether a login asks for a second factor: always, of who has one, or never. */
export type TwoFactor = 'required' | 'optional' | 'off'

/** A user as the login sees it. `epoch` goes up with every change that ends what was begun before it. */
export type Account = {
  id: string
  email: string
  phone: string
  password_hash: string
  two_factor: TwoFactor
  epoch: number
  disabled: boolean
}

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
  methods: string[]
  disabled: boolean
  created_at: number
}

export type AccountChange = { password_hash?: string; phone?: string; two_factor?: TwoFactor; disabled?: boolean }

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
    resetFactors: async (email: string, identifiers: Uint8Array[], event: Event): Promise<string | null> => {
      return await db.decide('reset_factors', email, identifiers, auditRow(event))
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
