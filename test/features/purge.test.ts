import t from 'tap'
import { dump } from '../helpers/credentials.ts'
import { type Doorstep, startDoorstep } from '../helpers/doorstep.ts'
import { thorough } from '../helpers/effort.ts'
import { call, codeFor, createUser, finish, login, signIn, wrongCode } from '../helpers/story.ts'

// Data goes away (SEC-79): what has run out is deleted within a day, a little at a time, while people sign in. What still
// counts is kept: a purge that forgot a lock or a budget would hand out tries.

t.setTimeout(300_000)

let doorstep: Doorstep
t.before(async () => {
  doorstep = await startDoorstep(t)
  // Rows that each statement deletes, and from which table.
  await doorstep.sql('CREATE TABLE deletions (of text, count integer)')
  await doorstep.sql(
    `CREATE FUNCTION note_deletion() RETURNS trigger LANGUAGE plpgsql AS $$
     BEGIN INSERT INTO deletions SELECT TG_TABLE_NAME, count(*) FROM gone; RETURN NULL; END $$`,
  )
  const tables = ['login_throttles', 'challenges', 'sms_messages', 'mails', 'sessions', 'devices', 'audit_events']
  for (const table of tables) {
    await doorstep.sql(
      `CREATE TRIGGER note_deletion AFTER DELETE ON ${table} REFERENCING OLD TABLE AS gone
       FOR EACH STATEMENT EXECUTE FUNCTION note_deletion()`,
    )
  }
})

const purge = (eventDays = 400) => doorstep.services.store.purge.expired({ eventDays, notices: true })
const count = async (table: string): Promise<number> =>
  (await doorstep.sql(`SELECT count(*)::integer AS count FROM ${table}`))[0]?.count

t.test('what is kept and what goes', async (t) => {
  const { sql } = doorstep
  const user = await createUser(doorstep)
  await sql(`DELETE FROM login_throttles`)

  /** [name, is kept, time columns as intervals before now] */
  const throttles: [string, boolean, string, string | null][] = [
    ['counted a moment ago', true, '1 second', null],
    ['counted almost two days ago', true, '47 hours 59 minutes', null],
    ['counted two days ago, lock over', false, '48 hours 1 minute', '47 hours'],
    ['counted two days ago, no lock', false, '48 hours 1 minute', null],
    ['counted long ago, still locked', true, '49 hours', '-1 minute'],
  ]
  for (const [name, , counted, locked] of throttles) {
    await sql(
      `INSERT INTO login_throttles (identifier, failures, counted_from, locked_until)
       VALUES ($1, 7, now() - $2::interval, now() - $3::interval)`,
      [Buffer.from(name), counted, locked],
    )
  }
  const challenges: [string, boolean, string, string, string | null][] = [
    ['00000000-0000-4000-8000-000000000001', true, 'login', '-9 minutes', null],
    ['00000000-0000-4000-8000-000000000002', true, 'login', '59 minutes', '59 minutes'],
    ['00000000-0000-4000-8000-000000000003', false, 'login', '1 hour 1 minute', '59 minutes'],
    ['00000000-0000-4000-8000-000000000004', false, 'step_up', '30 days', '30 days'],
    // What is set up is counted by the day.
    ['00000000-0000-4000-8000-000000000005', true, 'enrol', '23 hours 59 minutes', null],
    ['00000000-0000-4000-8000-000000000006', false, 'enrol', '24 hours 1 minute', null],
  ]
  for (const [id, , purpose, ends, superseded] of challenges) {
    await sql(
      `INSERT INTO challenges (id, user_id, purpose, client, known, method, begun, ends_at, superseded_at)
       VALUES ($1, $2, $3, gen_random_uuid()::text, false, 'sms', '{sms}', now() - $4::interval, now() - $5::interval)`,
      [id, user.id, purpose, ends, superseded],
    )
    await sql(
      `INSERT INTO challenge_codes (challenge_id, method, channel, code_mac, key_id, message_id, last_sent_at, expires_at)
       VALUES ($1, 'sms', 'sms', '\\x00', 'k1', 1, now() - $2::interval, now() - $2::interval)`,
      [id, ends],
    )
  }
  const mails: [string, boolean, string, string][] = [
    ['-1', true, 'code', '24 hours 30 minutes'],
    ['-2', false, 'code', '25 hours 1 minute'],
    ['-3', true, 'notice', '167 hours 59 minutes'],
    ['-4', false, 'notice', '168 hours 1 minute'],
  ]
  for (const [id, , kind, created] of mails) {
    await sql(
      `INSERT INTO mails (id, user_id, kind, topic, address, locale, created_at) VALUES ($1, $2, $3, 'code', '', 'en', now() - $4::interval)`,
      [id, user.id, kind, created],
    )
  }
  const starts: [string, boolean, string][] = [
    ['a start that just ran out', true, '59 minutes'],
    ['a start that nobody can use any more', false, '1 hour 1 minute'],
  ]
  for (const [id, , expires] of starts) {
    await sql('INSERT INTO used_starts (id, expires_at) VALUES ($1, now() - $2::interval)', [id, expires])
  }
  const changes: [string, boolean, string][] = [
    ['-1', true, '6 days 23 hours'],
    ['-2', false, '7 days 1 hour'],
  ]
  for (const [id, , at] of changes) {
    await sql(
      `INSERT INTO account_changes (id, user_id, at, kind, was) VALUES ($1, $2, now() - $3::interval, 'factor_removed', '{}')`,
      [id, user.id, at],
    )
  }
  // Mailed late, a link can still take back what is older.
  const late = await createUser(doorstep)
  await sql(
    `INSERT INTO account_changes (id, user_id, at, kind, was) VALUES (-3, $1, now() - interval '8 days', 'factor_removed', '{}'),
       (-4, $1, now() - interval '9 days', 'factor_removed', '{}'), (-5, $2, now() - interval '300 days', 'deletion', '{}')`,
    [late.id, user.id],
  )
  const links: [string, boolean, string, string][] = [
    ['-1', true, '59 minutes', '0'],
    ['-2', false, '1 hour 1 minute', '0'],
    ['-3', true, '-1 minute', `${8 * 86_400 + 60}`],
  ]
  for (const [id, , expires, since] of links) {
    await sql(
      `INSERT INTO mail_links (id, token_hash, kind, email, user_id, data, expires_at)
       VALUES ($1, $2, 'not_me', '', $3, jsonb_build_object('since', extract(epoch FROM now()) - $5::integer), now() - $4::interval)`,
      [id, Buffer.from(id), late.id, expires, since],
    )
  }
  const leaving: [string, boolean, string][] = [
    [(await createUser(doorstep)).id, true, '-1 minute'],
    [(await createUser(doorstep)).id, false, '1 second'],
  ]
  for (const [id, , erases] of leaving) {
    await sql('UPDATE users SET disabled_at = now(), erases_at = now() - $2::interval WHERE id = $1', [id, erases])
  }
  const texts: [string, boolean, string][] = [
    ['-1', true, '1 second'],
    ['-2', true, '23 hours 59 minutes'],
    // A little longer than anything is counted by them.
    ['-3', true, '24 hours 30 minutes'],
    ['-4', false, '25 hours 1 minute'],
  ]
  for (const [id, , reserved] of texts) {
    await sql(
      `INSERT INTO sms_messages (id, user_id, challenge_id, known, phone, prefix, address, reserved_at)
       VALUES ($1, $2, gen_random_uuid(), false, '', '', '', now() - $3::interval)`,
      [id, user.id, reserved],
    )
  }
  const sessions: [string, boolean, string, string | null][] = [
    ['00000000-0000-4000-8000-000000000021', true, '-1 minute', null],
    ['00000000-0000-4000-8000-000000000022', true, '-1 minute', '2 hours'],
    ['00000000-0000-4000-8000-000000000023', true, '59 minutes', null],
    ['00000000-0000-4000-8000-000000000024', false, '1 hour 1 minute', null],
  ]
  for (const [id, , expires, ended] of sessions) {
    await sql(
      `INSERT INTO sessions (id, user_id, amr, acr, authenticated_at, last_used_at, idle_until, expires_at, ended_at)
       VALUES ($1, $2, '{pwd}', 'aal1', now(), now(), now(), now() - $3::interval, now() - $4::interval)`,
      [id, user.id, expires, ended],
    )
  }
  const devices: [string, boolean, string][] = [
    ['00000000-0000-4000-8000-000000000031', true, '59 minutes'],
    ['00000000-0000-4000-8000-000000000032', false, '1 hour 1 minute'],
  ]
  for (const [id, , expires] of devices) {
    await sql(
      `INSERT INTO devices (id, user_id, token_hash, last_used_at, expires_at)
       VALUES ($1, $2, $3, now(), now() - $4::interval)`,
      [id, user.id, Buffer.from(id), expires],
    )
  }
  const events: [string, boolean, string][] = [
    ['almost as old as events are kept', true, '399 days 23 hours'],
    ['older', false, '400 days 1 hour'],
  ]
  await sql('DELETE FROM audit_events')
  // The older first, as in life.
  for (const [name, , at] of [...events].reverse()) {
    await sql(`INSERT INTO audit_events (at, type, outcome) VALUES (now() - $2::interval, 'test', $1)`, [name, at])
  }
  await sql(
    `INSERT INTO unknown_logins (hour, slot, failures) SELECT date_trunc('hour', now() - age::interval), slot, 5
     FROM unnest(ARRAY['390 days', '401 days']) age, generate_series(0, 15) slot`,
  )
  const usersBefore = await count('users')

  const purged = await purge()
  t.same(purged, {
    ...{ throttles: 2, challenges: 3, texts: 1, mails: 2, sessions: 1, devices: 1, starts: 1, changes: 2 },
    ...{ links: 1, accounts: 1, events: 1, unknown_logins: 16, forgotten: 0, deliveries: 0 },
  })
  const none = Object.fromEntries(Object.keys(purged).map((kind) => [kind, 0]))

  const left = async (column: string, table: string): Promise<string[]> =>
    (await sql(`SELECT ${column}::text AS name FROM ${table}`)).map(({ name }) => name)
  const kept = (rows: [string, boolean, ...unknown[]][]): string[] =>
    rows.flatMap(([name, keep]) => (keep ? [name] : []))
  t.same(new Set(await left(`convert_from(identifier, 'UTF8')`, 'login_throttles')), new Set(kept(throttles)))
  t.same(new Set(await left('id', 'challenges')), new Set(kept(challenges)))
  t.same(new Set(await left('id', 'sms_messages')), new Set(kept(texts)))
  t.same(new Set(await left('id', 'sessions')), new Set(kept(sessions)))
  t.same(new Set(await left('id', 'devices')), new Set(kept(devices)))
  t.same(new Set(await left('id', 'mails')), new Set(kept(mails)))
  t.same(new Set(await left('id', 'used_starts')), new Set(kept(starts)))
  t.same(new Set(await left('id', 'account_changes')), new Set([...kept(changes), '-3', '-5']))
  t.same(new Set(await left('id', 'mail_links')), new Set(kept(links)))
  t.same(
    (await left('id', 'users')).filter((id) => leaving.some(([it]) => it === id)),
    kept(leaving),
  )
  t.same(await left('challenge_id', 'challenge_codes'), await left('id', 'challenges'), 'codes go with their login')
  t.same(
    await left('outcome', 'audit_events'),
    [...kept(events), 'abandoned', 'erased'],
    'a login that nobody finished is told',
  )
  t.equal(await count('unknown_logins'), 16)
  t.equal(await count('users'), usersBefore - 1, 'other people stay')
  t.same(await purge(), none, 'nothing is left to do')
  t.match(await purge(399), { events: 1, unknown_logins: 0 }, 'as long as the settings say')
  t.match(await purge(380), { events: 0, unknown_logins: 16 })
})

t.test('a year of events goes a thousand at a time, and takes none of those that are to stay', async (t) => {
  const { sql } = doorstep
  await sql('DELETE FROM audit_events')
  await sql('TRUNCATE deletions')
  await sql(
    `INSERT INTO audit_events (at, type, outcome) SELECT now() - interval '800 days' + n * interval '2 hours', 'test', n::text
     FROM generate_series(1, 9000) n`,
  )
  t.match(await purge(), { events: 4_800 })
  t.match(await sql('SELECT min(outcome::integer) AS first, count(*)::integer AS left FROM audit_events'), [
    { first: 4_801, left: 4_200 },
  ])
  const [batches] = await sql(
    `SELECT count(*)::integer AS batches, max(count) AS largest FROM deletions WHERE of = 'audit_events' AND count > 0`,
  )
  t.same(batches, { batches: 5, largest: 1_000 })
})

t.test('whoever tries ten thousand made-up e-mails leaves no row of it for good (SEC-111)', async (t) => {
  const { sql, services } = doorstep
  await sql('DELETE FROM unknown_logins')
  await sql('DELETE FROM login_throttles')
  const before = await count('audit_events')
  for (let n = 0; n < 100; n += 1) {
    const answer = await login(doorstep, { email: `ghost-${n}@example.com`, password: 'wrong' })
    t.equal(answer.status, 401)
  }
  const event = JSON.stringify({ type: 'login.failed', outcome: 'invalid_credentials', address: '192.0.2.1' })
  await sql('SELECT count(fail_login(NULL, NULL, $1)) FROM generate_series(1, 9900)', [event])
  t.equal(await count('audit_events'), before, 'no event')
  const [counted] = await sql(
    'SELECT count(*)::integer AS rows, sum(failures)::integer AS failures FROM unknown_logins',
  )
  t.equal(counted?.failures, 10_000, 'but all are counted')
  t.ok(counted?.rows <= 32, `in ${counted?.rows} rows, 16 an hour at most`)

  const user = await createUser(doorstep)
  await login(doorstep, { ...user, password: 'wrong' })
  t.equal(await count('audit_events'), before + 2, 'a failure at an account is an event')
  await sql(`UPDATE login_throttles SET counted_from = now() - interval '49 hours'`)
  await services.store.purge.expired({ eventDays: 400, notices: false })
  t.equal(await count('login_throttles'), 0, 'the counters go after two days')
})

t.test('of a user who is deleted nothing is left that says who it was, in no table', async (t) => {
  const { sql } = doorstep
  const [ada, bob] = [await createUser(doorstep), await createUser(doorstep)]
  const from = '198.51.100.77'
  const begun = await login(doorstep, ada, { from })
  const code = codeFor(doorstep, ada.phone)
  await finish(doorstep, begun.body.pending_token, wrongCode(code), { from })
  const ended = await finish(doorstep, begun.body.pending_token, code, { from, body: { device_name: "Ada's phone" } })
  await login(doorstep, ada, { from, body: { device_token: ended.body.device_token } })
  await login(doorstep, { ...ada, password: 'wrong' }, { from })
  await call(doorstep, '/logout', { token: ended.body.access_token, body: {}, from })
  await signIn(doorstep, bob)

  const ids = await sql<{ id: string }>(
    `SELECT id::text FROM sessions WHERE user_id = $1 UNION SELECT id::text FROM devices WHERE user_id = $1
     UNION SELECT request_id FROM audit_events WHERE user_id = $1 AND request_id IS NOT NULL`,
    [ada.id],
  )
  t.ok(ids.length > 4)
  const traces = [ada.id, ada.email, ada.phone, ada.phone.slice(1), from, "Ada's phone", ...ids.map(({ id }) => id)]
  const found = async () => {
    const everything = await dump(doorstep)
    return traces.filter((trace) => everything.includes(trace))
  }
  t.same(await found(), traces, 'until then all of it is stored')
  const events = () => sql('SELECT id, at, type, outcome FROM audit_events ORDER BY id')
  const [eventsBefore, ofBob] = [await events(), await bobs()]
  function bobs() {
    return sql(
      `SELECT (SELECT count(*) FROM audit_events WHERE user_id = $1) AS events, (SELECT count(*) FROM sessions WHERE user_id = $1)
         AS sessions, (SELECT count(*) FROM sms_messages WHERE user_id = $1) AS texts, (SELECT count(*) FROM devices WHERE user_id = $1) AS devices`,
      [bob.id],
    )
  }

  await sql('DELETE FROM users WHERE email = $1', [ada.email])
  t.same(await found(), [])
  t.same(await events(), eventsBefore, 'what happened, and when, is still told')
  const [who] = await sql(
    `SELECT count(DISTINCT user_id)::integer AS users FROM audit_events a WHERE user_id IS NOT NULL AND address IS NULL
       AND NOT EXISTS (SELECT FROM users WHERE id = a.user_id)`,
  )
  t.same(who, { users: 1 }, 'as of one person who is nobody')
  t.same(await bobs(), ofBob, 'others lose nothing')
  t.match(await login(doorstep, ada, { from }), { status: 401, body: { code: 'invalid_credentials' } })
})

const flood = thorough(100_000, 30_000)

t.test(
  `whoever floods the table with made-up e-mails fills nothing: ${flood} rows go while people sign in`,
  async (t) => {
    const { sql } = doorstep
    await sql('DELETE FROM login_throttles')
    await sql('TRUNCATE deletions')
    await sql(
      `INSERT INTO login_throttles (identifier, failures, counted_from, locked_until)
     SELECT decode(md5(n::text) || md5('x' || n::text), 'hex'), 1 + n % 20, now() - interval '49 hours' - n * interval '1 second',
       CASE WHEN n % 2 = 0 THEN now() - interval '48 hours' END
     FROM generate_series(1, $1) n`,
      [flood],
    )
    const live = await createUser(doorstep)
    for (let tries = 0; tries < 3; tries += 1) await login(doorstep, { ...live, password: 'wrong' })
    const people = []
    for (let made = 0; made < 5; made += 1) people.push(await createUser(doorstep))

    let running = true
    const purging = purge().finally(() => {
      running = false
    })
    const meanwhile: number[] = []
    for (const person of people) {
      const answer = await signIn(doorstep, person)
      t.equal(answer.status, 200)
      if (running) meanwhile.push(answer.status)
    }
    t.ok(meanwhile.length >= 1, `${meanwhile.length} of 5 had signed in before the purge was done`)
    t.match(await purging, { throttles: flood })

    t.equal(await count('login_throttles'), 6, 'only those of today are left')
    const [batches] = await sql(
      `SELECT count(*)::integer AS batches, max(count) AS largest, sum(count)::integer AS deleted
     FROM deletions WHERE of = 'login_throttles' AND count > 0`,
    )
    t.same(batches, { batches: flood / 1_000, largest: 1_000, deleted: flood }, 'a thousand at a time')
    const [identifier] = doorstep.services.loginThrottle.identifyAll(live.email)
    const [row] = await sql('SELECT failures FROM login_throttles WHERE identifier = $1', [identifier])
    t.equal(row?.failures, 3, 'who is counted today is still counted')
  },
)

t.test('it does not wait for a row that somebody is using, nor does it make anybody wait', async (t) => {
  const { sql } = doorstep
  // The embedded database has one backend, which a transaction keeps to itself.
  if (!doorstep.database.isReal) return t.comment('needs a real server')
  const old = Buffer.from('an old row that a login has just locked')
  await sql(
    `INSERT INTO login_throttles (identifier, counted_from) VALUES ($1, now() - interval '50 hours'), ('\\x00', now() - interval '50 hours')`,
    [old],
  )
  await sql('BEGIN')
  await sql('SELECT FROM login_throttles WHERE identifier = $1 FOR UPDATE', [old])
  t.match(await purge(), { throttles: 1 }, 'the other old row is gone, this one is skipped')
  await sql(`UPDATE login_throttles SET counted_from = now(), failures = failures + 1 WHERE identifier = $1`, [old])
  await sql('COMMIT')
  t.match(await purge(), { throttles: 0 }, 'and now it is no longer old')
  t.equal((await sql('SELECT FROM login_throttles WHERE identifier = $1', [old])).length, 1)
})

t.test('several replicas may purge at once', async (t) => {
  const { sql } = doorstep
  await sql(
    `INSERT INTO login_throttles (identifier, counted_from)
     SELECT decode(md5(n::text), 'hex'), now() - interval '50 hours' FROM generate_series(1, 5000) n`,
  )
  const done = await Promise.all([purge(), purge(), purge()])
  t.equal(
    done.reduce((sum, { throttles }) => sum + throttles, 0),
    5_000,
    'each row once',
  )
})

t.test('a login whose rows are purged under it ends as one that ran out', async (t) => {
  const user = await createUser(doorstep)
  const { pending_token: pending } = (await login(doorstep, user)).body
  const code = codeFor(doorstep, user.phone)
  await doorstep.sql(`UPDATE challenges SET ends_at = now() - interval '2 hours' WHERE user_id = $1`, [user.id])
  t.match(await purge(), { challenges: 1 })
  for (const typed of [code, wrongCode(code)]) {
    t.match(await finish(doorstep, pending, typed), { status: 401, body: { code: 'invalid_token' } })
  }
  t.equal((await doorstep.sql('SELECT FROM sessions WHERE user_id = $1', [user.id])).length, 0)
})
