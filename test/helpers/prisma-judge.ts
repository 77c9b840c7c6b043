import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createPrismaEngine } from '../../prisma/engine.ts'

const filters = { externalTables: [], externalEnums: [] }

/** Asks Prisma's own migration engine about a database and a folder of migrations, as `prisma migrate` would. */
export async function askPrisma(url: string, folder: string) {
  const migrationsList = {
    baseDir: folder,
    lockfile: { path: 'migration_lock.toml', content: 'provider = "postgresql"\n' },
    shadowDbInitScript: '',
    migrationDirectories: readdirSync(folder, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => name)
      .sort()
      .map((name) => {
        const value = readFileSync(join(folder, name, 'migration.sql'), 'utf8')
        return { path: name, migrationFile: { path: 'migration.sql', content: { tag: 'ok' as const, value } } }
      }),
  }
  const { engine, close } = await createPrismaEngine(url)
  return {
    /** `prisma migrate deploy`: the names that it applied. */
    deploy: async (): Promise<string[]> =>
      (await engine.applyMigrations({ migrationsList, filters })).appliedMigrationNames,
    /** `prisma migrate status`. */
    status: () => engine.diagnoseMigrationHistory({ migrationsList, optInToShadowDatabase: false, filters }),
    close,
  }
}
