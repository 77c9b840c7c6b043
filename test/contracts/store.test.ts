import { randomBytes, randomUUID } from 'node:crypto'
import t from 'tap'
import type { Event } from '../../src/events.ts'
import type { ChallengePolicy } from '../../src/store/challenges.ts'
import type { NewSession } from '../../src/store/sessions.ts'
import { type Doorstep, startDoorstep } from '../helpers/doorstep.ts'
import { createUser, freshPhone } from '../helpers/story.ts'

// What each verb of the store promises its callers, on the embedded database and on a real server alike. Where several
// call at once the promise is who wins; what they answer to a client is tried elsewhere.

t.setTimeout(120_000)

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

const session = (): NewSession => ({
  id: randomUUID(),
  amr: ['pwd', 'sms', 'mfa'],
  acr: 'aal2',
  remember: false,
  user_agent: 'a browser',
  address: '192.0.2.7',
  ttl: 3_600,
  idle_ttl: 3_600,
})

const limits: ChallengePolicy = { code_ttl: 300, challenge_ttl: 600, max_attempts: 5, max_sends: 3, cooldown: 60 }

/** A user, and the verbs on one challenge of that user. */
async function setup() {
  const { store } = doorstep.services
  const user = await createUser(doorstep)
  const account = await store.accounts.findByEmail(user.email)
  if (account === null) throw new Error('the user was not found')
  const identifier = randomBytes(32)
  const sending: ChallengePolicy = {
    ...limits,
    may_send: true,
    rules: [{ key: `user:${user.id}`, cooldown: 60, hour: 5, day: 10, refundable: true }],
    totals: [{ period: 'hour', max: 1_000_000 }],
  }
  const open = (policy: ChallengePolicy = sending, epoch = account.epoch) =>
    store.challenges.open(
      { id: user.id, epoch },
      identifier,
      { id: randomUUID(), purpose: 'login', code_mac: 'ab'.repeat(32), key_id: 'k1', message_id: randomUUID() },
      policy,
      event('login.challenged'),
    )
  /** Opens one, and gives its id. */
  const begin = async (): Promise<string> => {
    const opened = await open()
    if (!('challenge_id' in opened)) throw new Error(opened.outcome)
    return opened.challenge_id
  }
  /** As if the newest text had been sent a while ago. */
  const age = async (seconds: number): Promise<void> => {
    await doorstep.sql(
      `UPDATE challenges SET created_at = created_at - make_interval(secs => $2), last_sent_at = last_sent_at - make_interval(secs => $2),
         expires_at = expires_at - make_interval(secs => $2), ends_at = ends_at - make_interval(secs => $2) WHERE user_id = $1`,
      [user.id, seconds],
    )
    await doorstep.sql(
      `UPDATE sms_budgets SET sent_at = ARRAY(SELECT s - make_interval(secs => $2) FROM unnest(sent_at) s) WHERE key = 'user:' || $1::text`,
      [user.id, seconds],
    )
  }
  return { store, user, account, identifier, sending, open, begin, age }
}

const tally = (outcomes: string[]): Record<string, number> => {
  const counts: Record<string, number> = {}
  for (const outcome of outcomes) counts[outcome] = (counts[outcome] ?? 0) + 1
  return counts
}

t.test('throttle', async (t) => {
  const { throttle } = doorstep.services.store
  const rowOf = async (identifier: Uint8Array) =>
    (
      await doorstep.sql(
        'SELECT failures, in_flight, locked_until > now() AS locked FROM login_throttles WHERE identifier = $1',
        [identifier],
      )
    )[0]
  const settle = (identifier: Uint8Array) => throttle.settleFailure(identifier, event('login.failed'))

  await t.test('charge: five, then locked, and what is refused is not counted', async (t) => {
    const identifier = randomBytes(32)
    for (let failures = 1; failures <= 5; failures += 1) {
      t.same(await throttle.charge(identifier), { outcome: 'charged' })
      t.match(await rowOf(identifier), { failures, in_flight: 1 })
      await settle(identifier)
    }
    for (let tries = 0; tries < 3; tries += 1) {
      t.match(await throttle.charge(identifier), { outcome: 'locked', retry_after: 30 })
    }
    t.same(await rowOf(identifier), { failures: 5, in_flight: 0, locked: true })
  })

  await t.test('charge: of many at once, five win', async (t) => {
    const identifier = randomBytes(32)
    const charges = await Promise.all(Array.from({ length: 10 }, () => throttle.charge(identifier)))
    t.same(tally(charges.map(({ outcome }) => outcome)), { charged: 5, contended: 5 })
    t.match(await rowOf(identifier), { failures: 5, in_flight: 5 })
  })

  await t.test('settleFailure: the charge stays, and there is an audit row', async (t) => {
    const identifier = randomBytes(32)
    await throttle.charge(identifier)
    await settle(identifier)
    t.match(await rowOf(identifier), { failures: 1, in_flight: 0 })
    const rows = await doorstep.sql('SELECT type, address, detail FROM audit_events WHERE identifier = $1', [
      identifier,
    ])
    t.same(rows, [{ type: 'login.failed', address: '192.0.2.7', detail: 'a detail' }])
    await settle(identifier)
    t.match(await rowOf(identifier), { failures: 1, in_flight: 0 }, 'never below nothing')
  })

  await t.test('release: as if it had not been charged, its lock included', async (t) => {
    const identifier = randomBytes(32)
    for (let failures = 1; failures <= 5; failures += 1) await throttle.charge(identifier)
    t.match(await rowOf(identifier), { failures: 5, in_flight: 5, locked: true })
    await throttle.release(identifier)
    t.match(await rowOf(identifier), { failures: 4, in_flight: 4, locked: null })
    for (let times = 0; times < 9; times += 1) await throttle.release(identifier)
    t.match(await rowOf(identifier), { failures: 0, in_flight: 0 }, 'never below nothing')
  })
})

t.test('accounts', async (t) => {
  const { accounts, sessions, challenges } = doorstep.services.store
  const newUser = (email: string, phone: string) =>
    accounts.create({ email, phone, passwordHash: 'a hash', twoFactor: 'sms' }, event('user.created'))

  await t.test('create: one e-mail once, one phone three times, also for many at once', async (t) => {
    const email = `${randomUUID()}@example.com`
    const same = await Promise.all(Array.from({ length: 8 }, () => newUser(email, freshPhone())))
    t.same(tally(same.map(({ outcome }) => outcome)), { created: 1, email_taken: 7 })
    const phone = freshPhone()
    const shared = await Promise.all(Array.from({ length: 8 }, () => newUser(`${randomUUID()}@example.com`, phone)))
    t.same(tally(shared.map(({ outcome }) => outcome)), { created: 3, phone_taken: 5 })
    const created = same.find((it) => it.outcome === 'created')
    const found = await accounts.findByEmail(email)
    t.match(found, { email, passwordHash: 'a hash', twoFactor: 'sms', epoch: 0, disabled: false })
    t.equal(created?.outcome === 'created' && created.id, found?.id)
    t.same(await doorstep.sql('SELECT type FROM audit_events WHERE user_id = $1', [found?.id]), [
      { type: 'user.created' },
    ])
    t.equal(await accounts.findByEmail('nobody@example.com'), null)
  })

  await t.test('change: what was begun before it ends with it', async (t) => {
    const { user, account, identifier, begin } = await setup()
    const challengeId = await begin()
    const before = session()
    t.match(await sessions.start(account, { identifier, deviceId: null }, before, event()), { outcome: 'started' })
    t.same(await accounts.change(user.email, { password_hash: 'new', disabled: true }, event()), {
      outcome: 'changed',
      id: user.id,
    })
    t.match(await accounts.findByEmail(user.email), {
      passwordHash: 'new',
      phone: user.phone,
      epoch: 1,
      disabled: true,
    })
    t.equal(await sessions.findLive(before.id, user.id), null)
    t.equal(await challenges.isAlive(challengeId, user.id), false)
    t.match(
      await sessions.start(account, { identifier, deviceId: null }, session(), event()),
      { outcome: 'stale' },
      'the old password',
    )
    await accounts.change(user.email, { disabled: false, two_factor: 'off', phone: '+12025550199' }, event())
    const now = await accounts.findByEmail(user.email)
    t.match(now, { passwordHash: 'new', phone: '+12025550199', twoFactor: 'off', epoch: 2, disabled: false })
    t.same(await accounts.change('nobody@example.com', { disabled: true }, event()), { outcome: 'unknown' })
  })

  await t.test('rehash: only over the hash that it read', async (t) => {
    const { user, account } = await setup()
    const both = await Promise.all(['one', 'two'].map((hash) => accounts.rehash(user.id, account.passwordHash, hash)))
    t.same([...both].sort(), [false, true])
    const after = await accounts.findByEmail(user.email)
    t.equal(after?.passwordHash, both[0] ? 'one' : 'two')
    t.equal(await accounts.rehash(user.id, 'another hash', 'three'), false)
    t.equal(after?.epoch, 0, 'and nobody is signed out')
  })

  await t.test('unlock: both locks end, the budgets do not', async (t) => {
    const { store, user, identifier } = await setup()
    await doorstep.sql(
      `UPDATE factor_guards SET streak = 100, locked_until = now() + interval '1 day', failed_at = ARRAY[now()] WHERE user_id = $1`,
      [user.id],
    )
    for (let failures = 1; failures <= 5; failures += 1) await store.throttle.charge(identifier)
    t.equal(await accounts.unlock(user.email, [identifier], event('user.unlocked')), user.id)
    const [guard] = await doorstep.sql(
      'SELECT streak, locked_until, cardinality(failed_at) AS failed FROM factor_guards WHERE user_id = $1',
      [user.id],
    )
    t.same(guard, { streak: 0, locked_until: null, failed: 1 })
    t.same(await store.throttle.charge(identifier), { outcome: 'charged' })
    t.equal(await accounts.unlock('nobody@example.com', [identifier], event('user.unlocked')), null)
  })

  await t.test('list: oldest first, so many, without secrets', async (t) => {
    const all = await accounts.list(1_000)
    t.ok(all.length > 3)
    t.same(
      all.map(({ createdAt }) => createdAt.getTime()),
      all.map(({ createdAt }) => createdAt.getTime()).sort((a, b) => a - b),
    )
    t.same(await accounts.list(2), all.slice(0, 2))
    t.same(Object.keys(all[0] ?? {}).sort(), ['createdAt', 'disabled', 'email', 'id', 'phone', 'twoFactor'])
  })
})

t.test('challenges', async (t) => {
  const { challenges } = doorstep.services.store

  await t.test('open: the first opens and pays for a text, the others join', async (t) => {
    const { user, open } = await setup()
    const all = await Promise.all(Array.from({ length: 8 }, () => open()))
    t.same(tally(all.map(({ outcome }) => outcome)), { opened: 1, joined: 7 })
    t.equal(new Set(all.map((it) => 'challenge_id' in it && it.challenge_id)).size, 1)
    t.equal(all.filter((it) => 'send' in it && it.send).length, 1, 'one text')
    t.match(all[0], {
      code_expires_in: Number,
      resend_after: Number,
      attempts_remaining: 5,
      delivery: 'queued',
      key_id: 'k1',
    })
    t.equal((await doorstep.sql('SELECT FROM sms_messages WHERE user_id = $1', [user.id])).length, 1)
  })

  await t.test('open: forgives the password, unless the account is not what it was', async (t) => {
    const { store, open, identifier, account } = await setup()
    for (let failures = 1; failures <= 4; failures += 1) await store.throttle.charge(identifier)
    t.match(await open(), { outcome: 'opened' })
    const [row] = await doorstep.sql('SELECT failures FROM login_throttles WHERE identifier = $1', [identifier])
    t.equal(row?.failures, 0)
    t.same(await open(undefined, account.epoch + 1), { outcome: 'stale' })
  })

  await t.test('open: what refuses a text', async (t) => {
    const { sending, open, begin, age, user } = await setup()
    t.same(await open({ ...sending, may_send: false }), { outcome: 'sms_unavailable' })
    const full = { ...sending, totals: [{ period: 'day' as const, max: 0 }] }
    t.match(await open(full), { outcome: 'sms_unavailable', retry_after: Number })
    const id = await begin()
    await doorstep.sql('UPDATE challenges SET attempts = 5 WHERE id = $1', [id])
    t.match(await open(), { outcome: 'resend_too_soon', retry_after: 60 })
    await doorstep.sql(
      `UPDATE sms_budgets SET sent_at = array_fill(now() - interval '2 minutes', ARRAY[5]) WHERE key = 'user:' || $1`,
      [user.id],
    )
    t.match(await open(), { outcome: 'sms_limit_reached', retry_after: Number })
    await age(3_600)
    t.match(await open(), { outcome: 'opened' })
    await doorstep.sql(`UPDATE factor_guards SET locked_until = now() + interval '1 hour' WHERE user_id = $1`, [
      user.id,
    ])
    t.match(await open(), { outcome: 'locked', retry_after: 3_600 })
    await doorstep.sql(`UPDATE factor_guards SET streak = 100 WHERE user_id = $1`, [user.id])
    t.same(await open(), { outcome: 'locked', retry_after: null }, 'for good: no time is promised')
  })

  await t.test('read and isAlive: only to the one whose challenge it is, and only while it lives', async (t) => {
    const { user, begin, age } = await setup()
    const id = await begin()
    t.match(await challenges.read(id, user.id, limits), { outcome: 'found', phone: user.phone, attempts_remaining: 5 })
    t.equal(await challenges.isAlive(id, user.id), true)
    t.same(await challenges.read(id, randomUUID(), limits), { outcome: 'invalid' })
    t.equal(await challenges.isAlive(id, randomUUID()), false)
    await age(599)
    t.match(await challenges.read(id, user.id, limits), { outcome: 'found', code_expires_in: 0 })
    await age(2)
    t.same(await challenges.read(id, user.id, limits), { outcome: 'invalid' })
    t.equal(await challenges.isAlive(id, user.id), false)
  })

  await t.test('resend: the same challenge, counted, then refused', async (t) => {
    const { user, sending, begin, age } = await setup()
    const id = await begin()
    const resend = () => challenges.resend(id, user.id, randomUUID(), sending, event('code.resent'))
    t.match(await resend(), { outcome: 'resend_too_soon' })
    await age(61)
    t.match(await resend(), { outcome: 'sent', challenge_id: id, resend_after: 60 })
    await age(61)
    t.match(await resend(), { outcome: 'sent', resend_after: null })
    await age(61)
    t.match(await resend(), { outcome: 'sms_limit_reached' })
    const texts = await doorstep.sql('SELECT FROM sms_messages WHERE challenge_id = $1', [id])
    t.equal(texts.length, 3)
    await doorstep.sql('UPDATE challenges SET attempts = 5 WHERE id = $1', [id])
    t.match(await resend(), { outcome: 'exhausted' })
    t.same(await challenges.resend(id, randomUUID(), randomUUID(), sending, event()), { outcome: 'invalid' })
  })

  await t.test('charge: of many at once, five may compare, and the account is charged as often', async (t) => {
    const { user, begin } = await setup()
    const id = await begin()
    const charges = await Promise.all(Array.from({ length: 10 }, () => challenges.charge(id, user.id, limits)))
    t.same(tally(charges.map(({ outcome }) => outcome)), { charged: 5, exhausted: 5 })
    const left = charges.flatMap((it) => (it.outcome === 'charged' ? [it.attempts_remaining] : []))
    t.same([...left].sort(), [0, 1, 2, 3, 4], 'each is told a count of its own')
    const [charged] = charges.filter(({ outcome }) => outcome === 'charged')
    t.match(charged, { purpose: 'login', code_mac: 'ab'.repeat(32), key_id: 'k1' })
    const [guard] = await doorstep.sql(
      'SELECT streak, cardinality(failed_at) AS failed FROM factor_guards WHERE user_id = $1',
      [user.id],
    )
    t.same(guard, { streak: 5, failed: 5 })
    t.same(await challenges.charge(id, randomUUID(), limits), { outcome: 'invalid' })
    t.same(await challenges.charge(randomUUID(), user.id, limits), { outcome: 'invalid' })
  })

  await t.test('charge: not after the code ran out, not while the factor is locked', async (t) => {
    const { user, begin, age } = await setup()
    const id = await begin()
    await age(301)
    t.same(await challenges.charge(id, user.id, limits), { outcome: 'expired' })
    await doorstep.sql(`UPDATE factor_guards SET locked_until = now() + interval '15 minutes' WHERE user_id = $1`, [
      user.id,
    ])
    t.match(await challenges.charge(id, user.id, limits), { outcome: 'locked', retry_after: 900 })
    t.match((await doorstep.sql('SELECT attempts FROM challenges WHERE id = $1', [id]))[0], { attempts: 0 })
  })

  await t.test('complete: exactly one of many, with one session, one audit row and the refunds', async (t) => {
    const { user, begin } = await setup()
    const id = await begin()
    // One wrong code, and four times the right one.
    for (let tries = 0; tries < 5; tries += 1) await challenges.charge(id, user.id, limits)
    const sessions = Array.from({ length: 4 }, session)
    const done = await Promise.all(
      sessions.map((it) => challenges.complete(id, user.id, it, null, event('login.succeeded'))),
    )
    t.same(tally(done.map(({ outcome }) => outcome)), { completed: 1, invalid: 3 })
    const winner = sessions[done.findIndex(({ outcome }) => outcome === 'completed')]
    const rows = await doorstep.sql('SELECT id, amr, acr, user_agent, address FROM sessions WHERE user_id = $1', [
      user.id,
    ])
    const { id: sid, amr, acr, user_agent, address } = winner as NewSession
    t.same(rows, [{ id: sid, amr, acr, user_agent, address }])
    const audited = await doorstep.sql(`SELECT FROM audit_events WHERE user_id = $1 AND type = 'login.succeeded'`, [
      user.id,
    ])
    t.equal(audited.length, 1)
    const [guard] = await doorstep.sql(
      'SELECT streak, locked_until, cardinality(failed_at) AS failed FROM factor_guards WHERE user_id = $1',
      [user.id],
    )
    t.same(guard, { streak: 0, locked_until: null, failed: 1 }, 'only the wrong one is still counted')
    const [budget] = await doorstep.sql(
      `SELECT cardinality(counted_texts(b)) AS texts FROM sms_budgets b WHERE key = 'user:' || $1`,
      [user.id],
    )
    t.same(budget, { texts: 0 })
    t.equal(await challenges.isAlive(id, user.id), false)
    t.same(await challenges.charge(id, user.id, limits), { outcome: 'invalid' })
  })
})

t.test('sessions', async (t) => {
  const { sessions } = doorstep.services.store
  const { user, account, identifier } = await setup()

  await t.test('start, and findLive until it ends', async (t) => {
    const made = session()
    const started = await sessions.start(account, { identifier, deviceId: null }, made, event('login.succeeded'))
    t.match(started, { outcome: 'started', authenticated_at: Number })
    t.match(await sessions.findLive(made.id, user.id), {
      id: made.id,
      userId: user.id,
      email: user.email,
      phone: user.phone,
      twoFactor: 'sms',
      amr: ['pwd', 'sms', 'mfa'],
      acr: 'aal2',
      authenticatedAt: Date,
    })
    t.equal(await sessions.findLive(made.id, randomUUID()), null, 'not for another user')
    t.equal(await sessions.findLive(randomUUID(), user.id), null)
    for (const ended of [`ended_at = now()`, `ended_at = NULL, expires_at = now()`]) {
      await doorstep.sql(`UPDATE sessions SET ${ended} WHERE id = $1`, [made.id])
      t.equal(await sessions.findLive(made.id, user.id), null, ended)
    }
    await doorstep.sql(`UPDATE sessions SET expires_at = now() + interval '1 second' WHERE id = $1`, [made.id])
    t.not(await sessions.findLive(made.id, user.id), null)
    await doorstep.sql('UPDATE users SET disabled_at = now() WHERE id = $1', [user.id])
    t.equal(await sessions.findLive(made.id, user.id), null, 'the user is disabled')
  })

  await t.test('start: not for an account that was changed or disabled meanwhile', async (t) => {
    t.same(await sessions.start(account, { identifier, deviceId: null }, session(), event()), { outcome: 'stale' })
    t.same(await sessions.start({ id: randomUUID(), epoch: 0 }, { identifier, deviceId: null }, session(), event()), {
      outcome: 'stale',
    })
    t.equal((await doorstep.sql('SELECT FROM sessions WHERE user_id = $1', [user.id])).length, 1)
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
    privateKey: randomBytes(64),
    secretId: 'k1',
  }))
  const add = (key: (typeof keys)[number]) => signingKeys.add(key, { minAge: 60, delay: 390 }, event('key.created'))
  const made = await Promise.all(keys.map(add))
  t.same(tally(made.map(String)), { true: 1, false: 7 })
  const winner = keys[made.indexOf(true)]
  const [first] = await signingKeys.list()
  t.match(first, { id: winner?.id, publicJwk: winner?.publicJwk, secretId: 'k1' })
  t.ok((first?.activeIn ?? 1) <= 0, 'the very first is needed at once')
  t.same(Buffer.from(first?.privateKey ?? []), winner?.privateKey, 'byte for byte')
  const rows = await doorstep.sql(`SELECT FROM audit_events WHERE type = 'key.created' AND outcome = 'test'`)
  t.equal(rows.length, 1, 'and only that is recorded')
})

t.test('audit: one row, with what was given and nothing more', async (t) => {
  const { user } = await setup()
  const identifier = randomBytes(32)
  const given: Event = { ...event('code.failed'), userId: user.id, identifier }
  await doorstep.services.store.audit.record(given)
  const [row, ...more] = await doorstep.sql('SELECT * FROM audit_events WHERE identifier = $1', [identifier])
  t.equal(more.length, 0)
  t.match(row, { type: 'code.failed', outcome: 'test', user_id: user.id, factor: 'sms', detail: 'a detail' })
  t.match(row, { address: '192.0.2.7', request_id: given.caller?.requestId, at: Date, id: String })
  await doorstep.services.store.audit.record({ type: 'key.created', outcome: 'bare' })
  const [bare] = await doorstep.sql(`SELECT * FROM audit_events WHERE outcome = 'bare'`)
  t.match(bare, { user_id: null, identifier: null, factor: null, address: null, request_id: null, detail: null })
})

t.test('messages: the first answer of the provider stands', async (t) => {
  const { store, user, begin } = await setup()
  const id = await begin()
  const [message] = await doorstep.sql('SELECT id FROM sms_messages WHERE challenge_id = $1', [id])
  const providerId = `SM${randomBytes(16).toString('hex')}`
  await store.messages.recordAnswer(message?.id, { delivery: 'sent', providerId, error: null })
  await store.messages.recordAnswer(message?.id, { delivery: 'failed', providerId: null, error: '20500' })
  await store.messages.recordAnswer(randomUUID(), { delivery: 'failed', providerId: null, error: '20500' })
  const rows = await doorstep.sql('SELECT delivery, provider_id, error FROM sms_messages WHERE user_id = $1', [user.id])
  t.same(rows, [{ delivery: 'sent', provider_id: providerId, error: null }])
  t.match(await store.challenges.read(id, user.id, limits), { delivery: 'sent' })
})

t.test('health: whether every migration is there, and what texts were used', async (t) => {
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

  await doorstep.sql('DELETE FROM sms_totals')
  t.same(await health.smsUsed(), { hour: 0, day: 0 })
  await doorstep.sql(
    `INSERT INTO sms_totals (period, started_at, used) VALUES
       ('hour', date_trunc('hour', now(), 'UTC') - interval '1 hour', 7), ('day', date_trunc('day', now(), 'UTC'), 9)`,
  )
  t.same(await health.smsUsed(), { hour: 0, day: 9 }, 'the last hour is over, the day is not')
})
