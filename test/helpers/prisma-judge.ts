import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createPrismaEngine } from './prisma-engine.ts'

// Asks Prisma's own migration engine about a database, as `prisma migrate` would. A program of its own, because the engine
// needs a flag of Node. Arguments: the database, a folder of migrations, and what to ask; one JSON document comes out.

const [url = '', folder = '', ...questions] = process.argv.slice(2)
const filters = { externalTables: [], externalEnums: [] }
const migrationsList = {
  baseDir: folder,
  lockfile: { path: 'migration_lock.toml', content: readFileSync(join(folder, 'migration_lock.toml'), 'utf8') },
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

const { engine, datamodels } = await createPrismaEngine(url)
const files = datamodels.map(([path, content]) => ({ path, content }))
const ask = {
  apply: () => engine.applyMigrations({ migrationsList, filters }),
  diagnose: () => engine.diagnoseMigrationHistory({ migrationsList, optInToShadowDatabase: false, filters }),
  // What `prisma migrate diff` would write to make schema.prisma out of nothing.
  script: () =>
    engine.diff({
      from: { tag: 'empty' },
      to: { tag: 'schemaDatamodel', files },
      script: true,
      exitCode: null,
      filters,
    }),
}
const answers: Record<string, unknown> = {}
for (const question of questions) {
  answers[question] = await ask[question as keyof typeof ask]().catch((error: Error) => ({ error: error.message }))
}
process.stdout.write(`${JSON.stringify(answers)}\n`, () => process.exit(0))
