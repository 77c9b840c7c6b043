import t, { type Test } from 'tap'
import type { Method } from '../../src/methods.ts'
import { age } from '../helpers/age.ts'
import { createAuthenticator } from '../helpers/authenticator.ts'
import { enter, plantDevice, refresh, tokensOf } from '../helpers/credentials.ts'
import { createTestDatabase } from '../helpers/database.ts'
import { type Doorstep, startDoorstep } from '../helpers/doorstep.ts'
import { createOwner, loginBy, type Owner, rightAnswer, sentCode, sessionOf } from '../helpers/equipped.ts'
import { createBareUser, enrol, enrolTotp, mailedCode, prove, proveMailbox, totpCode } from '../helpers/factors.ts'
import { type Answer, call, codeFor, freshPhone, login, type TestUser, textsTo, wrongCode } from '../helpers/story.ts'
import { isOverloaded, repeat, tally, together } from '../helpers/together.ts'

t.setTimeout(300_000)

/**
 * Somebody who has bought a password, or stolen a session, gains the account for good if they can bind a factor of their
 * own to it: from then on it is the owner who is kept out (SEC-116).
 */
const database = await createTestDatabase()
t.teardown(() => database.close())
const one = await startDoorstep(t, { database })
const two = await startDoorstep(t, { database })
/** A replica that knows authenticator apps only: METHODS has changed. */
const changed = await startDoorstep(t, { database, env: { METHODS: 'totp' } })
const { sql, services, config } = one
const replica = (index: number): Doorstep => (index % 2 === 0 ? one : two)
const origin = config.passkey.origins[0] ?? ''

const invalid = { status: 401, body: { code: 'invalid_token' } }
const unheard = { status: 400, body: { code: 'invalid_request' } }
const stale = { status: 401, body: { code: 'insufficient_user_authentication' } }
const thief = { from: '203.0.113.66' }

const factorsOf = async ({ id }: Pick<TestUser, 'id'>): Promise<string[]> =>
  (await sql('SELECT method FROM factors WHERE user_id = $1 ORDER BY method', [id])).map(({ method }) => method)
const codesOf = async ({ id }: Pick<TestUser, 'id'>): Promise<number> =>
  (await sql('SELECT FROM recovery_codes WHERE user_id = $1', [id])).length
const sessionsOf = async ({ id }: Pick<TestUser, 'id'>): Promise<number> =>
  (await sql('SELECT FROM sessions WHERE user_id = $1', [id])).length

/** Whatever a pending token of a thief is used for, it binds nothing and signs in nobody. */
async function triesEverything(t: Test, at: Doorstep, user: TestUser, begun: Answer): Promise<void> {
  const token = begun.body.pending_token
  for (const method of ['passkey', 'totp', 'sms', 'recovery_code'] as const) {
    const body = method === 'sms' ? { method, phone: freshPhone() } : { method }
    t.match(await enrol(at, token, body), invalid, `no enrolment of ${method}`)
    t.match(await call(at, '/login/2fa/method', { token, body: { method } }), unheard, `nor a way on to ${method}`)
    const proof = method === 'passkey' ? { method, credential: {} } : { method, code: '123456' }
    t.match(await prove(at, begun, proof), unheard, `nor an answer by ${method}`)
  }
  t.match(await call(at, '/me', { token }), invalid)
  const wrong = wrongCode(sentCode(at, token, 'email'))
  for (let n = 4; n >= 0; n -= 1) {
    t.match(await prove(at, begun, { code: wrong }), { status: 422, body: { attempts_remaining: n } })
  }
  const late = await prove(at, begun, { code: sentCode(at, token, 'email') })
  t.match(late, { status: begun.body.of === 'session' ? 401 : 429 })
  t.same(await factorsOf(user), [])
}

t.test('whoever has bought a password binds no factor: the mailbox is proven first, whatever the policy', async (t) => {
  const mustHave = await createBareUser(one, 'required')
  const begun = await login(one, mustHave, thief)
  t.match(begun.body, { status: '2fa_required', methods: ['email'], challenge: { method: 'email' } })
  await triesEverything(t, one, mustHave, begun)
  t.equal(await sessionsOf(mustHave), 0)

  for (const policy of ['optional', 'off'] as const) {
    const user = await createBareUser(one, policy)
    const { access } = tokensOf(await login(one, user, thief))
    t.match(
      await enrol(one, access, { method: 'recovery_code' }),
      { status: 409 },
      `${policy}: no codes without a factor`,
    )
    const asked = await enrol(one, access, { method: 'totp' })
    t.match(asked.body, { status: '2fa_required', methods: ['email'] }, policy)
    t.notOk('setup' in asked.body.challenge)
    await triesEverything(t, one, user, { ...asked, body: { ...asked.body, of: 'session' } })
    t.match(await call(one, '/me', { token: access }), invalid, 'and the fifth wrong proof has ended his session')
  }
})

t.test('nor where METHODS has changed, so that the owner’s factors are asked for no longer', async (t) => {
  for (const policy of ['required', 'optional'] as const) {
    const owner = await createOwner(one, ['sms', 'passkey'], policy)
    const begun = await login(changed, owner, thief)
    t.match(begun.body, { status: '2fa_required', methods: ['email'] }, `${policy}: as one who has none and must`)
    for (const method of ['sms', 'passkey', 'totp', 'recovery_code'] as const) {
      const token = begun.body.pending_token
      t.match(await call(changed, '/login/2fa/method', { token, body: { method } }), unheard)
    }
    const code = owner.codes.pop() ?? ''
    t.match(
      await prove(changed, begun, { method: 'recovery_code', code }),
      unheard,
      'a recovery code is next to a factor only',
    )
    const elsewhere = await loginBy(one, owner, 'sms', { from: '203.0.113.67' })
    t.match(elsewhere.body, { challenge: { method: 'sms' } }, 'a replica that lists them still asks for them')
    const proven = await prove(changed, begun, { code: sentCode(one, begun.body.pending_token, 'email') })
    t.match(proven.body, { status: '2fa_enrolment_required', methods: ['totp'] })
    t.match(await enrol(changed, proven.body.pending_token, { method: 'sms', phone: freshPhone() }), unheard)
    t.equal((await enrolTotp(changed, proven.body.pending_token)).answer.body.recovery_codes.length, 10)
    t.same(await factorsOf(owner), ['passkey', 'sms', 'totp'])
  }
  const owner = await createOwner(one, ['sms'], 'off')
  const { access } = tokensOf(await login(changed, owner, thief))
  t.match((await enrol(changed, access, { method: 'totp' })).body, { methods: ['email'] })
  t.match(await enrol(one, access, { method: 'totp' }), stale, 'and where it counts, a password alone is not enough')
})

t.test('a proof of the mailbox is good for the login or the session that it was asked for in', async (t) => {
  const user = await createBareUser(one)
  const [mine, his] = [await login(one, user), await login(one, user, thief)]
  t.match(his, { status: 429, body: { code: 'resend_too_soon' } }, 'one mail a minute')
  await age(one, user, 61)
  const begun = await login(one, user, thief)
  const code = sentCode(one, mine.body.pending_token, 'email')
  t.not(sentCode(one, begun.body.pending_token, 'email'), code)
  t.match(await prove(one, begun, { code }), { status: 422 }, 'the code of the owner’s login')
  const opened = await prove(one, mine, { code })
  t.match(opened.body, { status: '2fa_enrolment_required' })
  t.match(await prove(one, begun, { code }), { status: 422 })
  t.match(await enrol(one, begun.body.pending_token, { method: 'totp' }), invalid)
  await age(one, user, 61)
  t.match(
    (await login(one, user, thief)).body,
    { methods: ['email'] },
    'and what the owner has proven opens nothing to him',
  )

  const optional = await createBareUser(one, 'optional')
  await sql('UPDATE users SET email_confirmed_at = now() WHERE id = $1', [optional.id])
  const [a, b] = [await enter(one, optional), tokensOf(await login(one, optional, thief))]
  const asked = await enrol(one, a.access, { method: 'totp' })
  t.match(asked.body, { methods: ['email'] }, 'a mailbox that was confirmed once is not enough')
  const proven = await prove(one, asked, { code: sentCode(one, asked.body.pending_token, 'email') })
  t.match(proven.body, { status: '2fa_enrolment_required' })
  await age(one, optional, 61)
  const other = await enrol(one, b.access, { method: 'totp' })
  t.match(other.body, { status: '2fa_required', methods: ['email'] }, 'another session has proven nothing')
  t.match(await prove(one, other, { code: sentCode(one, asked.body.pending_token, 'email') }), { status: 422 })
  const { answer } = await enrolTotp(one, proven.body.pending_token)
  t.equal(tokensOf(answer).sid, a.sid, 'the session that has proven it is raised')
  t.match(
    await prove(one, other, { code: sentCode(one, other.body.pending_token, 'email') }),
    invalid,
    'what else was begun is over',
  )
  t.match(await enrol(one, b.access, { method: 'totp' }), stale, 'and from now on a factor is asked for')
})

t.test('of two who prove the mailbox, the first to set up a factor leaves nothing to the other', async (t) => {
  for (let round = 0; round < 3; round += 1) {
    const user = await createBareUser(one)
    const tokens: string[] = []
    for (const from of ['198.51.100.1', '198.51.100.2']) {
      const begun = await login(one, user, { from })
      const proven = await prove(one, begun, { code: sentCode(one, begun.body.pending_token, 'email') })
      tokens.push(proven.body.pending_token)
    }
    const begun = await Promise.all(tokens.map((token, n) => enrol(replica(n), token, { method: 'totp' })))
    const proofs = begun.map(({ body }) => ({ code: totpCode(body.challenge.setup.secret) }))
    const answers = await Promise.all(begun.map((it, n) => prove(replica(n), it, proofs[n] ?? {})))
    t.same(answers.map(({ status }) => status).sort(), [200, 401])
    const won = answers.find(({ status }) => status === 200)
    t.equal(won?.body.recovery_codes.length, 10)
    t.same(await factorsOf(user), ['totp'])
    t.equal(await codesOf(user), 10)
    for (const token of tokens) t.match(await enrol(one, token, { method: 'passkey' }), invalid)
    const next = await login(one, user, thief)
    const proof = { method: 'recovery_code', code: won?.body.recovery_codes[0] }
    t.equal((await prove(one, next, proof)).status, 200, 'the codes that were shown are those that count')
  }
})

t.test('of two enrolments in one session the newer lives; of two proofs in two sessions one counts', async (t) => {
  const owner = await createOwner(one, ['passkey'])
  const [a, b] = [await sessionOf(one, owner), await sessionOf(one, owner)]
  const older = await enrol(one, a.access, { method: 'totp' })
  await enrol(two, a.access, { method: 'passkey' })
  t.match(await prove(one, older, { code: totpCode(older.body.challenge.setup.secret) }), invalid, 'the older is over')
  t.same(await factorsOf(owner), ['passkey'])
  const begun = await Promise.all([0, 1].map((n) => enrol(replica(n), a.access, { method: 'totp' })))
  const both = await Promise.all(
    begun.map((it, n) => prove(replica(n), it, { code: totpCode(it.body.challenge.setup.secret) })),
  )
  t.same(both.map(({ status }) => status).sort(), [200, 401])
  t.same(await factorsOf(owner), ['passkey', 'totp'])

  const inBoth = await Promise.all([a, b].map(({ access }, n) => enrol(replica(n), access, { method: 'totp' })))
  const answers = await Promise.all(
    inBoth.map((it, n) => prove(replica(n), it, { code: totpCode(it.body.challenge.setup.secret) })),
  )
  t.same(answers.map(({ status }) => status).sort(), [200, 401], JSON.stringify(tally(answers)))
  t.same(await factorsOf(owner), ['passkey', 'totp'])
  const alive = await Promise.all([a, b].map(({ access }) => call(one, '/me', { token: access })))
  t.same(alive.map(({ status }) => status).sort(), [200, 401], 'a replacement ends the other session')
})

t.test('a factor that one session has begun to set up is not proven with the token of another', async (t) => {
  const owner = await createOwner(one, ['passkey'])
  const [a, b] = [await sessionOf(one, owner), await sessionOf(one, owner)]
  const mine = await enrol(one, a.access, { method: 'totp' })
  const his = await enrol(one, b.access, { method: 'totp' })
  const secret = mine.body.challenge.setup.secret
  t.not(his.body.challenge.setup.secret, secret)
  t.match(await prove(one, his, { code: totpCode(secret) }), { status: 422 }, 'each has a secret of its own')
  await call(one, '/logout', { token: b.access, body: {} })
  t.match(
    await prove(one, his, { code: totpCode(his.body.challenge.setup.secret) }),
    invalid,
    'a session that has ended binds nothing',
  )
  const eve = await createOwner(one, ['passkey'])
  const hers = await enrol(one, (await sessionOf(one, eve)).access, { method: 'totp' })
  t.match(await prove(one, hers, { code: totpCode(secret) }), { status: 422 })
  t.equal((await prove(one, mine, { code: totpCode(secret) })).status, 200)
  t.same(await factorsOf(eve), ['passkey'])
})

t.test('in an enrolment nothing counts but the proof of the new factor', async (t) => {
  const owner = await createOwner(one)
  const { access } = await sessionOf(one, owner)
  const phone = freshPhone()
  const begun = await enrol(one, access, { method: 'sms', phone })
  for (const proof of [
    { method: 'recovery_code', code: owner.codes[0] ?? '' },
    { method: 'totp', code: totpCode(owner.secret) },
    { method: 'email', code: '123456' },
    { method: 'passkey', credential: owner.device.assert(anyOptions()) },
    { credential: owner.device.assert(anyOptions()) },
  ]) {
    t.match(await prove(one, begun, proof), unheard, JSON.stringify(Object.keys(proof)))
  }
  t.equal(await codesOf(owner), 9, 'no recovery code was used up')
  t.match((await call(one, '/login/2fa', { token: begun.body.pending_token })).body, {
    challenge: { attempts_remaining: 5 },
    methods: ['sms'],
  })
  t.match(await call(one, '/login/2fa/method', { token: begun.body.pending_token, body: { method: 'totp' } }), unheard)
  t.equal((await prove(one, begun, { code: codeFor(one, phone) })).status, 200)
})

const anyOptions = () =>
  services.passkeys.requestOptions({ challenge: Buffer.alloc(32), allow: [], userVerification: 'preferred' })

t.test('the last factor goes while another is set up, at once: never is none left where one is wanted', async (t) => {
  for (let round = 0; round < 8; round += 1) {
    const policy = round % 2 === 0 ? 'required' : 'optional'
    const owner = await createOwner(one, ['totp'], policy)
    const { access } = await sessionOf(one, owner)
    const [factor] = await sql('SELECT id FROM factors WHERE user_id = $1', [owner.id])
    const device = createAuthenticator({ origin })
    const begun = await enrol(one, access, { method: 'passkey' })
    const credential = device.register(begun.body.challenge.setup.public_key)
    const acts = [
      () => prove(one, begun, { credential }),
      () => call(two, `/factors/${factor?.id}`, { method: 'DELETE', token: access }),
    ]
    const [added, removed] = round < 4 ? await Promise.all(acts.map((act) => act())) : await inTurn(acts)
    const outcome = `${added?.status} ${removed?.status}`
    const left = await factorsOf(owner)
    if (policy === 'required') {
      t.ok(['200 204', '200 409'].includes(outcome), outcome)
      t.same(left, outcome === '200 204' ? ['passkey'] : ['passkey', 'totp'])
    } else {
      t.ok(['200 204', '401 204'].includes(outcome), outcome)
      t.same(left, outcome === '200 204' ? ['passkey'] : [])
    }
    t.equal(await codesOf(owner), left.length > 0 ? 9 : 0, 'recovery codes are there next to a factor only')
  }
})

/** The second first. */
async function inTurn(acts: (() => Promise<Answer>)[]): Promise<Answer[]> {
  const removed = await acts[1]?.()
  const added = await acts[0]?.()
  return [added, removed].filter((it) => it !== undefined)
}

t.test('two sessions remove the last two factors at once: one stays', async (t) => {
  for (let round = 0; round < 4; round += 1) {
    const owner = await createOwner(one, ['totp', 'sms'])
    const { access } = await sessionOf(one, owner)
    const factors = await sql('SELECT id FROM factors WHERE user_id = $1', [owner.id])
    const removed = await Promise.all(
      factors.map(({ id }, n) => call(replica(n), `/factors/${id}`, { method: 'DELETE', token: access })),
    )
    t.same(removed.map(({ status }) => status).sort(), [204, 409])
    t.equal((await factorsOf(owner)).length, 1)
  }
})

t.test('whoever was half-way in when a factor changed is out: logins, step-ups, sessions, trust', async (t) => {
  const changes: [string, (owner: Owner, access: string) => Promise<unknown>][] = [
    ['replaced', async (_owner, access) => t.equal((await enrolTotp(one, access)).answer.status, 200)],
    [
      'removed',
      async ({ id }, access) => {
        const [factor] = await sql(`SELECT id FROM factors WHERE user_id = $1 AND method = 'totp'`, [id])
        t.equal((await call(one, `/factors/${factor?.id}`, { method: 'DELETE', token: access })).status, 204)
      },
    ],
  ]
  for (const [name, change] of changes) {
    const owner = await createOwner(one)
    const mine = await sessionOf(one, owner)
    const his = await sessionOf(one, owner)
    const device = await plantDevice(one, owner)
    await sql(`UPDATE devices SET trusted_until = now() + interval '1 day' WHERE user_id = $1`, [owner.id])
    const begun = await loginBy(one, owner, 'totp', thief)
    const stepUp = await call(one, '/login/step-up', { token: his.access, body: { method: 'totp' } })
    const other = await enrol(one, his.access, { method: 'passkey' })
    await change(owner, mine.access)
    for (const pending of [begun, stepUp]) {
      t.match(await prove(one, pending, { method: 'totp', code: totpCode(owner.secret) }), invalid, name)
      t.match(await prove(one, pending, { method: 'recovery_code', code: owner.codes[0] ?? '' }), invalid, name)
    }
    t.match(await enrol(one, his.access, { method: 'passkey' }), invalid, `${name}: the other session`)
    t.match(await call(one, '/login/2fa', { token: other.body.pending_token }), invalid)
    t.match(await refresh(one, his.refresh), invalid)
    t.equal((await call(one, '/me', { token: mine.access })).status, 200, `${name}: one’s own stays`)
    const again = await login(one, owner, { body: { device_token: device } })
    t.match(again.body, { status: '2fa_required' }, `${name}: no device is trusted any more`)
  }
})

/** Lets something happen between the reading of an account and the decision about it. */
function meanwhile<T extends object, K extends keyof T>(target: T, name: K, act: () => Promise<unknown>): void {
  const before = target[name] as (...args: unknown[]) => Promise<unknown>
  Object.assign(target, {
    [name]: async (...args: unknown[]) => {
      Object.assign(target, { [name]: before })
      const result = await before(...args)
      await act()
      return result
    },
  })
}

t.test('what was read before a factor changed decides nothing after it', async (t) => {
  const replace = async (owner: { id: string }) => {
    await sql('UPDATE users SET epoch = epoch + 1 WHERE id = $1', [owner.id])
  }
  const owner = await createOwner(one)
  meanwhile(services.passwordHash, 'verify', () => replace(owner))
  t.match(await login(one, owner, thief), { status: 401, body: { code: 'invalid_credentials' } }, 'a challenge')
  t.equal((await login(one, owner, thief)).status, 200)

  const bare = await createBareUser(one, 'optional')
  meanwhile(services.passwordHash, 'verify', () => replace(bare))
  t.match(await login(one, bare, thief), { status: 401, body: { code: 'invalid_credentials' } }, 'a session')
  t.equal(await sessionsOf(bare), 0)

  const { body } = await call(one, '/login/passkey', { body: {} })
  const credential = owner.device.assert(body.challenge.public_key)
  meanwhile(services.passkeys, 'verifyAssertion', () => replace(owner))
  t.match(await prove(one, { body, status: 200, headers: {} }, { credential }), {
    status: 401,
    body: { code: 'invalid_credentials' },
  })
  t.equal(await sessionsOf(owner), 0, 'a passkey’s session')

  const { access } = await enter(one, bare)
  meanwhile(services.passwordHash, 'verify', () => replace(bare))
  const raised = await call(one, '/login/step-up', { token: access, body: { password: bare.password } })
  t.match(raised, invalid, 'a step-up by password')
})

t.test('a call that was found fresh before the first factor came binds nothing, and gets no codes', async (t) => {
  const user = await createBareUser(one, 'optional')
  await sql('UPDATE users SET email_confirmed_at = now() WHERE id = $1', [user.id])
  const thiefs = tokensOf(await login(one, user, thief))
  const guarded = await services.store.sessions.findLive(thiefs.sid, user.id)
  const mine = await enter(one, user)
  const asked = await enrol(one, mine.access, { method: 'totp' })
  const proven = await prove(one, asked, { code: sentCode(one, asked.body.pending_token, 'email') })
  const { answer } = await enrolTotp(one, proven.body.pending_token)

  // What the guard of his calls saw a moment before that.
  const { findLive } = services.store.sessions
  t.teardown(() => Object.assign(services.store.sessions, { findLive }))
  const before = async () => guarded && { ...guarded, mailbox_proven: true }
  Object.assign(services.store.sessions, { findLive: before })
  t.match(await enrol(one, thiefs.access, { method: 'recovery_code' }), stale)
  t.match(await enrol(one, thiefs.access, { method: 'passkey' }), stale)
  Object.assign(services.store.sessions, { findLive })
  t.same(await factorsOf(user), ['totp'])
  const code = answer.body.recovery_codes[0]
  t.equal(
    (await prove(one, await login(one, user, thief), { method: 'recovery_code', code })).status,
    200,
    'hers count',
  )
})

t.test('what a session has begun ends with it: no code is sent, switched to or answered any more', async (t) => {
  const owner = await createOwner(one, ['totp', 'sms'])
  const { access } = await sessionOf(one, owner)
  const stepUp = await call(one, '/login/step-up', { token: access, body: { method: 'sms' } })
  const added = await enrol(one, access, { method: 'sms', phone: freshPhone() })
  t.same([stepUp.status, added.status], [200, 200])
  const bare = await createBareUser(one, 'optional')
  const { access: weak } = await enter(one, bare)
  const asked = await enrol(one, weak, { method: 'totp' })
  const proven = await prove(one, asked, { code: sentCode(one, asked.body.pending_token, 'email') })
  const child = await enrol(one, proven.body.pending_token, { method: 'sms', phone: freshPhone() })
  t.equal(child.status, 200)
  for (const token of [access, weak]) t.equal((await call(one, '/logout', { token, body: {} })).status, 204)

  await age(one, owner, 61)
  await age(one, bare, 61)
  const texts = await sql('SELECT count(*) FROM sms_messages')
  for (const begun of [stepUp, added, child]) {
    const token = begun.body.pending_token
    t.match(await call(two, '/login/2fa', { token }), invalid)
    t.match(await call(two, '/login/2fa/resend', { token, body: {} }), invalid)
    t.match(await call(two, '/login/2fa/method', { token, body: { method: 'totp' } }), invalid)
    t.match(await prove(two, begun, { code: '123456' }), invalid)
  }
  const phone = freshPhone()
  t.match(await enrol(two, proven.body.pending_token, { method: 'sms', phone }), invalid)
  t.same(await sql('SELECT count(*) FROM sms_messages'), texts)
})

t.test('a mailbox that a session has proven by code is proven for as long as that lasts, for it alone', async (t) => {
  const user = await createBareUser(one, 'optional')
  const [mine, other] = [await enter(one, user), tokensOf(await login(one, user, thief))]
  const asked = await enrol(one, mine.access, { method: 'totp' })
  await prove(one, asked, { code: sentCode(one, asked.body.pending_token, 'email') })
  const again = await enrol(one, mine.access, { method: 'totp' })
  t.match(again, { status: 200, body: { challenge: { method: 'totp', setup: {} } } })
  await age(one, user, 61)
  t.match((await enrol(one, other.access, { method: 'totp' })).body, { methods: ['email'] })
  t.equal((await prove(one, again, { code: totpCode(again.body.challenge.setup.secret) })).status, 200)
})

t.test('a method that METHODS lists no longer proves nothing, where another is asked for', async (t) => {
  const owner = await createOwner(one, ['totp', 'sms', 'passkey'])
  const begun = await login(changed, owner)
  t.match(begun.body, { methods: ['totp', 'recovery_code'] })
  const listsPhones = await startDoorstep(t, { database, env: { METHODS: 'sms' } })
  const login2 = await loginBy(listsPhones, owner, 'sms', { from: '203.0.113.70' })
  t.match(login2.body, { methods: ['sms', 'recovery_code'] })
  t.match(await prove(listsPhones, login2, { method: 'totp', code: totpCode(owner.secret) }), unheard)
  t.match(await call(listsPhones, '/login/passkey', { body: {} }), unheard)
  const alone = await call(one, '/login/passkey', { body: {} })
  const credential = owner.device.assert(alone.body.challenge.public_key)
  t.match(await prove(listsPhones, alone, { credential }), { status: 401, body: { code: 'invalid_credentials' } })
  t.equal((await prove(one, alone, { credential })).status, 200, 'where they are listed it does')
})

t.test('a session changes factors while it is fresh, and as strong as the account can be', async (t) => {
  const mailing = await startDoorstep(t, { database, env: { METHODS: 'passkey,totp,sms,email' } })
  /** How a session came about, and whether it is fresh when it is new. */
  const ways: Record<string, (owner: Owner) => Promise<[string, boolean]>> = {
    'password and app': async (owner) => {
      const begun = await loginBy(one, owner, 'totp')
      return [tokensOf(await prove(one, begun, rightAnswer(one, owner, 'totp', begun.body))).access, true]
    },
    'password and recovery code': async (owner) => [(await sessionOf(one, owner)).access, true],
    'passkey alone': async (owner) => {
      const start = await call(one, '/login/passkey', { body: {} })
      const credential = owner.device.assert(start.body.challenge.public_key)
      return [tokensOf(await prove(one, start, { credential })).access, true]
    },
    'password and mail': async (owner) => {
      const begun = await loginBy(mailing, owner, 'email')
      return [tokensOf(await prove(mailing, begun, rightAnswer(one, owner, 'email', begun.body))).access, false]
    },
    'password on a trusted device': async (owner) => {
      const device = await plantDevice(one, owner)
      await sql(`UPDATE devices SET trusted_until = now() + interval '1 day' WHERE user_id = $1`, [owner.id])
      return [tokensOf(await login(one, owner, { body: { device_token: device } })).access, false]
    },
  }
  for (const [name, way] of Object.entries(ways)) {
    for (const seconds of [0, 590, 601]) {
      const owner = await createOwner(one)
      const [token, isStrong] = await way(owner)
      await age(one, owner, seconds)
      const [factor] = await sql(`SELECT id FROM factors WHERE user_id = $1 AND method = 'sms'`, [owner.id])
      const answers = {
        enrol: await enrol(one, token, { method: 'passkey' }),
        codes: await enrol(one, token, { method: 'recovery_code' }),
        remove: await call(one, `/factors/${factor?.id}`, { method: 'DELETE', token }),
      }
      const isFresh = isStrong && seconds < 600
      for (const [act, answer] of Object.entries(answers)) {
        const expected = isFresh ? { status: act === 'remove' ? 204 : 200 } : stale
        t.match(answer, expected, `${name}, ${seconds} s, ${act}`)
      }
    }
  }
})

t.test('enrolments are counted by the account, over sessions, replicas and at once: ten in any 24 hours', async (t) => {
  await repeat(t, 1, async () => {
    const owner = await createOwner(one)
    const [a, b] = [await sessionOf(one, owner), await sessionOf(one, owner)]
    const answers = await together(30, (n) => enrol(replica(n), (n % 3 ? a : b).access, { method: 'totp' }))
    if (isOverloaded(answers)) return false
    t.same(tally(answers), { '200': 10, '429 rate_limited': 20 })
    await stayCounted(t, owner, a.access)
    return true
  })
})

/** Of an account that has begun ten set-ups today. */
async function stayCounted(t: Test, owner: Owner, access: string): Promise<void> {
  const { body } = await enrol(one, access, { method: 'passkey' })
  t.ok(body.retry_after > 86_000 && body.retry_after <= 86_400, `${body.retry_after} s`)
  const retry = await enrol(one, access, { method: 'recovery_code' })
  t.equal(retry.status, 200, 'recovery codes begin nothing')
  owner.codes = retry.body.recovery_codes
  await services.store.purge.expired({ eventDays: 400, notices: false })
  await age(one, owner, 5 * 3_600)
  await services.store.purge.expired({ eventDays: 400, notices: false })
  const later = await sessionOf(one, owner)
  t.match(await enrol(one, later.access, { method: 'totp' }), { status: 429 }, 'though what was begun is long over')
  await age(one, owner, 19 * 3_600)
  t.equal((await enrol(one, (await sessionOf(one, owner)).access, { method: 'totp' })).status, 200)
}

t.test('an account sends three texts to new numbers a day, and no more by asking again', async (t) => {
  const owner = await createOwner(one, ['passkey'])
  let access = (await sessionOf(one, owner)).access
  const phones = [freshPhone(), freshPhone(), freshPhone(), freshPhone()]
  const sent = () => phones.reduce((sum, phone) => sum + textsTo(one, phone).length, 0)
  const limit = { status: 429, body: { code: 'sms_limit_reached' } }
  const wait = async () => {
    await age(one, owner, 61)
  }
  let begun: Answer | undefined
  for (const phone of phones.slice(0, 2)) {
    begun = await enrol(one, access, { method: 'sms', phone })
    t.equal(begun.status, 200)
    await wait()
  }
  const token = begun?.body.pending_token
  const again = await call(one, '/login/2fa/resend', { token, body: {} })
  t.equal(again.status, 200)
  await wait()
  t.equal(sent(), 3)
  t.match(await call(one, '/login/2fa/resend', { token, body: {} }), limit, 'the same number again')
  t.match(await enrol(one, access, { method: 'sms', phone: phones[3] }), limit, 'another number')
  t.equal(sent(), 3)
  t.equal((await enrol(one, access, { method: 'totp' })).status, 200, 'what sends nothing')
  await age(one, owner, 24 * 3_600)
  access = (await sessionOf(one, owner)).access
  t.equal((await enrol(one, access, { method: 'sms', phone: phones[3] })).status, 200, 'a day later')
})

t.test('neither a text that was refused nor the one that tells the old number is one to a new number', async (t) => {
  const owner = await createOwner(one, ['passkey', 'sms'])
  const { access } = await sessionOf(one, owner)
  const { send } = services.sms
  t.teardown(() => Object.assign(services.sms, { send }))
  Object.assign(services.sms, {
    send: async () => ({ outcome: 'refused', reason: 'phone', isCertain: true, error: '21614' }),
  })
  const refused = await enrol(one, access, { method: 'sms', phone: freshPhone() })
  t.match(refused, { status: 422, body: { code: 'phone_unreachable' } })
  Object.assign(services.sms, { send })
  for (let n = 0; n < 3; n += 1) {
    await age(one, owner, 61)
    const phone = freshPhone()
    const begun = await enrol(one, access, { method: 'sms', phone })
    t.equal(begun.status, 200, `number ${n + 1}`)
    t.equal((await prove(one, begun, { code: codeFor(one, phone) })).status, 200)
  }
  await age(one, owner, 61)
  t.match(await enrol(one, access, { method: 'sms', phone: freshPhone() }), {
    status: 429,
    body: { code: 'sms_limit_reached' },
  })
})

t.test('without mail the first factor is bound by the password; everything else holds', async (t) => {
  const silent = await startDoorstep(t, { database, env: { MAIL_PROVIDER: 'none', REGISTRATION: 'closed' } })
  const user = await createBareUser(silent)
  const [mine, his] = [await login(silent, user), await login(silent, user, thief)]
  for (const { body } of [mine, his]) t.match(body, { status: '2fa_enrolment_required' })
  t.match(await call(silent, '/login/2fa', { token: his.body.pending_token, body: { code: '123456' } }), invalid)
  t.match(await enrol(silent, his.body.pending_token, { method: 'recovery_code' }), { status: 409 })
  await enrolTotp(silent, mine.body.pending_token)
  t.match(await enrol(silent, his.body.pending_token, { method: 'totp' }), invalid, 'the first to bind one has it')
  t.match((await login(silent, user, thief)).body, { status: '2fa_required', methods: ['totp', 'recovery_code'] })

  const optional = await createBareUser(silent, 'optional')
  const { access } = await enter(silent, optional)
  await age(silent, optional, 601)
  t.match(await enrol(silent, access, { method: 'totp' }), stale, 'a session that is not fresh binds nothing')
  const raised = await call(silent, '/login/step-up', { token: access, body: { password: optional.password } })
  t.equal((await enrolTotp(silent, raised.body.access_token)).answer.status, 200)
})

t.test('an enrolment takes five wrong proofs, which lock nobody’s codes', async (t) => {
  for (const method of ['totp', 'sms'] as const satisfies Method[]) {
    const owner = await createOwner(one)
    const { access } = await sessionOf(one, owner)
    const phone = freshPhone()
    const begun = await enrol(one, access, method === 'sms' ? { method, phone } : { method })
    const right = method === 'sms' ? codeFor(one, phone) : totpCode(begun.body.challenge.setup.secret)
    for (let n = 4; n >= 0; n -= 1) {
      t.match(await prove(one, begun, { code: wrongCode(right) }), { status: 422, body: { attempts_remaining: n } })
    }
    t.match(await prove(one, begun, { code: right }), { status: 429, body: { code: 'code_attempts_exhausted' } })
    t.same(await sql('SELECT FROM factor_guards WHERE user_id = $1', [owner.id]), [])
    t.equal((await call(one, '/me', { token: access })).status, 200, 'the session stays')
  }
})

t.test('the mail that proves a mailbox is asked for at most five times an hour', async (t) => {
  const user = await createBareUser(one)
  const sent = () => services.mailbox?.sent().filter(({ to }) => to === user.email).length
  for (let n = 1; n <= 5; n += 1) {
    t.equal((await login(one, user, { from: `203.0.113.${n}` })).status, 200)
    await age(one, user, 61)
  }
  const refused = await login(one, user, thief)
  t.match(refused, { status: 429, body: { code: 'mail_limit_reached' } })
  t.equal(sent(), 5)
  t.match(mailedCode(one, user.email), /^\d{6}$/)
  await age(one, user, 3_600)
  t.match((await proveMailbox(one, user)).body, { status: '2fa_enrolment_required' })
})
