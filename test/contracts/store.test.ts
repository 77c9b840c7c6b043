import { randomBytes, randomUUID } from 'node:crypto'
import pg from 'pg'
import t, { type Test } from 'tap'
import type { Event } from '../../src/events.ts'
import { policyOf, traits } from '../../src/features/factors/index.ts'
import type { Candidate } from '../../src/store/candidates.ts'
import type { NewChallenge, Pending, Proof, Purpose } from '../../src/store/challenges.ts'
import type { NewDevice } from '../../src/store/devices.ts'
import type { NewSession } from '../../src/store/sessions.ts'
import { age } from '../helpers/age.ts'
import { type Doorstep, startDoorstep } from '../helpers/doorstep.ts'
import { createUser, freshPhone } from '../helpers/story.ts'
import { countOf } from '../helpers/together.ts'

// What each verb of the store promises its callers, on the embedded database and on a real server alike. Where several
// call at once the promise is who wins; what they answer to a client is tried elsewhere.

t.setTimeout(300_000)

let doorstep: Doorstep
t.before(async () => {
  doorstep = await startDoorstep(t)
})

const event = (type: Event['type'] = 'user.changed'): Event => ({
  type,
  outcome: 'test',
  factor: 'sms',
  detail: 'a detail',
  caller: { requestId: randomUUID(), address: '192.0.2.7', userAgent: null },
})

const newSession = (): NewSession => ({
  id: randomUUID(),
  amr: ['pwd', 'sms', 'mfa'],
  acr: 'aal2',
  remember: false,
  mailbox_proven: false,
  user_agent: 'a browser',
  address: '192.0.2.7',
  ttl: 3_600,
  idle_ttl: 3_600,
})

const newDevice = (more: Partial<NewDevice> = {}): NewDevice => ({
  ...{ id: randomUUID(), token_hash: randomBytes(32).toString('hex'), name: 'a phone', address: '192.0.2.7' },
  ...{ user_agent: 'a browser', life: 7_776_000, trust: false, trust_life: 2_592_000, ...more },
})

const [rightMac, wrongMac] = ['ab'.repeat(32), 'cd'.repeat(32)]
const right = { k1: rightMac }
const wrong = { k1: wrongMac }
/** Budgets of which none is in the way. */
const plenty = {
  ...{ cooldown: 60, user_hour: 5, user_day: 10, phone_day: 30, address_hour: 1_000, address_day: 1_000 },
  ...{ prefix_hour: 1_000, service_hour: 1_000_000, service_day: 1_000_000, spend_day: 1_000_000 },
}

/** A code that was typed, as it is compared with the one that was sent. */
const proofOf = (macs: Record<string, string>): Proof => ({
  ...{ method: null, codes: { sms: macs }, recovery: [], credential: false, traits, fresh_recovery: [] },
  next_id: randomUUID(),
})

/** Refused for that many seconds, of which this machine may have stood still for some. */
function isRefused(t: Test, answer: object, outcome: string, seconds: number): void {
  t.match(answer, { outcome })
  const wait = (answer as { retry_after?: number }).retry_after ?? 0
  t.ok(wait > seconds - 20 && wait <= seconds, `${wait} of ${seconds} s`)
}

/** A user, and the verbs on one login of that user. */
async function setup() {
  const { store } = doorstep.services
  const user = await createUser(doorstep)
  const account = await store.accounts.findByEmail(user.email)
  if (account === null) throw new Error('the user was not found')
  const identifier = randomBytes(32)
  const limits = policyOf(doorstep.services)
  const text = { ...plenty, phone: user.phone, address: randomUUID() }
  const sending: Candidate = {
    ...{ method: 'sms', in_cooldown: true, at_most: 1, sends: 'sms', may_send: true, text },
    code: { mac: rightMac, key_id: 'k1' },
  }
  const begin = (deviceHash: Buffer | null = null) => store.throttle.begin(user.email, [identifier], deviceHash, text)
  const open = (candidate: Candidate = sending, more: Partial<NewChallenge> & { epoch?: number } = {}) => {
    const { epoch = account.epoch, ...changed } = more
    const stranger = { purpose: 'login', client: 'a browser', known: false, device_id: null } as const
    const challenge = { id: randomUUID(), ...stranger, proves_mailbox: false, ...changed }
    const whose = { id: user.id, epoch }
    return store.challenges.open(whose, [identifier], challenge, [candidate], limits, event('login.challenged'))
  }
  const pending = (id: string, pur: Purpose = 'login'): Pending => ({ cid: id, sub: user.id, pur })
  /** Opens one, and gives its id. */
  const opened = async (more: Parameters<typeof open>[1] = {}): Promise<string> => {
    const challenge = await open(sending, more)
    if (!('challenge_id' in challenge)) throw new Error(challenge.outcome)
    return challenge.challenge_id
  }
  const answer = (id: string, macs: Record<string, string> = right, session = newSession(), device = newDevice()) =>
    store.challenges.answer(pending(id), proofOf(macs), limits, session, device, event('session.started'))
  const start = (session = newSession(), { epoch = 0, deviceId = null as string | null, isTrusted = false } = {}) =>
    store.sessions.start(
      { id: user.id, epoch },
      { throttleKeys: [identifier], deviceId, isTrusted },
      { session, device: newDevice(), policy: limits, event: event('session.started') },
    )
  /** Signs in with a new device, and gives its id and the hash of its token. */
  const device = async (more: Partial<NewDevice> = {}): Promise<{ id: string; hash: Buffer }> => {
    const made = newDevice(more)
    await answer(await opened({ client: randomUUID() }), right, newSession(), made)
    return { id: made.id, hash: Buffer.from(made.token_hash, 'hex') }
  }
  const guard = async (known = false) => {
    const [row] = await doorstep.sql(
      'SELECT streak, locked_until > now() AS locked, cardinality(failed_at) AS failed FROM factor_guards WHERE user_id = $1 AND known = $2',
      [user.id, known],
    )
    return row
  }
  const aged = (seconds: number) => age(doorstep, user, seconds)
  return {
    store,
    user,
    account,
    identifier,
    limits,
    sending,
    text,
    pending,
    begin,
    open,
    opened,
    answer,
    start,
    device,
    guard,
    aged,
  }
}

const tally = (answers: { outcome: string }[]) => countOf(answers.map(({ outcome }) => outcome))
const many = <T>(count: number, work: () => Promise<T>): Promise<T[]> =>
  Promise.all(Array.from({ length: count }, work))

t.test('throttle', async (t) => {
  const rowOf = async (identifier: Uint8Array) => {
    const [row] = await doorstep.sql(
      'SELECT failures, locked_until > now() AS locked FROM login_throttles WHERE identifier = $1',
      [identifier],
    )
    return row
  }

  await t.test('begin: five, then locked, and what is refused is not counted', async (t) => {
    const { begin, identifier, account } = await setup()
    for (let failures = 1; failures <= 5; failures += 1) {
      t.same(await begin(), { outcome: 'charged', account, device: null })
      t.match(await rowOf(identifier), { failures })
    }
    for (let tries = 0; tries < 3; tries += 1) isRefused(t, await begin(), 'locked', 30)
    t.same(await rowOf(identifier), { failures: 5, locked: true })
  })

  await t.test('begin: of many at once, five win', async (t) => {
    const { begin, identifier } = await setup()
    t.same(tally(await many(20, () => begin())), { charged: 5, locked: 15 })
    t.same(await rowOf(identifier), { failures: 5, locked: true })
  })

  await t.test('begin: an hour at most, and a lock under any of the keys is a lock', async (t) => {
    const { store, user, text, identifier, begin } = await setup()
    const other = randomBytes(32)
    await begin()
    await doorstep.sql('UPDATE login_throttles SET failures = 40 WHERE identifier = $1', [identifier])
    t.match(await begin(), { outcome: 'charged' })
    isRefused(t, await begin(), 'locked', 3_600)
    for (const keys of [
      [identifier, other],
      [other, identifier],
    ]) {
      t.match(await store.throttle.begin(user.email, keys, null, text), { outcome: 'locked' })
    }
    t.equal(await rowOf(other), undefined, 'and nothing is counted under the other')
  })

  if (process.env.TEST_DATABASE_URL !== undefined) {
    await t.test('begin: who is refused waits for nobody', async (t) => {
      const { begin, identifier } = await setup()
      await many(5, () => begin())
      t.match(await begin(), { outcome: 'locked' })
      await doorstep.sql('BEGIN')
      await doorstep.sql('UPDATE login_throttles SET failures = failures WHERE identifier = $1', [identifier])
      t.match(await begin(), { outcome: 'locked' }, 'though its row is being written')
      await doorstep.sql('ROLLBACK')
    })
  }

  await t.test('begin: an e-mail that nobody has is counted alike', async (t) => {
    const { store, text } = await setup()
    const identifier = randomBytes(32)
    const ghost = () => store.throttle.begin('nobody@example.com', [identifier], null, text)
    t.same(await ghost(), { outcome: 'charged', account: null, device: null })
    t.same(tally(await many(8, ghost)), { charged: 4, locked: 4 })
  })

  await t.test('begin: one failure an hour is forgotten, and the hour that has begun goes on', async (t) => {
    const { begin, identifier } = await setup()
    await many(5, () => begin())
    const move = (seconds: number) =>
      doorstep.sql(
        `UPDATE login_throttles SET counted_from = counted_from - make_interval(secs => $2), locked_until = locked_until - make_interval(secs => $2)
         WHERE identifier = $1`,
        [identifier, seconds],
      )
    await move(3_500)
    t.match(await begin(), { outcome: 'charged' }, 'the sixth: none is forgotten yet')
    isRefused(t, await begin(), 'locked', 60)
    await move(3 * 3_600)
    t.match(await begin(), { outcome: 'charged' })
    t.match(await rowOf(identifier), { failures: 4, locked: null }, 'three hours are over, and a part of the fourth')
    await move(200)
    t.match(await begin(), { outcome: 'charged' })
    t.match(await rowOf(identifier), { failures: 4 }, 'that hour is over a little later')
    await move(100 * 3_600)
    t.match(await begin(), { outcome: 'charged' })
    t.match(await rowOf(identifier), { failures: 1 }, 'and never below nothing')
  })

  await t.test(
    'begin: a known device has a counter of its own, and one of another account is a stranger',
    async (t) => {
      const { store, user, begin, device, identifier } = await setup()
      const { id, hash } = await device()
      t.match(await begin(hash), { outcome: 'charged', device: { id, trusted: false } })
      await many(9, () => begin())
      t.match(await begin(), { outcome: 'locked' }, 'strangers have used up their guesses')
      t.match(await begin(hash), { outcome: 'charged', device: { id } }, 'the device has its own')
      t.same(tally(await many(9, () => begin(hash))), { charged: 3, locked: 6 })
      t.match(await rowOf(identifier), { failures: 5 }, 'and what it does is not counted for strangers')

      const other = await setup()
      t.match(await other.begin(hash), { outcome: 'charged', device: null }, 'to another account it is a stranger')
      for (const gone of ['expires_at = now()', `expires_at = now() + interval '1 day', failures = 20`]) {
        await doorstep.sql(`UPDATE devices SET ${gone} WHERE id = $1`, [id])
        await doorstep.sql('DELETE FROM login_throttles WHERE identifier = ANY ($1)', [[hash, identifier]])
        t.match(await begin(hash), { outcome: 'charged', device: null }, `${gone}: a stranger`)
      }
      await doorstep.sql("UPDATE devices SET failures = 0, trusted_until = now() + interval '1 hour' WHERE id = $1", [
        id,
      ])
      await store.accounts.unlock(user.email, [identifier], { all: false }, event())
      t.match(await begin(hash), { device: { trusted: true } })
      await doorstep.sql('UPDATE devices SET trusted_until = now() WHERE id = $1', [id])
      t.match(await begin(hash), { device: { trusted: false } })
    },
  )

  await t.test('begin: where strangers have no texts left their passwords are not looked at', async (t) => {
    const { store, user, identifier, opened, answer, text, aged, device } = await setup()
    const { hash } = await device()
    const full = { ...text, address_hour: 1 }
    const strangers = (budget: typeof plenty & { address: string } = full) =>
      store.throttle.begin(user.email, [identifier], null, budget)
    await aged(61)
    await opened({ client: 'a device', known: true })
    t.match(await strangers(), { outcome: 'charged' }, 'those of known devices and finished ones are not counted')
    const waiting = await opened()
    const refused = await strangers()
    t.match(refused, { outcome: 'address_spent', retry_after: Number })
    t.match(await store.throttle.begin('nobody@example.com', [identifier], null, full), { outcome: 'address_spent' })
    t.match(await store.throttle.begin(user.email, [identifier], hash, full), { outcome: 'charged' }, 'but a device is')
    t.match(await strangers({ ...full, address: 'elsewhere' }), { outcome: 'charged' })
    t.match(await strangers({ ...full, address: '' }), { outcome: 'charged' }, 'and what has no address')
    await answer(waiting)
    t.match(await strangers(), { outcome: 'charged' }, 'a login that is finished gives its text back')
  })

  await t.test(
    'fail: the charge stays, and a row tells of it; at an e-mail that nobody has a count does',
    async (t) => {
      const { store, user, begin, identifier } = await setup()
      await begin()
      await store.throttle.fail(user.id, null, event('login.failed'))
      t.match(await rowOf(identifier), { failures: 1 })
      const rows = await doorstep.sql(
        `SELECT address, detail FROM audit_events WHERE user_id = $1 AND type = 'login.failed'`,
        [user.id],
      )
      t.same(rows, [{ address: '192.0.2.7', detail: 'a detail' }])

      const all = async () =>
        (
          await doorstep.sql(
            `SELECT (SELECT count(*)::integer FROM audit_events) AS events, (SELECT coalesce(sum(failures), 0)::integer FROM unknown_logins) AS failures,
           (SELECT count(*)::integer FROM unknown_logins) AS rows`,
          )
        )[0] as { events: number; failures: number; rows: number }
      const before = await all()
      await many(40, () => store.throttle.fail(null, null, event('login.failed')))
      const after = await all()
      t.same([after.events - before.events, after.failures - before.failures], [0, 40])
      t.ok(after.rows <= 32, `${after.rows} rows for one or two hours`)
    },
  )

  await t.test('fail: the 20th in a row forgets a device', async (t) => {
    const { store, user, device, begin } = await setup()
    const { id, hash } = await device()
    await doorstep.sql('UPDATE devices SET failures = 18 WHERE id = $1', [id])
    const known = async () => (await doorstep.sql('SELECT failures FROM devices WHERE id = $1', [id]))[0]?.failures
    await begin(hash)
    await store.throttle.fail(user.id, id, event('login.failed'))
    t.equal(await known(), 19)
    await begin(hash)
    await store.throttle.fail(user.id, id, event('login.failed'))
    t.equal(await known(), undefined)
    t.match(await begin(hash), { outcome: 'charged', device: null })
  })

  await t.test('giveBack: as if it had not been charged, its lock included', async (t) => {
    const { store, begin, identifier, device } = await setup()
    await many(5, () => begin())
    await store.throttle.giveBack([identifier], null)
    t.same(await rowOf(identifier), { failures: 4, locked: null })
    for (let times = 0; times < 9; times += 1) await store.throttle.giveBack([identifier], null)
    t.match(await rowOf(identifier), { failures: 0 }, 'never below nothing')
    const { id, hash } = await device()
    await many(3, () => begin(hash))
    await store.throttle.giveBack([hash], id)
    t.match(await rowOf(hash), { failures: 2 }, 'a device, too, gets back one')
    t.same(await doorstep.sql('SELECT failures FROM devices WHERE id = $1', [id]), [{ failures: 2 }])
  })
})

t.test('accounts', async (t) => {
  const { accounts } = doorstep.services.store
  const newUser = (email: string, phone: string) =>
    accounts.create(
      { email, phone, passwordHash: 'a hash', twoFactor: 'required', locale: 'en' },
      event('user.created'),
    )

  await t.test('create: one e-mail once, one phone three times, also for many at once', async (t) => {
    const email = `${randomUUID()}@example.com`
    const same = await many(8, () => newUser(email, freshPhone()))
    t.same(tally(same), { created: 1, email_taken: 7 })
    const phone = freshPhone()
    t.same(tally(await many(8, () => newUser(`${randomUUID()}@example.com`, phone))), { created: 3, phone_taken: 5 })
    const created = same.find((it) => it.outcome === 'created')
    const found = await accounts.findByEmail(email)
    t.match(found, { email, password_hash: 'a hash', two_factor: 'required', epoch: 0, disabled: false })
    t.equal(created?.outcome === 'created' && created.id, found?.id)
    t.same(await doorstep.sql('SELECT type FROM audit_events WHERE user_id = $1', [found?.id]), [
      { type: 'user.created' },
    ])
    t.equal(await accounts.findByEmail('nobody@example.com'), null)
    t.match(await accounts.change(email, [], { phone }, event()), { outcome: 'phone_taken' })
    t.match(await accounts.findByEmail(email), { epoch: 0 }, 'and nothing was changed')
    const [sharing] = await doorstep.sql(
      'SELECT email FROM users JOIN factors ON factors.user_id = users.id WHERE phone = $1',
      [phone],
    )
    const kept = await accounts.change(sharing?.email, [], { phone }, event())
    t.match(kept, { outcome: 'changed' }, 'but who has it may keep it')
  })

  await t.test('change: what was begun before it ends with it', async (t) => {
    const { store, user, identifier, opened, start, device, begin, pending } = await setup()
    const { hash } = await device({ trust: true })
    const challengeId = await opened({ client: 'waiting' })
    const before = newSession()
    t.match(await start(before), { outcome: 'started' })
    const changed = { outcome: 'changed', id: user.id }
    const earlier = await setup()
    const waiting = await earlier.opened()
    await accounts.change(earlier.user.email, [], { two_factor: 'required' }, event())
    t.equal(await store.challenges.isAlive(earlier.pending(waiting)), false, 'whatever it was that changed')
    t.match(await accounts.change(user.email, [identifier], { disabled: true }, event()), changed)
    t.match(await accounts.findByEmail(user.email), {
      factors: [{ method: 'sms', phone: user.phone }],
      epoch: 1,
      disabled: true,
    })
    t.equal(await store.sessions.findLive(before.id, user.id), null)
    t.equal(await store.challenges.isAlive(pending(challengeId)), false)
    t.same(await store.sessions.list(user.id), [])
    t.match(await start(), { outcome: 'stale' }, 'the account as it was')
    t.match(await start(newSession(), { epoch: 1 }), { outcome: 'stale' }, 'and as it is: disabled')
    t.match(await begin(hash), { device: { trusted: false } }, 'the device is known, and trusted no longer')
    await accounts.change(
      user.email,
      [],
      { disabled: false, two_factor: 'off', phone: '+12025550199', password_hash: 'new' },
      event(),
    )
    const now = { password_hash: 'new', two_factor: 'off', epoch: 2, disabled: false }
    t.match(await accounts.findByEmail(user.email), { ...now, factors: [{ phone: '+12025550199' }] })
    t.match(await start(newSession(), { epoch: 1 }), { outcome: 'stale' })
    t.match(await start(newSession(), { epoch: 2 }), { outcome: 'started' })
    t.same(await accounts.change('nobody@example.com', [], { disabled: true }, event()), { outcome: 'unknown' })
  })

  for (const [what, isEmptied] of [
    [{ password_hash: 'new' }, true],
    [{ phone: '' }, true],
    [{ two_factor: 'required' }, false],
    [{ disabled: false }, false],
  ] as const) {
    await t.test(
      `change of ${Object.keys(what)}: the counters are ${isEmptied ? 'emptied' : 'kept'}, of both classes`,
      async (t) => {
        const { user, identifier, begin, opened, answer, device, guard } = await setup()
        const { id, hash } = await device()
        const texts = () =>
          doorstep.sql(`SELECT FROM sms_messages WHERE user_id = $1 AND state IN ('open', 'unsure', 'refused')`, [
            user.id,
          ])
        await answer(await opened({ client: 'one' }), wrong)
        await answer(await opened({ client: 'device', known: true, device_id: id }), wrong)
        await doorstep.sql(`UPDATE sms_messages SET state = 'refused' WHERE user_id = $1 AND known`, [user.id])
        await many(9, () => begin())
        await many(9, () => begin(hash))
        t.same([(await begin()).outcome, (await begin(hash)).outcome], ['locked', 'locked'])
        await accounts.change(user.email, [identifier], 'phone' in what ? { phone: freshPhone() } : what, event())
        t.same(
          [(await begin()).outcome, (await begin(hash)).outcome],
          isEmptied ? ['charged', 'charged'] : ['locked', 'locked'],
        )
        t.same(await doorstep.sql('SELECT failures FROM devices WHERE id = $1', [id]), [
          { failures: isEmptied ? 1 : 5 },
        ])
        t.same(
          [await guard(false), await guard(true)].map((it) => it?.failed),
          isEmptied ? [undefined, undefined] : [1, 1],
        )
        t.equal((await texts()).length, isEmptied ? 0 : 2)
      },
    )
  }

  await t.test('rehash: only over the hash that it read', async (t) => {
    const { user, account } = await setup()
    const both = await Promise.all(
      ['one', 'two'].map((hash) => accounts.rehash(user.id, account.password_hash ?? '', hash)),
    )
    t.same([...both].sort(), [false, true])
    const after = await accounts.findByEmail(user.email)
    t.equal(after?.password_hash, both[0] ? 'one' : 'two')
    t.equal(await accounts.rehash(user.id, 'another hash', 'three'), false)
    t.equal(after?.epoch, 0, 'and nobody is signed out')
  })

  await t.test('unlock: the locks of both steps and classes end, the budgets only with `all`', async (t) => {
    const { user, identifier, begin, device, opened, guard } = await setup()
    const { hash } = await device()
    await opened()
    for (const all of [false, true]) {
      await doorstep.sql(
        `INSERT INTO factor_guards (user_id, known, streak, locked_until, failed_at)
           SELECT $1, known, 10, now() + interval '1 day', ARRAY[now()] FROM (VALUES (true), (false)) AS class(known)
         ON CONFLICT (user_id, known) DO UPDATE SET streak = 10, locked_until = now() + interval '1 day'`,
        [user.id],
      )
      await many(9, () => begin())
      await many(9, () => begin(hash))
      t.equal(await accounts.unlock(user.email, [identifier], { all }, event('user.unlocked')), user.id)
      const left = all ? undefined : { streak: 0, locked: null, failed: 1 }
      t.same([await guard(false), await guard(true)], [left, left])
      t.same([(await begin()).outcome, (await begin(hash)).outcome], ['charged', 'charged'])
      const open = await doorstep.sql(`SELECT FROM sms_messages WHERE user_id = $1 AND state = 'open'`, [user.id])
      t.equal(open.length, all ? 0 : 1)
    }
    const rows = await doorstep.sql(`SELECT FROM audit_events WHERE user_id = $1 AND type = 'user.unlocked'`, [user.id])
    t.equal(rows.length, 2)
    t.equal(await accounts.unlock('nobody@example.com', [identifier], { all: true }, event('user.unlocked')), null)
  })

  await t.test('resetFactors: no factor and no code is left, and what was begun before it ends', async (t) => {
    const { store, user, identifier, opened, start, device, begin, pending, limits } = await setup()
    const { hash } = await device({ trust: true })
    const challengeId = await opened({ client: 'waiting' })
    const session = newSession()
    t.match(await start(session), { outcome: 'started' })
    await doorstep.sql('INSERT INTO recovery_codes (user_id, mac) VALUES ($1, $2)', [user.id, Buffer.alloc(32, 1)])
    t.equal(await accounts.resetFactors(user.email, [identifier], limits, event()), user.id)
    for (const table of ['factors', 'recovery_codes']) {
      t.same(await doorstep.sql(`SELECT FROM ${table} WHERE user_id = $1`, [user.id]), [], table)
    }
    t.equal(await store.sessions.findLive(session.id, user.id), null)
    t.equal(await store.challenges.isAlive(pending(challengeId)), false)
    t.match(await begin(hash), { device: { trusted: false } })
    const [listed] = (await accounts.list(1_000)).filter(({ id }) => id === user.id)
    t.match(listed, { phone: null, methods: [], two_factor: 'required' })
    t.equal(await accounts.resetFactors(user.email, [identifier], limits, event()), user.id, 'twice is as once')
    t.equal(await accounts.resetFactors('nobody@example.com', [identifier], limits, event()), null)
  })

  await t.test('list: oldest first, so many, without secrets', async (t) => {
    const all = await accounts.list(1_000)
    t.ok(all.length > 3)
    const times = all.map((it) => it.created_at)
    t.same(
      times,
      [...times].sort((a, b) => a - b),
    )
    t.same(await accounts.list(2), all.slice(0, 2))
    t.same(Object.keys(all[0] ?? {}).sort(), [
      ...['created_at', 'disabled', 'email', 'email_confirmed', 'id', 'locale', 'methods', 'phone', 'two_factor'],
    ])
  })

  await t.test('deleted, by whatever statement: nothing is left that says who it was', async (t) => {
    const { user, answer, opened, device } = await setup()
    await device()
    await answer(await opened(), wrong)
    await doorstep.sql('DELETE FROM users WHERE id = $1', [user.id])
    for (const table of ['challenges', 'sms_messages', 'sessions', 'devices', 'factor_guards', 'audit_events']) {
      t.same(await doorstep.sql(`SELECT FROM ${table} WHERE user_id = $1`, [user.id]), [], table)
    }
    t.same(await doorstep.sql('SELECT FROM sms_messages WHERE phone = $1', [user.phone]), [])
  })
})

t.test('challenges', async (t) => {
  const { challenges } = doorstep.services.store

  await t.test('open: the first of a client opens and pays for a text, the others join', async (t) => {
    const { user, open } = await setup()
    const all = await many(8, () => open())
    t.same(tally(all), { opened: 1, joined: 7 })
    t.equal(new Set(all.map((it) => 'challenge_id' in it && it.challenge_id)).size, 1)
    t.equal(all.filter((it) => 'message_id' in it && it.message_id !== null).length, 1, 'one text')
    t.match(all[0], {
      ...{ method: 'sms', begun: ['sms'], attempts_remaining: 5, codes_locked: false },
      code: { code_expires_in: Number, resend_after: Number, delivery: 'queued', key_id: 'k1' },
    })
    t.equal((await doorstep.sql('SELECT FROM sms_messages WHERE user_id = $1', [user.id])).length, 1)
  })

  await t.test('open: joined again when the next text is due, it goes', async (t) => {
    const { opened, open, aged } = await setup()
    const id = await opened()
    for (const [seconds, due] of [
      [30, false],
      [31, true],
      [61, true],
      [61, false],
    ] as const) {
      await aged(seconds)
      const joined = await open()
      t.match(joined, { outcome: 'joined', challenge_id: id })
      t.equal('message_id' in joined && joined.message_id !== null, due, `${seconds} s later`)
    }
  })

  await t.test('open: each client has a challenge of its own, and of more than three the oldest ends', async (t) => {
    const { opened, aged, pending } = await setup()
    const all: Pending[] = []
    const alive = async () => (await Promise.all(all.map((it) => challenges.isAlive(it)))).map(Number).join('')
    for (let count = 1; count <= 4; count += 1) {
      all.push(pending(await opened({ client: `client ${count}` })))
      await aged(61)
    }
    t.equal(new Set(all.map(({ cid }) => cid)).size, 4)
    t.equal(await alive(), '0111')
    all.push(pending(await opened({ client: 'a device', known: true })))
    await aged(61)
    all.push(pending(await opened({ client: 'session', known: true, purpose: 'step_up' }), 'step_up'))
    t.equal(await alive(), '011111', 'nor do those of another class or purpose end any')
  })

  await t.test('open: only logins that wait count among the three', async (t) => {
    const { opened, answer, aged, pending } = await setup()
    const waiting = await opened({ client: 'waiting' })
    for (let more = 1; more <= 3; more += 1) {
      await aged(61)
      t.match(await answer(await opened({ client: `finished ${more}` })), { outcome: 'completed' })
    }
    await opened({ client: 'another' })
    t.equal(await challenges.isAlive(pending(waiting)), true, 'those that are finished do not')

    await aged(61)
    const known = await opened({ client: 'device', known: true })
    for (let more = 1; more <= 3; more += 1) {
      await aged(61)
      await opened({ client: `session:${randomUUID()}`, known: true, purpose: 'step_up' })
    }
    await aged(61)
    await opened({ client: 'another device', known: true })
    t.equal(await challenges.isAlive(pending(known)), true, 'nor do step-ups')
  })

  await t.test('open: what is over is not joined', async (t) => {
    const { user, identifier, opened, open, answer, aged, sending, pending } = await setup()
    const fresh = async (what: string, candidate = sending, epoch = 0) => {
      await aged(61)
      const next = await open(candidate, { epoch })
      t.match(next, { outcome: 'opened' }, what)
      return 'challenge_id' in next ? next.challenge_id : ''
    }
    const first = await opened()
    const same = { client: 'a browser', purpose: 'step_up' } as const
    await aged(61)
    t.match(await open(sending, same), { outcome: 'opened' }, 'a challenge for something else')
    await aged(240)
    const second = await fresh('a code that has run out')
    t.equal(await challenges.isAlive(pending(first)), false, 'which then is over')
    await answer(second)
    const third = await fresh('a code that was used')
    await doorstep.sql('UPDATE challenges SET attempts = 5 WHERE id = $1', [third])
    await fresh('a code that was tried five times')
    await doorstep.services.store.accounts.change(user.email, [identifier], { two_factor: 'required' }, event())
    const after = await fresh('a code from before a change', sending, 1)
    t.equal(await challenges.isAlive(pending(after)), true)
    await doorstep.sql('UPDATE users SET disabled_at = now() WHERE id = $1', [user.id])
    t.same(await open(sending, { epoch: 1 }), { outcome: 'stale' }, 'nor is anything opened for who is disabled')
  })

  await t.test('open: the password is right, so its charge goes; a device starts anew', async (t) => {
    const { store, open, begin, identifier, account, user, device, sending, limits, aged } = await setup()
    await many(4, () => begin())
    t.match(await open(), { outcome: 'opened' })
    const failures = async (key: Buffer) =>
      (await doorstep.sql('SELECT failures FROM login_throttles WHERE identifier = $1', [key]))[0]?.failures
    t.equal(await failures(identifier), 3, 'a stranger gets back its own and no more')
    await many(5, () => begin())
    await open()
    t.match(await begin(), { outcome: 'charged' }, 'with the lock that it began')
    await aged(61)
    const { id, hash } = await device()
    await many(4, () => begin(hash))
    const whose = { client: 'x', known: true, device_id: id, proves_mailbox: false }
    const known = { ...whose, id: randomUUID(), purpose: 'login' } as const
    await store.challenges.open(account, [hash], known, [sending], limits, event())
    t.equal(await failures(hash), 0)
    t.same(await doorstep.sql('SELECT failures FROM devices WHERE user_id = $1', [user.id]), [{ failures: 0 }])
    t.same(await open(undefined, { epoch: account.epoch + 1 }), { outcome: 'stale' })
  })

  await t.test('open: what refuses a text', async (t) => {
    const { sending, text, open, opened, aged, user } = await setup()
    t.same(await open({ ...sending, may_send: false }), { outcome: 'sms_unavailable', retry_after: null })
    for (const limit of ['service_hour', 'service_day', 'spend_day']) {
      const refused = await open({ ...sending, text: { ...text, [limit]: 0 } })
      t.match(refused, { outcome: 'sms_unavailable', retry_after: null }, limit)
    }
    const id = await opened()
    await doorstep.sql('UPDATE challenges SET attempts = 5 WHERE id = $1', [id])
    isRefused(t, await open(), 'resend_too_soon', 60)
    await aged(61)
    for (const [limit, count] of Object.entries({
      user_hour: 1,
      user_day: 1,
      phone_day: 1,
      address_hour: 1,
      address_day: 1,
      prefix_hour: 1,
    })) {
      const refused = await open({ ...sending, text: { ...text, [limit]: count } })
      t.match(refused, { outcome: 'sms_limit_reached', retry_after: Number }, limit)
    }
    const elsewhere = { ...text, phone: freshPhone(), address: 'elsewhere' }
    const other = await setup()
    const onSamePhone = { ...other.text, phone: text.phone }
    for (const limit of ['user_hour', 'user_day']) {
      const tight = { ...sending, text: { ...elsewhere, [limit]: 1 } }
      t.match(await open(tight), { outcome: 'sms_limit_reached' }, `${limit}, whatever the phone`)
      const shared = { ...sending, text: { ...onSamePhone, [limit]: 1 } }
      t.match(await other.open(shared), { outcome: 'sms_limit_reached' }, `${limit}, whoever has the phone`)
    }
    await doorstep.sql('UPDATE sms_messages SET reserved_at = now() WHERE user_id = $1', [user.id])
    t.match(await open({ ...sending, text: elsewhere }), { outcome: 'resend_too_soon' }, "the cooldown is the user's")
    t.match(await other.open({ ...sending, text: onSamePhone }), { outcome: 'resend_too_soon' }, "and the phone's")
    await aged(61)
    t.match(
      await open(sending, { known: true, client: 'device' }),
      { outcome: 'opened' },
      'known clients have budgets of their own',
    )
    t.match(await open(), { outcome: 'opened' })
    await doorstep.sql(
      `INSERT INTO factor_guards (user_id, known, locked_until) VALUES ($1, false, now() + interval '1 hour')`,
      [user.id],
    )
    isRefused(t, await open(), 'locked', 3_600)
    t.match(await open(sending, { known: true, client: 'device' }), { outcome: 'joined' }, 'and locks')
  })

  if (process.env.TEST_DATABASE_URL !== undefined) {
    await t.test('open: a count that has grown old is not relied on', async (t) => {
      const { open, sending, text } = await setup()
      const [used] = await doorstep.sql(
        `SELECT count(*)::integer AS texts FROM sms_messages WHERE state = 'open' AND reserved_at > now() - interval '24 hours'`,
      )
      // Somebody is counting anew, and takes long.
      await doorstep.sql('BEGIN')
      await doorstep.sql(`SELECT pg_advisory_xact_lock(hashtextextended('text_totals', 0))`)
      await doorstep.services.store.messages.used()
      const old = new pg.Client({ connectionString: doorstep.database.url })
      await old.connect()
      await old.query(`UPDATE text_totals SET counted_at = now() - interval '4 seconds', day = -10000`)
      await old.end()
      const spent = { ...text, service_day: Number(used?.texts) }
      t.match(await open({ ...sending, text: spent }), { outcome: 'sms_unavailable' })
      await doorstep.sql('ROLLBACK')
      await doorstep.sql('DELETE FROM text_totals')
    })
  }

  await t.test('read and isAlive: only to the one whose challenge it is, and only while it lives', async (t) => {
    const { user, limits, opened, aged, pending } = await setup()
    const mine = pending(await opened())
    const account = { email: user.email, factors: [{ method: 'sms', phone: user.phone }] }
    t.match(await challenges.read(mine, limits), { outcome: 'found', account, attempts_remaining: 5 })
    t.equal(await challenges.isAlive(mine), true)
    const purposes = ['step_up', 'must_enrol', 'enrol'] as const
    for (const other of [{ ...mine, sub: randomUUID() }, ...purposes.map((pur) => ({ ...mine, pur }))]) {
      t.same(await challenges.read(other, limits), { outcome: 'invalid' }, other.pur)
      t.equal(await challenges.isAlive(other), false, other.pur)
    }
    await doorstep.sql('UPDATE users SET disabled_at = now() WHERE id = $1', [user.id])
    t.equal(await challenges.isAlive(mine), false)
    await doorstep.sql('UPDATE users SET disabled_at = NULL WHERE id = $1', [user.id])
    await aged(570)
    t.match(await challenges.read(mine, limits), { outcome: 'found', code: { code_expires_in: 0 } })
    await aged(31)
    t.same(await challenges.read(mine, limits), { outcome: 'invalid' })
    t.equal(await challenges.isAlive(mine), false)
  })

  await t.test('resend: the same challenge, counted, then refused', async (t) => {
    const { user, sending, opened, aged, limits, pending } = await setup()
    const id = await opened()
    const resend = (candidate = sending, mine = pending(id)) =>
      challenges.resend(mine, candidate, limits, event('code.resent'))
    t.match(await resend(), { outcome: 'resend_too_soon' })
    await aged(61)
    t.same(await resend({ ...sending, may_send: false }), { outcome: 'sms_unavailable', retry_after: null })
    t.match(await resend(), { outcome: 'sent', challenge_id: id, code: { resend_after: 60, code_expires_in: 300 } })
    await aged(310)
    t.match(await challenges.read(pending(id), limits), { code: { code_expires_in: 0 } })
    t.match(await resend(), { outcome: 'sent', code: { resend_after: null } }, 'also after the code has run out')
    const state = await challenges.read(pending(id), limits)
    t.ok('code' in state && state.code?.code_expires_in === state.expires_in && state.expires_in < 235, 'up to its end')
    await aged(61)
    t.match(await resend(), { outcome: 'sms_limit_reached' })
    t.equal((await doorstep.sql('SELECT FROM sms_messages WHERE challenge_id = $1', [id])).length, 3)
    await doorstep.sql('UPDATE challenges SET attempts = 5 WHERE id = $1', [id])
    t.match(await resend(), { outcome: 'exhausted' })
    await doorstep.sql(
      `INSERT INTO factor_guards (user_id, known, locked_until) VALUES ($1, false, now() + interval '1 hour')`,
      [user.id],
    )
    t.match(await resend(), { outcome: 'locked' })
    t.same(await resend(sending, { ...pending(id), sub: randomUUID() }), { outcome: 'invalid' })
  })

  await t.test('answer: of many wrong ones at once five are judged, and the account is charged as often', async (t) => {
    const { user, opened, answer, guard } = await setup()
    const id = await opened()
    const answers = await many(10, () => answer(id, wrong))
    t.same(tally(answers), { wrong: 5, exhausted: 5 })
    const left = answers.flatMap((it) => (it.outcome === 'wrong' ? [it.attempts_remaining] : []))
    t.same([...left].sort(), [0, 1, 2, 3, 4], 'each is told a count of its own')
    t.match(await guard(), { streak: 5, failed: 5 })
    t.equal(await guard(true), undefined, 'of this class only')
    t.match(await answer(id), { outcome: 'exhausted', retry_after: Number }, 'the right one comes too late')
    t.same(await answer(randomUUID()), { outcome: 'invalid' })
    const rows = await doorstep.sql(`SELECT FROM audit_events WHERE user_id = $1 AND type = 'code.failed'`, [user.id])
    t.equal(rows.length, 5, 'what is refused leaves no row')
    const other = await setup()
    t.same(await other.answer(id), { outcome: 'invalid' }, 'not for another user')
  })

  await t.test('answer: what is right is the hash of the very key, and nothing else', async (t) => {
    const { opened, answer } = await setup()
    const id = await opened()
    for (const macs of [{ k2: rightMac }, {}, { k1: rightMac.slice(2) }, { k1: '' }, { k2: rightMac, k1: wrongMac }]) {
      t.match(await answer(id, macs), { outcome: 'wrong' }, JSON.stringify(macs))
    }
    t.match(await (await setup()).answer(id), { outcome: 'invalid' })
  })

  await t.test('answer: not after the code ran out, not while codes are locked, not after the end', async (t) => {
    const { user, opened, answer, aged } = await setup()
    const id = await opened()
    await aged(301)
    t.same(await answer(id), { outcome: 'expired' })
    await doorstep.sql(
      `INSERT INTO factor_guards (user_id, known, locked_until) VALUES ($1, false, now() + interval '15 minutes')`,
      [user.id],
    )
    isRefused(t, await answer(id), 'locked', 900)
    t.match((await doorstep.sql('SELECT attempts FROM challenges WHERE id = $1', [id]))[0], { attempts: 0 })
    await aged(300)
    t.same(await answer(id), { outcome: 'invalid' })
  })

  // Streak, day and month, of which a success ends the first only.
  for (const [what, failures, from, streak, after] of [
    ['ten in a row', 9, '1 minute', 9, 900],
    ['fifteen in a row', 14, '1 minute', 14, 1_800],
    ['far more in a row', 94, '29 days', 94, 86_400],
    ['20 in a day', 19, '23 hours', 1, 3_600],
    ['100 in 30 days', 99, '719 hours', 1, 3_600],
  ] as const) {
    await t.test(`answer: ${what} lock the account's codes`, async (t) => {
      const { user, opened, answer, guard, open } = await setup()
      const id = await opened()
      await doorstep.sql(
        `INSERT INTO factor_guards (user_id, known, streak, failed_at) VALUES ($1, false, $3,
           array_fill(now() - $4::interval, ARRAY[$2::integer]))`,
        [user.id, failures, streak, from],
      )
      t.match(await answer(id, wrong), { outcome: 'wrong', attempts_remaining: 0 })
      t.match(await guard(), { streak: streak + 1, failed: failures + 1 })
      const locked = await answer(id)
      t.match(locked, { outcome: 'locked', retry_after: Number })
      t.ok('retry_after' in locked && Math.abs(Number(locked.retry_after) - after) <= 2, `${after} s`)
      t.match(await open(), { outcome: 'locked' })
      t.equal(
        (await doorstep.sql(`SELECT FROM audit_events WHERE user_id = $1 AND type = 'factor.locked'`, [user.id]))
          .length,
        1,
      )
    })
  }

  for (const [what, failures, from, streak, left] of [
    ['in a row', 7, '1 minute', 7, 2],
    ['in a row after the first lock', 12, '1 minute', 12, 2],
    ['in a day', 17, '23 hours', 1, 2],
    ['in 30 days', 97, '719 hours', 1, 2],
    ['of this login', 10, '25 hours', 10, 4],
  ] as const) {
    await t.test(`answer and read: how many are left ${what}`, async (t) => {
      const { user, opened, answer, limits, guard, aged, pending } = await setup()
      const id = await opened()
      await aged(61)
      const known = await opened({ client: 'device', known: true })
      await doorstep.sql(
        `INSERT INTO factor_guards (user_id, known, streak, failed_at) VALUES ($1, false, $3,
           array_fill(now() - $4::interval, ARRAY[$2::integer]))`,
        [user.id, failures, streak, from],
      )
      t.match(await answer(id, wrong), { outcome: 'wrong', attempts_remaining: left })
      t.match(await guard(), { locked: null })
      t.match(await challenges.read(pending(id), limits), { attempts_remaining: left })
      t.match(await challenges.read(pending(known), limits), { attempts_remaining: 5 }, 'the other class has all')
    })
  }

  await t.test('answer: what failed longer ago than 30 days is forgotten', async (t) => {
    const { user, opened, answer, guard } = await setup()
    const id = await opened()
    await doorstep.sql(
      `INSERT INTO factor_guards (user_id, known, failed_at) VALUES ($1, false,
         array_fill(now() - interval '721 hours', ARRAY[99]) || array_fill(now() - interval '25 hours', ARRAY[19]))`,
      [user.id],
    )
    t.match(await answer(id, wrong), { attempts_remaining: 4 })
    t.match(await guard(), { failed: 20 })
  })

  await t.test(
    'answer: exactly one of many, with one session, one device, one event and the texts given back',
    async (t) => {
      const { user, opened, answer, guard, pending } = await setup()
      const id = await opened()
      await answer(id, wrong)
      const sessions = Array.from({ length: 4 }, newSession)
      const done = await Promise.all(sessions.map((it) => answer(id, right, it)))
      t.same(tally(done), { completed: 1, invalid: 3 })
      const at = done.findIndex(({ outcome }) => outcome === 'completed')
      const { id: sid, amr, acr, user_agent, address } = sessions[at] as NewSession
      t.match(done[at], {
        id: sid,
        user_id: user.id,
        generation: 0,
        amr,
        acr,
        refresh_expires_in: 3_600,
        device: { made: true, trusted_until: null },
      })
      const rows = await doorstep.sql('SELECT id, amr, acr, user_agent, address FROM sessions WHERE user_id = $1', [
        user.id,
      ])
      t.same(rows, [{ id: sid, amr, acr, user_agent, address }])
      t.equal((await doorstep.sql('SELECT FROM devices WHERE user_id = $1', [user.id])).length, 1)
      const audited = await doorstep.sql(
        `SELECT outcome FROM audit_events WHERE user_id = $1 AND type = 'session.started'`,
        [user.id],
      )
      t.same(audited, [{ outcome: 'aal2' }])
      t.same(await guard(), { streak: 0, locked: null, failed: 1 }, 'the wrong one is still counted')
      t.same(await doorstep.sql('SELECT state FROM sms_messages WHERE user_id = $1', [user.id]), [
        { state: 'finished' },
      ])
      t.equal(await challenges.isAlive(pending(id)), false)
      t.same(await answer(id, wrong), { outcome: 'invalid' })
    },
  )

  await t.test('answer: a success gives back its own texts, and those of no other login', async (t) => {
    const { user, opened, answer, aged } = await setup()
    await opened({ client: 'another' })
    await aged(61)
    await answer(await opened())
    const states = await doorstep.sql('SELECT state FROM sms_messages WHERE user_id = $1 ORDER BY id', [user.id])
    t.same(states, [{ state: 'open' }, { state: 'finished' }])
  })

  await t.test('answer: a device of another account is not touched by a login that names it', async (t) => {
    const { user, opened, answer } = await setup()
    const other = await setup()
    const { id } = await other.device({ name: 'not theirs' })
    const mine = newDevice()
    const done = await answer(await opened({ known: true, device_id: id }), right, newSession(), mine)
    t.match(done, { outcome: 'completed', device: { made: true } })
    t.match(await other.store.devices.list(other.user.id), [{ id, name: 'not theirs' }])
    t.match(await other.store.devices.list(user.id), [{ id: mine.id }])
  })

  await t.test('answer: a success ends the streak of its class only', async (t) => {
    const { user, opened, answer, guard } = await setup()
    await doorstep.sql(`INSERT INTO factor_guards (user_id, known, streak) VALUES ($1, true, 7), ($1, false, 8)`, [
      user.id,
    ])
    await answer(await opened())
    t.match([await guard(false), await guard(true)], [{ streak: 0 }, { streak: 7 }])
  })

  await t.test('answer: a step-up raises its session, and only while that lives', async (t) => {
    const { user, opened, start, guard, aged, limits, store, pending } = await setup()
    const session = { ...newSession(), amr: ['pwd'], acr: 'aal1' }
    await start(session)
    await aged(100)
    const stepUp = { purpose: 'step_up', client: `session:${session.id}`, known: true } as const
    const raise = (id: string, macs: Record<string, string>, sid = session.id) =>
      store.challenges.answer(pending(id, 'step_up'), proofOf(macs), limits, { id: sid }, newDevice(), event())
    const first = await opened(stepUp)
    t.match(await raise(first, wrong), { outcome: 'wrong', attempts_remaining: 4 })
    t.match([await guard(true), await guard(false)], [{ streak: 0, failed: 1 }, undefined], 'no streak, but counted')
    t.same(await raise(first, right, randomUUID()), { outcome: 'invalid' }, 'not for another session')
    const raised = await raise(first, right)
    t.match(raised, { outcome: 'completed', id: session.id, acr: 'aal2', device: { made: false } })
    t.match(await store.sessions.findLive(session.id, user.id), { acr: 'aal2', amr: ['pwd', 'sms', 'mfa'] })
    const [{ fresh, same } = {}] = await doorstep.sql(
      `SELECT authenticated_at > now() - interval '20 seconds' AS fresh, created_at < now() - interval '90 seconds' AS same FROM sessions WHERE id = $1`,
      [session.id],
    )
    t.same([fresh, same], [true, true], 'authenticated anew, and no other session')

    await doorstep.sql('UPDATE sessions SET device_id = NULL WHERE id = $1', [session.id])
    await aged(61)
    t.match(await raise(await opened(stepUp), right), { outcome: 'completed', device: { made: false } })
    t.equal((await store.devices.list(user.id)).length, 1, 'and makes no device known')

    await aged(61)
    const second = await opened(stepUp)
    const old = `array_fill(now() - interval '24 hours 1 second', ARRAY[4])`
    await doorstep.sql(`UPDATE sessions SET proofs_failed_at = ${old} WHERE id = $1`, [session.id])
    t.match(
      await challenges.read(pending(second, 'step_up'), limits),
      { attempts_remaining: 5 },
      'a day later they are forgotten',
    )
    for (let tries = 1; tries <= 4; tries += 1) t.match(await raise(second, wrong), { outcome: 'wrong' })
    t.not(await store.sessions.findLive(session.id, user.id), null, 'four are not five')
    t.match(await raise(second, wrong), { outcome: 'wrong' })
    t.equal(await store.sessions.findLive(session.id, user.id), null, 'the fifth ends the session')
    t.match(await guard(true), { streak: 0, failed: 6 }, 'and still there is no streak')
    t.same(await raise(second, right), { outcome: 'invalid' })
    const rows = await doorstep.sql(`SELECT outcome FROM audit_events WHERE user_id = $1 AND type = 'session.ended'`, [
      user.id,
    ])
    t.same(rows, [{ outcome: 'five failed proofs' }])
  })
})

t.test('sessions', async (t) => {
  const { sessions } = doorstep.services.store

  await t.test('start, and findLive until it ends', async (t) => {
    const { user, start, begin, identifier } = await setup()
    const made = newSession()
    await many(3, () => begin())
    t.match(await start(made), { outcome: 'started', id: made.id, authenticated_at: Number, device: { made: true } })
    t.match(await sessions.findLive(made.id, user.id), {
      ...{ id: made.id, user_id: user.id, email: user.email, phone: user.phone, two_factor: 'required', epoch: 0 },
      ...{ email_confirmed: false, locale: 'en', methods: ['sms'] },
      ...{ amr: ['pwd', 'sms', 'mfa'], acr: 'aal2', authenticated_at: Number, age: Number, device_id: String },
    })
    const counted = await doorstep.sql('SELECT failures FROM login_throttles WHERE identifier = $1', [identifier])
    t.same(counted, [{ failures: 2 }], 'its charge was given back')
    t.equal(await sessions.findLive(made.id, randomUUID()), null, 'not for another user')
    t.equal(await sessions.findLive(randomUUID(), user.id), null)
    const lives = `ended_at = NULL, expires_at = now() + interval '9 seconds', idle_until = now() + interval '9 seconds'`
    for (const ended of ['ended_at = now()', 'expires_at = now()', 'idle_until = now()']) {
      await doorstep.sql(`UPDATE sessions SET ${ended} WHERE id = $1`, [made.id])
      t.equal(await sessions.findLive(made.id, user.id), null, ended)
      t.same(await sessions.list(user.id), [], ended)
      await doorstep.sql(`UPDATE sessions SET ${lives} WHERE id = $1`, [made.id])
    }
    t.not(await sessions.findLive(made.id, user.id), null)
    t.match(await sessions.list(user.id), [
      { id: made.id, user_agent: 'a browser', address: '192.0.2.7', created_at: Number, last_used_at: Number },
    ])
    await doorstep.sql('UPDATE users SET disabled_at = now() WHERE id = $1', [user.id])
    t.equal(await sessions.findLive(made.id, user.id), null, 'the user is disabled')
  })

  await t.test(
    'start: not for an account that was changed or disabled meanwhile, nor with a device that is not trusted',
    async (t) => {
      const { user, start, device, begin, identifier } = await setup()
      const { id } = await device({ trust: true })
      t.match(await start(newSession(), { deviceId: id, isTrusted: true }), {
        outcome: 'started',
        device: { made: false, trusted_until: Number },
      })
      await begin()
      const untrusted = async (what: string) => {
        t.same(await start(newSession(), { deviceId: id, isTrusted: true }), { outcome: 'untrusted' }, what)
      }
      await doorstep.sql('UPDATE devices SET trusted_until = now() WHERE id = $1', [id])
      await untrusted('its trust is over')
      const other = await setup()
      await doorstep.sql(`UPDATE devices SET trusted_until = now() + interval '1 day', user_id = $2 WHERE id = $1`, [
        id,
        other.user.id,
      ])
      await untrusted('it is of another account')
      t.match(
        await doorstep.sql('SELECT failures FROM login_throttles WHERE identifier = $1', [identifier]),
        [{ failures: 1 }],
        'and the charge stays for what follows',
      )
      t.same(await start(newSession(), { epoch: 1 }), { outcome: 'stale' })
      await doorstep.sql('UPDATE users SET disabled_at = now() WHERE id = $1', [user.id])
      t.same(await start(), { outcome: 'stale' })
      t.equal((await doorstep.sql('SELECT FROM sessions WHERE user_id = $1', [user.id])).length, 2)
    },
  )

  await t.test('rotate: of many, one; its copies get the same within 30 s; later they end the session', async (t) => {
    const { user, start, aged } = await setup()
    const { id } = newSession()
    await start({ ...newSession(), id })
    const rotate = (generation: number) =>
      sessions.rotate(id, generation, { graceSeconds: 30, idleSeconds: 99 }, event('refresh.reused'))
    const all = await many(8, () => rotate(0))
    t.same(tally(all), { rotated: 1, within_grace: 7 })
    t.ok(
      all.every((it) => 'generation' in it && it.generation === 1),
      'all of them the same',
    )
    t.match(await rotate(2), { outcome: 'ended' }, 'one that was never given')
    t.match(await rotate(1), { outcome: 'rotated', generation: 2 })
    await aged(31)
    t.match(await sessions.findLive(id, user.id), { id })
    t.same(await rotate(1), { outcome: 'reused', user_id: user.id })
    t.same(await rotate(2), { outcome: 'ended' })
    t.equal(await sessions.findLive(id, user.id), null)
    t.same(await rotate(1), { outcome: 'ended' })
    t.equal(
      (await doorstep.sql(`SELECT FROM audit_events WHERE user_id = $1 AND type = 'refresh.reused'`, [user.id])).length,
      1,
    )
  })

  await t.test(
    'rotate: two generations back is a copy even within the grace; only a remembered session rests longer',
    async (t) => {
      const { user, start } = await setup()
      const rotate = (id: string, generation: number) =>
        sessions.rotate(id, generation, { graceSeconds: 30, idleSeconds: 7_200 }, event('refresh.reused'))
      const plain = { ...newSession(), ttl: 86_400 }
      const remembered = { ...newSession(), remember: true, ttl: 86_400 }
      for (const session of [plain, remembered]) await start(session)
      t.match(await rotate(plain.id, 0), { outcome: 'rotated', refresh_expires_in: 3_600 })
      t.match(await rotate(remembered.id, 0), { outcome: 'rotated', refresh_expires_in: 7_200 })
      await rotate(plain.id, 1)
      t.match(await rotate(plain.id, 0), { outcome: 'reused' })
      for (const ended of [
        'ended_at = now()',
        'ended_at = NULL, expires_at = now()',
        `expires_at = now() + interval '1 day', idle_until = now()`,
      ]) {
        await doorstep.sql(`UPDATE sessions SET ${ended} WHERE id = $1`, [remembered.id])
        t.same(await rotate(remembered.id, 1), { outcome: 'ended' }, ended)
        t.same(await rotate(remembered.id, 0), { outcome: 'ended' }, `${ended}: nor is a copy told from it`)
      }
      await doorstep.sql(`UPDATE sessions SET ended_at = NULL, idle_until = now() + interval '1 day' WHERE id = $1`, [
        remembered.id,
      ])
      await doorstep.sql('UPDATE users SET disabled_at = now() WHERE id = $1', [user.id])
      t.same(await rotate(remembered.id, 1), { outcome: 'ended' }, 'the user is disabled')
    },
  )

  await t.test('end: this one, the others, or all, of this user', async (t) => {
    const { user, start } = await setup()
    const other = await setup()
    const [mine, ...more] = Array.from({ length: 4 }, newSession) as [NewSession, ...NewSession[]]
    for (const session of [mine, ...more]) await start(session)
    const theirs = newSession()
    await other.start(theirs)
    const end = (scope: 'local' | 'others' | 'all', id = mine.id) =>
      sessions.end(user.id, id, scope, event('session.ended'))
    t.equal(await end('local', theirs.id), 0, "not another user's")
    t.equal(await end('local', more[0]?.id), 1)
    t.equal(await end('others'), 2)
    t.same(
      (await sessions.list(user.id)).map(({ id }) => id),
      [mine.id],
    )
    t.equal(await end('all'), 1)
    t.equal(await end('all'), 0)
    t.equal(
      (await doorstep.sql(`SELECT FROM audit_events WHERE user_id = $1 AND type = 'session.ended'`, [user.id])).length,
      3,
    )
    t.not(await sessions.findLive(theirs.id, other.user.id), null)
  })
})

t.test('devices', async (t) => {
  const { devices } = doorstep.services.store
  const list = async (userId: string) => (await devices.list(userId)).map(({ id }) => id)

  await t.test('known after a login; used again, it lives on and is not made twice', async (t) => {
    const { user, device, answer, opened, aged } = await setup()
    const { id } = await device({ name: 'a phone', trust: true })
    const [made] = await devices.list(user.id)
    t.match(made, {
      id,
      name: 'a phone',
      address: '192.0.2.7',
      user_agent: 'a browser',
      created_at: Number,
      trusted_until: Number,
    })
    await aged(89 * 86_400)
    t.match(await devices.list(user.id), [{ id, trusted_until: null }], 'its trust ends of itself')
    const again = await answer(
      await opened({ client: 'device', known: true, device_id: id }),
      right,
      newSession(),
      newDevice({ name: null }),
    )
    t.match(again, { outcome: 'completed', device: { made: false, trusted_until: null } })
    await aged(89 * 86_400)
    t.match(await devices.list(user.id), [{ id, name: 'a phone' }])
    await aged(2 * 86_400)
    t.same(await list(user.id), [])
    const late = newDevice()
    t.match(await answer(await opened({ client: 'device', known: true, device_id: id }), right, newSession(), late), {
      device: { made: true },
    })
    t.same(await list(user.id), [late.id])
  })

  await t.test('twenty at most: those never used again go first, then those not used longest', async (t) => {
    const { user, device, answer, opened, aged } = await setup()
    const made: string[] = []
    const make = async (count: number) => {
      for (let more = 0; more < count; more += 1) {
        await aged(100)
        made.push((await device()).id)
      }
    }
    await make(2)
    // The two oldest are in use, if not lately.
    for (const id of made) {
      await aged(100)
      await answer(await opened({ client: id, known: true, device_id: id }))
    }
    await make(21)
    const left = new Set(await list(user.id))
    t.equal(left.size, 20)
    t.same(
      made.filter((id) => !left.has(id)),
      made.slice(2, 5),
    )
  })

  await t.test("change and forget: only one's own, and with it its sessions", async (t) => {
    const { store, user, device, begin, aged } = await setup()
    const other = await setup()
    const { id, hash } = await device({ trust: true })
    const change = (userId: string, name: string | null, endsTrust: boolean) =>
      devices.change(userId, id, { name, endsTrust }, event())
    t.equal(await change(other.user.id, 'stolen', true), null)
    t.match(await devices.list(user.id), [{ name: 'a phone', trusted_until: Number }])
    t.equal(await change(user.id, 'mine', false), 'named')
    t.equal(await change(user.id, 'mine', false), 'nothing')
    t.match(await devices.list(user.id), [{ name: 'mine', trusted_until: Number }])
    t.equal(await change(user.id, null, true), 'trust ended')
    t.equal(await change(user.id, null, true), 'nothing')
    t.match(await devices.list(user.id), [{ name: 'mine', trusted_until: null }])

    await doorstep.sql('UPDATE devices SET failures = 20 WHERE id = $1', [id])
    t.same(await devices.list(user.id), [], 'one whose guesses are used up is not known any more')
    await doorstep.sql('UPDATE devices SET failures = 0, expires_at = now() WHERE id = $1', [id])
    t.equal(await change(user.id, 'late', false), null, 'nor one that has run out')
    await doorstep.sql(`UPDATE devices SET expires_at = now() + interval '1 day' WHERE id = $1`, [id])

    await aged(61)
    const kept = await device()
    t.equal(await devices.forget(other.user.id, id, event()), false)
    t.equal((await store.sessions.list(user.id)).length, 2)
    t.equal(await devices.forget(user.id, id, event()), true)
    t.match(await store.sessions.list(user.id), [{ device_id: kept.id }], 'its session has ended, and no other')
    t.equal((await store.sessions.list(user.id)).length, 1)
    t.match(await begin(hash), { device: null })
    t.equal(await devices.forget(user.id, id, event()), false)
    t.equal(await change(user.id, 'gone', false), null)
  })
})

t.test('signing keys: of many replicas that start at once, one makes the key', async (t) => {
  const { signingKeys } = doorstep.services.store
  t.equal((await signingKeys.list()).length, 1, 'the service made one')
  await doorstep.sql('DELETE FROM signing_keys')
  t.same(await signingKeys.list(), [])
  const keys = Array.from({ length: 8 }, (_, at) => ({
    id: `key-${at}`,
    publicJwk: { kty: 'EC', crv: 'P-256', x: `${at}` },
    seals: { k1: randomBytes(64).toString('hex') },
  }))
  const add = (key: (typeof keys)[number]) => signingKeys.add(key, { minAge: 60, delay: 390 }, event('key.created'))
  const made = await Promise.all(keys.map(add))
  t.same(countOf(made.map(String)), { true: 1, false: 7 })
  const winner = keys[made.indexOf(true)]
  const [first] = await signingKeys.list()
  t.match(first, {
    id: winner?.id,
    publicJwk: winner?.publicJwk,
    seals: winner?.seals,
    createdAt: Date,
    activeAt: Date,
  })
  t.ok((first?.activeIn ?? 1) <= 0, 'the very first is needed at once')
  const rows = await doorstep.sql(`SELECT FROM audit_events WHERE type = 'key.created' AND outcome = 'test'`)
  t.equal(rows.length, 1, 'and only that is recorded')
})

t.test('audit: one row, with what was given and nothing more', async (t) => {
  const { user } = await setup()
  const given: Event = { ...event('code.failed'), userId: user.id }
  await doorstep.services.store.audit.record(given)
  const rows = await doorstep.sql(`SELECT * FROM audit_events WHERE user_id = $1 AND type = 'code.failed'`, [user.id])
  t.equal(rows.length, 1)
  t.match(rows[0], { outcome: 'test', factor: 'sms', detail: 'a detail', at: Date, id: String })
  t.match(rows[0], { address: '192.0.2.7', request_id: given.caller?.requestId })
  await doorstep.services.store.audit.record({ type: 'key.created', outcome: 'bare' })
  const [bare] = await doorstep.sql(`SELECT * FROM audit_events WHERE outcome = 'bare'`)
  t.match(bare, { user_id: null, factor: null, address: null, request_id: null, detail: null })
})

t.test('messages', async (t) => {
  const setUp = async () => {
    const made = await setup()
    const id = await made.opened()
    const [row] = await doorstep.sql('SELECT message_id FROM challenge_codes WHERE challenge_id = $1', [id])
    const textId = Number(row?.message_id)
    const providerId = `SM${randomBytes(16).toString('hex')}`
    const state = async () =>
      (await doorstep.sql('SELECT state, delivery, provider_id, error FROM sms_messages WHERE id = $1', [textId]))[0]
    return { ...made, id, textId, providerId, state, messages: made.store.messages }
  }

  await t.test(
    'the first answer of the provider stands, and a login that is finished is not opened again',
    async (t) => {
      const { messages, textId, providerId, state, store, id, limits, answer, pending } = await setUp()
      await messages.recordAnswer(textId, { delivery: 'sent', state: 'open', providerId, error: null }, null)
      await messages.recordAnswer(textId, { delivery: 'failed', state: 'open', providerId: null, error: null }, null)
      await messages.recordAnswer(
        2 ** 52,
        { delivery: 'failed', state: 'unsure', providerId: null, error: '20500' },
        null,
      )
      t.same(await state(), { state: 'open', delivery: 'sent', provider_id: providerId, error: null })
      t.match(await store.challenges.read(pending(id), limits), { code: { delivery: 'sent' } })
      await answer(id)
      await doorstep.sql(`UPDATE sms_messages SET delivery = 'queued' WHERE id = $1`, [textId])
      await messages.recordAnswer(textId, { delivery: 'failed', state: 'refused', providerId: null, error: null }, null)
      t.match(await state(), { state: 'finished' })
    },
  )

  await t.test('a receipt counts before the answer, and its end stays whatever comes late', async (t) => {
    const { messages, textId, providerId, state } = await setUp()
    const receipt = (delivery: 'sent' | 'delivered' | 'failed', id: number | null = textId, sid = providerId) =>
      messages.recordReceipt(id, { providerId: sid, delivery, error: delivery === 'failed' ? '30003' : null })
    t.equal(await receipt('sent'), true)
    t.equal(await receipt('sent'), false, 'that says no more')
    t.equal(await receipt('delivered', textId, 'SMother'), false, 'of another text')
    t.equal(await receipt('delivered', null), true, "by the provider's number")
    await messages.recordAnswer(textId, { delivery: 'sent', state: 'open', providerId, error: null }, null)
    for (const late of ['sent', 'failed', 'delivered'] as const) t.equal(await receipt(late), false)
    t.match(await state(), { delivery: 'delivered', error: null })
    t.equal(await receipt('sent', 2 ** 52), false, 'of a text that is not ours')
    t.equal(await receipt('sent', null, 'SMnobody'), false)
  })

  await t.test('a text that was certainly not sent gives its budgets back, and not its cooldown', async (t) => {
    for (const [state, ofUser, ofPhone] of [
      ['refused', true, true],
      ['unsure', true, false],
      ['open', false, false],
    ] as const) {
      const { messages, textId, aged, open, sending, text } = await setUp()
      await messages.recordAnswer(textId, { delivery: 'failed', state, providerId: null, error: '21610' }, null)
      const outcomeOf = async (limit: object) =>
        (await open({ ...sending, text: { ...text, ...limit } }, { client: randomUUID() })).outcome
      if (state !== 'open') t.equal(await outcomeOf({}), 'resend_too_soon', `${state}: the cooldown`)
      await aged(61)
      const limit = 'sms_limit_reached'
      t.equal(await outcomeOf({ phone_day: 1 }), ofPhone ? 'opened' : limit, `${state}: what a phone gets in a day`)
      await doorstep.sql('DELETE FROM sms_messages WHERE phone = $1 AND id > $2', [text.phone, textId])
      t.equal(await outcomeOf({ user_hour: 1 }), ofUser ? 'opened' : limit, `${state}: what leads nowhere`)
    }
  })

  await t.test('a text of which the network says that it failed is no reason to wait', async (t) => {
    const { messages, textId, providerId, open } = await setUp()
    await messages.recordAnswer(textId, { delivery: 'sent', state: 'open', providerId, error: null }, null)
    t.match(await open(undefined, { client: 'another' }), { outcome: 'resend_too_soon' })
    await messages.recordReceipt(textId, { providerId, delivery: 'failed', error: '30003' })
    t.match(await open(undefined, { client: 'another' }), { outcome: 'opened' })
  })

  await t.test('used: open ones of the hour and the day, and all of the day but the refused', async (t) => {
    await doorstep.sql('TRUNCATE sms_messages, text_totals')
    t.match(await doorstep.services.store.messages.used(), { hour: 0, day: 0, spent: 0 })
    await doorstep.sql(
      `INSERT INTO sms_messages (user_id, challenge_id, known, phone, prefix, address, state, reserved_at)
       SELECT gen_random_uuid(), gen_random_uuid(), false, '+1', '', '', state, now() - age FROM (VALUES
         ('finished', interval '23 hours'), ('open', interval '22 hours'), ('unsure', interval '2 hours'), ('refused', interval '1 hour'),
         ('open', interval '1 minute'), ('open', interval '1 second')) AS text(state, age)`,
    )
    await doorstep.sql(`UPDATE text_totals SET counted_at = now() + interval '1 minute'`)
    t.match(await doorstep.services.store.messages.used(), { hour: 0 }, 'counted a moment ago')
    await doorstep.sql(`UPDATE text_totals SET counted_at = counted_at - interval '2 minutes'`)
    t.match(await doorstep.services.store.messages.used(), { hour: 2, day: 3, spent: 5 })
  })
})

t.test('health: whether every migration is there', async (t) => {
  const { health } = doorstep.services.store
  t.equal(await health.isMigrated(), true)
  for (const broken of ['finished_at = NULL', 'finished_at = now(), rolled_back_at = now()']) {
    await doorstep.sql(
      `UPDATE _prisma_migrations SET ${broken} WHERE migration_name = (SELECT max(migration_name) FROM _prisma_migrations)`,
    )
    t.equal(await health.isMigrated(), false, broken)
  }
  await doorstep.sql('UPDATE _prisma_migrations SET finished_at = now(), rolled_back_at = NULL')
  t.equal(await health.isMigrated(), true)
})
