import type { Doorstep } from './doorstep.ts'

/** Left where they are: they say nothing of people. */
const timeless = ['signing_keys', '_prisma_migrations']

/**
 * Lets `days` go by for everything that is stored, in every table that there is (those of the catalogue), with the moments that
 * links and mails tell. Nothing else may be running. Tokens, which know no database, stay as they are, and so do lists of
 * moments (failed codes), for which there is pass-time.ts.
 */
export async function passDays({ sql }: Pick<Doorstep, 'sql'>, days: number): Promise<void> {
  const columns = await sql<{ table: string; columns: string[] }>(
    `SELECT table_name AS table, array_agg(column_name::text) AS columns FROM information_schema.columns
     WHERE table_schema = 'public' AND data_type = 'timestamp with time zone' GROUP BY table_name`,
  )
  const by = `${days} * interval '24 hours'`
  for (const { table, columns: names } of columns) {
    if (timeless.includes(table)) continue
    await sql(`UPDATE "${table}" SET ${names.map((name) => `"${name}" = "${name}" - ${by}`).join(', ')}`)
  }
  for (const [table, member] of [
    ['mail_links', 'since'],
    ['mails', 'erases_at'],
  ]) {
    await sql(
      `UPDATE ${table} SET data = data || jsonb_build_object($1::text, (data->>$1)::numeric - $2::integer * 86400) WHERE data ? $1`,
      [member, days],
    )
  }
}
