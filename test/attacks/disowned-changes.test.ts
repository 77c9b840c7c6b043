import t, { type Test } from 'tap'
import { changeAccount } from '../../src/features/accounts/change-account.ts'
import { resetFactors } from '../../src/features/accounts/reset-factors.ts'
import type { Method } from '../../src/methods.ts'
import { age } from '../helpers/age.ts'
import { createAuthenticator } from '../helpers/authenticator.ts'
import { plantDevice, refresh } from '../helpers/credentials.ts'
import { startDoorstep } from '../helpers/doorstep.ts'
import { createOwner, type Owner, rightAnswer } from '../helpers/equipped.ts'
import { createBareUser, enrol, enrolTotp, forgetSteps, mailedCode, prove, totpCode } from '../helpers/factors.ts'
import { meetAtRow } from '../helpers/hold-row.ts'
import { mailedToken, mailsTo } from '../helpers/links.ts'
import { type Answer, call, codeFor, login, textsTo } from '../helpers/story.ts'
import { accountOf, notMe, phish, secure, type Thief, thefts } from '../helpers/thief.ts'
import { tally, together } from '../helpers/together.ts'

// Whoever has phished a fresh session binds factors of his own, moves the account to his mailbox, or has it erased. Its owner has
// a mail about it, and one link in it undoes all of that (SEC-116): afterwards nothing of the thief's is good for anything.

t.setTimeout(300_000)

const doorstep = await startDoorstep(t)
const { sql } = doorstep
const steal = thefts(doorstep)
const newPassword = 'what only the owner knows from now on'
const me = (token: string) => call(doorstep, '/me', { token })
const invalid = { status: 401, body: { code: 'invalid_token' } }
const expired = { status: 410, body: { code: 'link_expired' } }

/** What a thief has begun and not finished, with the account as it is now. */
async function begin(thief: Thief, account: { email: string; password: string }) {
  const enrolment = await enrol(doorstep, thief.access, { method: 'totp' })
  const underWay = await login(doorstep, account, { from: '203.0.113.66' })
  return { enrolment, underWay }
}

/** Nothing that the thief has is good for anything. */
async function isOut(t: Test, thief: Thief, begun: { enrolment: Answer; underWay: Answer }): Promise<void> {
  const { enrolment, underWay } = begun
  t.match(await me(thief.access), invalid, 'his access token')
  t.match(await refresh(doorstep, thief.refresh), { status: 401 }, 'his refresh token')
  t.match(await enrol(doorstep, thief.access, { method: 'totp' }), invalid, 'no new enrolment')
  if (enrolment.status === 200) {
    const code = totpCode(enrolment.body.challenge.setup.secret)
    t.match(await prove(doorstep, enrolment, { code }), invalid, 'the enrolment that he had begun')
  }
  if (underWay.status === 200)
    t.match(await prove(doorstep, underWay, { code: '123456' }), invalid, 'his login under way')
  if (thief.passkey === undefined) return
  const start = await call(doorstep, '/login/passkey', { body: {} })
  const credential = thief.passkey.assert(start.body.challenge.public_key)
  t.match(await prove(doorstep, start, { credential }), { status: 401, body: { code: 'invalid_credentials' } })
}

/** The owner gets in by the reset link that has come to the mailbox, and with this factor. */
async function getIn(t: Test, owner: Owner, thief: Thief, method: Method): Promise<Answer> {
  await age(doorstep, owner, 61)
  const token = await mailedToken(doorstep, owner.email)
  const set = await call(doorstep, '/password/set', { body: { token, password: newPassword } })
  t.match(set, { status: 200, body: { status: '2fa_required' } }, 'the second factor is asked for')
  await forgetSteps(doorstep, owner)
  if (set.body.methods.includes('totp') && thief.secret !== undefined) {
    const code = totpCode(thief.secret)
    t.match(await prove(doorstep, set, { method: 'totp', code }), { status: 422 }, "the thief's app")
  }
  const asked = set.body.challenge.method === method || method === 'recovery_code'
  const going = asked
    ? set
    : await call(doorstep, '/login/2fa/method', { token: set.body.pending_token, body: { method } })
  const body = { ...set.body, ...going.body, pending_token: set.body.pending_token }
  const done = await prove(doorstep, set, rightAnswer(doorstep, owner, method, body))
  t.match(done, { status: 200, body: { status: 'authenticated' } }, `with ${method}`)
  return done
}

type Theft = {
  what: string
  has: Method[]
  does: (thief: Thief, owner: Owner) => Promise<Answer>
  told: string
  by: Method
}

const single: Theft[] = [
  { what: 'an app added', has: ['sms'], does: steal.app, told: 'New second factor', by: 'sms' },
  { what: 'a phone added', has: ['totp'], does: steal.phone, told: 'New second factor', by: 'totp' },
  { what: 'a passkey added', has: ['totp'], does: steal.passkey, told: 'New second factor', by: 'totp' },
  { what: 'the app replaced', has: ['totp', 'sms'], does: steal.app, told: 'Second factor replaced', by: 'totp' },
  { what: 'the phone replaced', has: ['sms'], does: steal.phone, told: 'Second factor replaced', by: 'sms' },
  ...(['passkey', 'totp', 'sms'] as const).map((method) => ({
    ...{ what: `${method} removed`, has: [method, method === 'sms' ? 'totp' : 'sms'] as Method[] },
    ...{ does: (thief: Thief) => steal.remove(thief, method), told: 'Second factor removed', by: method },
  })),
  { what: 'recovery codes renewed', has: ['totp'], does: steal.codes, told: 'New recovery codes', by: 'recovery_code' },
  { what: 'the e-mail changed', has: ['totp'], does: steal.email, told: 'E-mail address changed', by: 'totp' },
  {
    ...{ what: 'the password changed', has: ['totp'], told: 'Password changed', by: 'totp' },
    does: (thief, { password }) => steal.password(thief, password),
  },
  { what: 'a deletion begun', has: ['totp'], does: steal.deletion, told: 'Your account will be erased', by: 'totp' },
]

for (const { what, has, does, told, by } of single) {
  t.test(`a thief's session, ${what}: one link takes it back`, async (t) => {
    const owner = await createOwner(doorstep, has)
    await plantDevice(doorstep, owner)
    const before = await accountOf(doorstep, owner)
    const thief = await phish(doorstep, owner)
    const stolen = await does(thief, owner)
    t.ok([200, 202, 204].includes(stolen.status), `${stolen.status}`)
    if (!what.startsWith('the password')) t.notSame(await accountOf(doorstep, owner), before, 'he has changed it')
    const email = (await accountOf(doorstep, owner))?.email
    const begun = await begin(thief, { email, password: owner.password })
    const token = await notMe(doorstep, owner, told)

    t.match(await secure(doorstep, token), { status: 200, body: { status: 'secured' } })
    t.match(await secure(doorstep, token), expired, 'once')
    t.same(await accountOf(doorstep, owner), before, "everything is the owner's again")
    await isOut(t, thief, begun)
    const [left] = await sql(
      `SELECT (SELECT count(*)::integer FROM devices WHERE user_id = u.id) AS devices, password_state AS password,
         (SELECT count(*)::integer FROM sessions WHERE user_id = u.id AND ended_at IS NULL) AS sessions,
         (SELECT count(*)::integer FROM challenges WHERE user_id = u.id AND consumed_at IS NULL AND superseded_at IS NULL) AS challenges
       FROM users u WHERE id = $1`,
      [owner.id],
    )
    t.same(left, { devices: 0, sessions: 0, challenges: 0, password: 'reset_required' })
    t.match((await login(doorstep, owner)).status, what.startsWith('the password') ? 401 : 403)
    await getIn(t, owner, thief, by)
  })
}

t.test('a thief who takes phone, app, codes, e-mail, password and the account itself loses all of it', async (t) => {
  const owner = await createOwner(doorstep)
  await plantDevice(doorstep, owner)
  const before = await accountOf(doorstep, owner)
  const thief = await phish(doorstep, owner)
  t.equal((await steal.phone(thief)).status, 200)
  const first = await notMe(doorstep, owner, 'Second factor replaced')
  t.equal((await steal.app(thief)).status, 200)
  t.equal((await steal.passkey(thief)).status, 200)
  t.equal((await steal.remove(thief, 'passkey')).status, 204)
  t.equal((await steal.codes(thief)).status, 200)
  t.equal((await steal.email(thief)).status, 200)
  const told = await mailsTo(doorstep, thief.email)
  t.ok(told.some(({ text }) => text.includes('from now on')))
  t.notOk(
    told.some(({ text }) => text.includes('not-me')),
    'the mail about it to his mailbox has no link',
  )
  t.equal((await steal.password(thief, owner.password)).status, 200)
  const his = await notMe(doorstep, thief, 'Password changed')
  const hisPassword = `${owner.password} of a thief`
  await call(doorstep, '/password/forgot', { body: { email: thief.email } })
  const hisReset = await mailedToken(doorstep, thief.email)
  const begun = await begin(thief, { email: thief.email, password: hisPassword })
  t.equal(begun.underWay.status, 200)
  const had = new Set((await mailsTo(doorstep, thief.email)).map(({ text }) => text))
  await call(doorstep, '/me/email', { method: 'PUT', token: thief.access, body: { email: `next-${thief.email}` } })
  t.equal((await steal.deletion(thief)).status, 202)

  t.match(await secure(doorstep, first), { status: 200 })
  t.same(await accountOf(doorstep, owner), before)
  await isOut(t, thief, begun)
  t.match(await secure(doorstep, his), expired, 'his own link')
  t.match(await call(doorstep, '/password/set', { body: { token: hisReset, password: newPassword } }), expired)
  await sql(`UPDATE mails SET created_at = created_at - interval '2 hours' WHERE address = $1`, [thief.email])
  await call(doorstep, '/password/forgot', { body: { email: thief.email } })
  const since = (await mailsTo(doorstep, thief.email)).filter(({ text }) => !had.has(text))
  t.ok(since.some(({ subject }) => subject.startsWith('Your account will be erased')))
  t.ok(since.some(({ subject }) => subject.startsWith('There is no account')))
  t.notOk(
    since.some(({ text }) => text.includes('#token=')),
    'nothing that goes to his mailbox since has a link',
  )
  t.same(
    (await mailsTo(doorstep, `next-${thief.email}`)).filter(({ text }) => text.includes('#token=')),
    [],
    'nor the link to the next mailbox',
  )
  t.match(await login(doorstep, { email: thief.email, password: hisPassword }), { status: 401 })
  t.match(await login(doorstep, { ...owner, password: hisPassword }), { status: 403 }, 'his password is worth nothing')

  const texts = textsTo(doorstep, thief.phone ?? '').length
  await getIn(t, owner, thief, 'sms')
  t.equal(textsTo(doorstep, thief.phone ?? '').length, texts, 'no code goes to his phone')
  t.match(codeFor(doorstep, owner.phone), /^\d{6}$/)
  for (const method of ['passkey', 'totp', 'recovery_code'] as const) {
    const started = await login(doorstep, { ...owner, password: newPassword })
    await forgetSteps(doorstep, owner)
    t.equal((await prove(doorstep, started, rightAnswer(doorstep, owner, method, started.body))).status, 200, method)
  }
})

t.test('what was changed before the notice stays, what came with it does not', async (t) => {
  const owner = await createOwner(doorstep, ['totp'])
  const thief = await phish(doorstep, owner)
  await steal.app(thief)
  const before = await accountOf(doorstep, owner)
  const another: Thief = { ...thief }
  await steal.phone(another)
  const token = await notMe(doorstep, owner, 'New second factor')
  t.match(await secure(doorstep, token), { status: 200 })
  t.same(await accountOf(doorstep, owner), before)
})

t.test('the first factor and the last one: recovery codes go and come with it', async (t) => {
  const bare = await createBareUser(doorstep, 'optional')
  const before = await accountOf(doorstep, bare)
  const { body } = await login(doorstep, bare)
  const asked = await enrol(doorstep, body.access_token, { method: 'totp' })
  const proven = await prove(doorstep, asked, { code: mailedCode(doorstep, bare.email) })
  const { answer } = await enrolTotp(doorstep, proven.body.pending_token)
  t.match(answer, { status: 200, body: { recovery_codes: { length: 10 } } })
  t.match(await secure(doorstep, await notMe(doorstep, bare, 'New second factor')), { status: 200 })
  t.match(await accountOf(doorstep, bare), { ...before, email_confirmed_at: Date })

  const owner = await createOwner(doorstep, ['totp'], 'optional')
  const whole = await accountOf(doorstep, owner)
  const thief = await phish(doorstep, owner)
  t.equal((await steal.remove(thief, 'totp')).status, 204)
  t.match(await accountOf(doorstep, owner), { factors: null, codes: null })
  t.match(await secure(doorstep, await notMe(doorstep, owner, 'Second factor removed')), { status: 200 })
  t.same(await accountOf(doorstep, owner), whole)
})

t.test('what was replaced is not usable meanwhile', async (t) => {
  const owner = await createOwner(doorstep, ['totp', 'sms', 'passkey'])
  const thief = await phish(doorstep, owner)
  await steal.app(thief)
  await steal.phone(thief)
  await steal.remove(thief, 'passkey')
  await steal.codes(thief)
  const started = await login(doorstep, owner)
  t.match(started.body.methods, ['totp', 'sms', 'recovery_code'])
  t.match(await prove(doorstep, started, { code: totpCode(owner.secret) }), { status: 422 })
  t.match(await prove(doorstep, started, { method: 'recovery_code', code: owner.codes[0] ?? '' }), { status: 422 })
  const texts = textsTo(doorstep, owner.phone).length
  await call(doorstep, '/login/2fa/method', { token: started.body.pending_token, body: { method: 'sms' } })
  t.equal(textsTo(doorstep, owner.phone).length, texts)
  const start = await call(doorstep, '/login/passkey', { body: {} })
  const credential = owner.device.assert(start.body.challenge.public_key)
  t.match(await prove(doorstep, start, { credential }), { status: 401 })
})

t.test(
  'a thief who uses the link of his own mailbox first does not take the owner his, however late that was mailed',
  async (t) => {
    const owner = await createOwner(doorstep, ['totp'])
    const before = await accountOf(doorstep, owner)
    const thief = await phish(doorstep, owner)
    await steal.email(thief)
    const late = await sql(
      `UPDATE mails SET delivery = 'queued', next_try_at = now() + interval '1 hour', claimed_until = NULL
     WHERE user_id = $1 AND topic IN ('email.changed', 'email.change_asked') AND address = $2 RETURNING id`,
      [owner.id, owner.email],
    )
    t.equal(late.length, 2, "the owner's mail server lets them wait")
    await steal.codes(thief)
    const his = await notMe(doorstep, thief, 'New recovery codes')
    const got = (await mailsTo(doorstep, owner.email)).length
    await sql(`UPDATE mails SET next_try_at = now() WHERE address = $1 AND topic = 'email.changed'`, [owner.email])
    t.equal((await mailsTo(doorstep, owner.email)).length, got + 1)
    const token = await notMe(doorstep, owner, 'E-mail address changed')
    t.match(await secure(doorstep, his), { status: 200 }, 'he ends what is his')
    t.match(await secure(doorstep, token), { status: 200 }, "and not the owner's link")
    t.same(await accountOf(doorstep, owner), before)
  },
)

t.test('a notice about what is taken back already, mailed after that, has no link', async (t) => {
  const owner = await createOwner(doorstep, ['totp'])
  const thief = await phish(doorstep, owner)
  await steal.app(thief)
  const token = await notMe(doorstep, owner, 'Second factor replaced')
  await steal.email(thief)
  // From mailbox to mailbox: the second but last is told as an old one.
  const second = `second-${thief.email}`
  await steal.email(Object.assign(thief, { email: second }))
  await sql(
    `UPDATE mails SET delivery = 'queued', next_try_at = now() WHERE user_id = $1 AND topic = 'email.changed'`,
    [owner.id],
  )
  const before = new Set((doorstep.services.mailbox?.sent() ?? []).map(({ text }) => text))
  t.match(await secure(doorstep, token), { status: 200 })
  const first = second.slice('second-'.length)
  const mails = [...(await mailsTo(doorstep, first)), ...(await mailsTo(doorstep, second))]
  const after = mails.filter(({ text }) => !before.has(text))
  t.ok(after.length >= 1)
  t.notOk(after.some(({ text }) => text.includes('#token=')))
})

t.test('an operator has the last word: what he has changed since the notice stays', async (t) => {
  const { services } = doorstep
  const freshNumber = '+12025550199'

  const phoned = await createOwner(doorstep, ['sms', 'totp'])
  const one = await phish(doorstep, phoned)
  await steal.phone(one)
  const about = await notMe(doorstep, phoned, 'Second factor replaced')
  await changeAccount(services, { email: phoned.email, edit: { phone: freshNumber }, outcome: 'phone changed' })
  t.match(await secure(doorstep, about), { status: 200 })
  const phones = await sql(`SELECT phone FROM factors WHERE user_id = $1 AND method = 'sms'`, [phoned.id])
  t.same(phones, [{ phone: freshNumber }], 'one phone, the one that he has set')

  const reset = await createOwner(doorstep, ['totp'])
  const two = await phish(doorstep, reset)
  await steal.app(two)
  const aboutApp = await notMe(doorstep, reset, 'Second factor replaced')
  await steal.email(two)
  await resetFactors(services, two.email)
  t.match(await secure(doorstep, aboutApp), { status: 200 })
  t.match(
    await accountOf(doorstep, reset),
    { email: reset.email, factors: null, codes: null },
    'the e-mail is taken back',
  )

  const disabled = await createOwner(doorstep, ['totp'])
  const three = await phish(doorstep, disabled)
  await steal.deletion(three)
  const aboutEnd = await notMe(doorstep, disabled, 'Your account will be erased')
  await changeAccount(services, { email: disabled.email, edit: { disabled: true }, outcome: 'disabled' })
  t.match(await secure(doorstep, aboutEnd), { status: 200 })
  const [account] = await sql('SELECT erases_at, disabled_at FROM users WHERE id = $1', [disabled.id])
  t.match(account, { erases_at: null, disabled_at: Date }, 'it is not erased, and stays disabled')
  t.match(await login(doorstep, disabled), { status: 401 })

  const given = await createOwner(doorstep, ['totp'])
  const four = await phish(doorstep, given)
  await steal.password(four, given.password)
  const aboutPassword = await notMe(doorstep, given, 'Password changed')
  await changeAccount(services, { email: given.email, edit: { password: newPassword }, outcome: 'password changed' })
  t.match(await secure(doorstep, aboutPassword), { status: 200 })
  t.match(await login(doorstep, { ...given, password: newPassword }), { status: 403 }, 'right, and to be set anew')
})

t.test(
  'an e-mail that somebody else has by now does not come back: nobody gets in until an operator decides',
  async (t) => {
    const owner = await createOwner(doorstep, ['totp'])
    const before = await accountOf(doorstep, owner)
    const thief = await phish(doorstep, owner)
    await steal.app(thief)
    const token = await notMe(doorstep, owner, 'Second factor replaced')
    await steal.email(thief)
    await call(doorstep, '/register', { body: { email: owner.email } })
    const registered = await mailedToken(doorstep, owner.email)
    t.equal((await call(doorstep, '/password/set', { body: { token: registered, password: newPassword } })).status, 200)

    t.match(await secure(doorstep, token), { status: 200 })
    const after = await accountOf(doorstep, owner)
    t.match(after, { email: thief.email, factors: before?.factors, disabled_at: Date })
    t.notOk((await mailsTo(doorstep, thief.email)).slice(0, 1).some(({ text }) => text.includes('set-password')))
    await call(doorstep, '/password/forgot', { body: { email: thief.email } })
    t.notOk((await mailsTo(doorstep, thief.email)).some(({ text }) => text.includes('set-password')))
    t.match(await login(doorstep, { email: thief.email, password: owner.password }), { status: 401 })
    const [event] = await sql(`SELECT outcome FROM audit_events WHERE user_id = $1 AND type = 'account.secured'`, [
      owner.id,
    ])
    t.same(event, { outcome: 'e-mail taken, disabled' }, 'which the records say')
    t.match(
      await login(doorstep, { ...owner, password: newPassword }),
      { status: 200 },
      'the other account is untouched',
    )
  },
)

t.test('limits hold when factors come back', async (t) => {
  const owner = await createOwner(doorstep, ['sms', 'passkey'])
  const thief = await phish(doorstep, owner)
  await steal.phone(thief)
  const token = await notMe(doorstep, owner, 'Second factor replaced')
  await steal.remove(thief, 'passkey')

  // Without attestation anybody can say that a passkey has this id.
  const squatter = await createOwner(doorstep, ['totp'])
  const session = await phish(doorstep, squatter)
  const begun = await enrol(doorstep, session.access, { method: 'passkey' })
  const copy = createAuthenticator({ origin: doorstep.config.passkey.origins[0] ?? '' })
  const options = begun.body.challenge.setup.public_key
  const [id = ''] = owner.device.ids()
  t.match(await prove(doorstep, begun, { credential: copy.register(options, { newId: id }) }), {
    ...{ status: 409, body: { code: 'conflict' } },
  })

  const family = []
  for (let n = 0; n < 3; n += 1) family.push(await createOwner(doorstep, ['totp']))
  for (const { id } of family)
    await sql(`INSERT INTO factors (id, user_id, method, phone) VALUES (gen_random_uuid(), $1, 'sms', $2)`, [
      ...[id, owner.phone],
    ])
  t.match(await secure(doorstep, token), { status: 200 })
  const factors = await sql('SELECT method, phone FROM factors WHERE user_id = $1 ORDER BY method', [owner.id])
  t.same(factors, [{ method: 'passkey', phone: null }], 'a fourth does not get the number, the passkey is back')
})

t.test('ten passkeys removed and ten others bound: the ten come back', async (t) => {
  const owner = await createOwner(doorstep, ['totp'])
  const thief = await phish(doorstep, owner)
  await sql(
    `INSERT INTO factors (id, user_id, method, credential_id, data)
     SELECT gen_random_uuid(), $1::uuid, 'passkey', sha256(convert_to($1::uuid::text || n, 'UTF8')), '{"public_key": "", "algorithm": -7}' FROM generate_series(1, 10) n`,
    [owner.id],
  )
  const before = await accountOf(doorstep, owner)
  await steal.remove(thief, 'passkey')
  const token = await notMe(doorstep, owner, 'Second factor removed')
  for (let n = 0; n < 9; n += 1) await steal.remove(thief, 'passkey')
  for (let n = 0; n < 9; n += 1) t.equal((await steal.passkey(thief)).status, 200)
  t.match(await secure(doorstep, token), { status: 200 })
  t.same(await accountOf(doorstep, owner), before)
})

t.test('a link that is unknown, altered, of another kind or malformed', async (t) => {
  const owner = await createOwner(doorstep, ['totp'])
  const thief = await phish(doorstep, owner)
  await steal.app(thief)
  const token = await notMe(doorstep, owner, 'Second factor replaced')
  const before = await accountOf(doorstep, owner)
  await call(doorstep, '/password/forgot', { body: { email: owner.email } })
  const reset = await mailedToken(doorstep, owner.email)
  const altered = `${token.slice(0, -2)}${token.endsWith('AA') ? 'BA' : 'AA'}`
  const answers = []
  for (const it of [altered, reset, `dsm_${'A'.repeat(43)}`]) answers.push(await secure(doorstep, it))
  for (const answer of answers) {
    t.match(answer, expired)
    t.same({ ...answer.body, instance: '' }, { ...answers[0]?.body, instance: '' }, 'not to be told apart')
  }
  t.same(await accountOf(doorstep, owner), before, 'nothing was taken back')
  t.match(await call(doorstep, '/password/set', { body: { token, password: newPassword } }), expired, 'nor the reverse')
  t.match(await call(doorstep, '/me/email/confirm', { token: thief.access, body: { token } }), expired)
  t.match(await secure(doorstep, token), { status: 200 }, 'the right one')
})

t.test('two uses of one link at the same moment: one takes back, and nothing twice', async (t) => {
  const owner = await createOwner(doorstep, ['totp'])
  const before = await accountOf(doorstep, owner)
  const thief = await phish(doorstep, owner)
  await steal.app(thief)
  const token = await notMe(doorstep, owner, 'Second factor replaced')
  const row = { text: 'SELECT lock_account($1)', values: [owner.id], waiters: 2 }
  const answers = await meetAtRow(doorstep, row, () => together(2, () => secure(doorstep, token)))
  t.same(tally(answers), { '200': 1, '410 link_expired': 1 })
  t.same(await accountOf(doorstep, owner), before)
  const mails = (await mailsTo(doorstep, owner.email)).filter(({ subject }) =>
    subject.startsWith('Your account is secured'),
  )
  t.equal(mails.length, 1)
})

const last: Record<string, (thief: Thief, owner: Owner) => Promise<() => Promise<Answer>>> = {
  'binds another app': async (thief) => {
    const begun = await enrol(doorstep, thief.access, { method: 'totp' })
    return () => prove(doorstep, begun, { code: totpCode(begun.body.challenge.setup.secret) })
  },
  'confirms his mailbox': async (thief) => {
    await call(doorstep, '/me/email', { method: 'PUT', token: thief.access, body: { email: thief.email } })
    const token = await mailedToken(doorstep, thief.email, 'confirm-email')
    return () => call(doorstep, '/me/email/confirm', { token: thief.access, body: { token } })
  },
  'changes the password':
    async (thief, { password }) =>
    () =>
      steal.password(thief, password).catch(() => me('')),
  'has it erased': async (thief) => () => steal.deletion(thief),
  'renews the recovery codes': async (thief) => () => steal.codes(thief),
  'goes on with his refresh token': async (thief) => () => refresh(doorstep, thief.refresh),
}

for (const [what, prepare] of Object.entries(last)) {
  t.test(`a thief ${what} at the moment of the owner's link: it is the owner's whoever is first`, async (t) => {
    for (const isFirst of [true, false]) {
      const owner = await createOwner(doorstep, ['totp'])
      const before = await accountOf(doorstep, owner)
      const thief = await phish(doorstep, owner)
      await steal.phone(thief)
      const token = await notMe(doorstep, owner, 'New second factor')
      const move = await prepare(thief, owner)
      const row = { text: 'SELECT lock_account($1)', values: [owner.id], waiters: 2 }
      const [secured, moved] = await meetAtRow(doorstep, { ...row, waiters: what.includes('refresh') ? 1 : 2 }, () => {
        if (!isFirst) return Promise.all([secure(doorstep, token), move()])
        const moving = move()
        return Promise.all([secure(doorstep, token), moving])
      })
      t.match(secured, { status: 200 })
      t.ok([200, 202, 401, 410].includes(moved.status), `${moved.status}`)
      t.same(await accountOf(doorstep, owner), before)
      const [left] = await sql(
        `SELECT password_state, (SELECT count(*)::integer FROM sessions WHERE user_id = u.id AND ended_at IS NULL) AS sessions FROM users u WHERE id = $1`,
        [owner.id],
      )
      t.same(left, { password_state: 'reset_required', sessions: 0 })
      t.match(await me(thief.access), invalid)
    }
  })
}
