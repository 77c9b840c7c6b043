import t from 'tap'
import { type Doorstep, startDoorstep } from '../helpers/doorstep.ts'
import { thorough } from '../helpers/effort.ts'
import { codeFor, createUser, finish, login, signIn, wrongCode } from '../helpers/story.ts'

// Data goes away (SEC-79): what has run out is deleted within a day, a little at a time, while people sign in. What still
// counts is kept: a purge that forgot a lock or a budget would hand out tries.

t.setTimeout(180_000)

let doorstep: Doorstep
t.before(async () => {
  doorstep = await startDoorstep(t)
  // Rows that each statement deletes, and from which table.
  await doorstep.sql('CREATE TABLE deletions (of text, count integer)')
  await doorstep.sql(
    `CREATE FUNCTION note_deletion() RETURNS trigger LANGUAGE plpgsql AS $$
     BEGIN INSERT INTO deletions SELECT TG_TABLE_NAME, count(*) FROM gone; RETURN NULL; END $$`,
  )
  for (const table of ['login_throttles', 'challenges', 'sms_messages', 'sms_budgets', 'sessions', 'trusted_devices']) {
    await doorstep.sql(
      `CREATE TRIGGER note_deletion AFTER DELETE ON ${table} REFERENCING OLD TABLE AS gone
       FOR EACH STATEMENT EXECUTE FUNCTION note_deletion()`,
    )
  }
})

const purge = () => doorstep.services.store.purge.expired()
const count = async (table: string): Promise<number> =>
  (await doorstep.sql(`SELECT count(*)::integer AS count FROM ${table}`))[0]?.count

t.test('what is kept and what goes', async (t) => {
  const { sql } = doorstep
  const user = await createUser(doorstep)
  await sql(`DELETE FROM login_throttles`)

  /** [name, is kept, time columns as intervals before now] */
  const throttles: [string, boolean, string, string | null][] = [
    ['charged a moment ago', true, '1 second', null],
    ['charged almost a day ago', true, '23 hours 59 minutes', null],
    ['charged a day ago, lock over', false, '24 hours 1 minute', '23 hours'],
    ['charged a day ago, no lock', false, '24 hours 1 minute', null],
    ['charged long ago, still locked', true, '25 hours', '-1 minute'],
  ]
  for (const [name, , charged, locked] of throttles) {
    await sql(
      `INSERT INTO login_throttles (identifier, failures, charged_at, locked_until)
       VALUES ($1, 7, now() - $2::interval, now() - $3::interval)`,
      [Buffer.from(name), charged, locked],
    )
  }
  const challenges: [string, boolean, string, string | null][] = [
    ['00000000-0000-4000-8000-000000000001', true, '-9 minutes', null],
    ['00000000-0000-4000-8000-000000000002', true, '59 minutes', '59 minutes'],
    ['00000000-0000-4000-8000-000000000003', false, '1 hour 1 minute', '59 minutes'],
    ['00000000-0000-4000-8000-000000000004', false, '30 days', '30 days'],
  ]
  for (const [id, , ends, superseded] of challenges) {
    await sql(
      `INSERT INTO challenges (id, user_id, purpose, code_mac, key_id, last_sent_at, expires_at, ends_at, superseded_at)
       VALUES ($1, $2, 'login', '\\x00', 'k1', now() - $3::interval, now() - $3::interval, now() - $3::interval, now() - $4::interval)`,
      [id, user.id, ends, superseded],
    )
  }
  const messages: [string, boolean, string][] = [
    ['00000000-0000-4000-8000-000000000011', true, '1 second'],
    // A success may still give its budgets back: they look 24 hours into the past.
    ['00000000-0000-4000-8000-000000000012', true, '24 hours 30 minutes'],
    ['00000000-0000-4000-8000-000000000013', false, '25 hours 1 minute'],
  ]
  for (const [id, , reserved] of messages) {
    await sql(
      `INSERT INTO sms_messages (id, user_id, challenge_id, reserved_at) VALUES ($1, $2, gen_random_uuid(), now() - $3::interval)`,
      [id, user.id, reserved],
    )
  }
  const budgets: [string, boolean, string][] = [
    ['new', true, '1 second'],
    ['inside the day that it counts', true, '23 hours 59 minutes'],
    ['a little after', true, '24 hours 30 minutes'],
    ['old', false, '25 hours 1 minute'],
  ]
  for (const [key, , touched] of budgets) {
    await sql(
      `INSERT INTO sms_budgets (key, sent_at, touched_at) VALUES ($1, ARRAY[now() - $2::interval], now() - $2::interval)`,
      [key, touched],
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
      `INSERT INTO trusted_devices (id, user_id, token_hash, last_used_at, expires_at)
       VALUES ($1, $2, $3, now(), now() - $4::interval)`,
      [id, user.id, Buffer.from(id), expires],
    )
  }
  const [usersBefore, auditBefore] = [await count('users'), await count('audit_events')]

  t.same(await purge(), { throttles: 2, challenges: 2, messages: 1, budgets: 1, sessions: 1, devices: 1 })

  const left = async (column: string, table: string): Promise<string[]> =>
    (await sql(`SELECT ${column}::text AS name FROM ${table}`)).map(({ name }) => name)
  const kept = (rows: [string, boolean, ...unknown[]][]): string[] =>
    rows.flatMap(([name, keep]) => (keep ? [name] : []))
  t.same(new Set(await left(`convert_from(identifier, 'UTF8')`, 'login_throttles')), new Set(kept(throttles)))
  t.same(new Set(await left('id', 'challenges')), new Set(kept(challenges)))
  t.same(new Set(await left('id', 'sms_messages')), new Set(kept(messages)))
  t.same(new Set(await left('key', 'sms_budgets')), new Set(kept(budgets)))
  t.same(new Set(await left('id', 'sessions')), new Set(kept(sessions)))
  t.same(new Set(await left('id', 'trusted_devices')), new Set(kept(devices)))
  t.same([await count('users'), await count('audit_events')], [usersBefore, auditBefore], 'people and records stay')
  t.same(
    await purge(),
    { throttles: 0, challenges: 0, messages: 0, budgets: 0, sessions: 0, devices: 0 },
    'nothing is left to do',
  )
})

const flood = thorough(100_000, 30_000)

t.test(
  `whoever floods the table with made-up e-mails fills nothing: ${flood} rows go while people sign in`,
  async (t) => {
    const { sql } = doorstep
    await sql('DELETE FROM login_throttles')
    await sql('TRUNCATE deletions')
    await sql(
      `INSERT INTO login_throttles (identifier, failures, charged_at, locked_until)
     SELECT decode(md5(n::text) || md5('x' || n::text), 'hex'), 1 + n % 20, now() - interval '25 hours' - n * interval '1 second',
       CASE WHEN n % 2 = 0 THEN now() - interval '24 hours' END
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
    const identifier = doorstep.services.loginThrottle.identify(live.email)
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
    `INSERT INTO login_throttles (identifier, charged_at) VALUES ($1, now() - interval '30 hours'), ('\\x00', now() - interval '30 hours')`,
    [old],
  )
  await sql('BEGIN')
  await sql('SELECT FROM login_throttles WHERE identifier = $1 FOR UPDATE', [old])
  t.match(await purge(), { throttles: 1 }, 'the other old row is gone, this one is skipped')
  await sql(`UPDATE login_throttles SET charged_at = now(), failures = failures + 1 WHERE identifier = $1`, [old])
  await sql('COMMIT')
  t.match(await purge(), { throttles: 0 }, 'and now it is no longer old')
  t.equal((await sql('SELECT FROM login_throttles WHERE identifier = $1', [old])).length, 1)
})

t.test('several replicas may purge at once', async (t) => {
  const { sql } = doorstep
  await sql(
    `INSERT INTO login_throttles (identifier, charged_at)
     SELECT decode(md5(n::text), 'hex'), now() - interval '30 hours' FROM generate_series(1, 5000) n`,
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
  await doorstep.sql(
    `UPDATE challenges SET expires_at = now() - interval '2 hours', ends_at = now() - interval '2 hours' WHERE user_id = $1`,
    [user.id],
  )
  t.match(await purge(), { challenges: 1 })
  for (const typed of [code, wrongCode(code)]) {
    t.match(await finish(doorstep, pending, typed), { status: 401, body: { code: 'invalid_token' } })
  }
  t.equal((await doorstep.sql('SELECT FROM sessions WHERE user_id = $1', [user.id])).length, 0)
})
