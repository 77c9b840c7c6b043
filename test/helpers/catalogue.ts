import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import type { Test } from 'tap'
import { createTestDatabase, type TestDatabase } from './database.ts'

export type Sql = (text: string, values?: unknown[]) => Promise<pg.QueryResultRow[]>

/** A database with nothing in it, and a connection to it. */
export async function emptyDatabase(t: Test): Promise<{ database: TestDatabase; url: string; sql: Sql }> {
  const database = await createTestDatabase()
  const client = new pg.Client({ connectionString: database.url })
  client.on('error', () => {})
  await client.connect()
  t.teardown(async () => {
    await client.end()
    await database.close()
  })
  const sql: Sql = async (text, values) => (await client.query(text, values)).rows
  await empty(sql)
  return { database, url: database.url, sql }
}

export async function empty(sql: Sql, schema = 'public'): Promise<void> {
  await sql(`DROP SCHEMA IF EXISTS ${pg.escapeIdentifier(schema)} CASCADE`)
  await sql('CREATE SCHEMA IF NOT EXISTS public')
}

/** Everything in a schema, one line each, without the schema's name: columns, constraints, indexes, functions. */
export async function catalogue(sql: Sql, schema = 'public'): Promise<string[]> {
  const rows = await sql(
    `WITH lines AS (
      SELECT format('column %s.%s %s(%s) %s %s', c.table_name, c.column_name, c.udt_name, c.character_maximum_length,
          c.is_nullable, c.column_default) AS line
        FROM information_schema.columns c WHERE c.table_schema = $1
      UNION ALL
      SELECT format('constraint %s on %s: %s', conname, conrelid::regclass, pg_get_constraintdef(oid))
        FROM pg_constraint WHERE connamespace = quote_ident($1)::regnamespace AND contype <> 'n'
      UNION ALL SELECT format('index %s', indexdef) FROM pg_indexes WHERE schemaname = $1
      UNION ALL
      SELECT format('storage of %s: %s', relname, reloptions) FROM pg_class
        WHERE relnamespace = quote_ident($1)::regnamespace AND reloptions IS NOT NULL
      UNION ALL
      SELECT format('function %s: %s', p.oid::regprocedure, pg_get_functiondef(p.oid))
        FROM pg_proc p WHERE pronamespace = quote_ident($1)::regnamespace
    ) SELECT replace(replace(line, quote_ident($1) || '.', ''), quote_literal($1), 'this schema') AS line FROM lines ORDER BY line COLLATE "C"`,
    [schema],
  )
  return rows.map(({ line }) => line)
}

/** A folder with these migrations, or with a copy of `from`; `add` puts one more into it. */
export function createHistory(t: Test, migrations: Record<string, string> = {}, from?: string) {
  const folder = mkdtempSync(join(tmpdir(), 'doorstep-migrations-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const add = (name: string, sql: string): void => {
    mkdirSync(join(folder, name))
    writeFileSync(join(folder, name, 'migration.sql'), sql)
  }
  if (from !== undefined) cpSync(from, folder, { recursive: true })
  for (const [name, sql] of Object.entries(migrations)) add(name, sql)
  return { folder, add }
}
