import { auditRow, type Event } from '../events.ts'
import type { Database } from './client.ts'

/** A session to be stored; `ttl` in seconds. */
export type NewSession = {
  id: string
  amr: string[]
  acr: string
  remember: boolean
  user_agent: string | null
  address: string
  ttl: number
}

/** A session that has not ended, with what its owner may see of the account. */
export type LiveSession = {
  id: string
  userId: string
  email: string
  phone: string
  twoFactor: string
  amr: string[]
  acr: string
  authenticatedAt: Date
}

export function createSessions(db: Database) {
  return {
    /** After a right password, when nothing more is asked. `stale`: the account changed since the password was checked. */
    start: async (
      account: { id: string; epoch: number },
      identifier: Uint8Array,
      session: NewSession,
      event: Event,
    ): Promise<{ outcome: 'started'; authenticated_at: number } | { outcome: 'stale' }> => {
      const [row] = await db.$queryRaw<
        [{ result: { outcome: 'started'; authenticated_at: number } | { outcome: 'stale' } }]
      >`
        SELECT start_session(${account.id}::uuid, ${account.epoch}::integer, ${identifier}::bytea,
          ${JSON.stringify(session)}::jsonb, ${auditRow(event)}::jsonb) AS result`
      return row.result
    },

    /** The session of an access token, unless it or its user has been ended. */
    findLive: async (id: string, userId: string): Promise<LiveSession | null> => {
      const rows = await db.$queryRaw<LiveSession[]>`
        SELECT s.id, s.user_id AS "userId", u.email, u.phone, u.two_factor AS "twoFactor", s.amr, s.acr,
               s.authenticated_at AS "authenticatedAt"
        FROM sessions s JOIN users u ON u.id = s.user_id
        WHERE s.id = ${id}::uuid AND s.user_id = ${userId}::uuid AND s.ended_at IS NULL AND s.expires_at > now()
          AND u.disabled_at IS NULL`
      return rows[0] ?? null
    },
  }
}
