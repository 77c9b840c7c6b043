import { auditRow, type Event } from '../events.ts'
import type { Account, TwoFactor } from './accounts.ts'
import type { ChallengePolicy } from './candidates.ts'
import type { Database } from './client.ts'
import type { LiveSession, SessionState } from './sessions.ts'

/** `device`: of the client that set it, if it is one of the account's. */
type PasswordSet = { outcome: 'set'; made: boolean; account: Account; device: string | null } | { outcome: 'expired' }

/** A password that a link sets; `twoFactor`: of an account that it makes. */
export type NewPassword = { passwordHash: string; twoFactor: TwoFactor }

export function createPasswords(db: Database) {
  return {
    /** Uses a link up: of many who try, one sets the password, or makes the account. `identifiers`: the e-mail's keyed hashes. */
    set: async (
      tokenHash: Uint8Array,
      { passwordHash, twoFactor }: NewPassword,
      identifiers: Uint8Array[],
      deviceHash: Uint8Array | null,
      policy: ChallengePolicy,
      event: Event,
    ): Promise<PasswordSet> => {
      const made = [passwordHash, twoFactor, identifiers, deviceHash, JSON.stringify(policy), auditRow(event)]
      return await db.decide('set_password', tokenHash, ...made)
    },

    /** Replaces a password that was shown right, by its hash: all sessions end, and `next` goes on in place of this one. */
    change: async (
      { id, user_id: userId }: Pick<LiveSession, 'id' | 'user_id'>,
      hashes: { old: string; new: string },
      identifiers: Uint8Array[],
      next: { id: string; user_agent: string | null; address: string },
      policy: ChallengePolicy,
      event: Event,
    ): Promise<({ outcome: 'changed' } & SessionState) | { outcome: 'stale' | 'ended' }> => {
      const made = [JSON.stringify(next), JSON.stringify(policy), auditRow(event)]
      return await db.decide('change_password', userId, id, hashes.old, hashes.new, identifiers, ...made)
    },

    /**
     * A link is mailed; `force`: the old password is useless from now on. `whom`: the canonical e-mail, or the id;
     * `repeat_after`: seconds in which the same is not mailed again while its link lives. The user's id, or null if there is none.
     */
    reset: async (
      whom: string,
      { force }: { force: boolean },
      policy: ChallengePolicy & { repeat_after?: number },
      event: Event,
    ): Promise<string | null> => {
      return await db.decide('reset_password', whom, force, JSON.stringify(policy), auditRow(event))
    },
  }
}
