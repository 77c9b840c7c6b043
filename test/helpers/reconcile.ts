import type { Test } from 'tap'
import type { Doorstep } from './doorstep.ts'
import type { Answer, TestUser } from './story.ts'

/** What a client saw, and which texts went out, while things were being broken. */
export type Witnessed = { answers: Answer[]; texts: { to: string; body: string }[] }

/**
 * The books after a fault, of these users: no token without a session, no session without a code that was used up and an
 * audit row, no text without a stored challenge, no comparison that was not charged, at most five of them and one live
 * challenge of each client.
 */
export async function reconcile(
  t: Test,
  { sql, services }: Pick<Doorstep, 'sql' | 'services'>,
  users: TestUser[],
  { answers, texts }: Witnessed,
): Promise<void> {
  const ids = users.map(({ id }) => id)
  const [books] = await sql<Record<string, number>>(
    `SELECT (SELECT count(*)::integer FROM sessions WHERE user_id = ANY ($1)) AS sessions,
       (SELECT count(*)::integer FROM audit_events WHERE user_id = ANY ($1) AND type = 'session.started') AS audited,
       (SELECT count(*)::integer FROM challenges WHERE user_id = ANY ($1) AND consumed_at IS NOT NULL) AS consumed,
       (SELECT count(*)::integer FROM challenges c WHERE user_id = ANY ($1) AND consumed_at - interval '1 second' >
          (SELECT max(expires_at) FROM challenge_codes WHERE challenge_id = c.id)) AS late,
       (SELECT coalesce(sum(attempts), 0)::integer FROM challenges WHERE user_id = ANY ($1)) AS charged,
       (SELECT coalesce(max(attempts), 0)::integer FROM challenges WHERE user_id = ANY ($1)) AS most_attempts,
       (SELECT count(*)::integer FROM (SELECT FROM challenges WHERE user_id = ANY ($1) AND consumed_at IS NULL
          AND superseded_at IS NULL GROUP BY user_id, purpose, client HAVING count(*) > 1) AS doubled) AS doubled`,
    [ids],
  )
  t.equal(books?.sessions, books?.consumed, 'every session has its used-up code, and the reverse')
  t.equal(books?.sessions, books?.audited, 'every session has its audit row, and the reverse')
  t.equal(books?.late, 0, 'no code was accepted after its time')
  t.equal(books?.doubled, 0, 'no client has two live challenges')
  t.ok((books?.most_attempts ?? 99) <= 5, 'no challenge was tried more than five times')

  const sessions = new Set((await sql('SELECT id FROM sessions')).map(({ id }) => id))
  const granted = answers.flatMap(({ body }) => (body.access_token ? [sessionIdOf(body.access_token)] : []))
  t.equal(granted.filter((id) => !sessions.has(id)).length, 0, 'every token has its session')
  t.equal(new Set(granted).size, granted.length, 'every token has a session of its own')
  const compared = answers.filter(({ status, body }) => status === 422 || body.access_token !== undefined).length
  t.ok((books?.charged ?? 0) >= compared, 'every comparison was charged')

  const challenges = await sql<{ id: string; key_id: string; phone: string; sends: number }>(
    `SELECT c.id, k.key_id, k.sends, f.phone FROM challenges c JOIN challenge_codes k ON k.challenge_id = c.id AND k.method = 'sms'
       JOIN factors f ON f.user_id = c.user_id AND f.method = 'sms' WHERE c.user_id = ANY ($1)`,
    [ids],
  )
  const stored = new Map<string, number>()
  for (const { id, key_id: keyId, phone, sends } of challenges) {
    const code = services.oneTimeCodes.again({ challengeId: id, method: 'sms' }, keyId)
    const name = `${phone} ${code}`
    stored.set(name, (stored.get(name) ?? 0) + sends)
  }
  const sent = new Map<string, number>()
  for (const { to, body } of texts) {
    const name = `${to} ${/#(\d+)$/.exec(body)?.[1]}`
    sent.set(name, (sent.get(name) ?? 0) + 1)
  }
  const unpaid = [...sent].filter(([name, times]) => times > (stored.get(name) ?? 0))
  t.same(unpaid, [], 'no text went without a stored challenge that paid for it')
}

/** `sid` of an access token. */
export function sessionIdOf(token: string): string {
  return JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString('utf8')).sid
}
