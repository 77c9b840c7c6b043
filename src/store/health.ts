import type { Database } from './client.ts'
import { listMigrations } from './migrate.ts'

export function createHealth(db: Database) {
  return {
    /** True once every migration of this build is applied. Throws while the database is out of reach. */
    isMigrated: async (): Promise<boolean> => {
      const known = await listMigrations()
      const rows = await db.$queryRawUnsafe<[{ missing: number }]>(
        `SELECT count(*)::integer AS missing FROM unnest($1::text[]) AS name WHERE name NOT IN (
           SELECT migration_name FROM ${db.quotedSchema}._prisma_migrations WHERE finished_at IS NOT NULL AND rolled_back_at IS NULL)`,
        known,
      )
      return rows[0].missing === 0
    },

    /** False for a standby, and wherever else nothing can be written. Throws while the database is out of reach. */
    isWritable: async (): Promise<boolean> => {
      const rows = await db.$queryRaw<
        [{ read_only: string }]
      >`SELECT current_setting('transaction_read_only') AS read_only`
      return rows[0].read_only === 'off'
    },
  }
}
