import type { Doorstep } from './doorstep.ts'

/**
 * The token of a link that sets a password, as if it had just been mailed, without the mails that it would take. `userId`: of
 * the account that the address had at that moment; null for one that registers. `livesFor`: seconds.
 */
export async function plantLink(
  { services, sql }: Pick<Doorstep, 'services' | 'sql'>,
  { email, userId, livesFor = 3_600 }: { email: string; userId: string | null; livesFor?: number },
): Promise<string> {
  const { token, hash } = services.mailLinks.make()
  await sql(
    `INSERT INTO mail_links (token_hash, kind, email, user_id, data, created_at, expires_at)
     VALUES ($1, 'set_password', $2, $3, '{"locale": "en"}', now(), now() + $4 * interval '1 second')`,
    [hash, email, userId, livesFor],
  )
  return token
}

/** A link to set the password of this user. */
export const resetLink = (
  doorstep: Pick<Doorstep, 'services' | 'sql'>,
  { id, email }: { id: string; email: string },
): Promise<string> => plantLink(doorstep, { email, userId: id })
