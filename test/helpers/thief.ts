import { type Authenticator, createAuthenticator } from './authenticator.ts'
import { type Signed, tokensOf } from './credentials.ts'
import type { Doorstep } from './doorstep.ts'
import { type Owner, rightAnswer } from './equipped.ts'
import { enrol, enrolSms, enrolTotp, forgetSteps, prove } from './factors.ts'
import { mailedToken, mailsTo } from './links.ts'
import { type Answer, call, login, type TestUser } from './story.ts'

/** Somebody with a fresh session of another's account, by a page that asked the owner for everything: what he has got hold of. */
export type Thief = Signed & { device: string; email: string; secret?: string; passkey?: Authenticator; phone?: string }

let thieves = 0

/** Signs in with the owner's password and a proof of his, by the first method that the owner has. */
export async function phish(doorstep: Doorstep, owner: Owner): Promise<Thief> {
  const first = await login(doorstep, owner, { from: '203.0.113.66' })
  const done = await prove(doorstep, first, rightAnswer(doorstep, owner, first.body.challenge.method, first.body))
  await forgetSteps(doorstep, owner)
  thieves += 1
  return { ...tokensOf(done), device: done.body.device_token, email: `thief-${thieves}@example.org` }
}

/** What a thief with a fresh session does to an account, by what the owner is told of it. */
export const thefts = (doorstep: Doorstep) => ({
  app: async (thief: Thief): Promise<Answer> => {
    const { secret, answer } = await enrolTotp(doorstep, thief.access)
    thief.secret = secret
    return answer
  },
  phone: async (thief: Thief): Promise<Answer> => {
    const { phone, answer } = await enrolSms(doorstep, thief.access)
    thief.phone = phone
    return answer
  },
  passkey: async (thief: Thief): Promise<Answer> => {
    thief.passkey = createAuthenticator({ origin: doorstep.config.passkey.origins[0] ?? '' })
    const begun = await enrol(doorstep, thief.access, { method: 'passkey' })
    return prove(doorstep, begun, { credential: thief.passkey.register(begun.body.challenge.setup.public_key) })
  },
  remove: async (thief: Thief, method: string): Promise<Answer> => {
    const { body } = await call(doorstep, '/factors', { token: thief.access })
    const [factor] = body.factors.filter((it: { method: string }) => it.method === method)
    return call(doorstep, `/factors/${factor.id}`, { method: 'DELETE', token: thief.access })
  },
  codes: (thief: Thief): Promise<Answer> => enrol(doorstep, thief.access, { method: 'recovery_code' }),
  email: async (thief: Thief): Promise<Answer> => {
    await call(doorstep, '/me/email', { method: 'PUT', token: thief.access, body: { email: thief.email } })
    const token = await mailedToken(doorstep, thief.email, 'confirm-email')
    return call(doorstep, '/me/email/confirm', { token: thief.access, body: { token } })
  },
  password: async (thief: Thief, current: string): Promise<Answer> => {
    const body = { current_password: current, password: `${current} of a thief` }
    const changed = await call(doorstep, '/me/password', { method: 'PUT', token: thief.access, body })
    Object.assign(thief, tokensOf(changed))
    return changed
  },
  deletion: (thief: Thief): Promise<Answer> => call(doorstep, '/me', { method: 'DELETE', token: thief.access }),
})

/** The token of the not-me link in the mail with this subject. */
export async function notMe(doorstep: Doorstep, { email }: { email: string }, subject: string): Promise<string> {
  const mail = (await mailsTo(doorstep, email)).find((it) => it.subject.startsWith(`${subject} –`))
  const [, token] = /\/not-me#token=(dsm_[\w-]{43})$/m.exec(mail?.text ?? '') ?? []
  if (token === undefined) throw new Error(`no link in "${subject}" to ${email}`)
  return token
}

export const secure = (doorstep: Pick<Doorstep, 'app'>, token: string): Promise<Answer> =>
  call(doorstep, '/account/secure', { body: { token } })

/** What the account consists of, as far as its owner could lose it. */
export async function accountOf({ sql }: Pick<Doorstep, 'sql'>, { id }: Pick<TestUser, 'id'>) {
  const [account] = await sql(
    `SELECT email, email_confirmed_at, disabled_at, erases_at,
       (SELECT json_agg(f ORDER BY f.id) FROM (SELECT id, method, phone, credential_id, data, created_at FROM factors WHERE user_id = u.id) f) AS factors,
       (SELECT array_agg(encode(mac, 'hex') ORDER BY mac) FROM recovery_codes WHERE user_id = u.id) AS codes
     FROM users u WHERE id = $1`,
    [id],
  )
  return account
}
