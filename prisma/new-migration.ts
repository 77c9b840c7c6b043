import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { startEmbedded } from '../src/store/embedded.ts'
import { listMigrations, migrate } from '../src/store/migrate.ts'
import { createPrismaEngine } from './engine.ts'

// npm run migration -- <name>: writes the migration that leads from the history to schema.prisma and functions/.

const here = fileURLToPath(new URL('.', import.meta.url))

/** A function as a file has it, with the comment before it. */
type Source = { name: string; text: string }

/** Every function of a folder. Throws if there is anything else in it, or one of them twice. */
export function readFunctions(folder: string): Source[] {
  const files = readdirSync(folder).filter((file) => file.endsWith('.sql'))
  const sources = files.sort().flatMap((file) => {
    const pieces = readFileSync(join(folder, file), 'utf8').split(/(?<=\$\$;)\n/)
    return pieces.flatMap((piece) => {
      const code = piece.replace(/^(\s|--.*\n?)+/, '')
      if (code === '') return []
      const [, name] = /^CREATE OR REPLACE FUNCTION (\w+)\([\s\S]*\$\$;$/.exec(code) ?? []
      if (name === undefined) throw new Error(`${file} has something else than functions: ${code.slice(0, 80)} …`)
      const [comment = ''] = /(--.*\n)*$/.exec(piece.slice(0, -code.length)) ?? []
      return [{ name, text: comment + code }]
    })
  })
  const twice = sources.find(({ name }, at) => sources.findIndex((other) => other.name === name) !== at)
  if (twice) throw new Error(`The function ${twice.name} is there twice`)
  return sources
}

/** A function as the database has it: `signature` names it for DROP, `head` is what cannot be replaced, `whole` is all. */
type Made = { name: string; signature: string; head: string; whole: string }

const made = `
  SELECT proname AS name, oid::regprocedure::text AS signature, pg_get_functiondef(oid) AS whole,
    concat(pg_get_function_arguments(oid), ' ', pg_get_function_result(oid)) AS head
  FROM pg_proc WHERE pronamespace = 'public'::regnamespace ORDER BY 2`

/**
 * The SQL that leads from the migrations in one folder to the functions in another and to `schema` (schema.prisma if not
 * given); empty if they say the same. Works in the empty database at `url`, and leaves it as the new migration would.
 */
export async function writeDifference(given: { url: string; migrations: string; functions: string; schema?: string }) {
  await migrate(given.url, given.migrations)
  const prisma = await createPrismaEngine(given.url, given.schema)
  const tables = await prisma.difference('database').finally(prisma.close)
  if (tables.includes('"public"'))
    throw new Error(`A schema is named, which DATABASE_URL may name otherwise:\n${tables}`)

  const client = new pg.Client({ connectionString: given.url })
  await client.connect()
  try {
    await client.query('SET search_path TO public')
    const { rows: before } = await client.query<Made>(made)
    for (const { signature } of before) await client.query(`DROP FUNCTION ${signature} CASCADE`)
    await client.query(tables)
    const sources = await load(client, readFunctions(given.functions))
    const { rows: after } = await client.query<Made>(made)

    const gone = before.filter((old) => !after.some(({ name, head }) => name === old.name && head === old.head))
    const fresh = after.filter(({ whole }) => !before.some((old) => old.whole === whole)).map(({ name }) => name)
    const parts = [
      ...gone.map(({ signature }) => `DROP FUNCTION ${signature};`),
      tables,
      ...sources.filter(({ name }) => fresh.includes(name)).map(({ text }) => text),
    ]
    return parts.filter((part) => part !== '').join('\n\n')
  } finally {
    await client.end()
  }
}

/** Makes the functions, and returns them in an order that works: one in SQL is made after those that it calls. */
async function load(client: pg.Client, sources: Source[]): Promise<Source[]> {
  const loaded: Source[] = []
  const later: Source[] = []
  let failure = ''
  for (const source of sources) {
    await client.query(source.text).then(
      () => loaded.push(source),
      (error: Error) => {
        failure = `The function ${source.name} cannot be made: ${error.message}`
        later.push(source)
      },
    )
  }
  if (later.length === sources.length && later.length > 0) throw new Error(failure)
  return later.length > 0 ? [...loaded, ...(await load(client, later))] : loaded
}

async function main(name = ''): Promise<string> {
  if (!/^[a-z][a-z0-9_]{0,99}$/.test(name)) throw new Error('Usage: npm run migration -- name_in_small_letters')
  const migrations = join(here, 'migrations')
  const folder = join(migrations, `${new Date().toISOString().replace(/\D/g, '').slice(0, 14)}_${name}`)
  const [last = ''] = (await listMigrations(migrations)).slice(-1)
  if (join(migrations, last) >= folder) throw new Error(`${last} is later than now: is the clock right?`)
  const scratch = mkdtempSync(join(tmpdir(), 'doorstep-migration-'))
  try {
    const { url, close } = await startEmbedded(scratch)
    const sql = await writeDifference({ url, migrations, functions: join(here, 'functions') }).finally(close)
    if (sql === '') return 'Nothing has changed.'
    await mkdir(folder)
    await writeFile(join(folder, 'migration.sql'), `${sql}\n`)
    return `Wrote ${join(folder, 'migration.sql')}: read it before you commit it.`
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await main(...process.argv.slice(2)).then(console.log, (error: Error) => {
    console.error(error.message)
    process.exitCode = 1
  })
}
