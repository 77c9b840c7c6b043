import { auditRow, type Event } from '../events.ts'
import type { Method } from '../methods.ts'
import type { TwoFactor } from './accounts.ts'
import type { ChallengePolicy } from './candidates.ts'
import type { Database } from './client.ts'
import type { DeviceState, NewDevice } from './devices.ts'

/** A session to be stored; the lives in seconds. */
export type NewSession = {
  id: string
  amr: string[]
  acr: string
  remember: boolean
  user_agent: string | null
  address: string
  ttl: number
  idle_ttl: number
}

/** A session as an answer needs it: seconds, and seconds since 1970 for `authenticated_at`. */
export type SessionState = {
  id: string
  user_id: string
  generation: number
  amr: string[]
  acr: string
  authenticated_at: number
  refresh_expires_in: number
}

/**
 * A session that has not ended, with what its owner may see of the account. `methods`: of the factors that are there;
 * `recovery_codes`: whether some are left; `phone`: of the one by text; `authenticated_at`: seconds since 1970; `age`: seconds since then.
 */
export type LiveSession = {
  id: string
  user_id: string
  device_id: string | null
  email: string
  email_confirmed: boolean
  locale: string
  phone: string | null
  two_factor: TwoFactor
  methods: Method[]
  recovery_codes: boolean
  remember: boolean
  epoch: number
  amr: string[]
  acr: string
  authenticated_at: number
  age: number
}

/** A session in its owner's list; moments in seconds since 1970. */
export type SessionSummary = {
  id: string
  device_id: string | null
  created_at: number
  last_used_at: number
  user_agent: string | null
  address: string | null
}

export type LogoutScope = 'local' | 'others' | 'all'

export type Rotation =
  | ({ outcome: 'rotated' | 'within_grace' } & SessionState)
  | { outcome: 'reused'; user_id: string }
  | { outcome: 'ended' }

type Started = ({ outcome: 'started'; device: DeviceState } & SessionState) | { outcome: 'stale' | 'untrusted' }

/** What a login has proven: the counter that was charged, the known device that it came from, and whether it is enough. */
export type Proof = { throttleKeys: Uint8Array[]; deviceId: string | null; isTrusted: boolean }

export function createSessions(db: Database) {
  return {
    /**
     * After a right password, when nothing more is asked. `stale`: the account changed since the password was checked;
     * `untrusted`: the device that skips the second factor is trusted no longer.
     */
    start: async (
      account: { id: string; epoch: number },
      { throttleKeys, deviceId, isTrusted }: Proof,
      made: { session: NewSession; device: NewDevice; policy: ChallengePolicy; event: Event },
    ): Promise<Started> => {
      const rows = [made.session, made.device, made.policy].map((it) => JSON.stringify(it))
      const last = [...rows, auditRow(made.event)]
      return await db.decide('start_session', account.id, account.epoch, throttleKeys, deviceId, isTrusted, ...last)
    },

    ...createPasswordProofs(db),

    /** Uses a refresh token of `generation`; of many who try, one rotates. */
    rotate: async (
      id: string,
      generation: number,
      limits: { graceSeconds: number; idleSeconds: number },
      theft: Event,
    ): Promise<Rotation> => {
      const { graceSeconds, idleSeconds } = limits
      return await db.decide('rotate_session', id, generation, graceSeconds, idleSeconds, auditRow(theft))
    },

    /** The session of an access token, unless it or its user has been ended. */
    findLive: async (id: string, userId: string): Promise<LiveSession | null> => {
      const found = await db.decide<LiveSession & { outcome: 'found' | 'ended' }>('read_session', id, userId)
      return found.outcome === 'found' ? found : null
    },

    /** The live sessions of a user, the one used last first. */
    list: async (userId: string): Promise<SessionSummary[]> => await db.decide('list_sessions', userId),

    /** Ends the session `id` of a user, the others, or all; how many were ended. */
    end: async (userId: string, id: string, scope: LogoutScope, event: Event): Promise<number> => {
      return await db.decide('end_sessions', userId, id, scope, auditRow(event))
    },
  }
}

/** What a session proves, or fails to, with a password alone. */
const createPasswordProofs = (db: Database) => ({
  /**
   * A session without a second factor has proven the password anew: its level and its moment. `ended`: it is over; `stale`: a
   * factor is there by now, or the account has changed.
   */
  raise: async (
    session: Pick<LiveSession, 'id' | 'user_id' | 'epoch'>,
    level: { amr: string[]; acr: string },
    policy: ChallengePolicy,
    event: Event,
  ): Promise<({ outcome: 'raised' } & SessionState) | { outcome: 'ended' | 'stale' }> => {
    const { id, user_id: userId, epoch } = session
    const made = [JSON.stringify(level), JSON.stringify(policy), auditRow(event)]
    return await db.decide('raise_session', userId, id, epoch, ...made)
  },

  /** A proof of a session has failed; `ended`: it was the last that it had, and the session is over. */
  failProof: async (
    { id, user_id: userId }: Pick<LiveSession, 'id' | 'user_id'>,
    event: Event,
  ): Promise<{ remaining: number | null; ended: boolean }> =>
    await db.decide('fail_proof', userId, id, auditRow(event)),
})
