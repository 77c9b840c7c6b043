import type { Method } from '../../src/methods.ts'
import { newSecret } from '../../src/security/totp.ts'
import { type Authenticator, createAuthenticator } from './authenticator.ts'
import { type Signed, tokensOf } from './credentials.ts'
import type { Doorstep } from './doorstep.ts'
import { createBareUser, totpCode } from './factors.ts'
import { part } from './forge.ts'
import { type Answer, call, freshPhone, login, type TestUser } from './story.ts'

/** Somebody who has factors, and what it takes to use each: with all of them it is in nobody else's hands. */
export type Owner = TestUser & { secret: string; device: Authenticator; codes: string[] }

/** Mails too, which METHODS does not list by default. */
export const allMethods = { METHODS: 'passkey,totp,sms,email' }

/** What `POST /login/2fa` takes. */
export type Given = { code?: string; credential?: object; method?: Method }

/** A user with a confirmed address, ten recovery codes and a factor of each of these methods, put where enrolments put them. */
export async function createOwner(
  doorstep: Pick<Doorstep, 'services' | 'sql' | 'config'>,
  methods: readonly Method[] = ['passkey', 'totp', 'sms'],
  twoFactor: 'required' | 'optional' | 'off' = 'required',
): Promise<Owner> {
  const { services, sql, config } = doorstep
  const user = await createBareUser(doorstep, twoFactor)
  await sql('UPDATE users SET email_confirmed_at = now() WHERE id = $1', [user.id])
  const phone = freshPhone()
  const secret = newSecret(services.random)
  const device = createAuthenticator({ origin: config.passkey.origins[0] ?? '' })
  const put = (
    method: Method,
    row: { phone?: string; credential?: Buffer; data?: object },
    id = services.random.uuid(),
  ) =>
    sql('INSERT INTO factors (id, user_id, method, phone, credential_id, data) VALUES ($1, $2, $3, $4, $5, $6)', [
      ...[id, user.id, method, row.phone ?? null, row.credential ?? null, row.data ?? {}],
    ])
  if (methods.includes('sms')) await put('sms', { phone })
  if (methods.includes('totp')) {
    const id = services.random.uuid()
    await put('totp', { data: { secret: services.sealer.seal('totp', secret, `totp|${user.id}|${id}`) } }, id)
  }
  if (methods.includes('passkey')) {
    const list = await services.store.factors.list(user.id)
    const person = { handle: list?.user_handle ?? '', name: user.email, displayName: user.email }
    const options = services.passkeys.creationOptions({ cid: user.id, user: person, exclude: [] })
    const made = await services.passkeys.verifyRegistration({ cid: user.id, response: device.register(options) })
    if (made === null) throw new Error('the passkey was not taken')
    await put('passkey', { credential: made.credential_id, data: made.data })
  }
  const { codes, macs } = services.recoveryCodes.make(user.id)
  for (const mac of macs) {
    await sql('INSERT INTO recovery_codes (user_id, mac) VALUES ($1, $2)', [user.id, Buffer.from(mac, 'hex')])
  }
  return { ...user, phone, secret, device, codes }
}

/** The code that a method sends, or would send, in the challenge of an answer. */
export function sentCode({ services }: Pick<Doorstep, 'services'>, pending: string, method: 'sms' | 'email'): string {
  const code = services.oneTimeCodes.again({ challengeId: String(part(pending, 1).cid), method }, 'k1')
  if (code === null) throw new Error('another key')
  return code
}

/** What the owner answers a challenge with; a recovery code is taken off the paper. `body`: it goes on with `method`. */
export function rightAnswer(
  doorstep: Pick<Doorstep, 'services'>,
  owner: Owner,
  method: Method,
  body: Answer['body'],
): Given {
  if (method === 'passkey') return { method, credential: owner.device.assert(body.challenge.public_key) }
  if (method === 'totp') return { method, code: totpCode(owner.secret) }
  if (method === 'recovery_code') return { method, code: owner.codes.pop() ?? '' }
  return { method, code: sentCode(doorstep, body.pending_token, method) }
}

/** A password, and a login that goes on with this method. */
export async function loginBy(
  doorstep: Pick<Doorstep, 'app'>,
  owner: TestUser,
  method: Method,
  more: { from?: string; body?: object } = {},
): Promise<Answer> {
  const first = await login(doorstep, owner, more)
  if (first.body.challenge?.method === method || first.status !== 200) return first
  const from = more.from === undefined ? {} : { from: more.from }
  const body = { method }
  const switched = await call(doorstep, '/login/2fa/method', { token: first.body.pending_token, body, ...from })
  return { ...switched, body: { ...first.body, ...switched.body } }
}

/** A session at `aal2`, by a recovery code: no other factor is touched. */
export async function sessionOf(doorstep: Pick<Doorstep, 'app'>, owner: Owner): Promise<Signed & { device: string }> {
  const first = await login(doorstep, owner, { from: '198.51.100.77' })
  const proof = { method: 'recovery_code', code: owner.codes.pop() ?? '' }
  const done = await call(doorstep, '/login/2fa', { token: first.body.pending_token, body: proof })
  return { ...tokensOf(done), device: done.body.device_token }
}
