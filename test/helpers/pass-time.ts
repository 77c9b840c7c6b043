import type { Doorstep } from './doorstep.ts'

/**
 * Lets `seconds` go by for everything that is stored: every moment in the database becomes so much older. Nothing else
 * may be running. The totals of the UTC hour and day stay; tokens, which know no database, do too.
 */
export async function passTime({ sql }: Pick<Doorstep, 'sql'>, seconds: number): Promise<void> {
  await sql(
    `WITH age AS (SELECT $1::double precision * interval '1 second' AS by),
       throttles AS (UPDATE login_throttles SET charged_at = charged_at - by, locked_until = locked_until - by FROM age),
       guards AS (UPDATE factor_guards SET locked_until = locked_until - by,
         failed_at = ARRAY(SELECT f - by FROM unnest(failed_at) WITH ORDINALITY AS u(f, n) ORDER BY n) FROM age),
       codes AS (UPDATE challenges SET created_at = created_at - by, last_sent_at = last_sent_at - by,
         expires_at = expires_at - by, ends_at = ends_at - by, consumed_at = consumed_at - by,
         superseded_at = superseded_at - by FROM age),
       texts AS (UPDATE sms_messages SET reserved_at = reserved_at - by FROM age),
       budgets AS (UPDATE sms_budgets SET touched_at = touched_at - by,
         sent_at = ARRAY(SELECT s - by FROM unnest(sent_at) WITH ORDINALITY AS u(s, n) ORDER BY n) FROM age)
     UPDATE sessions SET created_at = created_at - by, authenticated_at = authenticated_at - by,
       expires_at = expires_at - by, ended_at = ended_at - by FROM age`,
    [seconds],
  )
}
