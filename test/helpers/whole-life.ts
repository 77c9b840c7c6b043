import type { Test } from 'tap'
import type { Doorstep } from './doorstep.ts'
import { enrolTotp, prove } from './factors.ts'
import { mailedToken } from './links.ts'
import { type Answer, call, type TestUser } from './story.ts'

/**
 * Somebody registers, sets up a factor, changes password, e-mail and language, sees what the service knows, leaves, takes that
 * back and gets a new password by mail. What was exported, when it was to be erased, and a session that is signed in.
 */
export async function wholeLife(
  t: Test,
  doorstep: Doorstep,
): Promise<{ user: TestUser; exported: Answer['body']; erasesAt: string; token: string }> {
  const email = `life-${doorstep.services.random.uuid().slice(0, 13)}@example.com`
  const [first, second, third] = ['a first long password', 'a second long password', 'a third long password'] as const
  t.match(await call(doorstep, '/register', { body: { email } }), { status: 202 })
  const registered = await call(doorstep, '/password/set', {
    body: { token: await mailedToken(doorstep, email), password: first },
  })
  t.match(registered, { status: 200, body: { status: '2fa_enrolment_required' } })
  const { answer } = await enrolTotp(doorstep, registered.body.pending_token)
  t.match(answer, { status: 200, body: { status: 'authenticated' } })

  const changed = await call(doorstep, '/me/password', {
    ...{ method: 'PUT', token: answer.body.access_token },
    body: { current_password: first, password: second },
  })
  t.equal(changed.status, 200)
  const { access_token: token } = changed.body
  const moved = `moved-${email}`
  t.equal((await call(doorstep, '/me/email', { method: 'PUT', token, body: { email: moved } })).status, 202)
  const confirmed = await call(doorstep, '/me/email/confirm', {
    ...{ token, body: { token: await mailedToken(doorstep, moved, 'confirm-email') } },
  })
  t.match(confirmed, { status: 200, body: { email: moved } })
  t.equal((await call(doorstep, '/me', { method: 'PATCH', token, body: { locale: 'de' } })).status, 200)
  const exported = await call(doorstep, '/me/export', { token })
  t.match(exported, { status: 200, body: { profile: { email: moved, locale: 'de' }, factors: [{ method: 'totp' }] } })

  const left = await call(doorstep, '/me', { method: 'DELETE', token })
  t.equal(left.status, 202)
  const notMe = await mailedToken(doorstep, moved, 'not-me')
  t.equal((await call(doorstep, '/account/secure', { body: { token: notMe } })).status, 200)
  const back = await call(doorstep, '/password/set', {
    body: { token: await mailedToken(doorstep, moved), password: third },
  })
  t.match(back, { status: 200, body: { status: '2fa_required', challenge: { method: 'totp' } } })
  const user = { id: exported.body.profile.id, email: moved, phone: '', password: third }
  const [code] = answer.body.recovery_codes
  const signedIn = await prove(doorstep, back, { method: 'recovery_code', code })
  t.match(signedIn, { status: 200, body: { status: 'authenticated' } })
  t.equal((await call(doorstep, '/password/forgot', { body: { email: moved } })).status, 202)
  return { user, exported: exported.body, erasesAt: left.body.erases_at, token: signedIn.body.access_token }
}
