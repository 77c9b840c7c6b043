import { auditRow, type Event } from '../events.ts'
import type { Database } from './client.ts'

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

/** A session as an answer needs it: seconds, and epoch seconds for `authenticated_at`. */
export type SessionState = {
  id: string
  user_id: string
  generation: number
  amr: string[]
  acr: string
  authenticated_at: number
  refresh_expires_in: number
}

/** A session that has not ended, with what its owner may see of the account. */
export type LiveSession = {
  id: string
  userId: string
  email: string
  phone: string
  twoFactor: string
  epoch: number
  amr: string[]
  acr: string
  authenticatedAt: Date
}

/** A session in its owner's list. */
export type SessionSummary = {
  id: string
  createdAt: Date
  lastUsedAt: Date
  userAgent: string | null
  address: string | null
}

export type LogoutScope = 'local' | 'others' | 'all'

export type Rotation =
  | ({ outcome: 'rotated' | 'within_grace' } & SessionState)
  | { outcome: 'reused'; user_id: string }
  | { outcome: 'ended' }

type Started = ({ outcome: 'started' } & SessionState) | { outcome: 'stale' | 'untrusted' }

export function createSessions(db: Database) {
  return {
    /**
     * After a right password, when nothing more is asked. `stale`: the account changed since the password was checked;
     * `untrusted`: the device that skips the second factor is trusted no longer.
     */
    start: async (
      account: { id: string; epoch: number },
      proof: { identifier: Uint8Array | null; deviceId: string | null },
      session: NewSession,
      event: Event,
    ): Promise<Started> => {
      const made = [JSON.stringify(session), auditRow(event)]
      return await db.decide('start_session', account.id, account.epoch, proof.identifier, proof.deviceId, ...made)
    },

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
      const rows = await db.$queryRaw<LiveSession[]>`
        SELECT s.id, s.user_id AS "userId", u.email, u.phone, u.two_factor AS "twoFactor", u.epoch, s.amr, s.acr,
               s.authenticated_at AS "authenticatedAt"
        FROM live_session(${id}::uuid, ${userId}::uuid, now()) s JOIN users u ON u.id = s.user_id`
      return rows[0] ?? null
    },

    /** The live sessions of a user, the one used last first. */
    list: async (userId: string): Promise<SessionSummary[]> => {
      return await db.$queryRaw<SessionSummary[]>`
        SELECT id, created_at AS "createdAt", last_used_at AS "lastUsedAt", user_agent AS "userAgent", address
        FROM sessions WHERE user_id = ${userId}::uuid AND ended_at IS NULL
          AND expires_at > clock_timestamp() AND idle_until > clock_timestamp()
        ORDER BY last_used_at DESC, id`
    },

    /** Ends the session `id` of a user, the others, or all; how many were ended. */
    end: async (userId: string, id: string, scope: LogoutScope, event: Event): Promise<number> => {
      return await db.decide('end_sessions', userId, id, scope, auditRow(event))
    },
  }
}
