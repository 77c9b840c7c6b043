import t from 'tap'
import { tokensOf } from '../helpers/credentials.ts'
import { startDoorstep } from '../helpers/doorstep.ts'
import { createBareUser, enrolTotp, forgetSteps, mailedCode, prove, totpCode } from '../helpers/factors.ts'
import { mailedToken, mailsTo } from '../helpers/links.ts'
import { call, createUser, login, signIn } from '../helpers/story.ts'
import { notMe } from '../helpers/thief.ts'

t.setTimeout(300_000)

const doorstep = await startDoorstep(t)
const { sql } = doorstep
const password = 'a long sentence that only she knows'
const me = (token: string) => call(doorstep, '/me', { token })

t.test('the life of an account, from registering to erased', async (t) => {
  const email = 'grace@example.com'
  const asked = await call(doorstep, '/register', { body: { email: ' Grace@Example.com', locale: 'de' } })
  t.match(asked, { status: 202, body: { status: 'mail_sent', expires_in: 86_400, resend_after: 60 } })
  t.same(await sql('SELECT FROM users WHERE email = $1', [email]), [], 'nobody yet')
  const token = await mailedToken(doorstep, email)
  t.match((await mailsTo(doorstep, email))[0], { subject: /Registrierung/ })

  t.match(await call(doorstep, '/password/set', { body: { token, password: 'password1' } }), { status: 400 })
  const set = await call(doorstep, '/password/set', { body: { token, password, return_to: '/in' } })
  t.match(set, { status: 200, body: { status: '2fa_enrolment_required', methods: ['passkey', 'totp', 'sms'] } })
  t.match(await call(doorstep, '/password/set', { body: { token, password } }), {
    status: 410,
    body: { code: 'link_expired' },
  })
  const { secret, answer } = await enrolTotp(doorstep, set.body.pending_token)
  t.match(answer, { status: 200, body: { status: 'authenticated', return_to: '/in', recovery_codes: { length: 10 } } })
  const first = tokensOf(answer)
  t.match(await me(first.access), {
    body: { email, email_confirmed: true, locale: 'de', methods: ['totp', 'recovery_code'] },
  })

  const again = await call(doorstep, '/register', { body: { email } })
  t.equal(again.status, 202)
  t.same(again.body, asked.body)

  const changed = await call(doorstep, '/me/password', {
    ...{ method: 'PUT', token: first.access, body: { current_password: password, password: `${password}!` } },
  })
  t.match(changed, { status: 200, body: { status: 'authenticated' } })
  t.equal((await me(first.access)).status, 401, 'the old session is over')
  const now = tokensOf(changed)
  t.match(await me(now.access), { status: 200, body: { acr: 'aal2', amr: ['pwd', 'otp', 'mfa'] } })

  const other = 'grace@example.org'
  t.match(await call(doorstep, '/me/email', { method: 'PUT', token: now.access, body: { email: other } }), {
    status: 202,
  })
  const confirm = await mailedToken(doorstep, other, 'confirm-email')
  const stranger = await signIn(doorstep, await createUser(doorstep))
  t.match(
    await call(doorstep, '/me/email/confirm', { token: stranger.body.access_token, body: { token: confirm } }),
    { status: 410 },
    "not in another's session",
  )
  t.match(await call(doorstep, '/me/email/confirm', { token: now.access, body: { token: confirm } }), {
    ...{ status: 200, body: { email: other, email_confirmed: true } },
  })
  t.match(await call(doorstep, '/me', { method: 'PATCH', token: now.access, body: { locale: 'en' } }), {
    ...{ status: 200, body: { locale: 'en' } },
  })
  const exported = await call(doorstep, '/me/export', { token: now.access })
  t.match(exported, {
    status: 200,
    body: { profile: { email: other }, factors: [{ method: 'totp' }], recovery_codes: 10 },
  })
  t.notMatch(JSON.stringify(exported.body), secret)

  const left = await call(doorstep, '/me', { method: 'DELETE', token: now.access })
  t.match(left, { status: 202, body: { erases_at: /^\d{4}-/ } })
  t.equal((await me(now.access)).status, 401)
  t.match(await login(doorstep, { email: other, password: `${password}!` }), { status: 401 })
  t.ok((await mailsTo(doorstep, other)).some(({ subject }) => subject.startsWith('Your account will be erased')))
  await sql(`UPDATE users SET erases_at = now() - interval '1 second' WHERE email = $1`, [other])
  await doorstep.services.store.purge.expired({ eventDays: 400, notices: true })
  t.same(await sql('SELECT FROM users WHERE email = $1', [other]), [])
})

t.test('a forgotten password: the second factor is still asked for', async (t) => {
  const user = await createUser(doorstep)
  t.match(await call(doorstep, '/password/forgot', { body: { email: user.email } }), { body: { expires_in: 3_600 } })
  const token = await mailedToken(doorstep, user.email)
  const set = await call(doorstep, '/password/set', { body: { token, password } })
  t.match(set, { status: 200, body: { status: '2fa_required', methods: ['sms'] } })
  t.match(await login(doorstep, user), { status: 401 }, 'the old password is over')
  t.ok((await mailsTo(doorstep, user.email)).some(({ subject }) => subject.startsWith('New password')))
})

t.test('the owner takes back what a thief with a session has changed', async (t) => {
  const user = await createBareUser(doorstep, 'required')
  const first = await login(doorstep, user)
  const proven = await prove(doorstep, first, { code: mailedCode(doorstep, user.email) })
  const { secret, answer } = await enrolTotp(doorstep, proven.body.pending_token)
  await forgetSteps(doorstep, user)
  const thief = tokensOf(answer)
  const theirs = await enrolTotp(doorstep, thief.access)
  t.equal(theirs.answer.status, 200, 'the app is replaced')
  const token = await notMe(doorstep, user, 'Second factor replaced')
  await call(doorstep, '/me/email', { method: 'PUT', token: thief.access, body: { email: 'thief@example.org' } })
  const confirm = await mailedToken(doorstep, 'thief@example.org', 'confirm-email')
  t.equal((await call(doorstep, '/me/email/confirm', { token: thief.access, body: { token: confirm } })).status, 200)
  const theirMails = (await mailsTo(doorstep, 'thief@example.org')).map(({ text }) => text)
  t.ok(theirMails.some((text) => text.includes('from now on')))
  t.notOk(
    theirMails.some((text) => text.includes('not-me')),
    'the new mailbox cannot take it back',
  )

  t.match(await call(doorstep, '/account/secure', { body: { token } }), { status: 200, body: { status: 'secured' } })
  t.match(await call(doorstep, '/account/secure', { body: { token } }), { status: 410 }, 'once')
  t.equal((await me(thief.access)).status, 401)
  t.match(await login(doorstep, user), { status: 403, body: { code: 'password_reset_required' } })
  const reset = await mailedToken(doorstep, user.email)
  const set = await call(doorstep, '/password/set', { body: { token: reset, password } })
  t.match(set, { status: 200, body: { status: '2fa_required', challenge: { method: 'totp' } } })
  await forgetSteps(doorstep, user)
  t.match(await prove(doorstep, set, { code: totpCode(theirs.secret) }), { status: 422 }, "the thief's app is gone")
  t.match(await prove(doorstep, set, { code: totpCode(secret) }), { status: 200 }, "the owner's is back")
})

t.test('whose account wants no second factor sets up the first one in the session that the link began', async (t) => {
  const user = await createBareUser(doorstep, 'optional')
  await call(doorstep, '/password/forgot', { body: { email: user.email } })
  const token = await mailedToken(doorstep, user.email)
  const set = await call(doorstep, '/password/set', { body: { token, password } })
  t.match(set, { status: 200, body: { status: 'authenticated' } })
  const changed = await call(doorstep, '/me/password', {
    ...{ method: 'PUT', token: set.body.access_token, body: { current_password: password, password: `${password}!` } },
  })
  const { answer } = await enrolTotp(doorstep, changed.body.access_token)
  t.match(answer, { status: 200, body: { status: 'authenticated' } }, 'the mailbox was proven')
  const other = await login(doorstep, { ...(await createBareUser(doorstep, 'optional')) })
  const asked = await call(doorstep, '/factors', { token: other.body.access_token, body: { method: 'totp' } })
  t.match(
    asked,
    { status: 200, body: { status: '2fa_required', methods: ['email'] } },
    'after a password alone it is not',
  )
})
