import { auditRow, type Event } from '../events.ts'
import type { Database } from './client.ts'

export function createAudit(db: Database) {
  return {
    /** Appends one row. */
    record: async (event: Event): Promise<void> => {
      const identifier = event.identifier ?? null
      await db.$executeRaw`SELECT record_event(${auditRow(event)}::jsonb, ${event.userId ?? null}::uuid, ${identifier}::bytea)`
    },
  }
}
