import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import t from 'tap'
import { changeAccount } from '../../src/features/accounts/change-account.ts'
import { createAccount, type NewAccount } from '../../src/features/accounts/create-account.ts'
import { createDemoUser } from '../../src/features/accounts/demo-user.ts'
import { listAccounts } from '../../src/features/accounts/list-accounts.ts'
import { resetFactors } from '../../src/features/accounts/reset-factors.ts'
import { unlockAccount } from '../../src/features/accounts/unlock-account.ts'
import { age } from '../helpers/age.ts'
import { trustDevice } from '../helpers/credentials.ts'
import { type Doorstep, startDoorstep, testKeys } from '../helpers/doorstep.ts'
import {
  type Answer,
  call,
  codeFor,
  createUser,
  finish,
  freshPhone,
  login,
  signIn,
  wrongCode,
} from '../helpers/story.ts'
import { setWrongCodes } from '../helpers/wrong-codes.ts'

const password = 'four quiet owls'
const doorstep = await startDoorstep(t)

/** A new key first. Once an instance has run with it, the signing keys are sealed with it. */
const bothKeys = `k2:${Buffer.from('another key that 32 bytes are in').toString('base64')},${testKeys.SECRET_KEYS}`
const { services, sql } = doorstep

let emails = 0
const freshEmail = (): string => `owl-${++emails}@example.com`

const newAccount = (given: Partial<NewAccount> = {}): NewAccount & { phone: string } => ({
  ...{ email: freshEmail(), phone: freshPhone(), password, twoFactor: 'required' as const },
  ...given,
})

/** What a client can tell apart: everything but the request id and the time. */
const seen = ({ status, body, headers }: Answer) => {
  const { instance: _instance, ...rest } = body
  const { date: _date, 'x-request-id': _id, ...kept } = headers
  return { status, body: rest, headers: { ...kept, 'content-length': undefined } }
}

const failPassword = async (user: { email: string }, times: number, at: Pick<Doorstep, 'app'> = doorstep) => {
  const answers: number[] = []
  for (let n = 0; n < times; n += 1) answers.push((await login(at, { ...user, password: 'wrong' })).status)
  return answers
}

t.test('a new account can sign in, and is stored in its canonical form', async (t) => {
  const created = await createAccount(services, newAccount({ email: ' Ｅve@Example.COM ', phone: '+1 (202) 555-0150' }))
  t.match(created, { id: /^[0-9a-f-]{36}$/, email: 'eve@example.com', phone: '+12025550150' })
  t.equal((await signIn(doorstep, { ...created, phone: '+12025550150', password })).status, 200)

  const plain = await createAccount(services, newAccount({ twoFactor: 'off' }))
  t.match(await login(doorstep, { ...plain, password }), { status: 200, body: { status: 'authenticated' } })

  const [stored] = await sql('SELECT password_hash FROM users WHERE id = $1', [created.id])
  t.match(stored?.password_hash, /^\$argon2id\$v=19\$/)
  const audit = await sql('SELECT type, outcome FROM audit_events WHERE user_id = $1 ORDER BY at', [plain.id])
  t.match(audit[0], { type: 'user.created', outcome: 'created' })
})

t.test('an account without a phone; whether it needs a factor is TWO_FACTOR unless somebody says it', async (t) => {
  const bare = () => {
    const { phone: _phone, twoFactor: _twoFactor, ...account } = newAccount()
    return account
  }
  const lenient = await startDoorstep(t, { database: doorstep.database, env: { TWO_FACTOR: 'optional' } })
  const cases = [
    [services, bare(), 'required'],
    [lenient.services, bare(), 'optional'],
    [lenient.services, { ...bare(), twoFactor: 'off' }, 'off'],
  ] as const
  for (const [at, account, twoFactor] of cases) {
    const created = await createAccount(at, account)
    t.match(created, { email: account.email, phone: null })
    const stored = await sql('SELECT two_factor, locale FROM users WHERE id = $1', [created.id])
    t.same(stored, [{ two_factor: twoFactor, locale: 'en' }])
    t.same(await sql('SELECT FROM factors WHERE user_id = $1', [created.id]), [])
    if (twoFactor === 'required') continue
    const { body } = await login(lenient, account)
    t.match(body, { status: 'authenticated' })
    t.match((await call(lenient, '/me', { token: body.access_token })).body, {
      ...{ email: account.email, email_confirmed: false, locale: 'en', phone: null },
      ...{ two_factor: twoFactor, methods: [], amr: ['pwd'], acr: 'aal1' },
    })
  }
})

t.test('who has lost every factor gets in again without one, and nothing of before lives on', async (t) => {
  const user = await createUser(doorstep, { twoFactor: 'optional' })
  const { access, device } = await trustDevice(doorstep, user)
  const begun = await login(doorstep, user)
  const code = codeFor(doorstep, user.phone)
  t.same(await resetFactors(services, ` ${user.email.toUpperCase()}`), { id: user.id, email: user.email })
  t.equal((await call(doorstep, '/me', { token: access })).status, 401, 'the session is over')
  t.equal((await finish(doorstep, begun.body.pending_token, code)).status, 401, 'the login under way too')
  const again = await login(doorstep, user, { body: { device_token: device } })
  t.match(again.body, { status: 'authenticated' })
  t.match((await call(doorstep, '/me', { token: again.body.access_token })).body, { phone: null, methods: [] })
  const [change] = await sql(`SELECT outcome FROM audit_events WHERE user_id = $1 AND type = 'factor.removed'`, [
    user.id,
  ])
  t.same(change, { outcome: 'all' })
  await t.rejects(resetFactors(services, freshEmail()), { code: 'not_found' })
  await t.rejects(resetFactors(services, 'nobody'), { code: 'invalid_request' })
})

t.test('what no account is made from', async (t) => {
  const refusal = (given: Partial<NewAccount>): Promise<unknown> =>
    createAccount(services, newAccount(given)).catch((error: unknown) => error)
  const users = async () => (await sql('SELECT count(*)::integer AS count FROM users'))[0]?.count
  const before = await users()

  const invalid = (pointer: string, message: RegExp) => ({
    code: 'invalid_request',
    extras: { errors: [{ pointer, message }] },
  })
  t.match(await refusal({ email: 'no address' }), invalid('/email', /e-mail address/))
  t.match(await refusal({ phone: '12025550123' }), { code: 'phone_not_allowed' })
  t.match(await refusal({ phone: '+442079460123' }), { code: 'phone_not_allowed' })
  t.match(await refusal({ password: 'short' }), invalid('/password', /at least 8/))
  t.match(await refusal({ password: 'Password123' }), invalid('/password', /many people use/))
  const grace = { email: 'grace@example.com', password: 'amazing Grace' }
  t.match(await refusal(grace), invalid('/password', /name in the e-mail/))
  t.match(await refusal({ password: 'my doorstep key' }), invalid('/password', /this service/))
  t.equal(await users(), before, 'nothing was stored')
  t.notOk(
    doorstep.logs.some((line) => line.includes('amazing Grace')),
    'a refused password is not logged',
  )
})

t.test('one e-mail is one user and one counter, however it is written (SEC-10)', async (t) => {
  const email = freshEmail()
  await createAccount(services, newAccount({ email }))
  const spellings = [email.toUpperCase(), ` ${email} `, email.replace('owl', 'ｏｗｌ'), email.replace('owl', 'ＯＷＬ')]
  for (const spelling of spellings) {
    await t.rejects(createAccount(services, newAccount({ email: spelling })), { code: 'conflict' }, spelling)
  }

  await sql('DELETE FROM login_throttles')
  const answers = []
  for (const spelling of [...spellings, email])
    answers.push(await login(doorstep, { email: spelling, password: 'wrong' }))
  t.same(
    answers.map(({ status }) => status),
    [401, 401, 401, 401, 401],
  )
  t.equal((await login(doorstep, { email, password })).status, 429, 'five spellings, five failures')
  t.match(await sql('SELECT failures FROM login_throttles'), [{ failures: 5 }])
})

t.test('parallel sign-ups: one user per e-mail, three per phone number', async (t) => {
  const count = async (work: Promise<unknown>[]) =>
    (await Promise.allSettled(work)).map((done) => (done.status === 'fulfilled' ? 'made' : done.reason.code)).sort()

  const email = freshEmail()
  const sameEmail = Array.from({ length: 8 }, () => createAccount(services, newAccount({ email })))
  t.same(await count(sameEmail), [...Array(7).fill('conflict'), 'made'])

  const phone = freshPhone()
  const samePhone = Array.from({ length: 8 }, () => createAccount(services, newAccount({ phone })))
  t.same(await count(samePhone), [...Array(5).fill('conflict'), 'made', 'made', 'made'])
  const spelled = `${phone.slice(0, 5)} ${phone.slice(5)}`
  await t.rejects(createAccount(services, newAccount({ phone: spelled })), { code: 'conflict' }, 'spelled otherwise')
})

t.test('whoever holds the password of a disabled user learns nothing and opens nothing', async (t) => {
  const user = await createUser(doorstep)
  const session = await signIn(doorstep, user)
  const begun = await login(doorstep, user)
  t.equal(begun.status, 200)
  const code = codeFor(doorstep, user.phone)

  t.same(
    await changeAccount(services, { email: user.email.toUpperCase(), edit: { disabled: true }, outcome: 'disabled' }),
    {
      id: user.id,
      email: user.email,
      disabled: true,
    },
  )
  const right = await login(doorstep, user)
  t.equal(right.status, 401)
  t.equal(right.body.code, 'invalid_credentials')
  t.same(seen(right), seen(await login(doorstep, { ...user, password: 'wrong' })), 'as a wrong password')
  t.same(seen(right), seen(await login(doorstep, { email: freshEmail(), password })), 'as an unknown e-mail')
  t.same(await failPassword(user, 3), [401, 401, 401])
  const locked = await login(doorstep, user)
  const other = { email: freshEmail() }
  await failPassword(other, 5)
  t.equal(locked.status, 429)
  const lockedOther = await login(doorstep, { ...other, password })
  t.same([locked.body.code, locked.body.retry_after > 0], [lockedOther.body.code, lockedOther.body.retry_after > 0])

  t.equal((await call(doorstep, '/me', { token: session.body.access_token })).status, 401, 'the session is over')
  t.equal((await finish(doorstep, begun.body.pending_token, code)).status, 401, 'the login under way is over')

  await changeAccount(services, { email: user.email, edit: { disabled: false }, outcome: 'enabled' })
  t.equal((await finish(doorstep, begun.body.pending_token, code)).status, 401, 'and stays over')
  t.equal((await call(doorstep, '/me', { token: session.body.access_token })).status, 401)
  await unlockAccount(services, { email: user.email, all: false })
  await age(doorstep, user, 61)
  t.equal((await signIn(doorstep, user)).status, 200, 'a new login is possible')

  const audit = await sql(
    `SELECT type, outcome, actor_type FROM audit_events WHERE user_id = $1 AND type LIKE 'user.%abled' ORDER BY id`,
    [user.id],
  )
  t.same(audit, [
    { type: 'user.disabled', outcome: 'disabled', actor_type: 'operator' },
    { type: 'user.enabled', outcome: 'enabled', actor_type: 'operator' },
  ])
})

t.test('unlock ends the wait after wrong passwords', async (t) => {
  const user = await createUser(doorstep)
  t.same(await failPassword(user, 5), [401, 401, 401, 401, 401])
  t.match(await login(doorstep, user), { status: 429, body: { code: 'login_locked' } })
  t.same(await unlockAccount(services, { email: ` ${user.email.toUpperCase()}`, all: false }), {
    id: user.id,
    email: user.email,
  })
  t.equal((await login(doorstep, user)).status, 200)
  t.match(await sql(`SELECT outcome FROM audit_events WHERE user_id = $1 AND type = 'user.unlocked'`, [user.id]), [
    { outcome: 'unlocked' },
  ])
})

t.test('unlock also ends a wait that was counted under an older secret key', async (t) => {
  const user = await createUser(doorstep)
  await failPassword(user, 5)
  const rotated = await startDoorstep(t, {
    database: doorstep.database,
    env: {
      SECRET_KEYS: bothKeys,
    },
  })
  await unlockAccount(rotated.services, { email: user.email, all: false })
  t.equal((await login(doorstep, user)).status, 200, 'on an instance that still counts with the older key')
})

t.test(
  'a thief who has the password and talks an operator into unlocking keeps the 24 h and 30 day budgets',
  async (t) => {
    const locked = async (streak: number, lockedFor: string | null, failures: string[]) => {
      const user = await createUser(doorstep)
      await setWrongCodes(doorstep, user, { streak, lockedFor, failedAgo: failures })
      t.match(await login(doorstep, user), { status: 429, body: { code: 'second_factor_locked' } })
      await unlockAccount(services, { email: user.email, all: false })
      return { user, answer: await login(doorstep, user) }
    }
    const hoursAgo = (count: number, hours: number) => Array(count).fill(`${hours} hours`)

    const streak = await locked(10, '15 minutes', hoursAgo(10, 1))
    t.equal(streak.answer.status, 200, 'the lock of a streak ends')
    t.equal(
      (await finish(doorstep, streak.answer.body.pending_token, codeFor(doorstep, streak.user.phone))).status,
      200,
    )
    t.equal((await locked(100, '24 hours', hoursAgo(19, 30))).answer.status, 200, 'also that of 100 in a row')

    const day = await locked(10, '15 minutes', hoursAgo(20, 23))
    t.match(day.answer, { status: 429, body: { code: 'second_factor_locked' } }, '20 failures in 24 hours')
    t.ok(day.answer.body.retry_after > 3_000 && day.answer.body.retry_after <= 3_600, 'until the 24 hours are over')
    const month = await locked(100, null, hoursAgo(100, 29 * 24))
    t.match(month.answer, { status: 429, body: { code: 'second_factor_locked' } }, '100 failures in 30 days')

    const nearly = await locked(10, '15 minutes', hoursAgo(18, 23))
    t.equal(nearly.answer.body.challenge.attempts_remaining, 2, 'two of the 20 are left')
    const wrong = wrongCode(codeFor(doorstep, nearly.user.phone))
    t.equal((await finish(doorstep, nearly.answer.body.pending_token, wrong)).status, 422)
    t.equal((await finish(doorstep, nearly.answer.body.pending_token, wrong)).status, 422)
    await unlockAccount(services, { email: nearly.user.email, all: false })
    const right = codeFor(doorstep, nearly.user.phone)
    t.equal(
      (await finish(doorstep, nearly.answer.body.pending_token, right)).status,
      429,
      'no third, not even a right one',
    )
  },
)

t.test('unlock --all lets an owner in again whom a thief of the password has locked out of everything', async (t) => {
  const user = await createUser(doorstep)
  const { device } = await trustDevice(doorstep, user)
  const wrong = { ...user, password: 'wrong' }
  const shutOut = async () => {
    for (const known of [true, false]) {
      await setWrongCodes(doorstep, user, {
        known,
        streak: 10,
        lockedFor: '15 minutes',
        failedAgo: Array(20).fill('1 hour'),
      })
    }
    await sql(
      `INSERT INTO sms_messages (user_id, challenge_id, known, phone, prefix, address)
       SELECT $1, gen_random_uuid(), known, $2, left($2, -4), '192.0.2.1' FROM generate_series(1, 5), unnest('{true,false}'::bool[]) known`,
      [user.id, user.phone],
    )
    for (const body of [{ device_token: device }, {}])
      for (let n = 0; n < 5; n += 1) await login(doorstep, wrong, { body })
    await changeTrust(null)
  }
  const changeTrust = (until: string | null) =>
    sql('UPDATE devices SET trusted_until = now() + $2::interval WHERE user_id = $1', [user.id, until])
  /** What each class is told: with the owner's device, and as a stranger. */
  const told = async () => {
    const codes = []
    for (const body of [{ device_token: device }, {}]) codes.push((await login(doorstep, user, { body })).body)
    return codes.map(({ code, status }) => code ?? status)
  }

  await shutOut()
  t.same(await told(), ['login_locked', 'login_locked'])
  await unlockAccount(services, { email: user.email, all: false })
  t.same(await told(), ['second_factor_locked', 'second_factor_locked'], 'the budgets of a day are left')
  const answer = await unlockAccount(services, { email: user.email, all: true })
  t.same(answer, { id: user.id, email: user.email })
  t.same(await told(), ['2fa_required', '2fa_required'], 'of codes and of texts')
  t.match(
    await sql(`SELECT outcome FROM audit_events WHERE user_id = $1 AND type = 'user.unlocked' ORDER BY id`, [user.id]),
    [{ outcome: 'unlocked' }, { outcome: 'all' }],
  )
})

t.test('an unlock takes its locks in the order of a login, so that neither makes the other fail', async (t) => {
  const user = await createUser(doorstep, { twoFactor: 'off' })
  await failPassword(user, 1)
  const identifiers = services.loginThrottle.identifyAll(user.email)
  const loginClient = new pg.Client({ connectionString: doorstep.database.url })
  await loginClient.connect()
  t.teardown(() => loginClient.end())

  // What start_session does, with an unlock in the middle of it.
  await loginClient.query('BEGIN')
  await loginClient.query('SELECT lock_account($1)', [user.id])
  const unlocking = sql('SELECT unlock_user($1, $2, false, $3) AS id', [
    user.email,
    identifiers,
    JSON.stringify({ type: 'user.unlocked', outcome: 'test' }),
  ])
  const isWaiting = `SELECT count(*)::integer AS count FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE 'SELECT unlock_user%'`
  // The embedded database has one backend: there the unlock stands in line for it. A transaction sees what others do as it
  // was at its first look, unless it forgets that.
  while (doorstep.database.isReal && (await loginClient.query(isWaiting)).rows[0].count === 0) {
    await sleep(20)
    await loginClient.query('SELECT pg_stat_clear_snapshot()')
  }
  await loginClient.query('SELECT give_back_password($1, NULL, true)', [identifiers])
  await loginClient.query('COMMIT')
  t.same(await unlocking, [{ id: user.id }])
})

t.test('an operator is told when there is no such user', async (t) => {
  const email = freshEmail()
  await t.rejects(unlockAccount(services, { email, all: false }), { code: 'not_found' })
  await t.rejects(changeAccount(services, { email, edit: { disabled: true }, outcome: 'disabled' }), {
    code: 'not_found',
  })
  await t.rejects(changeAccount(services, { email: 'nobody', edit: { disabled: true }, outcome: 'disabled' }), {
    code: 'invalid_request',
  })
})

t.test('the list is oldest first, and holds no password', async (t) => {
  const created = []
  for (let n = 0; n < 3; n += 1) {
    created.push(await createAccount(services, newAccount({ twoFactor: n === 1 ? 'off' : 'required' })))
    await sleep(2)
  }
  await changeAccount(services, { email: created[2]?.email ?? '', edit: { disabled: true }, outcome: 'disabled' })
  const { users } = await listAccounts(services, 1_000)
  t.match(users.slice(-3), [
    { ...created[0], two_factor: 'required', methods: ['sms'], disabled: false, created_at: /^20\d\d-.*Z$/ },
    { ...created[1], two_factor: 'off', disabled: false },
    { ...created[2], two_factor: 'required', disabled: true },
  ])
  t.same(Object.keys(users[0] ?? {}).sort(), [
    ...['created_at', 'disabled', 'email', 'email_confirmed', 'id', 'locale', 'methods', 'phone', 'two_factor'],
  ])
  t.same((await listAccounts(services, 2)).users, users.slice(0, 2))
})

t.test('the demo user signs in, and is only made where the settings allow it', async (t) => {
  const elsewhere = await startDoorstep(t, {
    database: doorstep.database,
    env: { SMS_ALLOWED_COUNTRIES: 'SE', SECRET_KEYS: bothKeys },
  })
  t.equal(await createDemoUser(elsewhere.services), null)
  const noTexts = { ...services, config: { ...services.config, methods: ['passkey' as const, 'totp' as const] } }
  t.equal(await createDemoUser(noTexts), null, 'its second step is a text')

  const demo = await createDemoUser(services)
  t.same(await createDemoUser(services), demo, 'made once')
  if (demo === null) throw new Error('no demo user')
  t.match(await login(doorstep, demo), { status: 200, body: { status: '2fa_required' } })
})

t.test('neither log nor audit table says who it was (SEC-81)', async (t) => {
  const rows = (await sql('SELECT a::text AS row FROM audit_events a')).map(({ row }) => row)
  t.ok(rows.length > 20)
  t.ok(doorstep.logs.some((line) => line.includes('user.created')))
  for (const canary of ['@example.com', '+1202', password]) {
    t.notOk(
      [...rows, ...doorstep.logs].some((line) => line.includes(canary)),
      canary,
    )
  }
})
