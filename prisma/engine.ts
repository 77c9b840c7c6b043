import { readFileSync } from 'node:fs'
import { PrismaPg } from '@prisma/adapter-pg'
import {
  bindMigrationAwareSqlAdapterFactory,
  ColumnTypeEnum,
  type SqlDriverAdapter,
} from '@prisma/driver-adapter-utils'
import * as bindings from '@prisma/schema-engine-wasm/schema_engine_bg'
import pg from 'pg'

/** What the compiler is not told of: WebAssembly itself, and what the package keeps for its own loader. */
type Exports = { __wbindgen_start(): void }
type Loader = { instantiate(code: Buffer, imports: object): Promise<{ instance: { exports: Exports } }> }
const { WebAssembly } = globalThis as unknown as { WebAssembly: Loader }
const { __wbg_set_wasm } = bindings as unknown as { __wbg_set_wasm(exports: Exports): void }

const schemaFile = new URL('schema.prisma', import.meta.url)
const program = new URL('schema_engine_bg.wasm', import.meta.resolve('@prisma/schema-engine-wasm'))
let isLoaded: Promise<void> | undefined

/** By hand, since Node 20 and 22 load WebAssembly as a module with a flag only. */
async function load(): Promise<void> {
  const { instance } = await WebAssembly.instantiate(readFileSync(program), { './schema_engine_bg.js': bindings })
  __wbg_set_wasm(instance.exports)
  instance.exports.__wbindgen_start()
}

/**
 * Prisma's own migration engine, offline, on the schema "public" of the database at `url`: what `prisma migrate` runs
 * with `?schema=public`. `content`: what a schema.prisma says, ours if not given. Close it when done.
 */
export async function createPrismaEngine(url: string, content = readFileSync(schemaFile, 'utf8')) {
  isLoaded ??= load()
  await isLoaded
  const pool = new pg.Pool({
    connectionString: url,
    max: 1,
    // Waited for, which its type does not tell.
    onConnect: (client) => client.query('SET search_path TO "public"') as unknown as undefined,
  })
  const adapters = new PrismaPg(pool)
  const factory = bindMigrationAwareSqlAdapterFactory({
    provider: adapters.provider,
    adapterName: adapters.adapterName,
    connect: async () => fitForMigrations(await adapters.connect(), pool),
    connectToShadowDb: () => adapters.connectToShadowDb(),
  })
  const engine = await bindings.SchemaEngine.new({ datamodels: [['schema.prisma', content]] }, () => {}, factory)
  const files = [{ path: 'schema.prisma', content }]

  return {
    engine,

    /**
     * The SQL that makes what the schema says, out of nothing or out of what the database has. Prisma does not see
     * functions, checks, storage parameters, and indexes that are partial or on an expression: it leaves them alone.
     */
    difference: async (from: 'nothing' | 'database'): Promise<string> => {
      const { stdout } = await engine.diff({
        from: from === 'nothing' ? { tag: 'empty' } : { tag: 'schemaDatasource', files, configDir: '' },
        to: { tag: 'schemaDatamodel', files },
        script: true,
        exitCode: null,
        filters: { externalTables: [], externalEnums: [] },
      })
      return (stdout ?? '').replace('-- This is an empty migration.', '').trim()
    },

    close: () => pool.end(),
  }
}

/** Much of Postgres' catalogue is in its type "char", which the adapter does not know. */
const catalogueChar = 18

/** Lets Prisma's adapter, which is made for applications, read the catalogue and run scripts over the pool behind it. */
function fitForMigrations(adapter: SqlDriverAdapter, pool: pg.Pool): SqlDriverAdapter {
  const query = pool.query.bind(pool)
  const queryRaw = adapter.queryRaw.bind(adapter)
  let types: number[] = []
  const queryAsText = async (asked: pg.QueryArrayConfig) => {
    const result = await query(asked)
    types = result.fields.map(({ dataTypeID }) => dataTypeID)
    for (const field of result.fields) if (field.dataTypeID === catalogueChar) field.dataTypeID = pg.types.builtins.TEXT
    return result
  }
  Object.assign(pool, { query: queryAsText })
  return Object.assign(adapter, {
    queryRaw: async (asked: Parameters<typeof queryRaw>[0]) => {
      const result = await queryRaw(asked)
      const columnTypes = result.columnTypes.map((type, at) =>
        types[at] === catalogueChar ? ColumnTypeEnum.Character : type,
      )
      return { ...result, columnTypes }
    },
    // In one piece, as `prisma migrate` does. The adapter would cut it at every semicolon, also inside a function.
    executeScript: async (script: string) => void (await query(script)),
  })
}
