import { auditRow, type Event } from '../events.ts'
import type { Database } from './client.ts'

export function createAudit(db: Database) {
  return {
    /** Appends one row. */
    record: async (event: Event): Promise<void> => {
      await db.decide('record_event', auditRow(event), event.userId ?? null)
    },
  }
}
