import { fromBase32 } from '../../src/security/base32.ts'
import { hotp } from '../../src/security/totp.ts'
import type { Doorstep } from './doorstep.ts'
import { type Answer, call, codeFor, freshPhone, login, type TestUser, wrongCode } from './story.ts'

/** A user with nothing but a password. */
export async function createBareUser(
  { services }: Pick<Doorstep, 'services'>,
  twoFactor: 'required' | 'optional' | 'off' = 'required',
): Promise<TestUser> {
  const email = `bare-${services.random.uuid().slice(0, 13)}@example.com`
  const password = 'correct horse battery staple'
  const passwordHash = await services.passwordHash.hash(password)
  const event = { type: 'user.created', outcome: 'test' } as const
  const created = await services.store.accounts.create(
    { email, phone: null, passwordHash, twoFactor, locale: 'en' },
    event,
  )
  if (created.outcome !== 'created') throw new Error(created.outcome)
  return { id: created.id, email, phone: '', password }
}

/** The code in the newest mail to an address. */
export function mailedCode({ services }: Pick<Doorstep, 'services'>, email: string): string {
  const mail = services.mailbox?.sent().find((it) => it.to === email && /^\d{6,10}$/m.test(it.text))
  const code = /^(\d{6,10})$/m.exec(mail?.text ?? '')?.[1]
  if (code === undefined) throw new Error(`no code was mailed to ${email}`)
  return code
}

/** What an authenticator app shows now. */
export const totpCode = (secret: string): string => hotp(fromBase32(secret), Math.floor(Date.now() / 30_000))

/** A code that the app shows neither now nor in the minute before and after. */
export function wrongTotpCode(secret: string): string {
  const step = Math.floor(Date.now() / 30_000)
  const right = [-2, -1, 0, 1, 2].map((by) => hotp(fromBase32(secret), step + by))
  let code = wrongCode(totpCode(secret))
  while (right.includes(code)) code = wrongCode(code)
  return code
}

/** Lets the codes of an authenticator app work again that were used a moment ago. */
export const forgetSteps = ({ sql }: Pick<Doorstep, 'sql'>, user: TestUser) =>
  sql(`UPDATE factors SET counter = 0 WHERE user_id = $1 AND method = 'totp'`, [user.id])

export const prove = (
  doorstep: Pick<Doorstep, 'app'>,
  { body }: Answer,
  proof: { code?: string; credential?: object; method?: string; trust_device?: boolean },
): Promise<Answer> => call(doorstep, '/login/2fa', { token: body.pending_token, body: proof })

export const enrol = (doorstep: Pick<Doorstep, 'app'>, token: string, body: object): Promise<Answer> =>
  call(doorstep, '/factors', { token, body })

/** The first login of somebody who has to set up a factor, up to the token that opens that. */
export async function proveMailbox(doorstep: Doorstep, user: TestUser, body: object = {}): Promise<Answer> {
  const first = await login(doorstep, user, { body })
  return prove(doorstep, first, { code: mailedCode(doorstep, user.email) })
}

/** Sets up an authenticator app; its secret. */
export async function enrolTotp(doorstep: Doorstep, token: string): Promise<{ secret: string; answer: Answer }> {
  const begun = await enrol(doorstep, token, { method: 'totp' })
  if (begun.status !== 200) throw new Error(`enrol: ${begun.status} ${begun.body.code}`)
  const secret = String(begun.body.challenge.setup.secret)
  return { secret, answer: await prove(doorstep, begun, { code: totpCode(secret) }) }
}

/** Sets up a new phone; its number. */
export async function enrolSms(doorstep: Doorstep, token: string): Promise<{ phone: string; answer: Answer }> {
  const phone = freshPhone()
  const begun = await enrol(doorstep, token, { method: 'sms', phone })
  if (begun.status !== 200) throw new Error(`enrol: ${begun.status} ${begun.body.code}`)
  return { phone, answer: await prove(doorstep, begun, { code: codeFor(doorstep, phone) }) }
}
