import t, { type Test } from 'tap'
import { unlockAccount } from '../../src/features/accounts/unlock-account.ts'
import { becomeKnown, codeOf, plantDevice } from '../helpers/credentials.ts'
import { createTestDatabase } from '../helpers/database.ts'
import { startDoorstep } from '../helpers/doorstep.ts'
import { thorough } from '../helpers/effort.ts'
import { passTime } from '../helpers/pass-time.ts'
import { type Answer, call, createUser, finish, login, type TestUser, wrongCode } from '../helpers/story.ts'
import { together } from '../helpers/together.ts'

t.setTimeout(600_000)

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

  const guardOf = async ({ id }: TestUser, known = false) => {
    const [row] = await sql<{ streak: number; failures: number; wait: number | null; locked: boolean }>(
      `SELECT streak, cardinality(failed_at) AS failures, ceil(extract(epoch FROM locked_until - clock_timestamp()))::float AS wait,
         coalesce(locked_until > clock_timestamp(), false) AS locked FROM factor_guards WHERE user_id = $1 AND known = $2`,
      [id, known],
    )
    return row ?? { streak: 0, failures: 0, wait: null, locked: false }
  }
  const attemptsOf = async ({ id }: TestUser): Promise<number> => {
    const [row] = await sql<{ attempts: number }>(
      'SELECT coalesce(sum(attempts), 0)::integer AS attempts FROM challenges WHERE user_id = $1',
      [id],
    )
    return row?.attempts ?? -1
  }
  type Failed = { streak?: number; recent?: number; older?: number }
  /** As if a class of this account had failed so often: `recent` in the last hour, `older` in the last 29 days, `streak` in a row. */
  const haveFailed = ({ id }: TestUser, known: boolean, { streak = 0, recent = 0, older = 0 }: Failed) =>
    sql(
      `INSERT INTO factor_guards (user_id, known, streak, failed_at) SELECT $1, $2, $3,
         ARRAY(SELECT clock_timestamp() - interval '29 days' + n * interval '1 minute' FROM generate_series(1, $4) n) ||
         ARRAY(SELECT clock_timestamp() - interval '1 hour' + n * interval '1 second' FROM generate_series(1, $5) n)`,
      [id, known, streak, older, recent],
    )
  /** A login that waits for its code, from a device that is known or from none. */
  const begin = async (given: { failed?: Failed; known?: boolean } = {}) => {
    const user = await createUser(one)
    const known = given.known === true
    const body = known ? { device_token: (await becomeKnown(one, user)).device } : {}
    if (given.failed) await haveFailed(user, known, given.failed)
    const again = (at = one) => login(at, user, { body })
    const first = await again()
    const code = codeOf(one, first)
    return { user, token: first.body.pending_token as string, code, wrong: wrongCode(code), first, again }
  }
  const unlock = (user: TestUser, all: boolean) => unlockAccount(services, { email: user.email, all })
  const textsOf = async ({ id }: TestUser): Promise<number> =>
    (await sql<{ n: number }>('SELECT count(*)::integer AS n FROM sms_messages WHERE user_id = $1', [id]))[0]?.n ?? -1
  const locked = { status: 429, body: { code: 'second_factor_locked' } }

  await t.test('by one wrong code per login, each from a new address', async (t) => {
    const user = await createUser(one)
    for (let failures = 1; failures <= 10; failures++) {
      const at = replica(failures)
      const first = await login(at, user, { from: elsewhere() })
      t.equal(first.status, 200)
      const code = codeOf(at, first)
      const answer = await finish(at, first.body.pending_token, wrongCode(code), { from: elsewhere() })
      t.match(answer, { status: 422, body: { code: 'invalid_code', attempts_remaining: Math.min(4, 10 - failures) } })
      if (failures === 10) {
        const late = await finish(at, first.body.pending_token, code, { from: elsewhere() })
        t.match(late, locked, 'the right code comes too late')
      }
      // The code runs out: the next login gets another one.
      if (failures < 10) await passTime(one, 301)
    }
    const texts = await textsOf(user)
    t.equal(texts, 10, 'a challenge each')
    const refused = await login(two, user, { from: elsewhere() })
    t.match(refused, locked)
    t.equal(refused.headers['retry-after'], String(refused.body.retry_after))
    t.equal(await textsOf(user), texts, 'and no text')
    await passTime(one, refused.body.retry_after)
    t.equal((await login(two, user, { from: elsewhere() })).status, 200, 'free again after exactly that time')
  })

  await t.test('by going on after a lock: each further five double it, to 24 hours and no further', async (t) => {
    const waits: Record<number, number> = {
      ...{ 9: 0, 10: 900, 11: 0, 14: 0, 15: 1_800, 20: 3_600, 25: 7_200, 30: 14_400, 35: 28_800, 40: 57_600 },
      ...{ 45: day, 50: day, 95: day, 99: 0, 100: day, 101: 0, 105: day, 1000: day, 100000: day },
    }
    for (const [count, expected] of Object.entries(waits)) {
      const streak = Number(count)
      const known = streak % 2 === 1
      const { user, token, wrong, again } = await begin({ failed: { streak: streak - 1 }, known })
      t.equal((await finish(one, token, wrong)).status, 422)
      const before = await guardOf(user, known)
      t.equal(before.streak, streak)
      if (expected === 0) {
        t.equal(before.locked, false, `${streak} in a row: no lock`)
        t.equal((await again(two)).status, 200)
        continue
      }
      const refused = [await finish(two, token, wrong), await again()]
      const after = await guardOf(user, known)
      for (const answer of refused) {
        t.match(answer, locked, `${streak} in a row`)
        const { retry_after: told } = answer.body
        t.ok(told <= (before.wait ?? 0) && told >= (after.wait ?? 0), 'says exactly how long')
      }
      t.ok((before.wait ?? 0) <= expected && (before.wait ?? 0) > expected - 60, `${expected} s`)
      t.equal(after.streak, streak, 'what is not compared does not count')
      await passTime(one, refused[0]?.body.retry_after)
      t.equal((await again(two)).status, 200, 'free again after exactly that time: no lock is without an end')
    }
  })

  await t.test('by waiting for the owner to sign in, who ends the streak but refills neither budget', async (t) => {
    const user = await createUser(one)
    const failFour = async (): Promise<Answer> => {
      const first = await login(one, user)
      if (first.status !== 200) return first
      const code = codeOf(one, first)
      for (let i = 0; i < 4; i++) await finish(replica(i), first.body.pending_token, wrongCode(code))
      return finish(one, first.body.pending_token, code)
    }
    for (let round = 1; round <= 4; round++) {
      t.equal((await failFour()).status, 200)
      await passTime(one, 60)
      t.match(await guardOf(user), { streak: 0, failures: 4 * round, locked: false })
    }
    const owner = await failFour()
    t.match(owner, locked, 'after 20 in 24 hours even the owner waits, where nobody knows the device')
    t.equal((await guardOf(user)).failures, 20)
    t.ok(owner.body.retry_after > day - 600 && owner.body.retry_after <= day, 'until the first of them is a day old')
    await unlock(user, false)
    t.match(await login(two, user), locked, 'unlocking does not lift it')
    await passTime(one, owner.body.retry_after + 5)
    const first = await login(two, user)
    const { attempts_remaining: free } = first.body.challenge
    t.ok(first.status === 200 && free >= 1 && free <= 4, 'then as many are free as are a day old')
    for (let left = free - 1; left >= 0; left--) {
      const answer = await finish(two, first.body.pending_token, wrongCode(codeOf(two, first)))
      t.equal(answer.body.attempts_remaining, left)
    }
    t.match(await login(one, user), locked)
    await unlock(user, true)
    t.equal((await login(one, user)).status, 200, 'an operator who means it empties them')
  })

  await t.test(
    'by letting the other class pay: neither streak nor budget of one is touched by the other',
    async (t) => {
      for (const known of [false, true]) {
        const { user, token, wrong } = await begin({ known: !known })
        await haveFailed(user, known, { streak: 9, recent: 15, older: 60 })
        const before = await guardOf(user, known)
        for (let left = 4; left >= 0; left--) {
          t.match(await finish(one, token, wrong), { status: 422, body: { attempts_remaining: left } })
        }
        t.match(await guardOf(user, !known), { streak: 5, failures: 5 })
        t.same(await guardOf(user, known), before, 'failing')
        await passTime(one, 61)
        const body = known ? {} : { device_token: await plantDevice(one, user) }
        const first = await login(one, user, { body })
        t.equal((await finish(two, first.body.pending_token, codeOf(one, first))).status, 200)
        t.same(await guardOf(user, known), before, 'nor signing in')
      }
    },
  )

  await t.test('by anything that the number of tries left does not tell', async (t) => {
    const cases = [
      ...[{}, { streak: 3 }, { streak: 6 }, { streak: 9 }, { streak: 11 }, { streak: 14 }, { streak: 98 }],
      ...[{ recent: 15 }, { recent: 17, streak: 12 }, { recent: 19 }, { older: 95 }, { older: 97, streak: 8 }],
      ...[{ older: 99 }, { older: 81, recent: 15 }, { older: 82, recent: 16 }],
    ]
    for (const [n, failed] of cases.entries()) {
      const { streak = 0, recent = 0, older = 0 } = failed as Failed
      const untilLock = streak < 10 ? 10 - streak : 5 - (streak % 5)
      let left = Math.min(5, untilLock, 20 - recent, 100 - recent - older)
      const { user, token, wrong, first, again } = await begin({ failed, known: n % 2 === 0 })
      const told = async () => (await call(two, '/login/2fa', { token })).body.challenge.attempts_remaining
      t.equal(first.body.challenge.attempts_remaining, left, JSON.stringify(failed))
      t.equal((await again(two)).body.challenge.attempts_remaining, left, 'to whoever joins')
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

  await t.test('by making the service fail: no answer depends on a code whose try is not counted', async (t) => {
    const { user, token, wrong, code } = await begin()
    await sql(`CREATE FUNCTION refuse_rows() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'full'; END $$`)
    const refuse = (types: string[]) =>
      sql(`CREATE TRIGGER refuse BEFORE INSERT ON audit_events FOR EACH ROW
           WHEN (NEW.type = ANY ('{${types.join(',')}}')) EXECUTE FUNCTION refuse_rows()`)
    const allow = () => sql('DROP TRIGGER refuse ON audit_events')

    await refuse(['code.failed', 'session.started'])
    const answers = [await finish(one, token, wrong), await finish(one, token, code)]
    await allow()
    const [ofWrong, ofRight] = answers.map(({ status, body: { instance, ...body } }) => ({ status, body }))
    t.match(ofWrong, { status: 500, body: { code: 'internal_error' } })
    t.same(ofRight, ofWrong, 'right or wrong is not to be told apart')
    t.same(await sql('SELECT FROM sessions WHERE user_id = $1', [user.id]), [], 'no session without its audit row')
    t.equal(await attemptsOf(user), 0)
    t.match(await finish(two, token, wrong), { status: 422, body: { attempts_remaining: 4 } })
    t.match(await guardOf(user), { streak: 1, failures: 1 })
    t.equal((await finish(two, token, code)).status, 200, 'and the code is still good')
    t.match(await guardOf(user), { streak: 0, failures: 1 })
  })

  await t.test('by the end of summer time: 30 days are 720 hours in every time zone', async (t) => {
    const [row] = await sql<{ locked: boolean; left: number }>(
      `WITH zone AS (SELECT set_config('TimeZone', 'Europe/Berlin', false)),
         row AS (SELECT ('00000000-0000-0000-0000-000000000000', false, 0,
           array_fill('2026-03-15T12:00:00Z'::timestamptz, ARRAY[100]), NULL)::factor_guards AS g FROM zone)
       SELECT codes_locked_until(g, '2026-03-15T12:00:00Z'::timestamptz + interval '719 hours 59 minutes') IS NOT NULL AS locked,
         codes_left(g, true, '2026-03-15T12:00:00Z'::timestamptz + interval '720 hours') AS left FROM row`,
    )
    await sql('RESET TimeZone')
    t.same(row, { locked: true, left: 10 })
  })

  /** When each try was compared, in seconds of the simulated time. */
  type Guess = { from: number; to: number }

  type Campaign = { days: number; device?: string | undefined; owner?: () => Promise<Answer> }

  /**
   * The greediest thief: has the password (and a stolen `device`, which makes him known), any number of addresses, both
   * replicas, bursts of any size; comes back the moment he is allowed to. Once a day the owner signs in meanwhile.
   */
  const attack = async (user: TestUser, { days, device, owner }: Campaign) => {
    const guesses: Guess[] = []
    const visits: Answer[] = []
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
    const body = device === undefined ? {} : { device_token: device }
    let ownerComes = day / 2
    let burst = 60
    while (now() < days * day) {
      const from = now()
      const before = await compared()
      const address = elsewhere()
      const answers = await together(4, (i) => login(replica(i), user, { from: address, body }))
      const begun = answers.filter(({ status }) => status === 200)
      if (begun.length > 0) {
        const tries = await together(burst, (i) => {
          const mine = begun[i % begun.length] as Answer
          return finish(replica(i), mine.body.pending_token, wrongCode(codeOf(one, mine)), { from: elsewhere() })
        })
        answers.push(...tries)
        burst = 8
      }
      for (let i = await compared(); i > before; i--) guesses.push({ from, to: now() })
      const refusals = answers.filter(({ status }) => status === 429)
      if (refusals.some(({ body: { retry_after } }) => retry_after === undefined))
        throw new Error('a lock without an end')
      const wait = Math.min(...refusals.map((refusal) => refusal.body.retry_after), Math.max(ownerComes - now(), 1))
      await passTime(one, wait)
      aged += wait
      if (now() < ownerComes) continue
      const visit = await owner?.()
      if (visit) visits.push(visit)
      // Whoever is refused comes in the first moment he may.
      ownerComes = visit === undefined || visit.status === 200 ? ownerComes + day : now() + visit.body.retry_after
    }
    return { guesses, visits }
  }
  /** The most tries in any window of so many seconds. */
  const most = (guesses: Guess[], seconds: number): number =>
    Math.max(...guesses.map(({ from }) => guesses.filter((it) => it.from >= from && it.to < from + seconds).length))

  const codes = 10 ** services.oneTimeCodes.length
  /** Both steps, `device`: of the owner. */
  const enter = async (user: TestUser, device?: string): Promise<Answer> => {
    const first = await login(two, user, {
      from: elsewhere(),
      ...(device !== undefined && { body: { device_token: device } }),
    })
    if (first.status !== 200) return first
    return finish(one, first.body.pending_token, codeOf(one, first), { from: elsewhere() })
  }
  /** The owner was never kept waiting. */
  const cameEveryDay = (t: Test, visits: Answer[], days: number): void => {
    t.ok(visits.length >= days - 1, `visits: ${visits.length}`)
    t.same(
      visits.filter(({ status }) => status !== 200).map(({ body }) => body),
      [],
      'the owner came in every day',
    )
  }
  const published = (t: Test, guesses: Guess[]): void => {
    t.equal(most(guesses, day), 20, '20 in any 24 hours, and no fewer: the thief did what he could')
    t.equal(most(guesses, 30 * day), 100, '100 in any 30 days')
    t.equal(codes / most(guesses, day), 50_000, 'at most a 1 in 50,000 chance per day')
    t.equal(codes / most(guesses, 30 * day), 10_000, 'and 1 in 10,000 per 30 days')
  }

  await t.test('as a stranger with any number of machines: 20 in any 24 hours, 100 in any 30 days', async (t) => {
    const user = await createUser(one)
    const { device } = await becomeKnown(one, user)
    const { guesses, visits } = await attack(user, { days: 32, owner: () => enter(user, device) })
    published(t, guesses)
    cameEveryDay(t, visits, 32)
    t.match(await guardOf(user, true), { streak: 0, failures: 0 }, 'and nothing was counted of the known device')
  })

  await t.test('as a stranger while the owner signs in on new devices, which ends the streak every time', async (t) => {
    const user = await createUser(one)
    const { guesses, visits } = await attack(user, { days: 40, owner: () => enter(user) })
    published(t, guesses)
    t.equal(guesses.length, 200, 'and as many after 30 days')
    t.ok(visits.filter(({ status }) => status === 200).length >= 8, 'the owner did sign in, as often as he was let')
  })

  await t.test('with a stolen device too: the same numbers, and the owner comes in on a new one', async (t) => {
    const user = await createUser(one)
    const { device } = await becomeKnown(one, user)
    const owner = async (): Promise<Answer> => {
      const answer = await enter(user)
      // Of more than 20 devices the stolen one would go first.
      await sql('DELETE FROM devices WHERE user_id = $1 AND token_hash <> sha256($2)', [user.id, Buffer.from(device)])
      return answer
    }
    const { guesses, visits } = await attack(user, { days: 32, device, owner })
    published(t, guesses)
    cameEveryDay(t, visits, 32)
    t.match(await guardOf(user), { streak: 0, failures: 0 }, 'and nothing was counted of strangers')
  })

  await t.test(
    'while nobody signs in: the wait grows to a day, the numbers hold, and it never ends for good',
    async (t) => {
      const user = await createUser(one)
      const days = thorough(70, 32)
      const { guesses } = await attack(user, { days })
      published(t, guesses)
      t.ok((guesses.at(-1)?.from ?? 0) > (days - 3) * day)
      t.ok((await guardOf(user)).streak >= 100)
      await passTime(one, 30 * day)
      t.equal((await enter(user)).status, 200, 'the owner gets in when it is over, on a new device too')
    },
  )
})
