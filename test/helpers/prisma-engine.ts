import { readFileSync } from 'node:fs'
import { PrismaPg } from '@prisma/adapter-pg'
import { bindMigrationAwareSqlAdapterFactory } from '@prisma/driver-adapter-utils'

const schemaPath = new URL('../../prisma/schema.prisma', import.meta.url)

/**
 * Prisma's own migration engine, offline, on the database at `url`. It is what `prisma migrate` runs, so that what
 * our runner leaves behind can be judged by it. Needs `node --experimental-wasm-modules` on Node 20.
 */
export async function createPrismaEngine(url: string) {
  const { SchemaEngine } = await import('@prisma/schema-engine-wasm')
  const datamodels: [string, string][] = [['schema.prisma', readFileSync(schemaPath, 'utf8')]]
  const factory = bindMigrationAwareSqlAdapterFactory(new PrismaPg({ connectionString: url }))
  const engine = await SchemaEngine.new({ datamodels }, () => {}, factory)
  return { engine, datamodels }
}
