import t, { type Test } from 'tap'
import { changeAccount } from '../../src/features/accounts/change-account.ts'
import type { Method } from '../../src/methods.ts'
import { createAuthenticator } from '../helpers/authenticator.ts'
import { plantDevice } from '../helpers/credentials.ts'
import { type Doorstep, startDoorstep } from '../helpers/doorstep.ts'
import { allMethods, createOwner, loginBy, type Owner } from '../helpers/equipped.ts'
import { createBareUser, prove } from '../helpers/factors.ts'
import { part } from '../helpers/forge.ts'
import { ghostEmail, guess, passTime, wrongPassword } from '../helpers/password-guesses.ts'
import { watchStatements } from '../helpers/statements.ts'
import { type Answer, call, login, type TestUser } from '../helpers/story.ts'

t.setTimeout(300_000)

/**
 * A stranger gains a list of accounts, and of those that are worth an attack, if the first step or a passkey's start looks
 * otherwise for who has which factor, has none, is disabled, or is not there.
 */
const doorstep = await startDoorstep(t, { env: allMethods })
const { services, sql } = doorstep
const passwordOnly = await startDoorstep(t, {
  database: doorstep.database,
  env: { METHODS: 'totp', MAIL_PROVIDER: 'none', REGISTRATION: 'closed' },
})

/** What a client can see of an answer, without what differs between any two answers. */
function visible({ status, body, headers }: Answer) {
  const { date, ...otherHeaders } = headers
  const { instance, ...otherMembers } = body
  return { status, headers: otherHeaders, body: otherMembers, hasInstance: /^[\w-]{36}$/.test(instance) }
}

/** The same without the wait, which is a second shorter once a second has passed. */
function visibleButTheWait(answer: Answer) {
  const { headers, body, ...rest } = visible(answer)
  const { 'retry-after': _seconds, 'content-length': _length, ...otherHeaders } = headers
  const { retry_after: _wait, ...otherMembers } = body
  return { ...rest, headers: otherHeaders, body: otherMembers }
}

async function disable<User extends TestUser>(user: User): Promise<User> {
  await changeAccount(services, { email: user.email, edit: { disabled: true }, outcome: 'disabled' })
  return user
}

/** An account of every sort that the first step might tell apart. */
async function everySort(): Promise<Record<string, TestUser>> {
  const sorts: Record<string, TestUser> = {
    'no factor, required': await createBareUser(doorstep, 'required'),
    'no factor, optional': await createBareUser(doorstep, 'optional'),
    'no factor, off': await createBareUser(doorstep, 'off'),
  }
  const sets: Method[][] = [['passkey'], ['totp'], ['sms'], ['passkey', 'totp', 'sms']]
  for (const methods of sets) sorts[methods.join(', ')] = await createOwner(doorstep, methods)
  sorts['totp, optional'] = await createOwner(doorstep, ['totp'], 'optional')
  sorts['passkey, off'] = await createOwner(doorstep, ['passkey'], 'off')
  const locked = await createOwner(doorstep, ['totp'])
  await sql(`INSERT INTO factor_guards (user_id, known, locked_until) VALUES ($1, false, now() + interval '1 hour')`, [
    locked.id,
  ])
  sorts['totp, codes locked'] = locked
  sorts['no factor, disabled'] = await disable(await createBareUser(doorstep))
  sorts['all, disabled'] = await disable(await createOwner(doorstep))
  return sorts
}

for (const [name, at] of [
  ['every method', doorstep],
  ['one method and no mail', passwordOnly],
] as [string, Doorstep][]) {
  t.test(`${name}: the first step shows nothing of factors before the password is proven`, async (t) => {
    const statements = watchStatements(t)
    const seen = async (email: string, password = wrongPassword) => {
      statements.taken()
      const answer = await login(at, { email, password })
      return { ...visible(answer), length: answer.headers['content-length'], sent: statements.taken() }
    }
    const nobody = await seen(ghostEmail())
    t.match(nobody, { status: 401, body: { code: 'invalid_credentials' }, sent: { length: 2 } })
    const sorts = await everySort()
    for (const [sort, { email }] of Object.entries(sorts)) t.same(await seen(email), nobody, sort)
    for (const sort of ['no factor, disabled', 'all, disabled']) {
      const { email = '', password = '' } = sorts[sort] ?? {}
      t.same(await seen(email, password), nobody, `${sort}: right password`)
    }
    // The same eyes do see what a right password shows.
    const owner = sorts.totp as TestUser
    t.notSame(await seen(owner.email, owner.password), nobody)
  })
}

t.test('nor does the lock: it comes with the same guess, and looks the same, whoever has what', async (t) => {
  const sequenceOf = async (email: string): Promise<Answer[]> => {
    const answers: Answer[] = []
    for (let n = 0; n < 6; n += 1) answers.push(await guess(doorstep, email))
    await passTime(doorstep, email, 30)
    for (let n = 0; n < 2; n += 1) answers.push(await guess(doorstep, email))
    return answers
  }
  const nobody = await sequenceOf(ghostEmail())
  t.same(
    nobody.map(({ status }) => status),
    [401, 401, 401, 401, 401, 429, 401, 429],
  )
  for (const [sort, { email }] of Object.entries(await everySort())) {
    t.same((await sequenceOf(email)).map(visibleButTheWait), nobody.map(visibleButTheWait), sort)
  }
})

t.test('whoever locks a password out cannot tell whether its owner signs in with a passkey meanwhile', async (t) => {
  const owner = await createOwner(doorstep)
  const sequenceOf = async (email: string, meanwhile: () => Promise<unknown>): Promise<Answer[]> => {
    const answers: Answer[] = []
    for (let n = 0; n < 4; n += 1) answers.push(await guess(doorstep, email))
    await meanwhile()
    for (let n = 0; n < 2; n += 1) answers.push(await guess(doorstep, email))
    await meanwhile()
    answers.push(await guess(doorstep, email))
    return answers
  }
  const signIn = async () => {
    const { body } = await call(doorstep, '/login/passkey', { body: {} })
    const credential = owner.device.assert(body.challenge.public_key)
    const done = await prove(doorstep, { status: 200, body, headers: {} }, { credential })
    t.equal(done.status, 200, 'the owner is in, locked or not')
  }
  const nobody = await sequenceOf(ghostEmail(), async () => {})
  t.same((await sequenceOf(owner.email, signIn)).map(visibleButTheWait), nobody.map(visibleButTheWait))
})

/** A start as everybody sees it, without what is new each time. */
function shapeOf({ status, body, headers }: Answer) {
  const { date, ...otherHeaders } = headers
  const { pending_token: token, challenge, ...rest } = body
  const { challenge: random, ...options } = challenge.public_key
  const claims = part(token, 1)
  return {
    ...{ status, headers: otherHeaders, rest, options, attempts: challenge.attempts_remaining },
    ...{ random: String(random).length, claims: Object.keys(claims).sort(), amr: claims.amr },
  }
}

t.test('the start of a passkey is the same for everybody, and asks the database nothing', async (t) => {
  const owner = await createOwner(doorstep)
  const token = await plantDevice(doorstep, owner)
  const gone = await createOwner(doorstep)
  const forgotten = await plantDevice(doorstep, gone)
  await sql('DELETE FROM users WHERE id = $1', [gone.id])
  const closed = await createOwner(doorstep)
  const ofClosed = await plantDevice(doorstep, closed)
  await disable(closed)

  const statements = watchStatements(t)
  const start = async (body: object) => {
    statements.taken()
    const answer = await call(doorstep, '/login/passkey', { body })
    t.same(statements.taken(), [])
    return answer
  }
  const bare = await start({})
  t.match(shapeOf(bare), { status: 200, options: { allowCredentials: [], userVerification: 'required' }, random: 43 })
  t.same(shapeOf(bare).claims, ['amr', 'aud', 'exp', 'iat', 'iss', 'jti', 'pur'], 'no user, no challenge row')
  t.same(shapeOf(await start({ device_token: 'dsd_nobody-has-made-this' })), shapeOf(bare), 'a token that nobody made')
  const [mine, his, whose] = [token, forgotten, ofClosed].map((device_token) => start({ device_token }))
  const known = await mine
  t.same(shapeOf(await (his as Promise<Answer>)), shapeOf(known as Answer), 'a device of an account that is gone')
  t.same(shapeOf(await (whose as Promise<Answer>)), shapeOf(known as Answer), 'of one that is disabled')
  t.notOk(JSON.stringify(known?.body).includes(owner.id))

  const { body } = bare
  const shown = await call(doorstep, '/login/2fa', { token: body.pending_token })
  t.same(statements.taken(), [], 'nor does its state')
  t.same(shown.body, { challenge: body.challenge, methods: ['passkey'] })
})

/** Everything that can be wrong with a passkey that is to sign in. */
async function everyFailure(options: Parameters<Owner['device']['assert']>[0]) {
  const origin = doorstep.config.passkey.origins[0] ?? ''
  const [owner, eve, closed] = [await createOwner(doorstep), await createOwner(doorstep), await createOwner(doorstep)]
  await disable(closed)
  const unknown = createAuthenticator({ origin })
  const person = { handle: 'eA', name: 'x', displayName: 'x' }
  unknown.register(services.passkeys.creationOptions({ cid: 'x', user: person, exclude: [] }))
  const removed = await createOwner(doorstep)
  await sql(`DELETE FROM factors WHERE user_id = $1`, [removed.id])
  const gone = await createOwner(doorstep)
  await sql('DELETE FROM users WHERE id = $1', [gone.id])
  const { device } = owner
  const handle = eve.device.assert(options).response.userHandle ?? null
  return {
    'unknown credential': unknown.assert(options),
    'unknown credential, of a user that is there': unknown.assert(options, { userHandle: handle }),
    'a passkey that was removed': removed.device.assert(options),
    'of an account that is gone': gone.device.assert(options),
    'of a disabled account, right': closed.device.assert(options),
    'of a disabled account, wrong': closed.device.assert(options, { flippedBit: 70 }),
    'wrong signature': device.assert(options, { flippedBit: 70 }),
    'another key': device.assert(options, { otherKey: true }),
    'user not verified': device.assert(options, { verified: false }),
    'user not present': device.assert(options, { present: false }),
    'without a user': device.assert(options, { userHandle: null }),
    'with another user': device.assert(options, { userHandle: handle }),
    'another challenge': device.assert(options, { challenge: 'AAAA' }),
    'another origin': device.assert(options, { origin: 'https://evil.example' }),
    'another domain': device.assert(options, { rpId: 'evil.example' }),
    'backed up all of a sudden': device.assert(options, { backupEligible: true }),
    'made, not used': device.assert(options, { type: 'webauthn.create' }),
    'named as another': eve.device.assert(options, { id: device.ids()[0] ?? '' }),
  }
}

t.test('whatever is wrong with a passkey, and whosever it is: one answer, one statement', async (t: Test) => {
  const begun = await call(doorstep, '/login/passkey', { body: {} })
  const failures = await everyFailure(begun.body.challenge.public_key)
  const stored = () =>
    sql(`SELECT (SELECT count(*) FROM audit_events) AS events, (SELECT count(*) FROM used_starts) AS starts,
      (SELECT count(*) FROM login_throttles) AS throttles, (SELECT count(*) FROM challenges) AS challenges,
      (SELECT sum(counter) FROM factors) AS counters`)
  const before = await stored()
  const statements = watchStatements(t)
  const seen = async (credential: object) => {
    statements.taken()
    const answer = await prove(doorstep, begun, { credential })
    return { ...visible(answer), length: answer.headers['content-length'], sent: statements.taken() }
  }
  const first = await seen(failures['unknown credential'])
  t.match(first, { status: 401, body: { code: 'invalid_credentials' }, sent: { length: 1 } })
  t.notOk('attempts_remaining' in first.body)
  for (const [name, credential] of Object.entries(failures)) t.same(await seen(credential), first, name)

  t.same(await stored(), before, 'and nothing of it is left')
  const owner = await createOwner(doorstep)
  const right = await prove(doorstep, begun, { credential: owner.device.assert(begun.body.challenge.public_key) })
  t.equal(right.status, 200, 'the same start is good for whoever proves it')
})

t.test('an answer behind the password tells of no other account', async (t) => {
  const [owner, eve] = [await createOwner(doorstep), await createOwner(doorstep)]
  const begun = await loginBy(doorstep, owner, 'passkey')
  const { public_key: options } = begun.body.challenge
  const answers = [
    eve.device.assert({ ...options, allowCredentials: [] }),
    eve.device.assert({ ...options, allowCredentials: [] }, { flippedBit: 70 }),
    owner.device.assert(options, { otherKey: true }),
    owner.device.assert(options, { id: 'bm9ib2R5' }),
  ]
  const statements = watchStatements(t)
  const seen: object[] = []
  for (const credential of answers) {
    const { status, body } = await prove(doorstep, begun, { credential })
    const { instance: _instance, attempts_remaining: _left, ...told } = body
    seen.push({ status, told, sent: statements.taken() })
  }
  t.match(seen[0], { status: 422, told: { code: 'invalid_code' } })
  for (const it of seen) t.same(it, seen[0])
})
