import t from 'tap'
import { age } from '../helpers/age.ts'
import { canariesIn } from '../helpers/canaries.ts'
import { enter, refresh, type Signed, tokensOf } from '../helpers/credentials.ts'
import { startDoorstep } from '../helpers/doorstep.ts'
import { createOwner, type Owner, rightAnswer, sessionOf } from '../helpers/equipped.ts'
import { createBareUser, prove } from '../helpers/factors.ts'
import { part } from '../helpers/forge.ts'
import { meetAtRow } from '../helpers/hold-row.ts'
import { mailsTo } from '../helpers/links.ts'
import { evaluations, freshAddress, wrongPassword } from '../helpers/password-guesses.ts'
import { plantLink, resetLink } from '../helpers/planted-links.ts'
import { refuseAt, storedRows } from '../helpers/refusing-tables.ts'
import { type Answer, call, login, type TestUser } from '../helpers/story.ts'
import { isOverloaded, repeat, tally, together } from '../helpers/together.ts'
import { setWrongCodes } from '../helpers/wrong-codes.ts'

// Somebody has a session of the owner, or an owner suspects that somebody has. The password is changed by who knows the old one
// and has signed in a moment ago, and by nobody else; and with it ends whatever others have of the account.

t.setTimeout(300_000)

const clients = { INTROSPECTION_CLIENTS: 'orders:secret-of-orders' }
const doorstep = await startDoorstep(t, { env: { ...clients, DATABASE_POOL_SIZE: '20' } })
const { sql, services } = doorstep

const password = 'a long sentence that only one person knows'
const invalid = { status: 401, body: { code: 'invalid_token' } }
const wrong = { status: 422, body: { code: 'invalid_password' } }

const me = (token: string) => call(doorstep, '/me', { token })
const change = (token: string, current: string, changed = password, at = doorstep): Promise<Answer> =>
  call(at, '/me/password', {
    ...{ method: 'PUT', token, from: freshAddress(), body: { current_password: current, password: changed } },
  })

/** Whether a backend is told that an access token is good. */
async function isActive(token: string): Promise<boolean> {
  const authorization = `Basic ${Buffer.from(clients.INTROSPECTION_CLIENTS).toString('base64')}`
  const headers = { authorization, 'content-type': 'application/x-www-form-urlencoded' }
  return (await call(doorstep, '/token/introspect', { body: `token=${token}`, headers })).body.active
}

/** A session of a passkey and a device of its own. */
async function signInByPasskey(owner: Owner, body: object = {}): Promise<Signed & { device: string }> {
  const begun = await call(doorstep, '/login/passkey', { body })
  const done = await prove(doorstep, begun, { credential: owner.device.assert(begun.body.challenge.public_key) })
  return { ...tokensOf(done), device: done.body.device_token }
}

/** What is counted of an account's wrong codes, by class. */
const countedOf = ({ id }: TestUser) =>
  sql('SELECT known, streak, cardinality(failed_at) AS failures FROM factor_guards WHERE user_id = $1 ORDER BY known', [
    id,
  ])

const rowOf = async (sid: string) =>
  (
    await sql(
      'SELECT amr, acr, remember, device_id, authenticated_at, expires_at, idle_until FROM sessions WHERE id = $1',
      [sid],
    )
  )[0]

t.test('a stolen session that is not fresh changes nothing, also with the right password', async (t) => {
  const owner = await createOwner(doorstep, ['passkey'])
  const { access } = await signInByPasskey(owner)
  const before = evaluations(doorstep)
  await age(doorstep, owner, 601)
  t.match(await change(access, owner.password), {
    ...{ status: 401, body: { code: 'insufficient_user_authentication' } },
    headers: { 'www-authenticate': /acr_values="aal2".*max_age="?600/ },
  })
  t.equal(evaluations(doorstep), before, 'nor is a password tried at it')

  const weak = await createOwner(doorstep, ['totp'], 'off')
  const { access: aal1 } = await enter(doorstep, weak)
  t.match(await change(aal1, weak.password), { body: { code: 'insufficient_user_authentication' } }, 'aal1 of an aal2')

  const raising = await call(doorstep, '/login/step-up', { token: access, body: {} })
  const raised = await prove(doorstep, raising, rightAnswer(doorstep, owner, 'passkey', raising.body))
  t.match(await change(raised.body.access_token, owner.password), { status: 200 }, 'the owner steps up')
})

t.test('a wrong password is a failed proof: counted for the account, and the fifth ends the session', async (t) => {
  const owner = await createOwner(doorstep, ['passkey'])
  const [thief, other] = [await signInByPasskey(owner), await signInByPasskey(owner)]
  for (let n = 1; n <= 4; n += 1) {
    const before = evaluations(doorstep)
    t.match(await change(thief.access, wrongPassword), wrong, `guess ${n}`)
    t.equal(evaluations(doorstep) - before, 1, 'one hash, and none of the new password')
    t.equal((await me(thief.access)).status, 200, 'the session stays')
  }
  t.same(await countedOf(owner), [{ known: true, streak: 0, failures: 4 }], 'of known clients, and no streak')
  t.match(await change(thief.access, wrongPassword), wrong, 'guess 5')
  t.match(await change(thief.access, owner.password), invalid, 'and the right one comes too late')
  t.match(await refresh(doorstep, thief.refresh), invalid)
  t.notOk(await isActive(thief.access))
  t.equal((await me(other.access)).status, 200, 'other sessions stay')
  t.match(await login(doorstep, owner), { status: 200 }, 'as does the password')
  t.same(await countedOf(owner), [{ known: true, streak: 0, failures: 5 }])

  const late = await signInByPasskey(owner)
  await sql(
    `UPDATE sessions SET proofs_failed_at = array_fill(now() - interval '24 hours 1 second', ARRAY[4]) WHERE id = $1`,
    [late.sid],
  )
  t.match(await change(late.access, wrongPassword), wrong)
  t.equal((await me(late.access)).status, 200, 'those of another day do not count')
})

t.test('fifty guesses at once in one session, over two replicas: five are answered', async (t) => {
  const replicas = [doorstep, await startDoorstep(t, { database: doorstep.database })]
  const bare = () => createBareUser(doorstep, 'off')
  const guesses: Record<string, (token: string, n: number) => Promise<Answer>> = {
    'of a change': (token, n) => change(token, wrongPassword, password, replicas[n % 2]),
    'of a step-up': (token, n) =>
      call(replicas[n % 2] ?? doorstep, '/login/step-up', { token, body: { password: wrongPassword } }),
  }
  for (const [name, guess] of Object.entries(guesses)) {
    await repeat(t, 1, async () => {
      const { access } = await enter(doorstep, await bare())
      const before = evaluations(...replicas)
      const answers = await together(50, (n) => guess(access, n))
      t.ok(evaluations(...replicas) - before <= 6, `${name}: ${evaluations(...replicas) - before} evaluated`)
      if (isOverloaded(answers)) return false
      t.same(tally(answers), { '401 invalid_token': 45, '422 invalid_password': 5 }, name)
      return true
    })
  }
})

t.test('a password that is refused costs no session, and no try', async (t) => {
  const owner = await createOwner(doorstep, ['passkey'])
  const { access } = await signInByPasskey(owner)
  for (const [given, message] of [
    ['short', /at least 8/],
    ['password123', /many people use/],
    [owner.email, /e-mail address/],
    ['on my doorstep', /name of this service/],
  ] as const) {
    const refused = await change(access, owner.password, given)
    t.match(refused, { status: 400, body: { code: 'invalid_request', errors: [{ pointer: '/password', message }] } })
  }
  t.same(await countedOf(owner), [])
  t.match(await change(access, wrongPassword, 'short'), wrong, 'the old one is judged first')

  const bare = await createBareUser(doorstep, 'off')
  const alone = await enter(doorstep, bare)
  t.match(await change(alone.access, bare.password, 'fourteen owls.'), {
    body: { errors: [{ message: /at least 15/ }] },
  })
  t.match(await change(alone.access, bare.password, 'fourteen owls..'), { status: 200 })
  const canaries = ['password123', 'on my doorstep', 'fourteen owls.'].map((value) => ({ name: value, value }))
  t.same(canariesIn(doorstep.logs.join(''), canaries), [])
})

t.test(
  'all that others have of the account ends: sessions, refresh tokens, trust, logins under way, links',
  async (t) => {
    const owner = await createOwner(doorstep, ['passkey', 'totp'])
    const thief = await signInByPasskey(owner)
    const first = await login(doorstep, owner)
    const trusting = { ...rightAnswer(doorstep, owner, 'totp', first.body), trust_device: true }
    const trusted = await prove(doorstep, first, trusting)
    const device = { body: { device_token: trusted.body.device_token } }
    t.match(await login(doorstep, owner, device), { body: { status: 'authenticated' } })
    const underWay = await login(doorstep, owner, { from: freshAddress() })
    const link = await resetLink(doorstep, owner)
    const mine = await signInByPasskey(owner, { remember_me: true })
    const rotated = tokensOf(await refresh(doorstep, mine.refresh))

    const changed = await change(rotated.access, owner.password)
    t.match(changed, { status: 200, body: { status: 'authenticated' } })
    const now = tokensOf(changed)
    t.not(now.sid, mine.sid)
    for (const [whose, { access, refresh: token }] of Object.entries({ thief, mine, rotated })) {
      t.match(await me(access), invalid, whose)
      t.match(await refresh(doorstep, token), invalid, whose)
      t.notOk(await isActive(access), whose)
    }
    t.match(await me(trusted.body.access_token), invalid)
    const inTime = rightAnswer(doorstep, owner, 'passkey', underWay.body)
    t.match(await prove(doorstep, underWay, inTime), invalid, 'a login under way')
    t.match(await call(doorstep, '/password/set', { body: { token: link, password } }), { status: 410 })
    t.match(await login(doorstep, owner, device), { status: 401 }, 'the old password')
    const again = await login(doorstep, { ...owner, password }, device)
    t.match(again, { body: { status: '2fa_required' } }, 'and nobody is trusted')
    const told = (await mailsTo(doorstep, owner.email)).find(({ subject }) => /password/i.test(subject))
    t.match(told, { text: /not-me#token=dsm_/ }, 'and the owner is told')

    t.equal((await me(now.access)).status, 200)
    t.match(await refresh(doorstep, now.refresh), { status: 200 })
    t.ok(await isActive(now.access))
  },
)

t.test('the new session is the old one under another name: nothing of it is raised or prolonged', async (t) => {
  const cases: [string, TestUser, (user: TestUser) => Promise<Signed>][] = [
    [
      'a passkey',
      await createOwner(doorstep, ['passkey']),
      (it) => signInByPasskey(it as Owner, { remember_me: true }),
    ],
    ['a recovery code', await createOwner(doorstep, ['totp']), (it) => sessionOf(doorstep, it as Owner)],
    ['a password', await createBareUser(doorstep, 'optional'), (it) => enter(doorstep, it)],
  ]
  for (const [name, user, signIn] of cases) {
    const session = await signIn(user)
    await age(doorstep, user, 500)
    const before = await rowOf(session.sid)
    const changed = await change(session.access, user.password)
    const now = tokensOf(changed)
    t.same(await rowOf(now.sid), before, name)
    const authenticatedAt = Math.floor(Number(before?.authenticated_at) / 1_000)
    t.match(part(now.access, 1), { amr: before?.amr, acr: before?.acr, auth_time: authenticatedAt })
    t.notOk('device_token' in changed.body)
    await age(doorstep, user, 101)
    t.match(await change(now.access, password), { body: { code: 'insufficient_user_authentication' } }, 'as stale')
  }
})

t.test(
  'a link that was mailed to register before the account came otherwise ends with a changed password',
  async (t) => {
    const owner = await createOwner(doorstep, ['passkey'])
    const token = await plantLink(doorstep, { email: owner.email, userId: null })
    const { access } = await signInByPasskey(owner)
    t.equal((await change(access, owner.password, `${password}, hers`)).status, 200)
    const used = await call(doorstep, '/password/set', { body: { token, password: `${password}, his` } })
    t.match(used, { status: 410, body: { code: 'link_expired' } })
  },
)

t.test('twenty changes at once, of one session or of many: one is made', async (t) => {
  for (const isOne of [true, false]) {
    await repeat(t, 1, async () => {
      const owner = await createOwner(doorstep, ['passkey'])
      const sessions = [await signInByPasskey(owner)]
      while (!isOne && sessions.length < 20) sessions.push(await signInByPasskey(owner))
      const row = { text: 'SELECT FROM users WHERE id = $1 FOR UPDATE', values: [owner.id], waiters: 1 }
      const mine = (n: number) => `${password}, the ${n}th`
      const answers = await meetAtRow(doorstep, row, () =>
        together(20, (n) => change(sessions[n % sessions.length]?.access ?? '', owner.password, mine(n))),
      )
      t.ok(answers.filter(({ status }) => status === 200).length <= 1)
      if (isOverloaded(answers)) return false
      const { 200: changed, ...others } = tally(answers)
      t.equal(changed, 1, JSON.stringify(others))
      t.same(
        Object.keys(others).filter((it) => !/^(401 invalid_token|422 invalid_password|409)/.test(it)),
        [],
      )
      const winner = answers.findIndex(({ status }) => status === 200)
      t.equal((await login(doorstep, { ...owner, password: mine(winner) })).status, 200)
      const live = await sql('SELECT id FROM sessions WHERE user_id = $1 AND ended_at IS NULL', [owner.id])
      t.same(live, [{ id: tokensOf(answers[winner] as Answer).sid }], 'and one session is left')
      return true
    })
  }
})

t.test('a change and a link that are used at once: the one that comes second is the password or fails', async (t) => {
  await repeat(t, 2, async () => {
    const owner = await createOwner(doorstep, ['passkey'])
    const { access } = await signInByPasskey(owner)
    const token = await resetLink(doorstep, owner)
    const row = { text: 'SELECT FROM users WHERE id = $1 FOR UPDATE', values: [owner.id], waiters: 2 }
    const answers = await meetAtRow(doorstep, row, () =>
      Promise.all([
        change(access, owner.password, `${password}, changed`),
        call(doorstep, '/password/set', { body: { token, password: `${password}, set` } }),
      ]),
    )
    if (isOverloaded(answers)) return false
    const [changed, set] = answers.map(({ status }) => status)
    t.ok(changed === 200 ? set === 410 : set === 200, JSON.stringify(tally(answers)))
    const now = `${password}, ${changed === 200 ? 'changed' : 'set'}`
    t.equal((await login(doorstep, { ...owner, password: now })).status, 200)
    return true
  })
})

t.test('by a session without a second factor only the locks of the password end (SEC-103)', async (t) => {
  const counters = async (user: TestUser) => {
    const [{ texts } = {}] = await sql(
      `SELECT count(*)::integer AS texts FROM sms_messages WHERE user_id = $1 AND state = 'open'`,
      [user.id],
    )
    return { guards: await countedOf(user), texts }
  }
  for (const level of ['aal1', 'aal2'] as const) {
    const user = level === 'aal1' ? await createBareUser(doorstep, 'off') : await createOwner(doorstep, ['passkey'])
    const session = level === 'aal1' ? await enter(doorstep, user) : await signInByPasskey(user as Owner)
    for (const known of [true, false]) {
      await setWrongCodes(doorstep, user, { known, streak: 10, lockedFor: '1 hour', failedAgo: ['1 hour', '20 days'] })
    }
    await sql(
      `INSERT INTO sms_messages (user_id, challenge_id, known, phone, prefix, address) VALUES ($1, gen_random_uuid(), false, '+1', '+', '')`,
      [user.id],
    )
    for (let n = 0; n < 5; n += 1) await login(doorstep, { ...user, password: wrongPassword })
    t.match(await login(doorstep, user), { status: 429, body: { code: 'login_locked' } })
    const before = await counters(user)
    t.match(await change(session.access, user.password), { status: 200 })
    t.match(
      await login(doorstep, { ...user, password }, { from: freshAddress() }),
      { status: 200 },
      `${level}: no lock`,
    )
    t.same(await counters(user), level === 'aal1' ? before : { guards: [], texts: 0 }, level)
  }
})

t.test('a session of an account without a password has none to change', async (t) => {
  const owner = await createOwner(doorstep, ['passkey'])
  const { access } = await signInByPasskey(owner)
  await sql(`UPDATE users SET password_hash = NULL, password_state = 'none' WHERE id = $1`, [owner.id])
  for (const given of [owner.password, 'no account has this password']) {
    const before = evaluations(doorstep)
    t.match(await change(access, given), wrong)
    t.equal(evaluations(doorstep) - before, 1)
  }
  t.same(await sql('SELECT password_hash FROM users WHERE id = $1', [owner.id]), [{ password_hash: null }])
})

t.test('a database that refuses any of it leaves the password and the sessions as they were', async (t) => {
  const owner = await createOwner(doorstep, ['passkey'])
  const mine = await signInByPasskey(owner)
  const first = await login(doorstep, owner)
  const trusting = { ...rightAnswer(doorstep, owner, 'passkey', first.body), trust_device: true }
  t.equal((await prove(doorstep, first, trusting)).status, 200)
  await login(doorstep, owner, { from: freshAddress() })
  await plantLink(doorstep, { email: owner.email, userId: owner.id })
  for (const known of [true, false]) await setWrongCodes(doorstep, owner, { known, failedAgo: ['1 hour'] })
  const written = ['users', 'login_throttles', 'factor_guards', 'devices', 'challenges', 'sessions', 'mail_links']
  for (const table of written.concat('audit_events', 'mails')) {
    const before = await storedRows(doorstep)
    await refuseAt(doorstep, table, async () => {
      t.match(await change(mine.access, owner.password), { status: 503, body: { code: 'unavailable' } }, table)
    })
    t.same(await storedRows(doorstep), before, `${table}: nothing is half done`)
  }
  t.match(await change(mine.access, owner.password), { status: 200 })
})

t.test('whom an operator disables, or signs out, while the hash is made changes nothing', async (t) => {
  for (const end of [
    'UPDATE users SET disabled_at = now() WHERE id = $1',
    'UPDATE sessions SET ended_at = now() WHERE user_id = $1',
  ]) {
    const owner = await createOwner(doorstep, ['passkey'])
    const { access } = await signInByPasskey(owner)
    const { hash } = services.passwordHash
    services.passwordHash.hash = async (...given) => {
      await sql(end, [owner.id])
      return hash(...given)
    }
    t.teardown(() => Object.assign(services.passwordHash, { hash }))
    const [before] = await sql('SELECT password_hash FROM users WHERE id = $1', [owner.id])
    t.match(await change(access, owner.password), invalid)
    services.passwordHash.hash = hash
    t.same(await sql('SELECT password_hash FROM users WHERE id = $1', [owner.id]), [before])
  }
})
