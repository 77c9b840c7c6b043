import t from 'tap'
import { createTestDatabase } from '../helpers/database.ts'
import { startDoorstep } from '../helpers/doorstep.ts'
import { passTime } from '../helpers/pass-time.ts'
import { type Answer, call, codeFor, createUser, finish, login, type TestUser, wrongCode } from '../helpers/story.ts'
import { together } from '../helpers/together.ts'

t.setTimeout(180_000)

const day = 86_400

/** Texts are out of the way here, so that only what counts the tries can stop anybody. */
const env = { SMS_COOLDOWN: '1', SMS_PER_USER_HOUR: '100000', SMS_PER_USER_DAY: '100000' }

let addresses = 0
/** Somewhere else every time. */
const elsewhere = (): string => `10.${(addresses >> 16) & 255}.${(addresses >> 8) & 255}.${addresses++ & 255}`

t.test('a thief who has the password cannot guess the code', async (t) => {
  const database = await createTestDatabase()
  t.teardown(() => database.close())
  const one = await startDoorstep(t, { database, env })
  const two = await startDoorstep(t, { database, env })
  const { sql, services } = one
  const replica = (index: number) => (index % 2 === 0 ? one : two)

  const guardOf = async ({ id }: TestUser) => {
    const [row] = await sql<{ streak: number; failures: number; wait: number | null; locked: boolean }>(
      `SELECT streak, cardinality(failed_at) AS failures, ceil(extract(epoch FROM locked_until - clock_timestamp()))::float AS wait,
         coalesce(locked_until > clock_timestamp(), false) AS locked FROM factor_guards WHERE user_id = $1`,
      [id],
    )
    if (!row) throw new Error('no guard')
    return row
  }
  const attemptsOf = async ({ id }: TestUser): Promise<number> => {
    const [row] = await sql<{ attempts: number }>(
      'SELECT coalesce(sum(attempts), 0)::integer AS attempts FROM challenges WHERE user_id = $1',
      [id],
    )
    return row?.attempts ?? -1
  }
  /** As if this account had failed so often: `recent` in the last hour, `older` in the last 29 days, `streak` in a row. */
  const haveFailed = ({ id }: TestUser, { streak = 0, recent = 0, older = 0 }): Promise<unknown> =>
    sql(
      `UPDATE factor_guards SET streak = $2, locked_until = NULL, failed_at =
         ARRAY(SELECT clock_timestamp() - interval '29 days' + n * interval '1 minute' FROM generate_series(1, $3) n) ||
         ARRAY(SELECT clock_timestamp() - interval '1 hour' + n * interval '1 second' FROM generate_series(1, $4) n)
       WHERE user_id = $1`,
      [id, streak, older, recent],
    )
  const begin = async (given: { failed?: { streak?: number; recent?: number; older?: number } } = {}) => {
    const user = await createUser(one)
    if (given.failed) await haveFailed(user, given.failed)
    const first = await login(one, user)
    if (first.status !== 200) throw new Error(`login: ${first.status} ${first.body.code}`)
    const code = codeFor(one, user.phone)
    return { user, token: first.body.pending_token as string, code, wrong: wrongCode(code), first }
  }
  const textsOf = async ({ id }: TestUser): Promise<number> =>
    (await sql<{ n: number }>('SELECT count(*)::integer AS n FROM sms_messages WHERE user_id = $1', [id]))[0]?.n ?? -1

  const codeOf = async (user: TestUser): Promise<string | null> => {
    const [row] = await sql<{ id: string; key_id: string }>(
      'SELECT id, key_id FROM challenges WHERE user_id = $1 ORDER BY created_at DESC LIMIT 1',
      [user.id],
    )
    return services.oneTimeCodes.again(row?.id ?? '', row?.key_id ?? '')
  }

  await t.test('by one wrong code per login, each from a new address', async (t) => {
    const user = await createUser(one)
    for (let failures = 1; failures <= 10; failures++) {
      const at = replica(failures)
      const first = await login(at, user, { from: elsewhere() })
      t.equal(first.status, 200)
      const answer = await finish(at, first.body.pending_token, wrongCode(codeFor(at, user.phone)), {
        from: elsewhere(),
      })
      t.match(answer, { status: 422, body: { code: 'invalid_code', attempts_remaining: Math.min(4, 10 - failures) } })
      if (failures === 10) {
        const late = await finish(at, first.body.pending_token, codeFor(at, user.phone), { from: elsewhere() })
        t.match(late, { status: 429, body: { code: 'second_factor_locked' } }, 'the right code comes too late')
      }
      // The code runs out: the next login gets another one.
      if (failures < 10) await passTime(one, 301)
    }
    const texts = await textsOf(user)
    t.equal(texts, 10, 'a challenge each')
    const refused = await login(two, user, { from: elsewhere() })
    t.match(refused, { status: 429, body: { code: 'second_factor_locked' } })
    t.equal(refused.headers['retry-after'], String(refused.body.retry_after))
    t.equal(await textsOf(user), texts, 'and no text')
    await passTime(one, refused.body.retry_after)
    t.equal((await login(two, user, { from: elsewhere() })).status, 200, 'free again after exactly that time')
  })

  await t.test('by going on after a lock: each further five double it, a hundred in a row is the end', async (t) => {
    const waits: Record<number, number | null> = {
      ...{ 9: 0, 10: 900, 11: 0, 14: 0, 15: 1_800, 20: 3_600, 25: 7_200, 30: 14_400, 35: 28_800, 40: 57_600 },
      ...{ 45: day, 50: day, 90: day, 95: day, 99: 0, 100: null },
    }
    for (const [count, expected] of Object.entries(waits)) {
      const streak = Number(count)
      const { user, token, wrong } = await begin({ failed: { streak: streak - 1 } })
      t.equal((await finish(one, token, wrong)).status, 422)
      const before = await guardOf(user)
      t.equal(before.streak, streak)
      if (expected === 0) {
        t.equal(before.locked, false, `${streak} in a row: no lock`)
        t.equal((await login(two, user)).status, 200)
        continue
      }
      const again = await finish(two, token, wrong)
      const login2 = await login(one, user)
      const after = await guardOf(user)
      t.match(again, { status: 429, body: { code: 'second_factor_locked' } }, `${streak} in a row`)
      t.match(login2, { status: 429, body: { code: 'second_factor_locked' } })
      if (expected === null) {
        t.equal(again.body.retry_after, undefined, 'for good')
        t.equal(again.headers['retry-after'], undefined)
        await passTime(one, 400 * day)
        t.match(await login(one, user), { status: 429, body: { code: 'second_factor_locked' } }, 'a year later too')
        await services.store.accounts.unlock(user.email, services.loginThrottle.identifyAll(user.email), {
          ...{ type: 'user.unlocked', outcome: 'test' },
        })
        t.equal((await login(one, user)).status, 200, 'until it is unlocked')
        continue
      }
      for (const { body } of [again, login2]) {
        t.ok(body.retry_after <= (before.wait ?? 0) && body.retry_after >= (after.wait ?? 0), 'says exactly how long')
      }
      t.ok((before.wait ?? 0) <= expected && (before.wait ?? 0) > expected - 60, `${expected} s`)
      t.equal((await guardOf(user)).streak, streak, 'what is not compared does not count')
      await passTime(one, again.body.retry_after)
      t.equal((await login(two, user)).status, 200, 'free again after exactly that time')
    }
  })

  await t.test('by waiting for the owner to sign in, who ends the streak but refills neither budget', async (t) => {
    const user = await createUser(one)
    const failFour = async (): Promise<Answer> => {
      const first = await login(one, user)
      if (first.status !== 200) return first
      const code = codeFor(one, user.phone)
      for (let i = 0; i < 4; i++) await finish(replica(i), first.body.pending_token, wrongCode(code))
      return finish(one, first.body.pending_token, code)
    }
    for (let round = 1; round <= 4; round++) {
      t.equal((await failFour()).status, 200)
      await passTime(one, 60)
      t.match(await guardOf(user), { streak: 0, failures: 4 * round, locked: false })
    }
    const owner = await failFour()
    t.match(owner, { status: 429, body: { code: 'second_factor_locked' } }, 'after 20 in 24 hours even the owner waits')
    t.equal((await guardOf(user)).failures, 20)
    t.ok(owner.body.retry_after > day - 600 && owner.body.retry_after <= day, 'until the first of them is a day old')
    await services.store.accounts.unlock(user.email, services.loginThrottle.identifyAll(user.email), {
      ...{ type: 'user.unlocked', outcome: 'test' },
    })
    t.match(
      await login(two, user),
      { status: 429, body: { code: 'second_factor_locked' } },
      'unlocking does not lift it',
    )
    await passTime(one, owner.body.retry_after)
    const first = await login(two, user)
    const { attempts_remaining: free } = first.body.challenge
    t.ok(first.status === 200 && free >= 1 && free <= 4, 'then as many are free as are a day old')
    for (let left = free - 1; left >= 0; left--) {
      const answer = await finish(two, first.body.pending_token, wrongCode(codeFor(two, user.phone)))
      t.equal(answer.body.attempts_remaining, left)
    }
    t.match(await login(one, user), { status: 429, body: { code: 'second_factor_locked' } })
  })

  await t.test('by anything that the number of tries left does not tell', async (t) => {
    const cases = [
      ...[{}, { streak: 3 }, { streak: 6 }, { streak: 9 }, { streak: 11 }, { streak: 14 }, { streak: 98 }],
      ...[{ recent: 15 }, { recent: 17, streak: 12 }, { recent: 19 }, { older: 95 }, { older: 97, streak: 8 }],
      ...[{ older: 99 }, { older: 81, recent: 15 }, { older: 82, recent: 16 }],
    ]
    for (const failed of cases) {
      const { streak = 0, recent = 0, older = 0 } = failed as { streak?: number; recent?: number; older?: number }
      const untilLock = streak < 10 ? 10 - streak : 5 - (streak % 5)
      let left = Math.min(5, untilLock, 20 - recent, 100 - recent - older)
      const { user, token, wrong, first } = await begin({ failed })
      const told = async () => (await call(two, '/login/2fa', { token })).body.challenge.attempts_remaining
      t.equal(first.body.challenge.attempts_remaining, left, JSON.stringify(failed))
      t.equal((await login(two, user)).body.challenge.attempts_remaining, left, 'to whoever joins')
      t.equal(await told(), left)
      while (left > 0) {
        left -= 1
        const answer = await finish(replica(left), token, wrong)
        t.match(answer, { status: 422, body: { attempts_remaining: left } })
        t.equal(answer.body.attempts_remaining, left)
        t.equal(await told(), left)
      }
      const before = await attemptsOf(user)
      t.equal((await finish(one, token, wrong)).status, 429, 'and then there is none')
      t.equal(await attemptsOf(user), before)
    }
  })

  await t.test('on an account from before there were counters', async (t) => {
    const { user, token, wrong, code } = await begin()
    await sql('UPDATE factor_guards SET failed_at = NULL, locked_until = NULL WHERE user_id = $1', [user.id])
    t.equal((await call(one, '/login/2fa', { token })).body.challenge.attempts_remaining, 5, 'nothing counts as 0')
    t.match(await finish(one, token, wrong), { status: 422, body: { attempts_remaining: 4 } })
    t.match(await guardOf(user), { streak: 1, failures: 1 })
    await sql('UPDATE factor_guards SET failed_at = NULL WHERE user_id = $1', [user.id])
    t.equal((await finish(one, token, code)).status, 200)
    const row = await createUser(one)
    await sql('DELETE FROM factor_guards WHERE user_id = $1', [row.id])
    const answers = await together(6, (i) => login(replica(i), row))
    t.same(
      answers.map(({ status }) => status),
      [200, 200, 200, 200, 200, 200],
    )
    await finish(one, answers[0]?.body.pending_token, wrongCode((await codeOf(row)) ?? ''))
    t.match(await guardOf(row), { streak: 1, failures: 1 }, 'a missing row is made')
  })
  await t.test('by making the service fail after a try: what was charged stays charged', async (t) => {
    const { user, token, wrong, code } = await begin()
    await sql(`CREATE FUNCTION refuse_rows() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'full'; END $$`)
    const refuse = (type: string) =>
      sql(`CREATE TRIGGER refuse BEFORE INSERT ON audit_events FOR EACH ROW
           WHEN (NEW.type = '${type}') EXECUTE FUNCTION refuse_rows()`)
    const allow = () => sql('DROP TRIGGER refuse ON audit_events')

    await refuse('code.failed')
    t.equal((await finish(one, token, wrong)).status, 500)
    await allow()
    t.equal(await attemptsOf(user), 1, 'on the challenge')
    t.match(await guardOf(user), { streak: 1, failures: 1 }, 'and on the account')

    await refuse('login.succeeded')
    const broken = await finish(one, token, code)
    await allow()
    t.equal(broken.status, 500, 'no success without its audit row')
    t.notOk('access_token' in broken.body)
    t.same(await sql('SELECT FROM sessions WHERE user_id = $1', [user.id]), [], 'no session')
    t.match(await guardOf(user), { streak: 2, failures: 2 }, 'the try stays counted')
    t.equal((await finish(two, token, code)).status, 200, 'and the code is still good')
    t.match(await guardOf(user), { streak: 0, failures: 2 })
  })

  await t.test('by the end of summer time: 30 days are 720 hours in every time zone', async (t) => {
    const [row] = await sql<{ locked: boolean; left: number }>(
      `WITH zone AS (SELECT set_config('TimeZone', 'Europe/Berlin', false)),
         row AS (SELECT ('00000000-0000-0000-0000-000000000000', 0, array_fill('2026-03-15T12:00:00Z'::timestamptz, ARRAY[100]),
           NULL)::factor_guards AS g FROM zone)
       SELECT factor_locked_until(g, '2026-03-15T12:00:00Z'::timestamptz + interval '719 hours 59 minutes') IS NOT NULL AS locked,
         factor_tries_left(g, '2026-03-15T12:00:00Z'::timestamptz + interval '720 hours') AS left FROM row`,
    )
    await sql('RESET TimeZone')
    t.same(row, { locked: true, left: 10 })
  })

  /** When each try was compared, in seconds of the simulated time. */
  type Guess = { from: number; to: number }

  /**
   * The greediest thief: has the password, any number of addresses, both replicas, bursts of any size; comes back the
   * moment he is allowed to. Ends after `days`, or when no waiting helps any more.
   */
  const attack = async (user: TestUser, days: number, owner: { signsInDaily: boolean }): Promise<Guess[]> => {
    const guesses: Guess[] = []
    let aged = 0
    const start = performance.now()
    const now = (): number => aged + (performance.now() - start) / 1_000
    const compared = async (): Promise<number> => {
      const [row] = await sql<{ n: number }>(
        `SELECT count(*)::integer AS n FROM audit_events WHERE user_id = $1 AND type = 'code.failed'`,
        [user.id],
      )
      return row?.n ?? 0
    }
    let ownerComes = day
    /** Comes in the first moment he may, and ends the streak; returns after how many seconds he comes again. */
    const signInOwner = async (): Promise<number> => {
      const first = await login(one, user)
      if (first.status !== 200) return first.body.retry_after ?? day
      await finish(one, first.body.pending_token, (await codeOf(user)) ?? '')
      return day
    }
    let burst = owner.signsInDaily ? 60 : 300
    while (now() < days * day) {
      const from = now()
      const before = await compared()
      const answers = await together(4, (i) => login(replica(i), user, { from: elsewhere() }))
      const tokens = answers.flatMap(({ body }) => (body.pending_token ? [body.pending_token as string] : []))
      if (tokens.length > 0) {
        const wrong = wrongCode((await codeOf(user)) ?? '')
        const tries = await together(burst, (i) =>
          finish(replica(i), tokens[i % tokens.length] as string, wrong, { from: elsewhere() }),
        )
        answers.push(...tries)
        burst = 8
      }
      for (let i = await compared(); i > before; i--) guesses.push({ from, to: now() })
      const refusals = answers.filter(({ status }) => status === 429)
      if (refusals.length > 0 && refusals.every(({ body }) => body.retry_after === undefined)) break
      const told = refusals.map(({ body }) => (body.retry_after as number | undefined) ?? Number.POSITIVE_INFINITY)
      const wait = Math.min(...told, Math.max(ownerComes - now(), 1))
      await passTime(one, wait)
      aged += wait
      if (now() >= ownerComes) ownerComes = now() + (owner.signsInDaily ? await signInOwner() : day)
    }
    return guesses
  }
  /** The most tries in any window of so many seconds. */
  const most = (guesses: Guess[], seconds: number): number =>
    Math.max(...guesses.map(({ from }) => guesses.filter((it) => it.from >= from && it.to < from + seconds).length))

  await t.test('with any number of machines: 20 tries in any 24 hours, 100 in any 30 days', async (t) => {
    const codes = 10 ** services.oneTimeCodes.length
    const daily = await createUser(one)
    const withOwner = await attack(daily, 40, { signsInDaily: true })
    t.equal(most(withOwner, day), 20, '20 in any 24 hours, and no fewer: the thief did what he could')
    t.equal(most(withOwner, 30 * day), 100, '100 in any 30 days, although the owner signs in every day')
    t.equal(withOwner.length, 200, 'and as many after 30 days')
    const [{ n: signIns = 0 } = {}] = await sql<{ n: number }>(
      'SELECT count(*)::integer AS n FROM challenges WHERE user_id = $1 AND consumed_at IS NOT NULL',
      [daily.id],
    )
    t.ok(signIns >= 8, 'the owner did sign in, as often as he was let')
    t.equal(codes / most(withOwner, day), 50_000, 'at most a 1 in 50,000 chance per day')
    t.equal(codes / most(withOwner, 30 * day), 10_000, 'and 1 in 10,000 per 30 days')

    const away = await createUser(one)
    const alone = await attack(away, 400, { signsInDaily: false })
    t.equal(most(alone, day), 20)
    t.equal(alone.length, 100, 'while the owner stays away: 100 in all, and then never again')
    t.equal((await guardOf(away)).streak, 100)
  })
})
