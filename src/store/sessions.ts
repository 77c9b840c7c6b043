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
  /** It began with a link from the mailbox. */
  mailbox_proven: boolean
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
 * A session that has not ended, with what its owner may see of the account. `methods`: of the factors that are there, and
 * `recovery_code` where some are left; `phone`: of the one by text; `authenticated_at`: seconds since 1970; `age`: seconds since then.
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
  remember: boolean
  mailbox_proven: boolean
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
  | ({ outcome: 'rotated' } & SessionState)
  | ({ outcome: 'within_grace'; elsewhere: boolean } & SessionState)
  | { outcome: 'reused'; user_id: string }
  | { outcome: 'ended' }

type Started = ({ outcome: 'started'; device: DeviceState } & SessionState) | { outcome: 'stale' | 'untrusted' }

type Raised = ({ outcome: 'raised' } & SessionState) | { outcome: 'ended' | 'stale' }

type Ended = { users: number; sessions: number }

/** Users that are decided about at once: their logins wait meanwhile. */
const batchSize = 200

/** What a login has proven: the counter that was charged, the known device that it came from, and whether it is enough. */
export type Proof = { throttleKeys: Uint8Array[]; deviceId: string | null; isTrusted: boolean }

/** What is stored of a login that has succeeded. */
export type NewLogin = { session: NewSession; device: NewDevice; policy: ChallengePolicy; event: Event }

/** The same as the decisions take it. */
export const loginRows = ({ session, device, policy, event }: NewLogin): string[] => [
  ...[session, device, policy].map((it) => JSON.stringify(it)),
  auditRow(event),
]

export function createSessions(db: Database) {
  return {
    /**
     * After a right password, when nothing more is asked. `stale`: the account changed since the password was checked;
     * `untrusted`: the device that skips the second factor is trusted no longer.
     */
    start: async (
      { id, epoch }: { id: string; epoch: number },
      { throttleKeys, deviceId, isTrusted }: Proof,
      made: NewLogin,
    ): Promise<Started> => db.decide('start_session', id, epoch, throttleKeys, deviceId, isTrusted, ...loginRows(made)),

    /**
     * A session without a second factor has proven the password anew: its level and its moment. `ended`: it is over; `stale`: a
     * factor is there by now, or the account has changed.
     */
    raise: async (
      { id, user_id: userId, epoch }: Pick<LiveSession, 'id' | 'user_id' | 'epoch'>,
      level: { amr: string[]; acr: string },
      policy: ChallengePolicy,
      event: Event,
    ): Promise<Raised> => {
      const how = [level, policy].map((it) => JSON.stringify(it))
      return await db.decide('raise_session', userId, id, epoch, ...how, auditRow(event))
    },

    /** A proof of a session has failed; `ended`: it was the last that it had, and the session is over. */
    failProof: async (
      { id, user_id: userId }: Pick<LiveSession, 'id' | 'user_id'>,
      event: Event,
    ): Promise<{ remaining: number | null; ended: boolean }> =>
      await db.decide('fail_proof', userId, id, auditRow(event)),

    /** Uses a refresh token of `generation`; of many who try, one rotates. */
    rotate: async (
      id: string,
      generation: number,
      limits: { graceSeconds: number; idleSeconds: number },
      theft: Event,
    ): Promise<Rotation> =>
      db.decide('rotate_session', id, generation, limits.graceSeconds, limits.idleSeconds, auditRow(theft)),

    /** The session of an access token, unless it or its user has been ended. */
    findLive: async (id: string, userId: string): Promise<LiveSession | null> => {
      const found = await db.decide<LiveSession & { outcome: 'found' | 'ended' }>('read_session', id, userId)
      return found.outcome === 'found' ? found : null
    },

    /** The live sessions of a user, the one used last first. */
    list: async (userId: string): Promise<SessionSummary[]> => await db.decide('list_sessions', userId),

    /** Ends the session `id` of a user, the others, or all; how many were ended. */
    end: (userId: string, id: string, scope: LogoutScope, event: Event): Promise<number> =>
      db.decide('end_sessions', userId, id, scope, auditRow(event)),

    /** Ends everything that was begun by anybody, in batches; `event` is each user's. How many users, and live sessions. */
    endAll: (event: Event): Promise<Ended> => endAll(db, event),
  }
}

async function endAll(db: Database, event: Event): Promise<Ended> {
  const ended = { users: 0, sessions: 0 }
  let after: string | null = null
  do {
    const { users, sessions, next }: Ended & { next: string | null } = await db.decide(
      'end_everything',
      after,
      batchSize,
      auditRow(event),
    )
    ended.users += users
    ended.sessions += sessions
    after = next
  } while (after !== null)
  return ended
}
