import { randomBytes, randomUUID } from 'node:crypto'
import t from 'tap'
import type { Event } from '../../src/events.ts'
import { policyOf, traits } from '../../src/features/factors/index.ts'
import type { Method } from '../../src/methods.ts'
import type { Candidate } from '../../src/store/candidates.ts'
import type { Pending, Proof, Purpose } from '../../src/store/challenges.ts'
import type { EnrolmentParent, NewFactor, Verdict } from '../../src/store/factors.ts'
import { age } from '../helpers/age.ts'
import { type Doorstep, startDoorstep } from '../helpers/doorstep.ts'
import { createBareUser } from '../helpers/factors.ts'
import { createUser, freshPhone, type TestUser } from '../helpers/story.ts'
import { countOf } from '../helpers/together.ts'

// What the store's verbs promise about factors, where several call at once too: who wins, and what is then there.

t.setTimeout(300_000)

let doorstep: Doorstep
t.before(async () => {
  doorstep = await startDoorstep(t)
})

const event = (type: Event['type'] = 'user.changed'): Event => ({
  ...{ type, outcome: 'test' },
  caller: { requestId: randomUUID(), address: '192.0.2.7', userAgent: null },
})
const macOf = (byte: string): string => byte.repeat(32)
const [rightMac, wrongMac] = [macOf('ab'), macOf('cd')]
const ten = (): string[] => Array.from({ length: 10 }, () => randomBytes(32).toString('hex'))
const tally = (answers: { outcome: string }[]) => countOf(answers.map(({ outcome }) => outcome))
const many = <T>(count: number, work: () => Promise<T>): Promise<T[]> =>
  Promise.all(Array.from({ length: count }, work))

const newSession = () => ({
  ...{
    id: randomUUID(),
    amr: ['pwd'],
    acr: 'aal1',
    remember: false,
    mailbox_proven: false,
    user_agent: null,
    address: '192.0.2.7',
  },
  ...{ ttl: 3_600, idle_ttl: 3_600 },
})
const newDevice = () => ({
  ...{ id: randomUUID(), token_hash: randomBytes(32).toString('hex'), name: null, address: '192.0.2.7' },
  ...{ user_agent: null, life: 7_776_000, trust: false, trust_life: 2_592_000 },
})
const newApp = (counter = 5): NewFactor => ({
  ...{ id: randomUUID(), method: 'totp', name: 'an app', counter, data: { secret: 'sealed' }, at_most: 1 },
})
const newPasskey = (id = randomBytes(32)): NewFactor => ({
  ...{ id: randomUUID(), method: 'passkey', name: null, credential_id: id.toString('hex'), counter: 1, at_most: 10 },
  data: { public_key: 'a key', algorithm: -7 },
})

/** A user with a session, and the verbs on it. */
async function setup(user: TestUser) {
  const { store } = doorstep.services
  const policy = policyOf(doorstep.services)
  const session = { ...newSession(), user_id: user.id }
  const current = async () => (await store.accounts.findByEmail(user.email))?.epoch ?? -1
  const start = async (it: ReturnType<typeof newSession> = newSession()) => {
    const proof = { throttleKeys: [], deviceId: null, isTrusted: false }
    const made = { session: it, device: newDevice(), policy, event: event() }
    const started = await store.sessions.start({ id: user.id, epoch: await current() }, proof, made)
    if (started.outcome !== 'started') throw new Error(started.outcome)
    return it.id
  }
  await start(session)
  const by = (method: Method): Candidate => ({
    method,
    sends: null,
    in_cooldown: true,
    at_most: traits[method].at_most,
  })
  const byText = (phone: string, more: object = {}): Candidate => ({
    ...{ ...by('sms'), sends: 'sms', may_send: true, code: { mac: rightMac, key_id: 'k1' } },
    text: { ...doorstep.services.challengeRules.textBudget('192.0.2.7'), phone, ...more },
  })
  const open = async (candidates: Candidate[], client: string = randomUUID()) => {
    const challenge = { id: randomUUID(), purpose: 'login', client, known: false, device_id: null } as const
    const whose = { id: user.id, epoch: await current() }
    return store.challenges.open(whose, [], { ...challenge, proves_mailbox: false }, candidates, policy, event())
  }
  const opened = async (candidates: Candidate[]): Promise<string> => {
    const challenge = await open(candidates)
    if (!('challenge_id' in challenge)) throw new Error(challenge.outcome)
    return challenge.challenge_id
  }
  const pending = (cid: string, pur: Purpose = 'login'): Pending => ({ cid, sub: user.id, pur })
  const answer = (mine: Pending, proof: Partial<Proof>, sessionId?: string) =>
    store.challenges.answer(
      mine,
      {
        ...{ method: null, codes: {}, recovery: [], credential: false, traits, fresh_recovery: ten() },
        ...{ next_id: randomUUID(), ...proof },
      },
      policy,
      mine.pur === 'login' ? newSession() : { id: sessionId ?? session.id },
      newDevice(),
      event(),
    )
  const ownParent = async (): Promise<EnrolmentParent> => ({
    session: session.id,
    epoch: await current(),
    challenge: null,
  })
  const enrol = async (candidate: Candidate, more = {}, from?: EnrolmentParent) => {
    const parent = from ?? (await ownParent())
    const challenge = { id: randomUUID(), setup: '00ff' }
    return store.factors.enrol(user.id, parent, challenge, candidate, { ...policy, ...more }, event())
  }
  const begun = async (candidate: Candidate): Promise<Pending> => {
    const enrolment = await enrol(candidate)
    if (!('challenge_id' in enrolment)) throw new Error(enrolment.outcome)
    return pending(enrolment.challenge_id, 'enrol')
  }
  const verdictOn = (verdict: Verdict, method: Method): Partial<Proof> => ({ verdict: { ...verdict, method } })
  /** Sets up a factor. */
  const put = async (factor: NewFactor) => {
    const done = await answer(
      await begun(by(factor.method)),
      verdictOn({ right: true, new_factor: factor }, factor.method),
    )
    if (done.outcome !== 'completed') throw new Error(done.outcome)
    return done
  }
  const aged = (seconds: number) => age(doorstep, user, seconds)
  const rows = async (what: string) => doorstep.sql(`SELECT * FROM ${what} WHERE user_id = $1`, [user.id])
  return {
    ...{ store, user, policy, session, start, by, byText, open, opened, pending, answer, ownParent, enrol, begun },
    ...{ verdictOn, put, aged, rows, current },
  }
}

t.test('enrol: one at a time, and of many proofs one', async (t) => {
  const { enrol, by, begun, answer, verdictOn, rows, store, session, pending } = await setup(
    await createBareUser(doorstep),
  )
  const first = await begun(by('totp'))
  t.match(await store.challenges.read(first, policyOf(doorstep.services)), { method: 'totp', setup: '00ff' })
  const second = await begun(by('totp'))
  t.same([await store.challenges.isAlive(first), await store.challenges.isAlive(second)], [false, true])
  t.match(await answer(second, {}), { outcome: 'needs_verdict', method: 'totp', setup: '00ff', factors: [] })
  t.match(await answer(second, verdictOn({ right: false }, 'totp')), { outcome: 'wrong', attempts_remaining: 4 })
  t.same(await rows('factor_guards'), [], 'which counts for the enrolment alone')
  t.match(await answer(second, { ...verdictOn({ right: false }, 'passkey'), method: 'passkey' }), {
    outcome: 'not_begun',
  })
  t.match(await answer(second, { recovery: [rightMac], method: 'recovery_code' }), { outcome: 'not_begun' })
  t.same(await answer(second, verdictOn({ right: true, new_factor: newApp() }, 'totp'), randomUUID()), {
    outcome: 'invalid',
  })
  const apps = Array.from({ length: 6 }, () => newApp())
  const done = await Promise.all(apps.map((it) => answer(second, verdictOn({ right: true, new_factor: it }, 'totp'))))
  t.same(tally(done), { completed: 1, invalid: 5 })
  const winner = done.findIndex(({ outcome }) => outcome === 'completed')
  t.match(done[winner], {
    id: session.id,
    acr: 'aal2',
    amr: ['pwd', 'otp', 'mfa'],
    recovery_issued: true,
    replaced: false,
  })
  t.match(await rows('factors'), [{ id: apps[winner]?.id, method: 'totp', name: 'an app', counter: '5' }])
  t.equal((await rows('recovery_codes')).length, 10, 'and one set of codes for paper')
  t.same(await enrol(by('totp'), {}, { session: randomUUID(), epoch: 0, challenge: null }), { outcome: 'invalid' })
  t.same(await enrol(by('totp'), {}, { session: null, challenge: randomUUID() }), { outcome: 'invalid' })
  const another = await setup(await createBareUser(doorstep))
  t.same(await enrol(by('totp'), {}, await another.ownParent()), { outcome: 'invalid' }, "not for another's session")
  t.same(await another.answer(pending(second.cid, 'enrol'), {}), { outcome: 'invalid' })
})

t.test('enrol: a second of its method takes the place of the first, and ends what was begun with it', async (t) => {
  const { put, start, store, user, session, rows, opened, by, pending } = await setup(await createBareUser(doorstep))
  const [one, two] = [newApp(), newApp(9)]
  await put(one)
  const other = await start()
  const waiting = pending(await opened([by('totp')]))
  t.match(await put(two), { replaced: true, recovery_issued: false })
  t.match(await rows('factors'), [{ id: two.id, counter: '9' }])
  t.equal(await store.challenges.isAlive(waiting), false)
  t.equal(await store.sessions.findLive(other, user.id), null)
  t.not(await store.sessions.findLive(session.id, user.id), null, 'the session that did it stays')
  t.match(
    (await rows('account_changes')).filter(({ kind }) => kind === 'factor_removed'),
    [{ was: { id: one.id, method: 'totp' } }],
    'and the old one can be had back',
  )
})

t.test('enrol: what refuses it', async (t) => {
  const { enrol, by, byText, put, aged, answer, begun, verdictOn, pending } = await setup(
    await createBareUser(doorstep),
  )
  const taken = freshPhone()
  for (let sharing = 0; sharing < 3; sharing += 1) await createUser(doorstep, { phone: taken })
  t.same(await enrol(byText(taken)), { outcome: 'conflict' }, 'three have this number')
  const shared = freshPhone()
  for (let sharing = 0; sharing < 2; sharing += 1) await createUser(doorstep, { phone: shared })
  const mine = await begun(byText(shared))
  await createUser(doorstep, { phone: shared })
  const proof: Partial<Proof> = {
    codes: { sms: { k1: rightMac } },
    new_factor: { id: randomUUID(), method: 'sms', name: null, phone: shared, data: {}, at_most: 1 },
  }
  t.same(await answer(mine, proof), { outcome: 'conflict' }, 'and a third was quicker')
  t.match(await enrol(byText(freshPhone())), { outcome: 'resend_too_soon' })
  for (let texts = 0; texts < 2; texts += 1) {
    await aged(61)
    t.match(await enrol(byText(freshPhone())), { outcome: 'opened', channel: 'sms', message_id: Number })
  }
  await aged(61)
  t.match(await enrol(byText(freshPhone())), { outcome: 'sms_limit_reached', retry_after: Number }, 'three a day')
  t.match(await enrol(by('totp'), { enrolments_day: 3 }), { outcome: 'too_many', retry_after: Number })

  const credential = randomBytes(32)
  await put(newPasskey(credential))
  const another = await setup(await createBareUser(doorstep))
  const begunThere = await another.begun(another.by('passkey'))
  const same = verdictOn({ right: true, new_factor: newPasskey(credential) }, 'passkey')
  t.same(await another.answer(begunThere, same), { outcome: 'conflict' }, "a passkey is one person's")
  t.equal((await doorstep.sql('SELECT FROM factors WHERE credential_id = $1', [credential])).length, 1)
  t.same(await answer(pending(begunThere.cid, 'enrol'), same), { outcome: 'invalid' })
})

t.test('ten passkeys at most', async (t) => {
  const { put, enrol, by, rows } = await setup(await createBareUser(doorstep))
  for (let made = 0; made < 10; made += 1) await put(newPasskey())
  t.same(await enrol(by('passkey'), { enrolments_day: 99 }), { outcome: 'conflict' })
  t.equal((await rows('factors')).length, 10)
})

t.test('answer: a counter that has to rise is good for one use, in whatever challenge', async (t) => {
  const { put, opened, by, pending, answer, verdictOn, rows } = await setup(await createBareUser(doorstep))
  const app = newApp()
  await put(app)
  const logins = await Promise.all(Array.from({ length: 4 }, () => opened([by('totp')])))
  const code = (counter: number) => verdictOn({ right: true, factor_id: app.id, counter, rises: true }, 'totp')
  t.match(await answer(pending(logins[0] ?? ''), code(5)), { outcome: 'wrong' }, 'the one that it was set up with')
  t.same(tally(await Promise.all(logins.map((id) => answer(pending(id), code(6))))), { completed: 1, wrong: 3 })
  t.match(await rows('factors'), [{ counter: '6' }])
  t.match(await rows('factor_guards'), [{ known: false }], 'and the others are counted')
  const another = await setup(await createBareUser(doorstep))
  const other = newApp(1)
  await another.put(other)
  const next = pending(await opened([by('totp')]))
  const theirs = verdictOn({ right: true, factor_id: other.id, counter: 99, rises: true }, 'totp')
  t.match(await answer(next, theirs), { outcome: 'wrong' }, "with another's factor nobody gets in")
  t.match(await another.rows('factors'), [{ counter: '1' }])
})

t.test('answer: a recovery code works once, in whatever challenge, and for its own user only', async (t) => {
  const it = await setup(await createBareUser(doorstep))
  const { put, opened, by, pending, answer, rows, store, session, policy, current } = it
  await put(newApp())
  const macs = [rightMac, ...ten().slice(1)]
  t.same(await store.factors.renewRecoveryCodes({ ...session, epoch: await current() }, macs, policy, event()), {
    outcome: 'renewed',
  })
  const logins = await Promise.all(Array.from({ length: 4 }, () => opened([by('totp')])))
  const paper = (mac: string): Partial<Proof> => ({ method: 'recovery_code', recovery: [wrongMac, mac] })
  t.match(await answer(pending(logins[0] ?? ''), paper(macOf('ef'))), { outcome: 'wrong', attempts_remaining: 4 })
  const done = await Promise.all(logins.map((id) => answer(pending(id), paper(rightMac))))
  t.same(tally(done), { completed: 1, wrong: 3 })
  t.match(
    done.find(({ outcome }) => outcome === 'completed'),
    { recovery_codes_remaining: 9, amr: ['pwd', 'rcv', 'mfa'] },
  )
  t.equal((await rows('recovery_codes')).length, 9)
  t.same(await rows('factor_guards'), [], 'what cannot be guessed is not counted')
  const another = await setup(await createBareUser(doorstep))
  await another.put(newApp())
  const theirs = another.pending(await another.opened([another.by('totp')]))
  t.match(await another.answer(theirs, paper(macs[1] ?? '')), { outcome: 'wrong' })
  t.equal((await rows('recovery_codes')).length, 9)
})

t.test('switch: the same challenge and the tries that are left', async (t) => {
  const user = await createUser(doorstep)
  const { put, opened, by, byText, pending, answer, verdictOn, store, policy } = await setup(user)
  await put(newApp())
  const mine = pending(await opened([by('totp')]))
  const go = (candidate: Candidate, as = mine) => store.challenges.switch(as, candidate, policy, event())
  t.match(await answer(mine, verdictOn({ right: false }, 'totp')), { outcome: 'wrong', attempts_remaining: 4 })
  const right = { method: 'sms' as const, codes: { sms: { k1: rightMac } } }
  t.match(await answer(mine, right), { outcome: 'not_begun' }, 'no code was sent')
  t.match(await go(byText(user.phone, { service_hour: 0 })), { outcome: 'sms_unavailable' })
  t.match(await go({ ...byText(user.phone), may_send: false }), { outcome: 'sms_unavailable' })
  t.match(await store.challenges.read(mine, policy), { method: 'totp', begun: ['totp'] }, 'refused, it stays as it was')
  t.match(await go(byText(user.phone)), {
    ...{ outcome: 'switched', challenge_id: mine.cid, method: 'sms', begun: ['totp', 'sms'], attempts_remaining: 4 },
    ...{ channel: 'sms', message_id: Number, code: { key_id: 'k1' } },
  })
  t.match(await go(by('totp')), { outcome: 'switched', method: 'totp', message_id: undefined })
  for (const other of [
    { ...mine, sub: randomUUID() },
    { ...mine, pur: 'step_up' as const },
  ]) {
    t.same(await go(by('totp'), other), { outcome: 'invalid' })
  }
  t.match(await answer(mine, right), { outcome: 'completed', method: 'sms' }, 'the code that was sent is good still')
  t.same(await go(by('totp')), { outcome: 'invalid' })
})

t.test("list, rename, remove: only one's own, and not the last where one is wanted", async (t) => {
  const { put, store, user, session, policy, start, rows, current } = await setup(await createBareUser(doorstep))
  const { factors } = store
  const remove = (id: string, of: { id: string; user_id: string } = session) => factors.remove(of, id, policy, event())
  const [app, key] = [newApp(), newPasskey()]
  await put(app)
  await put(key)
  const listed = await factors.list(user.id)
  t.match(listed, { recovery_codes: { remaining: 10, created_at: Number }, user_handle: /^[\w-]{43}$/ })
  t.match(listed?.factors, [
    { id: app.id, method: 'totp' },
    { id: key.id, method: 'passkey', credential_id: String },
  ])
  t.notOk(JSON.stringify(listed).includes('sealed'), 'without what is secret')
  const another = await setup(await createBareUser(doorstep))
  t.equal(await factors.rename(another.user.id, app.id, 'stolen'), null)
  t.match(await factors.rename(user.id, app.id, 'mine'), { id: app.id, name: 'mine' })
  t.same(await remove(app.id, another.session), { outcome: 'unknown' })
  t.same(await remove(app.id, { id: randomUUID(), user_id: user.id }), { outcome: 'ended' })
  const other = await start()
  t.same(await remove(app.id), { outcome: 'removed', method: 'totp' })
  t.equal(await store.sessions.findLive(other, user.id), null)
  t.same(tally(await many(4, () => remove(key.id))), { last_factor: 4 })
  await doorstep.sql(`UPDATE users SET two_factor = 'optional' WHERE id = $1`, [user.id])
  t.same(tally(await many(4, () => remove(key.id))), { removed: 1, unknown: 3 })
  t.same([await rows('factors'), await rows('recovery_codes')], [[], []], 'the last takes the recovery codes along')
  t.same(await factors.renewRecoveryCodes({ ...session, epoch: await current() }, ten(), policy, event()), {
    outcome: 'conflict',
  })
  await doorstep.sql('UPDATE sessions SET ended_at = now() WHERE id = $1', [session.id])
  t.same(await factors.renewRecoveryCodes({ ...session, epoch: await current() }, ten(), policy, event()), {
    outcome: 'ended',
  })
})

t.test('findPasskey and startSession: each start succeeds once, for the account as it was read', async (t) => {
  const { put, store, user, policy, rows, current } = await setup(await createBareUser(doorstep))
  const [credential, key] = [randomBytes(32), randomUUID()]
  await put({ ...newPasskey(credential), id: key })
  t.equal(await store.factors.findPasskey(randomBytes(32)), null)
  const owner = await store.factors.findPasskey(credential)
  if (owner === null) throw new Error('the passkey was not found')
  t.match(owner, { user_id: user.id, epoch: await current(), disabled: false, factor: { id: key, counter: 1 } })
  const begin = (jti: string, of = owner, factor = key) =>
    store.factors.startSession(
      of,
      {
        start: { jti, expires_at: Math.floor(Date.now() / 1_000) + 300 },
        verdict: { right: true, factor_id: factor, counter: 7, data: { backed_up: true } },
        deviceHash: null,
      },
      { session: { ...newSession(), amr: ['hwk', 'mfa'], acr: 'aal2' }, device: newDevice(), policy, event: event() },
    )
  t.same(tally(await many(6, () => begin('one start'))), { started: 1, used: 5 })
  t.equal((await rows('sessions')).length, 2)
  t.match(await rows('factors'), [{ counter: '7', data: { public_key: 'a key', backed_up: true } }])
  t.same(await begin('another', { ...owner, epoch: owner.epoch + 1 }), { outcome: 'stale' })
  t.same(await begin('a third', owner, randomUUID()), { outcome: 'stale' }, 'a factor that is gone')
  await doorstep.sql('UPDATE users SET disabled_at = now() WHERE id = $1', [user.id])
  t.same(await begin('a fourth'), { outcome: 'stale' })
  t.match(await store.factors.findPasskey(credential), { disabled: true })
})
