import { auditRow, type Event } from '../events.ts'
import type { Database } from './client.ts'

/** An event as those outside see it; `at` in seconds since 1970. */
export type LoggedEvent = {
  /** `evt_` and its number, all of one length. */
  id: string
  at: number
  type: string
  outcome: string
  user_id: string | null
  actor: { type: 'user' | 'client' | 'operator' | 'system'; id: string | null }
  factor: string | null
  address: string | null
  request_id: string | null
  detail: string | null
}

/** Which events: numbers as digits, moments in seconds since 1970. `span`: how many numbers are looked through at most. */
export type EventQuery = {
  limit: number
  order: 'asc' | 'desc'
  span: number
  user_id?: string
  type?: string
  after_id?: string
  before_id?: string
  after_at?: number
  before_at?: number
  cursor?: string
}

export function createAudit(db: Database) {
  return {
    /** Appends one row. */
    record: async (event: Event): Promise<void> => {
      await db.decide('record_event', auditRow(event), event.userId ?? null)
    },

    /** A page of the log, none behind what was read before; `event`, where there is one, tells of it in the same transaction. */
    read: (query: EventQuery, event: Event | null): Promise<{ events: LoggedEvent[]; next_cursor: string | null }> =>
      db.decide('read_events', JSON.stringify(query), event && auditRow(event)),
  }
}
