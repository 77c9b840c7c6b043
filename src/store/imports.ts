import { auditRow, type Event } from '../events.ts'
import type { TwoFactor } from './accounts.ts'
import type { Database } from './client.ts'

/**
 * A user of another system. `phone`: E.164, confirmed; `totp`: a factor's id and its sealed secret; `created_at`: seconds since
 * 1970, null: now.
 */
export type ImportedUser = {
  id: string
  email: string
  external_id: string | null
  email_confirmed: boolean
  locale: string
  password_hash: string | null
  two_factor: TwoFactor
  disabled: boolean
  created_at: number | null
  phone: string | null
  totp: { id: string; secret: string } | null
}

export type ImportOutcome = 'created' | 'exists' | 'external_id_taken' | 'phone_taken'

/** What other users have by now of what one would bring along. `phone_places`: how many may still have the phone. */
export type Taken = { email: boolean; external_id: boolean; phone_places: number }

export function createImports(db: Database) {
  return {
    /** Some users in one statement, each by itself: what became of each, in their order. */
    add: async (users: ImportedUser[], event: Event): Promise<ImportOutcome[]> => {
      return await db.decide('import_users', JSON.stringify(users), auditRow(event))
    },

    /** What is taken of each, in their order; nothing is stored. */
    foresee: async (users: ImportedUser[]): Promise<Taken[]> => {
      return await db.decide('foresee_import', JSON.stringify(users))
    },
  }
}
