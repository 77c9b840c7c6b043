import t from 'tap'
import { age } from '../helpers/age.ts'
import { ask, makeBackend } from '../helpers/clients.ts'
import { dump, enter } from '../helpers/credentials.ts'
import { startDoorstep } from '../helpers/doorstep.ts'
import { allMethods, createOwner, sessionOf } from '../helpers/equipped.ts'
import { createBareUser, proveMailbox } from '../helpers/factors.ts'
import { mailedToken, mailsTo } from '../helpers/links.ts'
import { call, createUser, freshPhone, login } from '../helpers/story.ts'
import { setWrongCodes } from '../helpers/wrong-codes.ts'

t.setTimeout(300_000)

const doorstep = await startDoorstep(t, { env: allMethods })
const { sql, services } = doorstep
const backend = await makeBackend(doorstep)
const send = (what: string, body?: unknown) => ask(doorstep, backend, what, body)

let made = 0
const freshEmail = (): string => {
  made += 1
  return `made-${made}@example.net`
}
const invent = async (more: object = {}) =>
  (await send('POST /admin/users', { email: freshEmail(), invite: false, ...more })).body

/** The events of one user, in their order. */
const eventsOf = (id: string) =>
  sql('SELECT type, outcome, actor_type, actor_id, detail FROM audit_events WHERE user_id = $1 ORDER BY id', [id])
const lastEvent = async () => (await sql('SELECT * FROM audit_events ORDER BY id DESC LIMIT 1'))[0]
const byBackend = { actor_type: 'client', actor_id: backend.id }
/** What a user was mailed, but for the notices of what the test itself has done. */
const toldOf = async (email: string) =>
  (await mailsTo(doorstep, email)).filter(({ subject }) => !/^(Recovery code used|New password)/.test(subject))
const nobody = '6f1c1f5e-7a52-4d3a-9a39-0a1f2b3c4d5e'

t.test('a user is made, invited, and known by what the backend calls it', async (t) => {
  const email = freshEmail()
  const phone = freshPhone()
  const answer = await send('POST /admin/users', {
    ...{ email: ` ${email.toUpperCase()}`, external_id: 'customer-1', locale: 'de', two_factor: 'optional' },
    ...{ phone, phone_confirmed: true },
  })
  t.match(answer, { status: 201 })
  const { id, created_at, ...user } = answer.body
  t.strictSame(user, {
    ...{ external_id: 'customer-1', email, email_confirmed: false, phone, locale: 'de', status: 'invited' },
    ...{ two_factor: 'optional', methods: ['sms'], password: 'none', last_login_at: null },
  })
  t.ok(Math.abs(Date.parse(created_at) - Date.now()) < 60_000)
  t.match(await eventsOf(id), [{ type: 'user.created', outcome: 'invited', ...byBackend, detail: null }])

  const mails = await mailsTo(doorstep, email)
  t.match(mails, [{ subject: /Konto/ }], 'in the language of the user')
  const token = await mailedToken(doorstep, email)
  const [link] = await sql(
    `SELECT extract(epoch FROM expires_at - created_at)::integer AS life FROM mail_links WHERE user_id = $1`,
    [id],
  )
  t.equal(link?.life, 7 * 86_400)
  const set = await call(doorstep, '/password/set', { body: { token, password: 'a sentence that she chose' } })
  t.match(set, { status: 200, body: { status: '2fa_required' } })
  t.match((await send(`GET /admin/users/${id}`)).body, { status: 'active', password: 'set', email_confirmed: true })
})

t.test('a phone that nobody has confirmed is no factor, and not kept', async (t) => {
  const phone = freshPhone()
  for (const given of [{ phone }, { phone, phone_confirmed: false }, { phone_confirmed: false }]) {
    const made = await send('POST /admin/users', { email: freshEmail(), invite: false, ...given })
    t.match(made, { status: 201, body: { phone: null, methods: [] } }, JSON.stringify(given))
    t.same(await sql('SELECT FROM factors WHERE user_id = $1', [made.body.id]), [])
  }
  t.match(await send('POST /admin/users/search', { phone }), { body: { users: [] } })
})

t.test('what there is already is a conflict that names it', async (t) => {
  const joined = '\u{1f469}\u200d\u{1f52c}'.repeat(85)
  t.match(await invent({ external_id: joined }), { external_id: joined }, 'anything but control characters')
  const first = await invent({ external_id: 'customer-2' })
  const again = await send('POST /admin/users', { email: first.email })
  t.match(again, { status: 409, body: { code: 'conflict', user_id: first.id, detail: /e-mail/ } })
  const other = freshEmail()
  const same = await send('POST /admin/users', { email: other, external_id: 'customer-2' })
  t.match(same, { status: 409, body: { code: 'conflict', user_id: first.id, detail: /external_id/ } })
  t.match(await send('POST /admin/users/search', { email: other }), { body: { users: [] } }, 'and nothing was made')
  t.match(await lastEvent(), { type: 'user.searched' })
  t.same(await mailsTo(doorstep, first.email), [], 'nor mailed')
  const phone = freshPhone()
  for (let n = 0; n < 3; n += 1) await createUser(doorstep, { phone })
  const taken = await send('POST /admin/users', { email: other, phone, phone_confirmed: true })
  t.match(taken, { status: 409, body: { code: 'conflict', detail: /phone/ } })
  t.notOk('user_id' in taken.body)
})

t.test('wrong input is told by name, and changes nothing', async (t) => {
  const email = freshEmail()
  const { id } = await invent()
  const wrong: [string, unknown, string][] = [
    ['POST /admin/users', {}, '/email'],
    ['POST /admin/users', { email: 'nobody' }, '/email'],
    ['POST /admin/users', { email: 1 }, '/email'],
    ['POST /admin/users', { email, external_id: '' }, '/external_id'],
    ['POST /admin/users', { email, external_id: 'x'.repeat(256) }, '/external_id'],
    ['POST /admin/users', { email, external_id: null }, '/external_id'],
    ['POST /admin/users', { email, external_id: 'a\u0000b' }, '/external_id'],
    ['POST /admin/users', { email, external_id: 'a\nb' }, '/external_id'],
    ['POST /admin/users', { email, external_id: 'a\u0085b' }, '/external_id'],
    ['POST /admin/users', { email, external_id: '\udc00' }, '/external_id'],
    [`PATCH /admin/users/${id}`, { external_id: 'a\tb' }, '/external_id'],
    ['POST /admin/users', { email, locale: 'english' }, '/locale'],
    ['POST /admin/users', { email, two_factor: 'never' }, '/two_factor'],
    ['POST /admin/users', { email, password: 'x' }, '/password'],
    ['POST /admin/users', { email, phone_confirmed: true }, '/phone'],
    ['POST /admin/users', { email, invite: 'yes' }, '/invite'],
    ['POST /admin/users', { email, id: nobody }, '/id'],
    [`PATCH /admin/users/${id}`, { email: 'nobody' }, '/email'],
    [`PATCH /admin/users/${id}`, { email: null }, '/email'],
    [`PATCH /admin/users/${id}`, { two_factor: null }, '/two_factor'],
    [`PATCH /admin/users/${id}`, { disabled: null }, '/disabled'],
    [`PATCH /admin/users/${id}`, { disabled: 'true' }, '/disabled'],
    [`PATCH /admin/users/${id}`, { phone: freshPhone() }, '/phone'],
    [`PATCH /admin/users/${id}`, { status: 'active' }, '/status'],
    [`POST /admin/users/${id}/password-reset`, { force: 1 }, '/force'],
    [`POST /admin/users/${id}/unlock`, { all: 'x' }, '/all'],
    ['GET /admin/users/x', undefined, '/id'],
    [`DELETE /admin/users/${id}/factors/x`, undefined, '/part'],
    [`DELETE /admin/users/${id}/factors/recovery_code`, undefined, '/part'],
  ]
  const before = await sql('SELECT * FROM users ORDER BY id')
  for (const [what, body, pointer] of wrong) {
    const answer = await send(what, body)
    t.match(answer, { status: 400, body: { code: 'invalid_request', errors: [{ pointer }] } }, `${what} ${pointer}`)
    t.match(await lastEvent(), { type: 'client.refused', outcome: 'invalid_request', ...byBackend }, 'it is recorded')
  }
  for (const phone of ['12', '+442079460000', '+1 202 555 0123 ext 4']) {
    for (const more of [{ phone_confirmed: true }, { phone_confirmed: false }, {}]) {
      t.match(await send('POST /admin/users', { email, phone, ...more }), {
        status: 422,
        body: { code: 'phone_not_allowed' },
      })
    }
  }
  t.same(await sql('SELECT * FROM users ORDER BY id'), before)
})

t.test('nothing is there for a user who is not', async (t) => {
  const { id } = await invent()
  const calls: [string, unknown?][] = [
    ...([[`GET /admin/users/${nobody}`], [`DELETE /admin/users/${nobody}`]] as [string][]),
    [`PATCH /admin/users/${nobody}`, { locale: 'de' }],
    [`POST /admin/users/${nobody}/password-reset`, {}],
    [`POST /admin/users/${nobody}/unlock`, {}],
    ...['factors', 'sessions', 'devices'].flatMap((thing): [string][] => [
      [`DELETE /admin/users/${nobody}/${thing}`],
      [`DELETE /admin/users/${nobody}/${thing}/${nobody}`],
      [`DELETE /admin/users/${id}/${thing}/${nobody}`],
    ]),
  ]
  for (const [what, body] of calls) {
    t.match(await send(what, body), { status: 404, body: { code: 'not_found' } }, what)
    t.match(await lastEvent(), { type: 'client.refused', outcome: 'not_found', user_id: null, ...byBackend })
  }
  const [mine, theirs] = [await createOwner(doorstep), await createOwner(doorstep)]
  const [factor] = (await send(`GET /admin/users/${theirs.id}`)).body.factors
  t.equal((await send(`DELETE /admin/users/${mine.id}/factors/${factor.id}`)).status, 404, 'of somebody else')
  t.equal((await send(`GET /admin/users/${theirs.id}`)).body.factors.length, 4)
})

t.test('a user is shown whole: factors, sessions, devices, locks, without anything secret', async (t) => {
  const owner = await createOwner(doorstep)
  const { device } = await sessionOf(doorstep, owner)
  const { body } = await send(`GET /admin/users/${owner.id.toUpperCase()}`)
  t.match(body, {
    ...{
      id: owner.id,
      email: owner.email,
      phone: owner.phone,
      status: 'active',
      password: 'set',
      two_factor: 'required',
    },
    ...{ methods: ['passkey', 'totp', 'sms', 'email', 'recovery_code'], external_id: null },
    ...{ login_locked_until: null, second_factor_locked_until: null },
  })
  t.same(body.factors.map(({ method }: { method: string }) => method).sort(), [
    'passkey',
    'recovery_code',
    'sms',
    'totp',
  ])
  t.match(
    body.factors.find((it: { method: string }) => it.method === 'sms'),
    { destination: owner.phone },
  )
  t.match(
    body.factors.find((it: { method: string }) => it.method === 'recovery_code'),
    { remaining: 9 },
  )
  t.match(body.sessions, [{ address: '127.0.0.1', device_id: body.devices[0].id }])
  t.match(body.devices, [{ address: '127.0.0.1', trusted_until: null }])
  t.ok(Math.abs(Date.parse(body.last_login_at) - Date.parse(body.sessions[0].created_at)) < 1_000)
  t.notMatch(JSON.stringify(body), /secret|hash|credential|handle|public_key|counter/)

  for (let guess = 0; guess < 5; guess += 1)
    await login(doorstep, { ...owner, password: 'wrong' }, { from: '203.0.113.9' })
  await setWrongCodes(doorstep, owner, { known: true, streak: 10, lockedFor: '1 hour' })
  const { body: locked } = await send(`GET /admin/users/${owner.id}`)
  const inSeconds = (time: string) => Math.round((Date.parse(time) - Date.now()) / 1_000)
  t.ok(inSeconds(locked.login_locked_until) > 0 && inSeconds(locked.login_locked_until) <= 31)
  t.ok(inSeconds(locked.second_factor_locked_until) > 3_500)
  for (let guess = 0; guess < 5; guess += 1)
    await login(doorstep, { ...owner, password: 'wrong' }, { body: { device_token: device } })
  await sql('DELETE FROM login_throttles WHERE identifier = ANY ($1)', [
    services.loginThrottle.identifyAll(owner.email),
  ])
  t.ok((await send(`GET /admin/users/${owner.id}`)).body.login_locked_until, 'a device that is locked counts too')
  t.match(await lastEvent(), { type: 'user.read', outcome: 'read', user_id: owner.id, ...byBackend })

  await services.store.accounts.unlock(
    owner.id,
    services.loginThrottle.identifyAll(owner.email),
    { all: false },
    { type: 'user.unlocked', outcome: 'test' },
  )
  await sql('DELETE FROM audit_events WHERE user_id = $1', [owner.id])
  t.ok((await send(`GET /admin/users/${owner.id}`)).body.last_login_at, 'known by its device')
})

t.test('a phone is shown whole to who may contact users, and masked to all others', async (t) => {
  const reader = await makeBackend(doorstep, { scopes: ['users:read', 'users:write'] })
  const owner = await createOwner(doorstep, ['sms'])
  const masked = services.phoneNumbers.mask(owner.phone)
  const seen = await ask(doorstep, reader, `GET /admin/users/${owner.id}`)
  t.match(seen.body, { phone: masked, factors: [{ destination: masked }, {}] })
  const found = await ask(doorstep, reader, 'POST /admin/users/search', { email: owner.email })
  t.match(found.body.users, [{ phone: masked }])
  const phone = freshPhone()
  const body = { email: freshEmail(), phone, phone_confirmed: true, invite: false }
  t.match((await ask(doorstep, reader, 'POST /admin/users', body)).body, { phone: services.phoneNumbers.mask(phone) })
  for (const answer of [seen, found]) t.notMatch(JSON.stringify(answer.body), owner.phone.slice(0, 8))
})

t.test('a change of how a user is called ends nothing, and what is absent stays', async (t) => {
  const owner = await createOwner(doorstep)
  const { access } = await sessionOf(doorstep, owner)
  const change = (body: object) => send(`PATCH /admin/users/${owner.id}`, body)
  t.match(await change({ external_id: 'customer-3', locale: 'de' }), {
    status: 200,
    body: { external_id: 'customer-3', locale: 'de' },
  })
  t.match((await change({ external_id: 'customer-4' })).body, { external_id: 'customer-4', locale: 'de' })
  t.match((await change({ locale: null })).body, { external_id: 'customer-4', locale: 'en' })
  t.match((await change({ external_id: null })).body, { external_id: null, email: owner.email, two_factor: 'required' })
  const { body } = await change({})
  t.match(body, { email: owner.email, status: 'active' })
  t.equal((await call(doorstep, '/me', { token: access })).status, 200)
  t.same(await toldOf(owner.email), [])
  const events = (await eventsOf(owner.id)).filter(({ type }) => type === 'user.changed')
  t.match(
    events,
    ['external_id, locale', 'external_id', 'locale', 'external_id', 'nothing'].map((outcome) => ({
      outcome,
      ...byBackend,
    })),
  )

  const other = await invent({ external_id: 'customer-5' })
  t.match(await change({ external_id: 'customer-5' }), { status: 409, body: { code: 'conflict', user_id: other.id } })
  t.match(await change({ email: other.email, locale: 'de' }), {
    status: 409,
    body: { code: 'conflict', user_id: other.id },
  })
  t.match((await send(`GET /admin/users/${owner.id}`)).body, {
    email: owner.email,
    locale: 'en',
    email_confirmed: true,
  })
  t.equal((await call(doorstep, '/me', { token: access })).status, 200, 'what is refused ends nothing')
})

t.test('another rule for the second factor ends sessions, and no link to a password', async (t) => {
  const email = freshEmail()
  const { id } = (await send('POST /admin/users', { email })).body
  const invitation = await mailedToken(doorstep, email)
  t.match(await send(`PATCH /admin/users/${id}`, { two_factor: 'optional' }), { status: 200 })
  const set = { token: invitation, password: 'a sentence that she chose' }
  t.match(await call(doorstep, '/password/set', { body: set }), { status: 200, body: { status: 'authenticated' } })

  const owner = await createOwner(doorstep)
  const { access } = await sessionOf(doorstep, owner)
  await call(doorstep, '/password/forgot', { body: { email: owner.email } })
  const token = await mailedToken(doorstep, owner.email)
  await send(`PATCH /admin/users/${owner.id}`, { two_factor: 'optional', locale: 'de' })
  t.equal((await call(doorstep, '/me', { token: access })).status, 401)
  t.equal((await call(doorstep, '/password/set', { body: { ...set, token } })).status, 200)
})

t.test('whoever is disabled is out at once, told by mail, and in again when enabled', async (t) => {
  const owner = await createOwner(doorstep)
  const { access } = await sessionOf(doorstep, owner)
  const path = `PATCH /admin/users/${owner.id}`
  t.match((await send(path, { disabled: true })).body, { status: 'disabled' })
  t.equal((await call(doorstep, '/me', { token: access })).status, 401)
  t.match(await login(doorstep, owner), { status: 401, body: { code: 'invalid_credentials' } })
  const [mail, ...more] = await toldOf(owner.email)
  t.match(mail, { subject: /disabled/ })
  t.same(more, [])
  t.notMatch(JSON.stringify(mail), /Network:|127\.0\.0/, 'where the backend is is nothing to the user')
  await send(path, { disabled: true })
  t.equal((await toldOf(owner.email)).length, 1, 'once')
  t.match((await send(path, { disabled: false })).body, { status: 'active' })
  t.equal((await login(doorstep, owner)).status, 200)
  const types = (await eventsOf(owner.id)).map(({ type }) => type).filter((it) => it.startsWith('user.'))
  t.same(types.slice(-3), ['user.disabled', 'user.changed', 'user.enabled'])

  const { access: again } = await sessionOf(doorstep, owner)
  t.equal((await call(doorstep, '/me', { method: 'DELETE', token: again })).status, 202)
  t.match((await send(`GET /admin/users/${owner.id}`)).body, { status: 'erasing' })
  t.match((await send(path, { disabled: false })).body, { status: 'active' }, 'who has left is taken back')
  t.match(await sql('SELECT erases_at FROM users WHERE id = $1', [owner.id]), [{ erases_at: null }])
})

t.test('a changed e-mail is not confirmed, ends what was begun, and is told to the old one', async (t) => {
  const owner = await createOwner(doorstep)
  const { access } = await sessionOf(doorstep, owner)
  await call(doorstep, '/password/forgot', { body: { email: owner.email } })
  const token = await mailedToken(doorstep, owner.email)
  const email = freshEmail()
  const changed = await send(`PATCH /admin/users/${owner.id}`, {
    email: email.toUpperCase(),
    external_id: 'customer-6',
  })
  t.match(changed.body, { email, email_confirmed: false, external_id: 'customer-6' })
  t.equal((await call(doorstep, '/me', { token: access })).status, 401)
  t.match(await call(doorstep, '/password/set', { body: { token, password: 'a sentence of a thief' } }), {
    status: 410,
  })
  t.equal((await login(doorstep, owner)).status, 401)
  t.equal((await login(doorstep, { ...owner, email })).status, 200)
  const told = (await mailsTo(doorstep, owner.email)).filter(({ subject }) => /changed by the operator/.test(subject))
  t.equal(told.length, 1)
  t.same(await mailsTo(doorstep, email), [], 'the new one is told nothing')
  const changes = (await eventsOf(owner.id)).filter(({ actor_type }) => actor_type === 'client')
  t.same(
    changes.map(({ type }) => type),
    ['email.changed', 'user.changed'],
  )

  const link = await mailedToken(doorstep, owner.email, 'not-me')
  t.equal((await call(doorstep, '/account/secure', { body: { token: link } })).status, 200)
  t.match(
    (await send(`GET /admin/users/${owner.id}`)).body,
    { email, password: 'reset_required' },
    'what the operator did stays',
  )
})

t.test('an e-mail that the user moved to is not taken back once a backend has set another', async (t) => {
  const owner = await createOwner(doorstep)
  const { access: token } = await sessionOf(doorstep, owner)
  const hers = freshEmail()
  await call(doorstep, '/me/email', { method: 'PUT', token, body: { email: hers } })
  const confirming = await mailedToken(doorstep, hers, 'confirm-email')
  t.equal((await call(doorstep, '/me/email/confirm', { token, body: { token: confirming } })).status, 200)
  const link = await mailedToken(doorstep, owner.email, 'not-me')
  const email = freshEmail()
  t.equal((await send(`PATCH /admin/users/${owner.id}`, { email })).status, 200)
  t.equal((await call(doorstep, '/account/secure', { body: { token: link } })).status, 200)
  t.match((await send(`GET /admin/users/${owner.id}`)).body, { email })
})

t.test('a new password is asked for by mail, once a minute, and with force the old one is worth nothing', async (t) => {
  const owner = await createOwner(doorstep)
  const { access } = await sessionOf(doorstep, owner)
  const path = `POST /admin/users/${owner.id}/password-reset`
  const subjects = async () => (await toldOf(owner.email)).map(({ subject }) => subject)
  t.match(await send(path), { status: 202, body: { status: 'mail_sent' } })
  t.match(await send(path, {}), { status: 202 })
  t.equal((await subjects()).length, 1, 'twice is as once')
  t.equal((await call(doorstep, '/me', { token: access })).status, 200)
  t.equal((await login(doorstep, owner)).status, 200, 'until then the old one works')
  const mild = await mailedToken(doorstep, owner.email)
  const body = { force: true }
  t.match(await send(path, body), { status: 202 })
  t.equal((await subjects()).length, 2)
  t.equal((await call(doorstep, '/me', { token: access })).status, 401)
  t.match(await login(doorstep, owner), { status: 403, body: { code: 'password_reset_required' } })
  t.match((await send(`GET /admin/users/${owner.id}`)).body, { password: 'reset_required' })
  t.match(await call(doorstep, '/password/set', { body: { token: mild, password: 'a new sentence of hers' } }), {
    status: 410,
  })
  const link = await mailedToken(doorstep, owner.email)
  t.match(await send(path, body), { status: 202 })
  t.equal((await subjects()).length, 2)
  t.match(
    await call(doorstep, '/password/set', { body: { token: link, password: 'a new sentence of hers' } }),
    { status: 200 },
    'the link in her mailbox lives',
  )
  await send(path, body)
  t.match(
    await login(doorstep, { ...owner, password: 'a new sentence of hers' }),
    { status: 403 },
    'force holds within the minute too',
  )
  t.equal((await subjects()).length, 3, 'and is mailed, since the link was used')
  await age(doorstep, owner, 61)
  await send(path, body)
  t.equal((await subjects()).length, 4)
  const types = (await eventsOf(owner.id)).filter(({ actor_type }) => actor_type === 'client').map(({ type }) => type)
  t.same(
    types.filter((it) => it !== 'user.read'),
    ['user.changed', 'user.changed', ...Array(4).fill('password.reset_forced')],
  )

  const invited = await invent()
  t.equal((await send(`POST /admin/users/${invited.id}/password-reset`, {})).status, 202)
  t.match(await mailsTo(doorstep, invited.email), [{ subject: /account for you/ }])
})

t.test('said again, a new password is mailed at once where the link before is of no use any more', async (t) => {
  const links = async ({ email }: { email: string }) =>
    (await mailsTo(doorstep, email)).filter(({ text }) => /set-password#token=/.test(text)).length
  const reset = async ({ id }: { id: string }, body = {}) =>
    t.equal((await send(`POST /admin/users/${id}/password-reset`, body)).status, 202)
  const set = async ({ email }: { email: string }, password: string) =>
    call(doorstep, '/password/set', { body: { token: await mailedToken(doorstep, email), password } })

  const forced = await createOwner(doorstep)
  await reset(forced, { force: true })
  await reset(forced, { force: true })
  t.equal(await links(forced), 1, 'twice is as once while the mail waits')
  const seen = await send(`GET /admin/users/${forced.id}`)
  await send(`DELETE /admin/users/${forced.id}/factors/${seen.body.factors[0].id}`)
  await reset(forced, { force: true })
  t.equal(await links(forced), 2, 'of one who was forced, and has lost a factor')
  await reset(forced, { force: true })
  t.equal(await links(forced), 2)
  t.equal((await set(forced, 'a new sentence of hers')).status, 200)

  for (const end of ['DELETE factors', 'disabled'] as const) {
    const email = freshEmail()
    const { id } = (await send('POST /admin/users', { email, phone: freshPhone(), phone_confirmed: true })).body
    const invited = { id, email }
    const path = `/admin/users/${id}`
    t.equal(await links(invited), 1)
    if (end === 'disabled') {
      for (const disabled of [true, false]) await send(`PATCH ${path}`, { disabled })
    } else await send(`DELETE ${path}/factors`)
    t.equal((await set(invited, 'a sentence that she chose')).status, 410, end)
    await reset(invited)
    t.equal(await links(invited), 2, end)
    await reset(invited)
    t.equal(await links(invited), 2, end)
    t.equal((await set(invited, 'a sentence that she chose')).status, 200, end)
  }

  const changing = await createOwner(doorstep)
  const { access } = await sessionOf(doorstep, changing)
  await reset(changing)
  t.equal(await links(changing), 1)
  const body = { current_password: changing.password, password: 'a new sentence of hers' }
  t.equal((await call(doorstep, '/me/password', { method: 'PUT', token: access, body })).status, 200)
  t.equal((await call(doorstep, '/password/forgot', { body: { email: changing.email } })).status, 202)
  t.equal(await links(changing), 2)
  await reset(changing)
  t.equal(await links(changing), 3, 'a link that she asked for herself is another')

  const sending = await createOwner(doorstep)
  await reset(sending)
  t.equal(await links(sending), 1)
  await sql(`UPDATE mails SET delivery = 'queued', claimed_until = now() + interval '30 s' WHERE user_id = $1`, [
    sending.id,
  ])
  await reset(sending)
  t.equal(await links(sending), 1, 'a mail that is just going out, with a link that lives, is one')
  await sql('UPDATE mail_links SET ended_at = now() WHERE user_id = $1', [sending.id])
  await reset(sending)
  t.equal(await links(sending), 2, 'but none if its link has ended on the way')

  const gone = await createOwner(doorstep)
  await send(`PATCH /admin/users/${gone.id}`, { disabled: true })
  const closed = async () =>
    (await mailsTo(doorstep, gone.email)).filter(({ subject }) => /closed/.test(subject)).length
  for (const _time of [1, 2]) {
    await reset(gone)
    t.equal(await closed(), 1, 'who is disabled is told once')
  }
  await send(`PATCH /admin/users/${gone.id}`, { disabled: false })
  await reset(gone)
  t.equal(await links(gone), 1, 'and gets a link when enabled')
})

t.test('locks end, and with all what is counted of the month', async (t) => {
  const owner = await createOwner(doorstep)
  for (let guess = 0; guess < 6; guess += 1) await login(doorstep, { ...owner, password: 'wrong' })
  t.equal((await login(doorstep, owner)).status, 429)
  await setWrongCodes(doorstep, owner, { known: false, streak: 10, lockedFor: '1 hour' })
  const path = `POST /admin/users/${owner.id}/unlock`
  for (const _time of [1, 2]) t.equal((await send(path)).status, 204)
  t.equal((await login(doorstep, owner)).status, 200)
  t.match((await send(`GET /admin/users/${owner.id}`)).body, {
    login_locked_until: null,
    second_factor_locked_until: null,
  })
  t.equal((await sql('SELECT FROM factor_guards WHERE user_id = $1', [owner.id])).length, 1, 'what is counted stays')
  t.equal((await send(path, { all: true })).status, 204)
  t.equal((await sql('SELECT FROM factor_guards WHERE user_id = $1', [owner.id])).length, 0)
  t.match(
    (await eventsOf(owner.id)).filter(({ type }) => type === 'user.unlocked'),
    [{ outcome: 'unlocked', ...byBackend }, { outcome: 'unlocked' }, { outcome: 'all' }],
  )
})

t.test('lost factors are taken away, and the next login sets up another behind the mailbox', async (t) => {
  const owner = await createOwner(doorstep)
  const { access } = await sessionOf(doorstep, owner)
  const path = `/admin/users/${owner.id}`
  const methodsOf = async () => (await send(`GET ${path}`)).body.methods
  const factors = (await send(`GET ${path}`)).body.factors as { id: string; method: string }[]
  const remove = (method: string) => send(`DELETE ${path}/factors/${factors.find((it) => it.method === method)?.id}`)
  t.equal((await remove('totp')).status, 204)
  t.equal((await remove('totp')).status, 404)
  t.equal((await call(doorstep, '/me', { token: access })).status, 401)
  t.same(await methodsOf(), ['passkey', 'sms', 'email', 'recovery_code'])
  t.match(
    (await toldOf(owner.email)).map(({ subject }) => subject),
    [/removed by the operator/],
  )
  t.equal((await remove('passkey')).status, 204)
  t.equal((await remove('sms')).status, 204, 'the last one too')
  t.same((await send(`GET ${path}`)).body.factors, [], 'and the recovery codes with it')
  t.match(
    (await eventsOf(owner.id)).filter(({ type }) => type === 'factor.removed'),
    Array(3).fill(byBackend),
  )
  t.match(await proveMailbox(doorstep, owner), { status: 200, body: { status: '2fa_enrolment_required' } })

  const other = await createOwner(doorstep)
  for (const _time of [1, 2]) t.equal((await send(`DELETE /admin/users/${other.id}/factors`)).status, 204)
  t.same((await send(`GET /admin/users/${other.id}`)).body.factors, [])
  t.match(
    (await mailsTo(doorstep, other.email)).map(({ subject }) => subject),
    [/reset by the operator/],
    'told once',
  )
})

t.test('sessions end and devices are forgotten, one or all', async (t) => {
  const owner = await createOwner(doorstep)
  const [first, second] = [await sessionOf(doorstep, owner), await sessionOf(doorstep, owner)]
  const third = await sessionOf(doorstep, owner)
  const path = `/admin/users/${owner.id}`
  const { sessions, devices } = (await send(`GET ${path}`)).body
  t.equal(sessions.length, 3)
  const alive = async () =>
    Promise.all(
      [first, second, third].map(async ({ access }) => (await call(doorstep, '/me', { token: access })).status === 200),
    )
  t.equal((await send(`DELETE ${path}/sessions/${first.sid}`)).status, 204)
  t.equal((await send(`DELETE ${path}/sessions/${first.sid}`)).status, 404)
  t.same(await alive(), [false, true, true])
  const { device_id: device } = sessions.find(({ id }: { id: string }) => id === second.sid)
  t.equal((await send(`DELETE ${path}/devices/${device}`)).status, 204)
  t.equal((await send(`DELETE ${path}/devices/${device}`)).status, 404)
  t.same(await alive(), [false, false, true])
  t.equal((await send(`GET ${path}`)).body.devices.length, devices.length - 1)
  for (const _time of [1, 2]) t.equal((await send(`DELETE ${path}/devices`)).status, 204)
  t.same(await alive(), [false, false, false])
  t.same((await send(`GET ${path}`)).body.devices, [])
  const fourth = await sessionOf(doorstep, owner)
  for (const _time of [1, 2]) t.equal((await send(`DELETE ${path}/sessions`)).status, 204)
  t.equal((await call(doorstep, '/me', { token: fourth.access })).status, 401)
  t.equal((await send(`GET ${path}`)).body.devices.length, 1, 'the device stays known')
  t.match(
    (await eventsOf(owner.id))
      .filter(({ type, actor_type }) => actor_type === 'client' && type !== 'user.read')
      .map(({ type }) => type),
    ['session.ended', 'device.removed', 'device.removed', 'device.removed', 'session.ended', 'session.ended'],
  )
})

t.test('who is erased is gone, with what the backend called the user', async (t) => {
  const owner = await createOwner(doorstep)
  await send(`PATCH /admin/users/${owner.id}`, { external_id: 'customer-of-old-77' })
  const { access } = await sessionOf(doorstep, owner)
  t.equal((await send(`DELETE /admin/users/${owner.id}`)).status, 204)
  t.match(await lastEvent(), {
    type: 'user.deleted',
    outcome: 'forgotten',
    ...byBackend,
    address: null,
    request_id: null,
  })
  t.equal((await send(`DELETE /admin/users/${owner.id}`)).status, 404)
  t.equal((await send(`GET /admin/users/${owner.id}`)).status, 404)
  t.equal((await call(doorstep, '/me', { token: access })).status, 401)
  t.notMatch(await dump(doorstep), /customer-of-old-77/)
  const told = await sql('DELETE FROM forgotten_users WHERE user_id = $1 RETURNING event_id', [owner.id])
  t.equal(told.length, 1, 'for two weeks backends hear whom to forget')
  t.notMatch(await dump(doorstep), new RegExp(owner.id))
  t.notMatch(doorstep.logs.join(''), /customer-of-old-77/, 'nor is it in the log')
  const again = await send('POST /admin/users', {
    email: owner.email,
    external_id: 'customer-of-old-77',
    invite: false,
  })
  t.equal(again.status, 201, 'both are free again')
})

t.test('where no mail is sent, nobody is invited or asked for a password', async (t) => {
  const quiet = await startDoorstep(t, {
    database: doorstep.database,
    env: { MAIL_PROVIDER: 'none', REGISTRATION: 'closed' },
  })
  const email = freshEmail()
  t.match(await ask(quiet, backend, 'POST /admin/users', { email }), {
    status: 400,
    body: { errors: [{ pointer: '/invite' }] },
  })
  const answer = await ask(quiet, backend, 'POST /admin/users', { email, invite: false })
  t.equal(answer.status, 201)
  t.equal((await ask(quiet, backend, `POST /admin/users/${answer.body.id}/password-reset`, {})).status, 404)
  t.equal((await ask(quiet, backend, `PATCH /admin/users/${answer.body.id}`, { disabled: true })).status, 200)
  t.same(await sql('SELECT FROM mails WHERE user_id = $1', [answer.body.id]), [])
})

t.test(
  'a login of a user that was only just made waits for the mailbox, whatever the backend says of it',
  async (t) => {
    const bare = await createBareUser(doorstep)
    await send(`PATCH /admin/users/${bare.id}`, { two_factor: 'off' })
    const signedIn = await enter(doorstep, bare)
    t.match((await send(`GET /admin/users/${bare.id}`)).body, {
      two_factor: 'off',
      methods: [],
      sessions: [{ id: signedIn.sid }],
    })
    const { body } = await send(`PATCH /admin/users/${bare.id}`, { two_factor: 'required' })
    t.match(body, { two_factor: 'required' })
    t.equal((await call(doorstep, '/me', { token: signedIn.access })).status, 401, 'a stricter rule ends sessions')
  },
)

t.test('a user who asks what is known sees what backends did, and not from where', async (t) => {
  const owner = await createOwner(doorstep)
  const backend = await makeBackend(doorstep)
  const from = '203.0.113.99'
  t.equal((await ask(doorstep, backend, `GET /admin/users/${owner.id}`, undefined, { from })).status, 200)
  const { access } = await sessionOf(doorstep, owner)
  const { status, body } = await call(doorstep, '/me/export', { token: access })
  t.equal(status, 200)
  const seen = body.events as { type: string; address: string | null }[]
  t.match(
    seen.find(({ type }) => type === 'user.read'),
    { address: null },
  )
  t.type(seen.find(({ type }) => type === 'session.started')?.address, 'string', 'of the own doings it is told')
  t.notMatch(JSON.stringify(body), from)
})
