import argon2 from 'argon2'
import fc from 'fast-check'
import t from 'tap'
import { buildApp } from '../../src/app.ts'
import { Problem } from '../../src/errors.ts'
import { canonicalEmail } from '../../src/security/email.ts'
import { anyText } from '../helpers/any-text.ts'
import { becomeKnown } from '../helpers/credentials.ts'
import { type Doorstep, startDoorstep } from '../helpers/doorstep.ts'
import { part } from '../helpers/forge.ts'
import {
  countedFor,
  countedUnder,
  deviceKey,
  emailKey,
  evaluations,
  forget,
  freshAddress,
  ghostEmail,
  guess,
  lockOut,
  passTime,
  passTimeUnder,
  waitOutLock,
  watchHashing,
  wrongPassword,
} from '../helpers/password-guesses.ts'
import { type Answer, createUser, login, type TestUser, textsTo } from '../helpers/story.ts'
import { tally } from '../helpers/together.ts'

t.setTimeout(300_000)
const doorstep = await startDoorstep(t)
const { services, database, sql } = doorstep
const replica = await startDoorstep(t, { database })
const instances = [doorstep, replica]
const instanceOf = (n: number): Doorstep => (n % 2 === 0 ? doorstep : replica)

const day = 86_400
const inParallel = <T>(count: number, work: (n: number) => Promise<T>): Promise<T[]> =>
  Promise.all(Array.from({ length: count }, (_, n) => work(n)))

/** A wrong password with a device token. */
const guessFrom = (device: string, { email }: Pick<TestUser, 'email'>): Promise<Answer> =>
  login(doorstep, { email, password: wrongPassword }, { from: freshAddress(), body: { device_token: device } })

const failuresRecordedFor = async ({ id }: Pick<TestUser, 'id'>): Promise<number> =>
  (await sql(`SELECT FROM audit_events WHERE type = 'login.failed' AND user_id = $1`, [id])).length

/** The lengths of the locks, and what they are told to be: a slow machine may be some seconds late to look. */
const isAbout = (seconds: number | null, expected: number | null): boolean =>
  expected === null ? seconds === null : seconds !== null && seconds <= expected && seconds > expected - 15

t.test(
  'every failure from the 5th on starts a wait that doubles to an hour: for a real e-mail, a made-up one, a device (SEC-11, SEC-12)',
  async (t) => {
    const user = await createUser(doorstep)
    const { device } = await becomeKnown(doorstep, user)
    const ghost = ghostEmail()
    const targets: [string, Buffer, () => Promise<Answer>][] = [
      ['real', emailKey(doorstep, user.email), () => guess(doorstep, user.email)],
      ['made up', emailKey(doorstep, ghost), () => guess(doorstep, ghost)],
      ['device', deviceKey(device), () => guessFrom(device, user)],
    ]
    // An hour and three minutes have passed when the 12th comes: one failure is forgotten, and so is one in each hour of waiting.
    const waits = [null, null, null, null, 30, 60, 120, 240, 480, 960, 1_920, 1_920, 3_600, 3_600, 3_600]
    for (const [name, key, next] of targets) {
      for (const [n, expected] of waits.entries()) {
        t.equal((await next()).status, 401, `${name}: guess ${n + 1} is evaluated`)
        const { lockSeconds } = await countedUnder(doorstep, key)
        t.ok(isAbout(lockSeconds, expected), `${name}: guess ${n + 1} locks for ${expected} s (${lockSeconds})`)
        if (lockSeconds === null) continue
        const refused = await next()
        t.match(refused, { status: 429, body: { code: 'login_locked' } })
        t.ok(isAbout(refused.body.retry_after, expected), `${name}: told to wait ${refused.body.retry_after} s`)
        await waitOutLock(doorstep, key)
      }
    }
    t.equal((await login(doorstep, user)).status, 200, 'the right password is free at the end of it')
  },
)

t.test('a greedy attacker gets 35 guesses on the first day and 24 on any other (SEC-12, SEC-17)', async (t) => {
  const user = await createUser(doorstep)
  const key = emailKey(doorstep, user.email)
  const guessedAt: number[] = []
  let now = 0
  let refusedInARow = 0
  while (now < day) {
    const answer = await guess(doorstep, user.email)
    if (answer.status === 401) {
      guessedAt.push(now)
      refusedInARow = 0
    } else {
      refusedInARow += 1
      t.match(answer, { status: 429, body: { code: 'login_locked' } })
      if (refusedInARow > 1) throw new Error('the lock was longer than was told')
      // As long as was told, and not a second more.
      await passTime(doorstep, user.email, answer.body.retry_after)
      now += answer.body.retry_after
    }
  }
  // What the machine takes is time too: the last of the day may fall into the next.
  t.ok(guessedAt.length === 35 || guessedAt.length === 34, `guesses on the first day: ${guessedAt.length}`)

  // The other 29 days without what surrounds the counter, which is what lets a guess through.
  const text = services.challengeRules.textBudget('192.0.2.1')
  while (now < 30 * day) {
    await services.store.throttle.begin(user.email, [key], null, text)
    guessedAt.push(now)
    const lockSeconds = await waitOutLock(doorstep, key)
    if (lockSeconds > 3_600) throw new Error(`a lock of ${lockSeconds} s`)
    now += lockSeconds
  }
  const mostIn24Hours = (times: number[]): number =>
    Math.max(...times.map((from) => times.filter((at) => at >= from && at < from + day).length))
  const most = mostIn24Hours(guessedAt)
  t.ok(most === 35 || most === 34, `in any 24 hours: ${most}`)
  const later = mostIn24Hours(guessedAt.filter((at) => at >= day))
  t.ok(later === 24 || later === 25, `in any 24 hours after the first: ${later}`)

  t.equal((await login(doorstep, user)).status, 200, 'no lock is for good: the owner gets in at the end of this one')
})

t.test('a typo a day never adds up: every counter forgets one failure an hour (SEC-102)', async (t) => {
  const user = await createUser(doorstep)
  const { device } = await becomeKnown(doorstep, user)
  const ghost = ghostEmail()
  const targets: [string, Buffer, () => Promise<Answer>][] = [
    ['a real e-mail', emailKey(doorstep, user.email), () => guess(doorstep, user.email)],
    ['a made-up e-mail', emailKey(doorstep, ghost), () => guess(doorstep, ghost)],
    ['a device', deviceKey(device), () => guessFrom(device, user)],
  ]
  for (const [name, key, next] of targets) {
    for (let n = 1; n <= 15; n += 1) {
      t.equal((await next()).status, 401)
      t.same(await countedUnder(doorstep, key), { failures: 1, lockSeconds: null }, `${name}: typo ${n}`)
      await passTimeUnder(doorstep, key, day)
    }
    for (let n = 1; n <= 4; n += 1) await next()
    await passTimeUnder(doorstep, key, 3_500)
    t.equal((await countedUnder(doorstep, key)).failures, 4, `${name}: nothing is forgotten before the hour is over`)
    await passTimeUnder(doorstep, key, 100)
    t.equal((await countedUnder(doorstep, key)).failures, 3, `${name}: and one when it is`)
    await passTimeUnder(doorstep, key, 1_800)
    t.equal((await next()).status, 401)
    t.same(await countedUnder(doorstep, key), { failures: 4, lockSeconds: null }, 'so that this is the fourth')
    await passTimeUnder(doorstep, key, 1_850)
    t.equal((await countedUnder(doorstep, key)).failures, 3, 'the hour that had begun went on')
    await passTimeUnder(doorstep, key, 50 * 3_600)
    t.same(await countedUnder(doorstep, key), { failures: 0, lockSeconds: null }, 'and in the end all are forgotten')
  }
})

t.test('200 wrong passwords at once, from 200 addresses over two instances, are 5 guesses (SEC-13)', async (t) => {
  // A machine that is busy with other things answers some of so many with 503; then again, and in the end with fewer.
  for (const crowd of [200, 200, 100, 40]) {
    const user = await createUser(doorstep)
    const before = evaluations(...instances)
    const answers = await inParallel(crowd, (n) => guess(instanceOf(n), user.email))
    const evaluated = evaluations(...instances) - before
    const counted = await countedFor(doorstep, user.email)
    const { '401 invalid_credentials': failed = 0, ...refused } = tally(answers)
    t.ok(counted.failures <= 5, `counted: ${counted.failures}`)
    t.ok(evaluated <= counted.failures, `evaluated: ${evaluated}`)
    t.ok(failed <= evaluated && (await failuresRecordedFor(user)) <= evaluated)
    // More than 64 in line for one e-mail are told to come again, whoever the e-mail belongs to.
    const { '429 login_locked': locked = 0, '503 busy': busy = 0, ...others } = refused

    if (others['503 unavailable'] !== undefined && crowd > 40) continue
    t.same(
      { failed, refused: locked + busy, evaluated, others },
      { failed: 5, refused: crowd - 5, evaluated: 5, others: {} },
    )
    t.ok(busy <= Math.max(0, crowd - 2 * 64), `busy: ${busy}`)
    t.equal(counted.failures, evaluated)
    t.ok(isAbout(counted.lockSeconds, 30))
    t.equal(await failuresRecordedFor(user), evaluated, 'each with its audit row')
    break
  }
})

t.test('a guess is counted even when it cannot be recorded (SEC-14)', async (t) => {
  const user = await createUser(doorstep)
  await guess(doorstep, user.email)
  await sql(`CREATE FUNCTION refuse_row() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'disk full'; END $$`)
  await sql(`CREATE TRIGGER refuse_row BEFORE INSERT ON audit_events FOR EACH ROW EXECUTE FUNCTION refuse_row()`)
  t.teardown(() => sql('DROP FUNCTION refuse_row CASCADE'))
  for (const n of [2, 3]) {
    const answer = await guess(doorstep, user.email)
    t.match(answer, { status: 500, body: { code: 'internal_error' } })
    t.equal((await countedFor(doorstep, user.email)).failures, n)
  }
})

t.test('a right password in the lock is answered like a wrong one, and not evaluated (SEC-15)', async (t) => {
  const user = await createUser(doorstep)
  await lockOut(doorstep, user.email)
  const before = evaluations(...instances)
  const wrong = await guess(doorstep, user.email)
  const right = await login(doorstep, user)
  t.match(right, { status: 429, body: { code: 'login_locked' } })
  t.same(Object.keys(right.body), Object.keys(wrong.body))
  t.same(Object.keys(right.headers), Object.keys(wrong.headers))
  t.equal(right.body.detail, wrong.body.detail)
  t.equal(evaluations(...instances), before)
  t.equal(textsTo(doorstep, user.phone).length, 0)
})

t.test('trying in the lock prolongs nothing, so nobody can keep the owner out (SEC-15)', async (t) => {
  const user = await createUser(doorstep)
  await lockOut(doorstep, user.email)
  const stored = () => sql('SELECT * FROM login_throttles ORDER BY identifier')
  const before = await stored()
  const answers = await inParallel(100, (n) => guess(instanceOf(n), user.email))
  t.same(tally(answers), { '429 login_locked': 100 })
  t.same(await stored(), before, 'nothing was counted or moved')

  const { lockSeconds } = await countedFor(doorstep, user.email)
  if (lockSeconds === null) throw new Error('this machine took longer than the lock')
  await passTime(doorstep, user.email, lockSeconds - 10)
  t.match(await login(doorstep, user), { status: 429 }, 'locked still')
  await passTime(doorstep, user.email, 10)
  t.equal((await login(doorstep, user)).status, 200, 'free after 30 s')
})

t.test(
  '50 right passwords at once of one client, over two instances: fifty answers, one challenge, one text',
  async (t) => {
    const user = await createUser(doorstep)
    const answers = await inParallel(50, (n) => login(instanceOf(n), user))
    t.same(tally(answers), { 200: 50 })
    const texts = instances.flatMap((instance) => textsTo(instance, user.phone))
    t.equal(texts.length, 1)
    t.equal(new Set(answers.map(({ body }) => part(body.pending_token, 1).cid)).size, 1)
    t.equal((await sql('SELECT FROM challenges WHERE user_id = $1', [user.id])).length, 1)
    t.same(await countedFor(doorstep, user.email), { failures: 0, lockSeconds: null })
  },
)

t.test('up to 4 wrong passwords in the crowd do not keep one right one out', async (t) => {
  const user = await createUser(doorstep)
  const answers = await inParallel(24, (n) => (n % 6 === 0 ? guess(doorstep, user.email) : login(doorstep, user)))
  t.same(tally(answers), { 200: 20, '401 invalid_credentials': 4 })
})

t.test('guesses hidden among right passwords are 5, as if those had not been there (SEC-102)', async (t) => {
  const user = await createUser(doorstep)
  const before = evaluations(...instances)
  const isRight = (n: number): boolean => n % 4 === 3
  const answers = await inParallel(60, (n) =>
    isRight(n) ? login(instanceOf(n), user) : guess(instanceOf(n), user.email),
  )
  const counts = tally(answers)
  const [right, wrong] = [counts['200'] ?? 0, counts['401 invalid_credentials'] ?? 0]
  t.equal(right + wrong + (counts['429 login_locked'] ?? 0), 60, JSON.stringify(counts))
  t.equal(evaluations(...instances) - before, right + wrong)
  t.equal(wrong, 5, `${right} right, ${wrong} wrong`)
  t.equal(await failuresRecordedFor(user), wrong)
  for (const [n, { status }] of answers.entries()) t.not(status, isRight(n) ? 401 : 200)

  t.equal((await countedFor(doorstep, user.email)).failures, 5, 'a right one gave back its own charge and no more')
  await passTime(doorstep, user.email, 30)
  t.equal((await login(doorstep, user)).status, 200, 'the right one gets in after the wait at the latest')
})

t.test('a login refused because the line is full costs no try and starts no wait', async (t) => {
  const narrow = await startDoorstep(t, { database, env: { ARGON2_CONCURRENCY: '1', ARGON2_QUEUE: '0' } })
  const user = await createUser(doorstep)
  const veteran = await createUser(doorstep)
  await lockOut(doorstep, veteran.email)
  await passTime(doorstep, veteran.email, 30)
  const before = await countedFor(doorstep, veteran.email)

  let open = (): void => {}
  const held = new Promise<void>((resolve) => {
    open = resolve
  })
  watchHashing(t, async (compute) => {
    await held
    return compute()
  })
  const occupant = narrow.services.passwordHash.hash('whoever came first')
  for (const { email, password } of [user, veteran]) {
    const answer = await login(narrow, { email, password })
    t.match(answer, { status: 503, body: { code: 'busy', retry_after: 1 }, headers: { 'retry-after': '1' } })
  }
  open()
  await occupant

  t.match(await countedFor(doorstep, user.email), { failures: 0, lockSeconds: null })
  t.match(await countedFor(doorstep, veteran.email), { failures: before.failures, lockSeconds: null })
  for (const { email, password } of [user, veteran]) {
    t.equal((await login(narrow, { email, password })).status, 200, 'and the next one is evaluated')
  }
})

t.test('one e-mail has one account and one counter, however it is spelled (SEC-10)', async (t) => {
  const user = await createUser(doorstep, { email: 'alice@spelled.example' })
  const spellings = [
    'ALICE@spelled.example',
    ' alice@Spelled.Example\t',
    'ａｌｉｃｅ@spelled.example',
    'alice＠spelled.example',
    '\u00a0𝐀𝐥𝐢𝐜𝐞@SPELLED.example',
  ]
  for (const email of spellings) {
    t.equal((await login(doorstep, { email, password: user.password })).status, 200, `"${email}" is the account`)
  }
  t.equal(textsTo(doorstep, user.phone).length, 1, 'all of them joined one challenge')
  for (const [n, email] of spellings.entries()) {
    t.equal((await guess(doorstep, email)).status, 401, `"${email}" is evaluated`)
    t.equal((await countedFor(doorstep, user.email)).failures, n + 1, 'and counted in one place')
  }
  for (const email of [...spellings, user.email]) t.match(await guess(doorstep, email), { status: 429 })
  t.match(
    await services.store.accounts.create(
      {
        ...{ email: canonicalEmail('ALICE@spelled.example'), phone: user.phone, passwordHash: 'x' },
        ...{ twoFactor: 'required', locale: 'en' },
      },
      { type: 'user.created', outcome: 'test' },
    ),
    { outcome: 'email_taken' },
  )

  for (const email of ['alice', 'alice@', '@x', 'a@b@c', 'al ice@x', 'a\n@x', 'a\u202e@x', `${'a'.repeat(250)}@x.de`]) {
    t.match(await guess(doorstep, email), { status: 400, body: { code: 'invalid_request' } }, JSON.stringify(email))
  }
})

t.test('whatever text is taken for an e-mail has one canonical form (SEC-10)', async (t) => {
  const readable = fc.oneof(
    anyText({ maxLength: 300 }),
    fc.tuple(anyText({ minLength: 1 }), fc.string({ unit: 'grapheme', minLength: 1 })).map((parts) => parts.join('@')),
    fc.emailAddress(),
  )
  let accepted = 0
  fc.assert(
    fc.property(readable, (text) => {
      let email: string
      try {
        email = canonicalEmail(text)
      } catch (error) {
        return error instanceof Problem && error.code === 'invalid_request'
      }
      accepted += 1
      return (
        canonicalEmail(email) === email &&
        canonicalEmail(`  ${text}\n`) === email &&
        email === email.normalize('NFKC') &&
        email.length >= 3 &&
        email.length <= 254 &&
        email.split('@').length === 2 &&
        !/[\s\p{Cc}]/u.test(email)
      )
    }),
    { numRuns: 200 },
  )
  t.ok(accepted > 30, `accepted: ${accepted}`)
})

t.test('a password is taken byte for byte (SEC-05)', async (t) => {
  const long = `${'x'.repeat(72)}A${'y'.repeat(126)}B é ${'z'.repeat(20)}`
  const user = await createUser(doorstep, { password: long })
  const variants = {
    'another character at 73': long.replace('A', 'a'),
    'another character at 200': long.replace('B', 'b'),
    'the first 72 characters': long.slice(0, 72),
    'a space at its end': `${long} `,
    'a space at its beginning': ` ${long}`,
    'upper case': long.toUpperCase(),
    'another Unicode form': long.normalize('NFD'),
  }
  for (const [name, password] of Object.entries(variants)) {
    t.not(password, long)
    t.equal((await login(doorstep, { email: user.email, password })).status, 401, name)
    await forget(doorstep, user.email)
  }
  t.equal((await login(doorstep, user)).status, 200)

  const longest = await createUser(doorstep, { password: '🙂'.repeat(256) })
  t.equal((await login(doorstep, longest)).status, 200, '256 code points')
  const before = evaluations(...instances)
  for (const password of ['🙂'.repeat(257), '', 'a\u0000b', 'a\ud800b']) {
    t.match(await login(doorstep, { email: user.email, password }), { status: 400, body: { code: 'invalid_request' } })
  }
  t.equal(evaluations(...instances), before, 'refused before anything is hashed')
})

t.test(
  'a stolen table holds argon2id hashes of full strength, in either spelling of their parameters (SEC-07)',
  async (t) => {
    const strong = await startDoorstep(t, { database, env: { ARGON2_MEMORY_KIB: '', ARGON2_TIME: '' } })
    const user = await createUser(strong)
    const stored = await storedHash(user)
    t.match(stored, /^\$argon2id\$v=19\$/)
    t.same(parametersOf(stored), { m: 19_456, t: 2, p: 1 })
    const [salt = '', tag = ''] = stored.split('$').slice(4)
    t.equal(Buffer.from(salt, 'base64').length, 16)
    t.equal(Buffer.from(tag, 'base64').length, 32)
    t.not(salt, (await storedHash(await createUser(strong))).split('$')[4], 'each with a salt of its own')

    const respelled = stored.replace('m=19456,t=2,p=1', 'm=19456,p=1,t=2')
    t.not(respelled, stored)
    await sql('UPDATE users SET password_hash = $2 WHERE id = $1', [user.id, respelled])
    t.equal((await login(strong, user)).status, 200)
    t.equal(await storedHash(user), respelled, 'and is not taken for an outdated one')
  },
)

async function storedHash({ id }: Pick<TestUser, 'id'>): Promise<string> {
  const [row] = await sql<{ password_hash: string }>('SELECT password_hash FROM users WHERE id = $1', [id])
  return row?.password_hash ?? ''
}

const parametersOf = (hash: string): Record<string, number> =>
  Object.fromEntries((hash.split('$')[3] ?? '').split(',').map((part) => [part[0], Number(part.slice(2))]))

/** A user whose hash was made with other parameters than today's. */
async function createOutdated(): Promise<TestUser> {
  const user = await createUser(doorstep)
  const options = { type: argon2.argon2id, memoryCost: 128, timeCost: 3, parallelism: 1 }
  await sql('UPDATE users SET password_hash = $2 WHERE id = $1', [user.id, await argon2.hash(user.password, options)])
  return user
}

const today = { m: 64, t: 1, p: 1 }

t.test('an outdated hash is renewed once, by the right password alone (SEC-07)', async (t) => {
  const user = await createOutdated()
  const old = await storedHash(user)
  await guess(doorstep, user.email)
  t.equal(await storedHash(user), old, 'not by a wrong password')

  t.equal((await login(doorstep, user)).status, 200)
  const renewed = await storedHash(user)
  t.same(parametersOf(renewed), today)
  t.equal((await login(doorstep, user)).status, 200)
  t.equal(await storedHash(user), renewed, 'not again')
  t.match(await login(doorstep, { email: user.email, password: wrongPassword }), { status: 401 })
})

t.test('logins that renew a hash at the same time leave one that works (SEC-07)', async (t) => {
  for (let round = 0; round < 5; round += 1) {
    const user = await createOutdated()
    t.same(tally(await inParallel(4, (n) => login(instanceOf(n), user))), { 200: 4 })
    const renewed = await storedHash(user)
    t.same(parametersOf(renewed), today)
    t.equal(await services.passwordHash.verify(renewed, user.password), true)
  }
})

t.test('a thief with the old password cannot bring it back by logging in while it is changed (SEC-07)', async (t) => {
  const user = await createOutdated()
  const newHash = await services.passwordHash.hash('a quite different password')
  let renewals = 0
  const hash: typeof services.passwordHash.hash = async (password) => {
    renewals += 1
    const changed = { password_hash: newHash }
    const identifiers = services.loginThrottle.identifyAll(user.email)
    await services.store.accounts.change(user.email, identifiers, changed, {
      type: 'user.changed',
      outcome: 'password',
    })
    return services.passwordHash.hash(password)
  }
  const app = await buildApp({ ...services, passwordHash: { ...services.passwordHash, hash } })
  t.teardown(() => app.close())
  t.match(await login({ app }, user), { status: 401, body: { code: 'invalid_credentials' } })
  t.equal(renewals, 1, 'the password was changed between the check and the renewal')
  t.equal(await storedHash(user), newHash)
  t.match(await login(doorstep, user), { status: 401 }, 'the old password is dead')
  t.equal((await login(doorstep, { ...user, password: 'a quite different password' })).status, 200)
})

t.test('a right password gets in even when there is no room to renew its hash', async (t) => {
  const user = await createOutdated()
  const old = await storedHash(user)
  const hash: typeof services.passwordHash.hash = async () => {
    throw new Problem('busy', { retryAfter: 1 })
  }
  const app = await buildApp({ ...services, passwordHash: { ...services.passwordHash, hash } })
  t.teardown(() => app.close())
  t.equal((await login({ app }, user)).status, 200)
  t.equal(await storedHash(user), old, 'another login will renew it')
  t.match(await countedFor(doorstep, user.email), { failures: 0, lockSeconds: null })
})
