import { readFileSync } from 'node:fs'
import { PrismaPg } from '@prisma/adapter-pg'
import { bindMigrationAwareSqlAdapterFactory, type SqlDriverAdapter } from '@prisma/driver-adapter-utils'
import pg from 'pg'

const schemaPath = new URL('../../prisma/schema.prisma', import.meta.url)

/**
 * Prisma's own migration engine, offline, on the database at `url`. It is what `prisma migrate` runs, so that what
 * our runner leaves behind can be judged by it. Needs `node --experimental-wasm-modules` on Node 20.
 */
export async function createPrismaEngine(url: string) {
  const { SchemaEngine } = await import('@prisma/schema-engine-wasm')
  const datamodels: [string, string][] = [['schema.prisma', readFileSync(schemaPath, 'utf8')]]
  const adapters = new PrismaPg({ connectionString: url })
  const factory = bindMigrationAwareSqlAdapterFactory({
    provider: adapters.provider,
    adapterName: adapters.adapterName,
    connect: async () => sendingScriptsWhole(await adapters.connect(), url),
    connectToShadowDb: async () => sendingScriptsWhole(await adapters.connectToShadowDb(), url),
  })
  const engine = await SchemaEngine.new({ datamodels }, () => {}, factory)
  return { engine, datamodels }
}

/**
 * `prisma migrate` sends a migration to Postgres in one piece. The adapter would cut it at every semicolon, also inside
 * the body of a function.
 */
function sendingScriptsWhole(adapter: SqlDriverAdapter, url: string): SqlDriverAdapter {
  adapter.executeScript = async (script) => {
    const client = new pg.Client({ connectionString: url })
    await client.connect()
    await client.query(script).finally(() => client.end())
  }
  return adapter
}
