import type { Database } from './client.ts'
import { listMigrations } from './migrate.ts'

export function createHealth(db: Database) {
  return {
    /** True once every migration of this build is applied. Throws while the database is out of reach. */
    isMigrated: async (): Promise<boolean> => {
      const known = await listMigrations()
      const [row] = await db.$queryRaw<[{ missing: bigint }]>`
        SELECT count(*) AS missing FROM unnest(${known}::text[]) AS name
        WHERE name NOT IN (SELECT migration_name FROM _prisma_migrations WHERE finished_at IS NOT NULL AND rolled_back_at IS NULL)`
      return row.missing === 0n
    },

    /** Texts of the whole service in the running UTC hour and day. */
    smsUsed: async (): Promise<{ hour: number; day: number }> => {
      const rows = await db.$queryRaw<{ period: 'hour' | 'day'; used: number }[]>`
        SELECT period, used FROM sms_totals WHERE started_at = date_trunc(period, now(), 'UTC')`
      const used = Object.fromEntries(rows.map((row) => [row.period, row.used]))
      return { hour: used.hour ?? 0, day: used.day ?? 0 }
    },
  }
}
