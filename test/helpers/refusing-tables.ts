import type { Doorstep } from './doorstep.ts'

/** Has the database refuse every row that is written to `table` while `work` runs, as one whose disk is full. */
export async function refuseAt(
  { sql }: Pick<Doorstep, 'sql'>,
  table: string,
  work: () => Promise<unknown>,
): Promise<void> {
  await sql(`CREATE OR REPLACE FUNCTION refuse_row() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'as the test wants it' USING ERRCODE = '53100'; END $$`)
  await sql(
    `CREATE TRIGGER refuses BEFORE INSERT OR UPDATE OR DELETE ON ${table} FOR EACH ROW EXECUTE FUNCTION refuse_row()`,
  )
  try {
    await work()
  } finally {
    await sql(`DROP TRIGGER refuses ON ${table}`)
  }
}

/** All that is stored, but for what the service counts of itself. */
export async function storedRows({ sql }: Pick<Doorstep, 'sql'>): Promise<string[]> {
  const rows = await sql<{ row: string }>(
    [
      'users',
      'factors',
      'recovery_codes',
      'login_throttles',
      'factor_guards',
      'devices',
      'challenges',
      'challenge_codes',
    ]
      .concat('sessions', 'mail_links', 'mails', 'sms_messages', 'account_changes', 'audit_events')
      .map((table) => `SELECT '${table} ' || it::text AS row FROM ${table} it`)
      .join(' UNION ALL ')
      .concat(' ORDER BY row'),
  )
  return rows.map(({ row }) => row)
}
