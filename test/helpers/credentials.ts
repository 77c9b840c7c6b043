import type { Doorstep } from './doorstep.ts'
import { part } from './forge.ts'
import { type Answer, call, codeFor, finish, login, type TestUser } from './story.ts'

type Instance = Pick<Doorstep, 'app' | 'services'>

export type Signed = { access: string; refresh: string; sid: string }

/** The tokens of an `authenticated` answer. */
export function tokensOf({ status, body }: Answer): Signed {
  if (status !== 200 || body.status !== 'authenticated') throw new Error(`not signed in: ${status} ${body.code}`)
  return { access: body.access_token, refresh: body.refresh_token, sid: String(part(body.access_token, 1).sid) }
}

/** Signs in a user that has no second factor. */
export const enter = async (doorstep: Instance, user: TestUser, body: object = {}): Promise<Signed> =>
  tokensOf(await login(doorstep, user, { body }))

export const refresh = (doorstep: Pick<Doorstep, 'app'>, token: string): Promise<Answer> =>
  call(doorstep, '/token/refresh', { body: { refresh_token: token } })

/** Signs in with a code and trusts the device. */
export async function trustDevice(
  doorstep: Instance,
  user: TestUser,
  name = 'phone',
): Promise<Signed & { device: string }> {
  const first = await login(doorstep, user)
  const answer = await finish(doorstep, first.body.pending_token, codeFor(doorstep, user.phone), {
    body: { trust_device: true, device_name: name },
  })
  return { ...tokensOf(answer), device: answer.body.device_token }
}

/** Signs in with a code: from then on this client is known, by a token that it shows at its next logins. */
export async function becomeKnown(
  doorstep: Instance,
  user: TestUser,
  from = '127.0.0.1',
): Promise<Signed & { device: string }> {
  const first = await login(doorstep, user, { from })
  const answer = await finish(doorstep, first.body.pending_token, codeOf(doorstep, first), { from })
  return { ...tokensOf(answer), device: answer.body.device_token }
}

/** A token of a device that this user has signed in with before, without the text that it would take. */
export async function plantDevice(
  { services, sql }: Pick<Doorstep, 'services' | 'sql'>,
  user: Pick<TestUser, 'id'>,
): Promise<string> {
  const { token, hash } = services.deviceTokens.make()
  await sql(
    `INSERT INTO devices (id, user_id, token_hash, last_used_at, expires_at)
     VALUES (gen_random_uuid(), $1, $2, now(), now() + interval '90 days')`,
    [user.id, hash],
  )
  return token
}

/** The code of the challenge that a `2fa_required` answer is about, whatever texts went out since. */
export function codeOf({ services }: Pick<Doorstep, 'services'>, { status, body }: Answer): string {
  if (body.pending_token === undefined) throw new Error(`no challenge: ${status} ${body.code ?? body.status}`)
  const code = services.oneTimeCodes.again(
    { challengeId: String(part(body.pending_token, 1).cid), method: 'sms' },
    'k1',
  )
  if (code === null) throw new Error('another key')
  return code
}

/** Every row of every table, as text. */
export async function dump({ sql }: Pick<Doorstep, 'sql'>): Promise<string> {
  const tables = await sql<{ name: string }>(
    `SELECT quote_ident(table_name) AS name FROM information_schema.tables WHERE table_schema = 'public'`,
  )
  const texts: string[] = []
  for (const { name } of tables) {
    const [row] = await sql<{ text: string }>(`SELECT coalesce(string_agg(t::text, E'\\n'), '') AS text FROM ${name} t`)
    texts.push(row?.text ?? '')
  }
  return texts.join('\n')
}
