import type { Doorstep } from './doorstep.ts'

/**
 * Lets `seconds` go by for everything that is stored of one user, while others stay where they are: every moment becomes
 * so much older. Tokens, which know no database, stay as they are too.
 */
export async function age(
  { sql, services }: Pick<Doorstep, 'sql' | 'services'>,
  user: { id: string; email: string },
  seconds: number,
): Promise<void> {
  await sql(
    `WITH age AS (SELECT $1::double precision * interval '1 second' AS by),
       throttle AS (UPDATE login_throttles SET counted_from = counted_from - by, locked_until = locked_until - by FROM age
         WHERE identifier = ANY ($3::bytea[]) OR identifier IN (SELECT token_hash FROM devices WHERE user_id = $2)),
       guard AS (UPDATE factor_guards SET locked_until = locked_until - by,
         failed_at = ARRAY(SELECT f - by FROM unnest(failed_at) WITH ORDINALITY AS u(f, n) ORDER BY n) FROM age
         WHERE user_id = $2),
       begun AS (UPDATE challenges SET created_at = created_at - by, ends_at = ends_at - by,
         consumed_at = consumed_at - by, superseded_at = superseded_at - by FROM age WHERE user_id = $2),
       codes AS (UPDATE challenge_codes SET last_sent_at = last_sent_at - by, expires_at = expires_at - by FROM age
         WHERE challenge_id IN (SELECT id FROM challenges WHERE user_id = $2)),
       mailed AS (UPDATE mails SET created_at = created_at - by, next_try_at = next_try_at - by FROM age WHERE user_id = $2),
       texts AS (UPDATE sms_messages SET reserved_at = reserved_at - by FROM age WHERE user_id = $2),
       aged AS (UPDATE devices SET created_at = created_at - by, last_used_at = last_used_at - by,
         expires_at = expires_at - by, trusted_until = trusted_until - by FROM age WHERE user_id = $2)
     UPDATE sessions SET created_at = created_at - by, authenticated_at = authenticated_at - by,
       rotated_at = rotated_at - by, last_used_at = last_used_at - by, idle_until = idle_until - by,
       expires_at = expires_at - by, ended_at = ended_at - by,
       proofs_failed_at = ARRAY(SELECT f - by FROM unnest(proofs_failed_at) AS f) FROM age WHERE user_id = $2`,
    [seconds, user.id, services.loginThrottle.identifyAll(user.email)],
  )
}
