import { auditRow, type Event } from '../events.ts'
import type { Account } from './accounts.ts'
import type { TextBudget } from './candidates.ts'
import type { Database } from './client.ts'

/**
 * charged: evaluate the password. `account`: null for a made-up e-mail; `device`: the known one that this login comes from.
 * locked: do not. address_spent: strangers at this address get no more texts, so no password of theirs is looked at.
 */
export type LoginBegun =
  | { outcome: 'charged'; account: Account | null; device: { id: string; trusted: boolean } | null }
  | { outcome: 'locked' | 'address_spent'; retry_after: number }

export function createThrottle(db: Database) {
  return {
    /**
     * Tells known device from stranger, counts a failed password in that class before it is looked at, and hands out the
     * account. `identifiers`: the e-mail's keyed hashes, in order; `deviceHash`: of the device token that came with it.
     */
    begin: async (
      email: string,
      identifiers: Uint8Array[],
      deviceHash: Uint8Array | null,
      { address, address_hour, address_day }: Pick<TextBudget, 'address' | 'address_hour' | 'address_day'>,
    ): Promise<LoginBegun> => {
      const text = JSON.stringify({ address, address_hour, address_day })
      return await db.decide('begin_login', email, identifiers, deviceHash, text)
    },

    /** The password was wrong: the charge stays. `userId`: null for a made-up e-mail. */
    fail: async (userId: string | null, deviceId: string | null, event: Event): Promise<void> => {
      await db.decide('fail_login', userId, deviceId, auditRow(event))
    },

    /** The password was never evaluated: takes the charge back, and the lock that it began with it. */
    giveBack: async (throttleKeys: Uint8Array[], deviceId: string | null): Promise<void> => {
      await db.decide('give_back_password', throttleKeys, deviceId, false)
    },
  }
}
