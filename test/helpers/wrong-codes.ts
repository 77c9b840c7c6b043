import type { Doorstep } from './doorstep.ts'

/**
 * Writes what is counted of a user's wrong codes for one class of clients: strangers unless `known`. `lockedFor` and
 * `failedAgo`, one for each failure, are intervals as Postgres reads them.
 */
export async function setWrongCodes(
  { sql }: Pick<Doorstep, 'sql'>,
  { id }: { id: string },
  counted: { known?: boolean; streak?: number; lockedFor?: string | null; failedAgo?: string[] },
): Promise<void> {
  const { known = false, streak = 0, lockedFor = null, failedAgo = [] } = counted
  await sql('DELETE FROM factor_guards WHERE user_id = $1 AND known = $2', [id, known])
  await sql(
    `INSERT INTO factor_guards (user_id, known, streak, locked_until, failed_at) VALUES ($1, $2, $3, now() + $4::interval,
       ARRAY(SELECT now() - f::interval FROM unnest($5::text[]) WITH ORDINALITY AS x(f, n) ORDER BY n))`,
    [id, known, streak, lockedFor, failedAgo],
  )
}
