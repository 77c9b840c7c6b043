import t, { type Test } from 'tap'
import { changeAccount } from '../../src/features/accounts/change-account.ts'
import { age } from '../helpers/age.ts'
import { canariesIn } from '../helpers/canaries.ts'
import { refresh } from '../helpers/credentials.ts'
import { startDoorstep } from '../helpers/doorstep.ts'
import { createOwner, type Owner, rightAnswer } from '../helpers/equipped.ts'
import { enrol, prove } from '../helpers/factors.ts'
import { mailedToken, mailsTo } from '../helpers/links.ts'
import { passDays } from '../helpers/pass-days.ts'
import { call, login } from '../helpers/story.ts'
import { notMe, phish, secure, type Thief } from '../helpers/thief.ts'

// What the service knows of somebody, the language it speaks with him, and how he leaves (contract, section 6).

t.setTimeout(300_000)

const client = { id: 'billing', secret: 'a-secret-of-the-billing-team-0123' }
const doorstep = await startDoorstep(t, {
  env: { ERASE_AFTER_DAYS: '30', INTROSPECTION_CLIENTS: `${client.id}:${client.secret}` },
})
const { sql, services } = doorstep
const me = (token: string) => call(doorstep, '/me', { token })
const leave = (token: string) => call(doorstep, '/me', { method: 'DELETE', token })
const purge = () => services.store.purge.expired({ eventDays: 400, notices: true })
const invalid = { status: 401, body: { code: 'invalid_token' } }
const weak = { status: 401, body: { code: 'insufficient_user_authentication' } }

const isActive = async (token: string): Promise<boolean> => {
  const answer = await call(doorstep, '/token/introspect', {
    method: 'POST',
    headers: {
      'content-type': 'application/x-www-form-urlencoded',
      authorization: `Basic ${Buffer.from(`${client.id}:${client.secret}`).toString('base64')}`,
    },
    body: new URLSearchParams({ token }).toString(),
  })
  return answer.body.active
}

async function signsIn(t: Test, owner: Owner): Promise<Thief> {
  const session = await phish(doorstep, owner)
  t.match(await me(session.access), { status: 200 })
  return session
}

t.test('whoever leaves is out at once, everywhere', async (t) => {
  const owner = await createOwner(doorstep, ['totp'])
  const other = await signsIn(t, owner)
  const session = await signsIn(t, owner)
  const underWay = await login(doorstep, owner)
  await call(doorstep, '/password/forgot', { body: { email: owner.email } })
  const reset = await mailedToken(doorstep, owner.email)
  t.equal(await isActive(session.access), true)

  const before = Date.now()
  const left = await leave(session.access)
  t.equal(left.status, 202)
  const erases = Date.parse(left.body.erases_at) - 30 * 86_400_000
  t.ok(Math.abs(erases - before) < 120_000, 'in ERASE_AFTER_DAYS')
  t.match(await leave(session.access), invalid, 'once')
  for (const { access, refresh: token } of [session, other]) {
    t.match(await me(access), invalid)
    t.match(await refresh(doorstep, token), { status: 401 })
    t.equal(await isActive(access), false)
  }
  const open = await sql(
    `SELECT FROM sessions WHERE user_id = $1 AND ended_at IS NULL UNION ALL
     SELECT FROM challenges WHERE user_id = $1 AND consumed_at IS NULL AND superseded_at IS NULL`,
    [owner.id],
  )
  t.equal(open.length, 0, 'ended, not only refused while it is disabled')
  t.match(await prove(doorstep, underWay, rightAnswer(doorstep, owner, 'totp', underWay.body)), invalid)
  t.match(await login(doorstep, owner), { status: 401, body: { code: 'invalid_credentials' } }, 'as a wrong password')
  const body = { token: reset, password: 'a long sentence that only she knows' }
  t.match(await call(doorstep, '/password/set', { body }), { status: 410 }, 'a reset link opens nothing')
  const [mail] = (await mailsTo(doorstep, owner.email)).filter(({ subject }) => subject.includes('will be erased'))
  const day = new Intl.DateTimeFormat('en-GB', { year: 'numeric', timeZone: 'UTC' }).format(
    Date.parse(left.body.erases_at),
  )
  t.match(mail?.text, day)
})

t.test('a session that is not fresh or not strong cannot leave, nor take everything along', async (t) => {
  const owner = await createOwner(doorstep, ['totp'])
  const session = await signsIn(t, owner)
  await age(doorstep, owner, 601)
  t.match(await leave(session.access), weak)
  t.match(await call(doorstep, '/me/export', { token: session.access }), weak)
  await sql(`UPDATE sessions SET authenticated_at = now(), acr = 'aal1' WHERE user_id = $1`, [owner.id])
  t.match(await leave(session.access), weak)
  t.match(await call(doorstep, '/me/export', { token: session.access }), weak)
  t.match(await sql('SELECT erases_at, disabled_at FROM users WHERE id = $1', [owner.id]), [
    { erases_at: null, disabled_at: null },
  ])
})

t.test('a deletion can be taken back by its mail until the very end, and by an operator', async (t) => {
  const owner = await createOwner(doorstep, ['totp'])
  await leave((await signsIn(t, owner)).access)
  const token = await notMe(doorstep, owner, 'Your account will be erased')
  for (const days of [8, 8, 8, 5]) {
    await passDays(doorstep, days)
    await purge()
  }
  t.same(await sql('SELECT FROM mails WHERE user_id = $1', [owner.id]), [], 'the mail itself is forgotten')
  t.match(await secure(doorstep, token), { status: 200 })
  await passDays(doorstep, 7)
  await purge()
  t.match(await sql('SELECT erases_at, disabled_at, password_state FROM users WHERE id = $1', [owner.id]), [
    { erases_at: null, disabled_at: null, password_state: 'reset_required' },
  ])

  const other = await createOwner(doorstep, ['totp'])
  await leave((await signsIn(t, other)).access)
  const late = await notMe(doorstep, other, 'Your account will be erased')
  await changeAccount(services, { email: other.email, edit: { disabled: false }, outcome: 'enabled' })
  await signsIn(t, other)
  await passDays(doorstep, 31)
  await purge()
  t.same(await sql('SELECT erases_at, disabled_at FROM users WHERE id = $1', [other.id]), [
    { erases_at: null, disabled_at: null },
  ])
  t.match(await secure(doorstep, late), { status: 410 }, 'its link has had its time')

  const third = await createOwner(doorstep, ['totp'])
  await leave((await signsIn(t, third)).access)
  const last = await notMe(doorstep, third, 'Your account will be erased')
  await passDays(doorstep, 29)
  t.match(await purge(), { accounts: 0 })
  await passDays(doorstep, 2)
  t.match(await purge(), { accounts: 1 })
  t.match(await secure(doorstep, last), { status: 410 })
  t.same(await sql('SELECT FROM users WHERE id = $1', [third.id]), [])
})

t.test('whoever asks for everything gets everything but secrets, five times a day', async (t) => {
  const owner = await createOwner(doorstep, ['totp', 'sms', 'passkey'])
  const session = await signsIn(t, owner)
  await login(doorstep, { ...owner, password: 'wrong' }, { from: '198.51.100.9' })
  const texted = await login(doorstep, owner)
  await call(doorstep, '/login/2fa/method', { token: texted.body.pending_token, body: { method: 'sms' } })
  await call(doorstep, '/me/email', { method: 'PUT', token: session.access, body: { email: 'elsewhere@example.net' } })
  await mailsTo(doorstep, owner.email)
  const { status, body } = await call(doorstep, '/me/export', { token: session.access })
  t.equal(status, 200)
  t.match(body, {
    profile: { id: owner.id, email: owner.email, email_confirmed: true, locale: 'en', two_factor: 'required' },
    ...{ recovery_codes: 10, sessions: [{ id: session.sid }], devices: [{ name: null }] },
  })
  t.same(body.factors.map(({ method }: { method: string }) => method).sort(), ['passkey', 'sms', 'totp'])
  const ending = owner.phone.slice(-2)
  t.match(body.factors.find((it: { method: string }) => it.method === 'sms').phone, new RegExp(`^\\+1 •+ ${ending}$`))
  t.match(body.texts, [{ phone: new RegExp(`^\\+1 •+ ${ending}$`), delivery: 'sent' }])
  t.ok(body.mails.some((it: object) => 'topic' in it && it.topic === 'email.change_asked'))
  t.ok(body.mails.every(({ address }: { address: string }) => /^.{1,2}•+@.•+\.\w+$/u.test(address)))
  const types = body.events.map(({ type }: { type: string }) => type)
  for (const type of ['login.failed', 'session.started', 'email.change']) t.ok(types.includes(type), type)
  t.ok(body.events.some(({ address }: { address: string }) => address === '198.51.100.9'))

  const [stored] = await sql(
    `SELECT password_hash, (SELECT data->>'secret' FROM factors WHERE user_id = u.id AND method = 'totp') AS sealed,
       (SELECT data->>'public_key' FROM factors WHERE user_id = u.id AND method = 'passkey') AS key,
       (SELECT token_hash FROM devices WHERE user_id = u.id) AS device, (SELECT mac FROM recovery_codes WHERE user_id = u.id LIMIT 1) AS mac,
       (SELECT token_hash FROM mail_links WHERE user_id = u.id LIMIT 1) AS link FROM users u WHERE id = $1`,
    [owner.id],
  )
  const secrets = Object.entries({ ...stored, secret: owner.secret, phone: owner.phone, code: owner.codes[0] ?? '' })
  t.equal(secrets.filter(([, value]) => value === null || value === undefined).length, 0)
  const canaries = secrets.map(([name, value]) => ({ name, value: value as string | Buffer }))
  t.same(canariesIn(JSON.stringify(body), [...canaries, { name: 'address', value: 'elsewhere@example.net' }]), [])

  for (let n = 0; n < 4; n += 1) t.equal((await call(doorstep, '/me/export', { token: session.access })).status, 200)
  const refused = await call(doorstep, '/me/export', { token: session.access })
  t.match(refused, { status: 429, body: { code: 'rate_limited' } })
  t.ok(refused.body.retry_after > 86_000 && refused.body.retry_after <= 86_400)
  t.equal(refused.headers['retry-after'], String(refused.body.retry_after))
  await sql(`UPDATE audit_events SET at = at - interval '24 hours' WHERE user_id = $1`, [owner.id])
  t.equal((await call(doorstep, '/me/export', { token: session.access })).status, 200, 'a day later')
})

t.test('the language is one that there is, and the next mail is in it', async (t) => {
  const owner = await createOwner(doorstep, ['totp'])
  const session = await signsIn(t, owner)
  const choose = (body: object) => call(doorstep, '/me', { method: 'PATCH', token: session.access, body })
  for (const wrong of [
    { locale: 'e' },
    { locale: 'de\r\nBcc: x@example.com' },
    { locale: 1 },
    {},
    { locale: 'de', x: 1 },
  ])
    t.match(await choose(wrong), { status: 400, body: { code: 'invalid_request' } }, JSON.stringify(wrong))
  t.match((await me(session.access)).body, { locale: 'en' })
  t.match(await choose({ locale: 'de' }), { status: 200, body: { id: owner.id, locale: 'de', email: owner.email } })
  t.match((await me(session.access)).body, { locale: 'de' })
  t.match(await choose({ locale: 'xx' }), { status: 200 }, 'one that nobody has written is English')
  await enrol(doorstep, session.access, { method: 'recovery_code' })
  t.ok((await mailsTo(doorstep, owner.email)).some(({ subject }) => subject.startsWith('New recovery codes')))
  t.match(await choose({ locale: 'de-AT' }), { status: 200 })
  await leave(session.access)
  t.ok((await mailsTo(doorstep, owner.email)).some(({ subject }) => subject.startsWith('Ihr Konto wird gelöscht')))
  t.match(await choose({ locale: 'en' }), invalid)
})
