import t from 'tap'
import { changeAccount } from '../../src/features/accounts/change-account.ts'
import { createAccount } from '../../src/features/accounts/create-account.ts'
import { resetPassword } from '../../src/features/accounts/invite-user.ts'
import type { Method } from '../../src/methods.ts'
import { age } from '../helpers/age.ts'
import { canariesIn } from '../helpers/canaries.ts'
import { enter, plantDevice, refresh, tokensOf } from '../helpers/credentials.ts'
import { startDoorstep } from '../helpers/doorstep.ts'
import { allMethods, createOwner, loginBy, type Owner, rightAnswer, sentCode } from '../helpers/equipped.ts'
import { createBareUser, enrol, enrolTotp, forgetSteps, prove, totpCode, wrongTotpCode } from '../helpers/factors.ts'
import { meetAtRow } from '../helpers/hold-row.ts'
import { mailedToken } from '../helpers/links.ts'
import { evaluations, freshAddress } from '../helpers/password-guesses.ts'
import { plantLink, resetLink } from '../helpers/planted-links.ts'
import { rangeOf, startRangeStub } from '../helpers/range-stub.ts'
import { refuseAt, storedRows } from '../helpers/refusing-tables.ts'
import { interceptStatements } from '../helpers/statements.ts'
import { type Answer, call, createUser, finish, freshPhone, login, type TestUser } from '../helpers/story.ts'
import { isOverloaded, repeat, tally, together } from '../helpers/together.ts'
import { setWrongCodes } from '../helpers/wrong-codes.ts'

// Somebody reads the owner's mailbox, and so can have a link by which the password is set. It is to pass nothing else: not the
// second factor, not what has been counted of guesses at it. And a link is to be used once, whoever tries.

t.setTimeout(300_000)

const clients = { INTROSPECTION_CLIENTS: 'orders:secret-of-orders' }
const doorstep = await startDoorstep(t, { env: { ...allMethods, ...clients, DATABASE_POOL_SIZE: '20' } })
const { sql, services, database } = doorstep
/** The same with other settings. */
const textsOnly = await startDoorstep(t, { database, env: { METHODS: 'sms', REGISTRATION: 'closed' } })
const ranges = await startRangeStub(t, (reply) => reply.end(rangeOf({})))
const hibp = { BREACHED_PASSWORDS: 'hibp', BREACHED_PASSWORDS_URL: ranges.url, TWO_FACTOR: 'optional' }
const smtp = { MAIL_PROVIDER: 'smtp', SMTP_URL: 'smtp://127.0.0.1:9', MAIL_FROM: 'door@example.com' }
const asking = await startDoorstep(t, { database, env: { ...allMethods, ...hibp, ...smtp } })

const password = 'a long sentence that a mailbox has set'
const expired = { status: 410, body: { code: 'link_expired' } }
const invalid = { status: 401, body: { code: 'invalid_token' } }

const set = (token: string, more: { body?: object; from?: string; at?: typeof doorstep } = {}): Promise<Answer> =>
  call(more.at ?? doorstep, '/password/set', {
    body: { token, password, ...more.body },
    from: more.from ?? freshAddress(),
  })

/** Sets the password of a user by a link, in the words of `set`. */
const reset = async (user: { id: string; email: string }, more: Parameters<typeof set>[1] = {}): Promise<Answer> =>
  set(await resetLink(doorstep, user), more)

const withPassword = <U extends TestUser>(user: U, changed = password): U => ({ ...user, password: changed })
const me = (token: string) => call(doorstep, '/me', { token })
const switchTo = (token: string, method: Method) => call(doorstep, '/login/2fa/method', { token, body: { method } })

/** Signs in by the authenticator app, and trusts the device. */
async function signInByApp(owner: Owner) {
  const begun = await login(doorstep, owner)
  const done = await prove(doorstep, begun, { code: totpCode(owner.secret), trust_device: true })
  await forgetSteps(doorstep, owner)
  return { ...tokensOf(done), device: String(done.body.device_token) }
}

t.test('a thief of the mailbox is asked for the factor, and the mailbox is none of those that answer', async (t) => {
  const cases: [Method[], Method[], 'required' | 'optional'][] = [
    [['sms'], ['sms', 'recovery_code'], 'required'],
    [['totp'], ['totp', 'recovery_code'], 'optional'],
    [['passkey'], ['passkey', 'recovery_code'], 'required'],
    [['passkey', 'totp', 'sms'], ['passkey', 'totp', 'sms', 'recovery_code'], 'optional'],
  ]
  for (const [factors, methods, twoFactor] of cases) {
    const owner = await createOwner(doorstep, factors, twoFactor)
    const usual = await login(doorstep, owner)
    t.same(usual.body.methods, methods.toSpliced(-1, 0, 'email'), `${factors}: before it, mails answer too`)
    await age(doorstep, owner, 601)

    const answer = await reset(owner)
    t.match(answer, { status: 200, body: { status: '2fa_required' } })
    t.same(answer.body.methods, methods)
    for (const name of ['access_token', 'refresh_token', 'device_token']) t.notOk(name in answer.body, name)
    t.match(await me(answer.body.pending_token), { status: 401 }, 'the pending token opens nothing')
    t.match(await switchTo(answer.body.pending_token, 'email'), { status: 400 }, 'no mail can be had')
    const mailed = { method: 'email' as const, code: sentCode(doorstep, answer.body.pending_token, 'email') }
    t.match(await prove(doorstep, answer, mailed), { status: 400 })

    const later = await login(doorstep, withPassword(owner), { from: freshAddress() })
    if (factors[0] !== 'sms') t.same(later.body.methods, methods, 'nor at a login with the new password')
  }
})

t.test('mails answer again once any other method has, also a recovery code or a passkey alone', async (t) => {
  const ways: Record<string, (owner: Owner) => Promise<Answer>> = {
    ...Object.fromEntries(
      (['passkey', 'totp', 'sms', 'recovery_code'] as const).map((method) => [
        method,
        async (owner: Owner) => {
          const begun = await loginBy(doorstep, withPassword(owner), method)
          return prove(doorstep, begun, rightAnswer(doorstep, owner, method, begun.body))
        },
      ]),
    ),
    'a passkey alone': async (owner) => {
      const begun = await call(doorstep, '/login/passkey', { body: {} })
      return prove(doorstep, begun, { credential: owner.device.assert(begun.body.challenge.public_key) })
    },
  }
  for (const [way, signIn] of Object.entries(ways)) {
    const owner = await createOwner(doorstep)
    t.equal((await reset(owner)).status, 200)
    await age(doorstep, owner, 601)
    const thief = await login(doorstep, withPassword(owner), { from: freshAddress() })
    t.notOk(thief.body.methods.includes('email'), `${way}: not before it`)
    tokensOf(await signIn(owner))
    const after = await login(doorstep, withPassword(owner), { from: freshAddress() })
    t.same(after.body.methods, ['passkey', 'totp', 'sms', 'email', 'recovery_code'], `${way}: after it`)
  }
})

t.test('where no factor is asked for, the thief of a mailbox has a session that binds none', async (t) => {
  const off = await createOwner(doorstep, ['totp'], 'off')
  const his = tokensOf(await reset(off))
  t.match(await me(his.access), { body: { acr: 'aal1', amr: ['pwd'] } })
  const stale = { status: 401, body: { code: 'insufficient_user_authentication' } }
  t.match(await enrol(doorstep, his.access, { method: 'totp' }), stale)
  const body = { current_password: password, password: `${password}!` }
  t.match(await call(doorstep, '/me/password', { method: 'PUT', token: his.access, body }), stale)

  for (const twoFactor of ['optional', 'off'] as const) {
    const bare = await createBareUser(doorstep, twoFactor)
    const answer = await reset(bare, { body: { return_to: '/in', remember_me: true } })
    t.match(answer, { body: { status: 'authenticated', return_to: '/in', refresh_expires_in: 1_209_600 } }, twoFactor)
    t.match(await me(answer.body.access_token), { body: { acr: 'aal1', amr: ['pwd'], email_confirmed: true } })
  }
})

t.test('who has to set up a factor does so at once, also while codes are locked', async (t) => {
  const unlisted = await createOwner(doorstep, ['totp'], 'optional')
  for (const [user, at, methods] of [
    [await createBareUser(doorstep, 'required'), doorstep, ['passkey', 'totp', 'sms']],
    [unlisted, textsOnly, ['sms']],
  ] as const) {
    for (const known of [true, false]) await setWrongCodes(doorstep, user, { known, streak: 10, lockedFor: '1 hour' })
    t.match(await login(at, user), { status: 429, body: { code: 'second_factor_locked' } }, 'a password alone does not')
    const answer = await reset(user, { at, body: { return_to: '/in' } })
    t.match(answer, { status: 200, body: { status: '2fa_enrolment_required', methods } })
    t.match(await me(answer.body.pending_token), { status: 401 })
    const phone = freshPhone()
    const begun = await enrol(at, answer.body.pending_token, { method: 'sms', phone })
    t.match(await finish(at, begun.body.pending_token, sentCode(at, begun.body.pending_token, 'sms')), {
      ...{ status: 200, body: { status: 'authenticated', return_to: '/in' } },
    })
  }
})

t.test('a thief of the mailbox who resets 50 times in a day has 20 answers (SEC-103)', async (t) => {
  const owner = await createOwner(doorstep, ['totp'])
  const known = await plantDevice(doorstep, owner)
  const answers: Answer[] = []
  for (let n = 0; n < 50; n += 1) {
    const begun = await reset(owner)
    answers.push(begun)
    // While codes are locked, a recovery code is all that is asked for.
    const wrong = { method: 'totp' as const, code: wrongTotpCode(owner.secret) }
    for (let tries = 0; tries < 5 && (tries === 0 || answers.at(-1)?.status === 422); tries += 1)
      answers.push(await prove(doorstep, begun, wrong))
    await age(doorstep, owner, 1_700)
  }
  const counts = tally(answers)
  t.equal(counts['200'], 50, 'each reset went through')
  t.equal(counts['422 invalid_code'], 20, JSON.stringify(counts))
  const owners = await login(doorstep, withPassword(owner), { body: { device_token: known } })
  t.match(owners, { body: { challenge: { method: 'totp' } } }, 'whose owner is not locked out of a known device')
})

t.test('nor does a reset refill mails: what was counted of them stays', async (t) => {
  for (const way of ['by link', 'by the owner'] as const) {
    const owner = await createOwner(doorstep, ['totp'])
    const { access } = await signInByApp(owner)
    await sql(
      `INSERT INTO mails (user_id, challenge_id, kind, topic, address, locale, known, created_at, delivery)
       SELECT $1, gen_random_uuid(), 'code', 'code', $2, 'en', false, now() - n * interval '5 minutes', 'sent' FROM generate_series(1, 5) n`,
      [owner.id, owner.email],
    )
    if (way === 'by link') {
      const begun = await reset(owner)
      tokensOf(await prove(doorstep, begun, { method: 'recovery_code', code: owner.codes.pop() ?? '' }))
    } else {
      const body = { current_password: owner.password, password }
      tokensOf(await call(doorstep, '/me/password', { method: 'PUT', token: access, body }))
    }
    const { body } = await login(doorstep, withPassword(owner), { from: freshAddress() })
    const answer = await switchTo(body.pending_token, 'email')
    t.match(answer, way === 'by link' ? { status: 429, body: { code: 'mail_limit_reached' } } : { status: 200 }, way)
  }
})

t.test('the link is judged before the password, and the password before it is hashed', async (t) => {
  const user = await createUser(doorstep)
  const hashes = async (work: () => Promise<Answer>): Promise<{ answer: Answer; hashed: number }> => {
    const before = evaluations(doorstep)
    const answer = await work()
    return { answer, hashed: evaluations(doorstep) - before }
  }
  const token = await resetLink(doorstep, user)
  const malformed = [
    { password: '' },
    { password: 'x'.repeat(257) },
    { device_token: 1 },
    { return_to: '//a' },
    { x: 1 },
  ]
  for (const body of malformed) {
    const { answer, hashed } = await hashes(() => set(token, { body }))
    t.match({ answer, hashed }, { answer: { status: 400, body: { code: 'invalid_request' } }, hashed: 0 })
  }

  const used = await resetLink(doorstep, user)
  await sql('UPDATE mail_links SET ended_at = now() WHERE token_hash = $1', [services.mailLinks.read(used)])
  const disabled = await createUser(doorstep)
  await sql('UPDATE users SET disabled_at = now() WHERE id = $1', [disabled.id])
  const moved = await createUser(doorstep)
  const movedLink = await resetLink(doorstep, moved)
  await sql(`UPDATE users SET email = 'moved-' || email WHERE id = $1`, [moved.id])
  const bad = {
    unknown: services.mailLinks.make().token,
    used,
    'of another hour': await plantLink(doorstep, { email: user.email, userId: user.id, livesFor: -1 }),
    'of a disabled account': await resetLink(doorstep, disabled),
    'of an address that the account no longer has': movedLink,
    'of an account that is gone': await plantLink(doorstep, {
      email: 'gone@example.com',
      userId: services.random.uuid(),
    }),
  }
  const bodies = new Set<string>()
  for (const [name, link] of Object.entries(bad)) {
    for (const given of [password, 'short', 'password1']) {
      const { answer, hashed } = await hashes(() => set(link, { body: { password: given } }))
      t.match(answer, expired, name)
      t.equal(hashed, 0, `${name}: no hash`)
      bodies.add(JSON.stringify({ ...answer.body, instance: '' }))
    }
  }
  t.equal(bodies.size, 1, 'not to be told apart')

  const refused: [string, RegExp][] = [
    ['short', /at least 8/],
    ['password123', /many people use/],
    [user.email, /e-mail address/],
    [`xx ${user.email.split('@')[0]}`, /name in the e-mail/],
    ['my doorstep', /name of this service/],
  ]
  for (const [given, message] of refused) {
    const { answer, hashed } = await hashes(() => set(token, { body: { password: given } }))
    t.match(answer, { status: 400, body: { code: 'invalid_request', errors: [{ pointer: '/password', message }] } })
    t.equal(hashed, 0)
    t.notMatch(JSON.stringify(answer.body), given)
  }
  t.match(await login(doorstep, user), { status: 200 }, 'the old password is good')

  const { answer, hashed } = await hashes(() => set(token))
  t.match({ answer, hashed }, { answer: { status: 200 }, hashed: 1 }, 'and the link lives on')
  t.match(await hashes(() => set(token)), { answer: expired, hashed: 0 }, 'once')
  t.match(await login(doorstep, user, { from: freshAddress() }), { status: 401 })
})

t.test('a password that may stand alone is longer, also one that makes an account', async (t) => {
  const alone = { status: 400, body: { errors: [{ message: /at least 15/ }] } }
  const fourteen = 'fourteen owls.'
  for (const twoFactor of ['optional', 'off'] as const) {
    const user = await createUser(doorstep, { twoFactor })
    const token = await resetLink(doorstep, user)
    t.match(await set(token, { body: { password: fourteen } }), alone)
    t.match(await set(token, { body: { password: `${fourteen}.` } }), { status: 200 })
    // Nor may an operator set one that is shorter.
    const email = `by-operator-${twoFactor}@example.com`
    const made = (length: string) => createAccount(services, { email, password: length, twoFactor })
    await t.rejects(made(fourteen), { code: 'invalid_request' })
    await t.resolves(made(`${fourteen}.`))
    const edited = (length: string) => changeAccount(services, { email, edit: { password: length }, outcome: 'test' })
    await t.rejects(edited(fourteen), { code: 'invalid_request' })
    await t.resolves(edited(`${fourteen}.`))
  }
  t.match(await reset(await createUser(doorstep), { body: { password: fourteen } }), { status: 200 })
  const token = await plantLink(doorstep, { email: 'alone@example.com', userId: null })
  t.match(await set(token, { at: asking, body: { password: fourteen } }), alone)
  t.match(await set(token, { at: asking }), { status: 200, body: { status: 'authenticated' } })
})

t.test('a registration that was begun before registering was closed makes nobody; an invitation does', async (t) => {
  const token = await plantLink(doorstep, { email: 'late@example.com', userId: null })
  t.match(await set(token, { at: textsOnly }), expired)
  t.same(await sql(`SELECT FROM users WHERE email = 'late@example.com'`), [])
  const { id, email } = await createBareUser(doorstep)
  await sql(`UPDATE users SET password_hash = NULL, password_state = 'none' WHERE id = $1`, [id])
  await resetPassword(services, { email, force: false })
  t.match(await set(await mailedToken(doorstep, email), { at: textsOnly }), {
    body: { status: '2fa_enrolment_required' },
  })
})

t.test('twenty who use one link at once, or a link each: one sets the password', async (t) => {
  for (const isNew of [false, true]) {
    for (const links of [1, 20]) {
      await repeat(t, 1, async (round) => {
        const user = isNew ? { id: null, email: `new-${links}-${round}@example.com` } : await createUser(doorstep)
        const tokens: string[] = []
        while (tokens.length < links) tokens.push(await plantLink(doorstep, { email: user.email, userId: user.id }))
        const mine = (n: number) => `${password}, the ${n}th`
        const row = { text: 'SELECT FROM mail_links WHERE email = $1 FOR UPDATE', values: [user.email], waiters: 5 }
        const answers = await meetAtRow(doorstep, row, () =>
          together(20, (n) => set(tokens[n % links] ?? '', { body: { password: mine(n) } })),
        )
        if (isOverloaded(answers)) return false
        t.same(tally(answers), { '200': 1, '410 link_expired': 19 }, `${links} links, ${isNew ? 'new' : 'known'}`)
        const winner = answers.findIndex(({ status }) => status === 200)
        const hers = { email: user.email, password: mine(winner) }
        t.not((await login(doorstep, hers, { from: freshAddress() })).status, 401, 'whose password it is')
        const live = `SELECT FROM mail_links WHERE email = $1 AND kind = 'set_password' AND ended_at IS NULL`
        t.same(await sql(live, [user.email]), [], 'and no other link is left')
        return true
      })
    }
  }
})

t.test('an address that is registered and confirmed as a new one at the same moment is one account’s', async (t) => {
  await repeat(t, 3, async (round) => {
    const email = `wanted-${round}@example.com`
    const owner = await createOwner(doorstep, ['totp'])
    const { access } = await signInByApp(owner)
    t.equal((await call(doorstep, '/me/email', { method: 'PUT', token: access, body: { email } })).status, 202)
    const confirming = { token: await mailedToken(doorstep, email, 'confirm-email') }
    const registering = await plantLink(doorstep, { email, userId: null })
    const row = { text: 'SELECT FROM mail_links WHERE email = $1 FOR UPDATE', values: [email], waiters: 2 }
    const answers = await meetAtRow(doorstep, row, () =>
      Promise.all([set(registering), call(doorstep, '/me/email/confirm', { token: access, body: confirming })]),
    )
    if (isOverloaded(answers)) return false
    // The link that registers is a reset link where the address has an account by then.
    t.match(tally(answers), { 200: /1|2/ }, JSON.stringify(tally(answers)))
    t.equal((await sql('SELECT FROM users WHERE email = $1', [email])).length, 1)
    return true
  })
})

t.test('all that was begun ends with the old password: sessions, trust, logins under way, other links', async (t) => {
  const owner = await createOwner(doorstep, ['totp'])
  const trusted = await signInByApp(owner)
  const device = { body: { device_token: trusted.device } }
  t.match(await login(doorstep, owner, device), { body: { status: 'authenticated' } }, 'the device is trusted')
  const underWay = await login(doorstep, owner, { from: freshAddress() })
  t.equal(underWay.body.status, '2fa_required')
  await call(doorstep, '/me/email', { method: 'PUT', token: trusted.access, body: { email: `x-${owner.email}` } })
  const confirming = await mailedToken(doorstep, `x-${owner.email}`, 'confirm-email')
  const other = await resetLink(doorstep, owner)
  const notMe = await mailedToken(doorstep, owner.email, 'not-me')
  t.equal((await introspect(trusted.access)).active, true)

  t.match(
    await reset(owner, device),
    { status: 200, body: { status: '2fa_required' } },
    'trust skips no factor: it ended',
  )

  t.match(await me(trusted.access), invalid)
  t.match(await refresh(doorstep, trusted.refresh), invalid)
  t.same(await introspect(trusted.access), { active: false })
  const code = { code: totpCode(owner.secret) }
  t.match(await prove(doorstep, underWay, code), invalid, 'with the right code')
  t.match(await set(other), expired)
  t.match(await call(doorstep, '/me/email/confirm', { token: trusted.access, body: { token: confirming } }), invalid)
  t.match(await login(doorstep, owner, device), { status: 401 }, 'the old password')
  const again = await login(doorstep, withPassword(owner), device)
  t.match(again, { body: { status: '2fa_required' } }, 'the device is asked from now on')
  const [links] = await sql(
    `SELECT count(*)::integer AS n FROM mail_links WHERE user_id = $1 AND kind = 'confirm_email' AND ended_at IS NULL`,
    [owner.id],
  )
  t.equal(links?.n, 0)
  t.match(
    await call(doorstep, '/account/secure', { body: { token: notMe } }),
    { status: 200 },
    'a not-me link lives on',
  )
})

/** What a backend is told of an access token. */
async function introspect(token: string): Promise<Answer['body']> {
  const authorization = `Basic ${Buffer.from(clients.INTROSPECTION_CLIENTS).toString('base64')}`
  const headers = { authorization, 'content-type': 'application/x-www-form-urlencoded' }
  return (await call(doorstep, '/token/introspect', { body: `token=${token}`, headers })).body
}

/** What a new password is stored in, and what ends with the old one or is told of it. */
const written = ['users', 'login_throttles', 'devices', 'challenges', 'sessions', 'mail_links', 'audit_events', 'mails']

t.test(
  'a database that refuses any of it leaves the old password, its sessions and the link as they were',
  async (t) => {
    const owner = await createOwner(doorstep, ['totp'])
    const trusted = await signInByApp(owner)
    const underWay = await login(doorstep, owner, { from: freshAddress() })
    const token = await resetLink(doorstep, owner)
    await login(doorstep, { ...owner, password: 'wrong' })
    for (const table of written) {
      const before = await storedRows(doorstep)
      await refuseAt(doorstep, table, async () => {
        t.match(await set(token), { status: 503, body: { code: 'unavailable' } }, table)
      })
      t.same(await storedRows(doorstep), before, `${table}: nothing is half done`)
    }
    t.equal((await me(trusted.access)).status, 200)
    t.match(await set(token), { status: 200 }, 'and the link can be used when it is back')
    t.match(await prove(doorstep, underWay, { code: totpCode(owner.secret) }), invalid)
  },
)

t.test('no mail server keeps anybody from a new password', async (t) => {
  const owner = await createOwner(doorstep, ['totp'])
  t.match(await reset(owner, { at: asking }), { body: { status: '2fa_required', methods: ['totp', 'recovery_code'] } })
})

t.test('once the password is stored the call does not fail: whoever cannot go on is told to sign in', async (t) => {
  const stored = { status: 200, body: { status: 'password_set' } }
  const onlyText = async (): Promise<Owner> => {
    const owner = await createOwner(doorstep, ['sms'])
    await sql('DELETE FROM recovery_codes WHERE user_id = $1', [owner.id])
    return { ...owner, codes: [] }
  }
  const isSet = async (user: Owner): Promise<void> => {
    await age(doorstep, user, 86_400)
    const first = await login(doorstep, withPassword(user), { from: freshAddress() })
    t.match(first, { body: { status: '2fa_required' } }, 'the password is good')
  }

  const locked = await onlyText()
  await setWrongCodes(doorstep, locked, { streak: 10, lockedFor: '600 seconds' })
  const answer = await reset(locked)
  t.match(answer, stored, 'codes are locked')
  t.ok(answer.body.retry_after > 590 && answer.body.retry_after <= 600, `${answer.body.retry_after} s`)
  t.notOk('retry-after' in answer.headers)
  await isSet(locked)

  const paper = await createOwner(doorstep, ['sms'])
  await setWrongCodes(doorstep, paper, { streak: 10, lockedFor: '600 seconds' })
  const onPaper = await reset(paper)
  t.match(onPaper, { body: { status: '2fa_required', methods: ['recovery_code'] } }, 'recovery codes are not')

  const cooling = await onlyText()
  t.equal((await login(doorstep, cooling)).status, 200)
  const tooSoon = await reset(cooling)
  t.match(tooSoon, stored, 'a text has just gone')
  t.ok(tooSoon.body.retry_after > 30 && tooSoon.body.retry_after <= 60, `${tooSoon.body.retry_after} s`)
  await isSet(cooling)

  const limited = await onlyText()
  await sql(
    `INSERT INTO sms_messages (user_id, challenge_id, known, phone, prefix, address, reserved_at)
     SELECT $1, gen_random_uuid(), false, $2, left($2, -4), '', now() - n * interval '5 minutes' FROM generate_series(1, 5) n`,
    [limited.id, limited.phone],
  )
  const tooMany = await reset(limited)
  t.match(tooMany, stored, 'no text can be had')
  t.ok(tooMany.body.retry_after > 60)
  await isSet(limited)

  const away = await onlyText()
  const token = await resetLink(doorstep, away)
  doorstep.logs.length = 0
  await t.test('the database has gone after it', async (t) => {
    let isStored = false
    interceptStatements(t, (text, run) => {
      if (isStored) return Promise.reject(Object.assign(new Error('gone'), { code: '57P01' }))
      isStored = text.includes('set_password')
      return run()
    })
    t.match(await set(token), stored)
  })
  t.match(await set(token), expired)
  await isSet(away)
  t.same(canariesIn(doorstep.logs.join(''), [{ name: 'password', value: password }]), [])
})

t.test('a device of the owner is known at the login that goes on, one of somebody else is not', async (t) => {
  const [owner, other] = [await createOwner(doorstep, ['totp']), await createOwner(doorstep, ['totp'])]
  for (const user of [owner, other]) await sql('DELETE FROM recovery_codes WHERE user_id = $1', [user.id])
  const mine = await plantDevice(doorstep, owner)
  const theirs = await plantDevice(doorstep, other)
  await setWrongCodes(doorstep, owner, { known: false, streak: 10, lockedFor: '600 seconds' })
  t.match(await reset(owner, { body: { device_token: theirs } }), { body: { status: 'password_set' } })
  t.match(await reset(owner), { body: { status: 'password_set' } })
  const known = await reset(owner, { body: { device_token: mine } })
  t.match(known, { body: { status: '2fa_required', methods: ['totp'] } })
  const done = await prove(doorstep, known, { code: totpCode(owner.secret) })
  t.match(done, { status: 200, body: { status: 'authenticated' } })
  t.notOk('device_token' in done.body, 'it keeps the token that it has')
})

t.test('a password that an operator has taken away opens nothing, and only who knows it is told', async (t) => {
  const owner = await createOwner(doorstep, ['passkey', 'sms'])
  const device = await plantDevice(doorstep, owner)
  const session = tokensOf(await call(doorstep, '/login/2fa', await byPaper(owner)))
  await resetPassword(services, { email: owner.email, force: true })
  t.match(await me(session.access), invalid)
  t.match(await refresh(doorstep, session.refresh), invalid)

  const wrong = { ...owner, password: 'this is not the password' }
  const nobody = { email: 'nobody-at-all@example.com', password: wrong.password }
  const told = new Set<string>()
  for (const user of [wrong, nobody]) {
    const { status, body } = await login(doorstep, user)
    told.add(JSON.stringify({ status, ...body, instance: '' }))
  }
  t.same([...told].length, 1, 'a wrong one is answered as ever')

  const books = () =>
    sql(
      `SELECT (SELECT count(*) FROM sessions WHERE user_id = $1) AS sessions, (SELECT count(*) FROM challenges WHERE user_id = $1) AS
         challenges, (SELECT count(*) FROM sms_messages WHERE user_id = $1) AS texts, (SELECT count(*) FROM mails WHERE user_id = $1) AS mails,
         (SELECT sum(failures) FROM devices WHERE user_id = $1) AS failures`,
      [owner.id],
    )
  const kept = await books()
  for (const body of [{}, { device_token: device }]) {
    for (let n = 0; n < 8; n += 1) {
      t.match(await login(doorstep, owner, { body }), { status: 403, body: { code: 'password_reset_required' } })
    }
  }
  t.same(await books(), kept, 'eight right ones of each class charge, send and store nothing')
  for (let n = 2; n <= 5; n += 1) t.equal((await login(doorstep, wrong)).status, 401, `guess ${n}`)
  t.match(await login(doorstep, owner), { status: 429, body: { code: 'login_locked' } })

  const begun = await call(doorstep, '/login/passkey', { body: {} })
  const byPasskey = await prove(doorstep, begun, { credential: owner.device.assert(begun.body.challenge.public_key) })
  const put = (current: string) =>
    call(doorstep, '/me/password', {
      ...{ method: 'PUT', token: byPasskey.body.access_token, body: { current_password: current, password } },
    })
  t.match(byPasskey, { status: 200, body: { status: 'authenticated' } }, 'a passkey is a way in')
  t.match(await put(wrong.password), { status: 422, body: { code: 'invalid_password' } })
  t.match(await put(owner.password), { status: 403, body: { code: 'password_reset_required' } }, 'but no way round')
  t.match(await login(doorstep, owner, { body: { device_token: device } }), { status: 403 })

  const token = await mailedToken(doorstep, owner.email)
  t.match(await set(token), { status: 200, body: { status: '2fa_required' } })
  t.match(await login(doorstep, withPassword(owner), { body: { device_token: device } }), { status: 200 })
})

/** An answer to a login: the next recovery code. */
async function byPaper(owner: Owner): Promise<{ token: string; body: object }> {
  const { body } = await login(doorstep, owner, { from: freshAddress() })
  return { token: body.pending_token, body: { method: 'recovery_code', code: owner.codes.pop() ?? '' } }
}

t.test('an account without a password is opened by none: each is wrong, after the same work', async (t) => {
  const user = await createBareUser(doorstep)
  await sql(`UPDATE users SET password_hash = NULL, password_state = 'none' WHERE id = $1`, [user.id])
  for (const given of [user.password, 'no account has this password', 'null', ' ']) {
    const seen = new Set<string>()
    for (const email of [user.email, `no${user.email}`]) {
      const before = evaluations(doorstep)
      const { status, body } = await login(doorstep, { email, password: given }, { from: freshAddress() })
      seen.add(JSON.stringify({ status, ...body, instance: '', hashed: evaluations(doorstep) - before }))
    }
    t.same([...seen].length, 1, 'as where there is no account')
    t.match([...seen][0], /"status":401.*"hashed":1/)
  }
  await resetPassword(services, { email: user.email, force: true })
  t.match(await login(doorstep, user), { status: /401|429/ }, 'also after an operator has taken it away')
  await sql('DELETE FROM login_throttles')
  const answer = await set(await mailedToken(doorstep, user.email))
  await enrolTotp(doorstep, answer.body.pending_token)
  t.match(await login(doorstep, withPassword(user)), { status: 200, body: { challenge: { method: 'totp' } } })
})

t.test('who has listened to breaches finds no password here, unless nobody answers; none is ever logged', async (t) => {
  const breached = 'seven grey herons by the lake'
  ranges.answerWith((reply) => reply.end(rangeOf({ [breached]: 9 })))
  const user = await createBareUser(doorstep, 'off')
  const found = { status: 400, body: { errors: [{ pointer: '/password', message: /found in a breach/ }] } }
  const token = await resetLink(doorstep, user)
  t.match(await set(token, { at: asking, body: { password: breached } }), found)
  const { access } = await enter(asking, user)
  const body = { current_password: user.password, password: breached }
  const put = () => call(asking, '/me/password', { method: 'PUT', token: access, body })
  t.match(await put(), found)
  for (const { url, headers } of ranges.asked) t.notMatch(`${url} ${headers}`, breached)
  const unanswered = () => asking.logs.filter((line) => line.includes('breached passwords were not looked for'))
  const before = unanswered().length
  ranges.answerWith((reply) => reply.writeHead(500).end())
  t.match(await set(token, { at: asking, body: { password: breached } }), { status: 200 })
  t.equal(unanswered().length, before + 1)

  for (const given of ['shorts!', 'password123', user.email, 'a doorstep to nowhere', breached]) {
    await reset(user, { at: asking, body: { password: given } })
  }
  const canaries = [breached, 'password123', 'a doorstep to nowhere'].map((value) => ({ name: value, value }))
  t.same(canariesIn(asking.logs.join('').concat(doorstep.logs.join('')), canaries), [])
})
