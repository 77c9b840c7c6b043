import { auditRow, type Event } from '../events.ts'
import type { Database } from './client.ts'

export type TwoFactor = 'sms' | 'off'

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

/** What an operator sees of a user. */
export type AccountSummary = Omit<Account, 'password_hash' | 'epoch'> & { createdAt: Date }

export type AccountChange = { password_hash?: string; phone?: string; two_factor?: TwoFactor; disabled?: boolean }

type Changed = { outcome: 'changed'; id: string } | { outcome: 'unknown' | 'phone_taken' }

export function createAccounts(db: Database) {
  return {
    /** By its canonical e-mail. */
    findByEmail: async (email: string): Promise<Account | null> => await db.decide('find_account', email),

    create: async (
      user: { email: string; phone: string; passwordHash: string; twoFactor: TwoFactor },
      event: Event,
    ): Promise<{ outcome: 'created'; id: string } | { outcome: 'email_taken' | 'phone_taken' }> => {
      return await db.decide('create_user', user.email, user.phone, user.passwordHash, user.twoFactor, auditRow(event))
    },

    /** Changes an account and ends everything begun before the change. `identifiers`: the e-mail's keyed hashes. */
    change: async (email: string, identifiers: Uint8Array[], change: AccountChange, event: Event): Promise<Changed> => {
      return await db.decide('change_user', email, identifiers, JSON.stringify(change), auditRow(event))
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
    list: async (limit: number): Promise<AccountSummary[]> => {
      const users = await db.user.findMany({ orderBy: [{ createdAt: 'asc' }, { id: 'asc' }], take: limit })
      return users.map((user) => ({
        id: user.id,
        email: user.email,
        phone: user.phone,
        two_factor: user.twoFactor as TwoFactor,
        disabled: user.disabledAt !== null,
        createdAt: user.createdAt,
      }))
    },
  }
}
