import { setTimeout as sleep } from 'node:timers/promises'
import fc from 'fast-check'
import { getCountries, getExampleNumber } from 'libphonenumber-js/max'
import examples from 'libphonenumber-js/mobile/examples'
import t from 'tap'
import { createTestDatabase } from '../helpers/database.ts'
import { type Doorstep, startDoorstep } from '../helpers/doorstep.ts'
import { passTime } from '../helpers/pass-time.ts'
import {
  type Answer,
  call,
  codeFor,
  createUser,
  finish,
  login,
  resend,
  type TestUser,
  textsTo,
  wrongCode,
} from '../helpers/story.ts'

t.setTimeout(180_000)

const hour = 3_600
const day = 86_400

/** The budgets as an operator gets them who sets none, and codes so long that no other number looks like one. */
const env = {
  ...{ SMS_PER_ADDRESS_HOUR: '', SMS_PER_ADDRESS_DAY: '', SMS_PER_PREFIX_HOUR: '' },
  ...{ SMS_GLOBAL_HOUR: '', SMS_GLOBAL_DAY: '', CODE_LENGTH: '10' },
}

let addresses = 0
const elsewhere = (): string => `10.${(addresses >> 16) & 255}.${(addresses >> 8) & 255}.${addresses++ & 255}`
let lines = 0
/** Numbers of one prefix or of many, apart from those that other helpers hand out. */
const phoneIn = (area: number): string => `+1${area}55501${String(lines++ % 100).padStart(2, '0')}`

t.test('somebody who wants texts to be sent', async (t) => {
  const database = await createTestDatabase()
  t.teardown(() => database.close())
  const doorstep = await startDoorstep(t, { database, env })
  const { sql } = doorstep
  const seen: Answer[] = []

  const textCount = async (): Promise<number> =>
    (await sql<{ n: number }>('SELECT count(*)::integer AS n FROM sms_messages'))[0]?.n ?? -1
  const budgetsOf = async (user: TestUser) => {
    const rows = await sql<{ key: string; used: number }>(
      `SELECT split_part(key, ':', 1) AS key, cardinality(counted_texts(b)) AS used FROM sms_budgets b WHERE key = ANY ($1) ORDER BY key`,
      [[`user:${user.id}`, `phone:${user.phone}`, `phone-total:${user.phone}`]],
    )
    return Object.fromEntries(rows.map(({ key, used }) => [key, used]))
  }
  const setTotal = (period: 'hour' | 'day', used: number, ago = 0) =>
    sql(
      `INSERT INTO sms_totals (period, started_at, used)
       VALUES ($1, date_trunc($1, clock_timestamp() - make_interval(secs => $3), 'UTC'), $2)
       ON CONFLICT (period) DO UPDATE SET started_at = excluded.started_at, used = excluded.used`,
      [period, used, ago],
    )
  const totals = async () =>
    Object.fromEntries(
      (await sql<{ period: string; used: number }>('SELECT period, used FROM sms_totals')).map((it) => [
        it.period,
        it.used,
      ]),
    )
  const attempt = async (user: TestUser, from = elsewhere(), at: Doorstep = doorstep): Promise<Answer> => {
    const answer = await login(at, user, { from })
    seen.push(answer)
    return answer
  }
  /** Lets the code run out, so that the next login needs a text again; the budgets get older by as much. */
  const afterwards = (seconds: number) => passTime(doorstep, seconds)
  /** The wait that an answer tells must be exact: refused 5 s before, good afterwards. */
  const waitIsExact = async (user: TestUser, refused: Answer, from?: string): Promise<void> => {
    const { retry_after: wait } = refused.body
    if (wait > 30) {
      await afterwards(wait - 20)
      t.equal((await attempt(user, from)).body.code, refused.body.code, `not ${20} s earlier`)
      await afterwards(20)
    } else await afterwards(wait)
    t.equal((await attempt(user, from)).status, 200, 'but exactly then')
  }

  await t.test('to one account: 1 in 60 s, 5 in an hour, 10 in a day', async (t) => {
    const user = await createUser(doorstep, { phone: phoneIn(206) })
    const first = await attempt(user)
    t.equal(first.status, 200)
    const joined = await attempt(user)
    t.match(joined, { status: 200, body: { challenge: { delivery: 'sent' } } }, 'who joins gets in')
    t.equal(textsTo(doorstep, user.phone).length, 1, 'and no text')
    const hasty = await resend(doorstep, first.body.pending_token)
    t.match(hasty, { status: 429, body: { code: 'resend_too_soon' } })
    t.ok(hasty.body.retry_after > 30 && hasty.body.retry_after <= 60)
    t.equal(hasty.headers['retry-after'], String(hasty.body.retry_after))

    for (let sent = 2; sent <= 5; sent++) {
      await afterwards(310)
      t.equal((await attempt(user)).status, 200, `text ${sent}`)
    }
    await afterwards(310)
    const sixth = await attempt(user)
    t.match(sixth, { status: 429, body: { code: 'sms_limit_reached' } }, 'not a sixth in an hour')
    t.equal(textsTo(doorstep, user.phone).length, 5)
    t.same(await budgetsOf(user), { phone: 5, 'phone-total': 5, user: 5 }, 'what is refused charges nothing')
    await waitIsExact(user, sixth)

    for (let sent = 7; sent <= 10; sent++) {
      await afterwards(hour)
      t.equal((await attempt(user)).status, 200, `text ${sent}`)
    }
    await afterwards(hour)
    const eleventh = await attempt(user)
    t.match(eleventh, { status: 429, body: { code: 'sms_limit_reached' } }, 'not an eleventh in a day')
    t.ok(eleventh.body.retry_after > hour && eleventh.body.retry_after < day)
    t.equal(textsTo(doorstep, user.phone).length, 10)
    await waitIsExact(user, eleventh)
  })

  await t.test('to one phone through several accounts', async (t) => {
    const phone = phoneIn(253)
    const users = [await createUser(doorstep, { phone }), await createUser(doorstep, { phone })]
    const third = await createUser(doorstep, { phone })
    const [ada, bob] = users as [TestUser, TestUser]
    t.equal((await attempt(ada)).status, 200)
    const hasty = await attempt(bob)
    t.match(hasty, { status: 429, body: { code: 'resend_too_soon' } }, 'the cooldown is that of the phone')
    t.same(await budgetsOf(bob), { phone: 1, 'phone-total': 1, user: 0 })
    for (let sent = 2; sent <= 5; sent++) {
      await afterwards(310)
      t.equal((await attempt(sent % 2 === 0 ? bob : ada)).status, 200)
    }
    await afterwards(310)
    t.match(await attempt(third), { status: 429, body: { code: 'sms_limit_reached' } }, '5 in an hour together')
    for (let sent = 6; sent <= 10; sent++) {
      await afterwards(hour)
      t.equal((await attempt(sent % 2 === 0 ? bob : ada)).status, 200)
    }
    await afterwards(hour)
    t.match(await attempt(third), { status: 429, body: { code: 'sms_limit_reached' } }, '10 in a day together')
    t.equal(textsTo(doorstep, phone).length, 10)
  })

  await t.test('from one address: 10 in an hour, 20 in a day', async (t) => {
    await afterwards(2 * day)
    const from = '192.0.2.9'
    const oneEach = async (): Promise<[TestUser, Answer]> => {
      const user = await createUser(doorstep, { phone: phoneIn(401 + (lines % 9)) })
      return [user, await attempt(user, from)]
    }
    for (let sent = 1; sent <= 10; sent++) t.equal((await oneEach())[1].status, 200, `text ${sent}`)
    const [user, refused] = await oneEach()
    t.match(refused, { status: 429, body: { code: 'sms_limit_reached' } }, 'not an eleventh in an hour')
    t.equal((await attempt(user)).status, 200, 'another address may')
    await afterwards(hour)
    for (let sent = 11; sent <= 20; sent++) t.equal((await oneEach())[1].status, 200, `text ${sent}`)
    await afterwards(hour)
    const [late, over] = await oneEach()
    t.match(over, { status: 429, body: { code: 'sms_limit_reached' } }, 'not a 21st in a day')
    t.ok(over.body.retry_after > 21 * hour && over.body.retry_after <= 22 * hour)
    await waitIsExact(late, over, from)
  })

  await t.test('to one block of numbers: 30 in an hour', async (t) => {
    await afterwards(2 * day)
    for (let sent = 1; sent <= 30; sent++) {
      const { status } = await attempt(await createUser(doorstep, { phone: phoneIn(720) }))
      if (status !== 200) t.equal(status, 200, `text ${sent}`)
    }
    const user = await createUser(doorstep, { phone: phoneIn(720) })
    const refused = await attempt(user)
    t.match(refused, { status: 429, body: { code: 'sms_limit_reached' } }, 'not a 31st')
    const other = await createUser(doorstep, { phone: phoneIn(971) })
    t.equal((await attempt(other)).status, 200, 'another block may')
    await waitIsExact(user, refused)
  })

  await t.test('by signing in all the time: 30 a day to one phone, success or not', async (t) => {
    await afterwards(2 * day)
    const user = await createUser(doorstep, { phone: phoneIn(435) })
    for (let sent = 1; sent <= 30; sent++) {
      const first = await attempt(user)
      if (first.status !== 200) t.equal(first.status, 200, `login ${sent}`)
      const { status } = await finish(doorstep, first.body.pending_token, codeFor(doorstep, user.phone))
      if (status !== 200) t.equal(status, 200, `code ${sent}`)
    }
    t.same(await budgetsOf(user), { phone: 0, 'phone-total': 30, user: 0 }, 'each success gave the others back')
    const refused = await attempt(user)
    t.match(refused, { status: 429, body: { code: 'sms_limit_reached' } }, 'not a 31st')
    t.ok(refused.body.retry_after > day - 600 && refused.body.retry_after <= day)
  })

  await t.test(
    'and gets the owner into trouble: a success gives back what the own texts used, and no others',
    async (t) => {
      await afterwards(2 * day)
      const ada = await createUser(doorstep, { phone: phoneIn(801) })
      const bob = await createUser(doorstep, { phone: ada.phone })
      const from = '192.0.2.44'
      t.equal((await attempt(bob, from)).status, 200)
      await afterwards(310)
      for (let sent = 1; sent <= 3; sent++) {
        t.equal((await attempt(ada, from)).status, 200)
        await afterwards(sent < 3 ? 310 : 61)
      }
      const [{ key = '', used = 0 } = {}] = await sql<{ key: string; used: number }>(
        `SELECT key, cardinality(counted_texts(b)) AS used FROM sms_budgets b WHERE key = $1`,
        [`address:${from}`],
      )
      t.equal(used, 4, key)
      const last = await attempt(ada, from)
      t.equal((await finish(doorstep, last.body.pending_token, codeFor(doorstep, ada.phone))).status, 200)
      t.same(await budgetsOf(ada), { phone: 1, 'phone-total': 5, user: 0 }, "bob's text stays counted")
      t.same(await sql('SELECT cardinality(counted_texts(b)) AS used FROM sms_budgets b WHERE key = $1', [key]), [
        { used: 1 },
      ])
      t.equal((await attempt(ada)).status, 200, 'signing in on a second device at once works')
      t.match(await resend(doorstep, last.body.pending_token), { status: 401 })
    },
  )

  await t.test('of the whole service: 200 in a UTC hour, 2,000 in a UTC day', async (t) => {
    await afterwards(2 * day)
    const [{ left: untilHour = 60 } = {}] = await sql<{ left: number }>(
      'SELECT (3600 - extract(epoch FROM clock_timestamp())::bigint % 3600)::integer AS left',
    )
    // Rather the beginning of an hour than its end in the middle of this.
    if (untilHour < 20) await sleep(untilHour * 1_000)
    for (const [period, max, length] of [
      ['hour', 200, hour],
      ['day', 2_000, day],
    ] as const) {
      await setTotal('hour', 0)
      await setTotal('day', 0)
      await setTotal(period, max - 1)
      const user = await createUser(doorstep)
      const next = await createUser(doorstep)
      const first = await attempt(user)
      t.equal(first.status, 200, `text ${max} of the ${period}`)
      const before = await totals()
      t.equal(before[period], max)
      const texts = await textCount()
      const refused = await attempt(next)
      t.match(refused, { status: 503, body: { code: 'sms_unavailable' } }, 'and no more')
      const [{ left = 0 } = {}] = await sql<{ left: number }>(
        `SELECT extract(epoch FROM date_trunc($1, clock_timestamp(), 'UTC') - clock_timestamp())::float + $2 AS left`,
        [period, length],
      )
      t.ok(Math.abs(refused.body.retry_after - left) < 60, `until the ${period} ends`)
      t.equal(refused.headers['retry-after'], String(refused.body.retry_after))
      await afterwards(61)
      t.match(await resend(doorstep, first.body.pending_token), { status: 503, body: { code: 'sms_unavailable' } })
      t.same(await totals(), before, 'what is refused charges nothing')
      t.same(await budgetsOf(next), { phone: 0, 'phone-total': 0, user: 0 })
      t.equal(await textCount(), texts)
      t.equal((await finish(doorstep, first.body.pending_token, codeFor(doorstep, user.phone))).status, 200)
      const plain = await createUser(doorstep, { twoFactor: 'off' })
      t.equal((await attempt(plain)).status, 200, 'who needs no text gets in')

      await setTotal(period, max, length)
      t.equal((await attempt(next)).status, 200, `the next ${period} begins at 0`)
      t.equal((await totals())[period], 1)
    }
    // A login that had to wait for this row, across the end of the hour, must not begin the old hour again.
    await setTotal('hour', 7)
    await sql(`SELECT reserve_sms('[]', '[{"period": "hour", "max": 200}]', clock_timestamp() - interval '1 hour')`)
    t.equal((await totals()).hour, 8)
    await setTotal('hour', 0)
    await setTotal('day', 0)
  })

  await t.test('without the password', async (t) => {
    const user = await createUser(doorstep)
    const texts = await textCount()
    for (let i = 0; i < 50; i++) {
      const answer = await attempt({ ...user, password: `wrong ${i}` })
      if (![401, 429].includes(answer.status)) t.fail(`${answer.status}`)
      await sql('UPDATE login_throttles SET failures = 0, locked_until = NULL')
    }
    t.equal(await textCount(), texts, 'no text')
    t.same(await sql('SELECT FROM challenges WHERE user_id = $1', [user.id]), [], 'and no challenge')
  })

  await t.test('by using up the code or locking the account', async (t) => {
    const user = await createUser(doorstep)
    const first = await attempt(user)
    for (let i = 0; i < 5; i++) {
      await finish(doorstep, first.body.pending_token, wrongCode(codeFor(doorstep, user.phone)))
    }
    const spent = await finish(doorstep, first.body.pending_token, codeFor(doorstep, user.phone))
    t.match(spent, { status: 429, body: { code: 'code_attempts_exhausted' } })
    const again = await attempt(user)
    t.match(again, { status: 429, body: { code: 'resend_too_soon' } }, 'a new code has to wait for the cooldown')
    t.equal(textsTo(doorstep, user.phone).length, 1)
    t.ok(again.body.retry_after <= spent.body.retry_after && again.body.retry_after > 30, 'which was told')
    await afterwards(again.body.retry_after)
    const second = await attempt(user)
    t.equal(second.status, 200)
    for (let i = 0; i < 5; i++) {
      await finish(doorstep, second.body.pending_token, wrongCode(codeFor(doorstep, user.phone)))
    }
    await afterwards(61)
    t.match(await attempt(user), { status: 429, body: { code: 'second_factor_locked' } }, 'locked')
    t.match(await resend(doorstep, second.body.pending_token), { status: 429, body: { code: 'second_factor_locked' } })
    t.equal(textsTo(doorstep, user.phone).length, 2, 'and no text')
    t.same(await budgetsOf(user), { phone: 2, 'phone-total': 2, user: 2 })
  })

  await t.test('to a country that is no longer allowed', async (t) => {
    const british = await startDoorstep(t, { database, env: { ...env, SMS_ALLOWED_COUNTRIES: 'GB' } })
    const user = await createUser(doorstep)
    const begun = await attempt(user)
    t.equal(begun.status, 200)
    await afterwards(61)
    const again = await resend(british, begun.body.pending_token)
    t.match(again, { status: 422, body: { code: 'phone_not_allowed' } })
    await afterwards(301)
    const texts = await textCount()
    for (let i = 0; i < 2; i++) {
      const refused = await attempt(user, elsewhere(), british)
      t.match(refused, { status: 422, body: { code: 'phone_not_allowed' } })
      t.notOk('pending_token' in refused.body)
    }
    t.equal(await textCount(), texts)
    t.equal(textsTo(british, user.phone).length, 0, 'no text')
    t.equal((await budgetsOf(user))['phone-total'], 1, 'and nothing is charged')
    t.equal((await attempt({ ...user, password: 'wrong' }, elsewhere(), british)).status, 401, 'a wrong password: 401')
    const fresh = await createUser(doorstep, { phone: '+447400123457' })
    t.equal((await attempt(fresh, elsewhere(), british)).status, 200)
  })

  await t.test(
    'or to learn numbers and codes: nobody is shown more of a number than its last two digits',
    async (t) => {
      const masked = /^\+\d{1,3} •{8} \d\d$/
      const countries = getCountries().filter((country) => getExampleNumber(country, examples) !== undefined)
      fc.assert(
        fc.property(fc.constantFrom(...countries), fc.stringMatching(/^\d{4}$/), (country, tail) => {
          const example = getExampleNumber(country, examples)?.number ?? ''
          const phone = example.slice(0, -4) + tail
          const shown = doorstep.services.phoneNumbers.mask(phone)
          const code = /^\+(\d+) /.exec(shown)?.[1] ?? ''
          return masked.test(shown) && phone.startsWith(`+${code}`) && shown.endsWith(` ${phone.slice(-2)}`)
        }),
        { numRuns: 1_000 },
      )

      const everywhere = ['GB', 'DE', 'US', 'IN', 'BR', 'JP', 'NZ', 'ZA', 'FR', 'SG', 'LI', 'NU'] as const
      for (const country of everywhere) {
        const phone = getExampleNumber(country, examples)?.number
        if (!phone) throw new Error(country)
        const user = await createUser(doorstep, { phone })
        const first = await attempt(user)
        t.equal(first.status, 200, country)
        const { pending_token: token } = first.body
        await afterwards(61)
        seen.push(await call(doorstep, '/login/2fa', { token }), await resend(doorstep, token))
        for (const { body } of [first, ...seen.slice(-2)]) t.match(body.challenge.destination, masked, country)
        seen.push(await finish(doorstep, token, wrongCode(codeFor(doorstep, phone))))
        const done = await finish(doorstep, token, codeFor(doorstep, phone))
        const me = await call(doorstep, '/me', { token: done.body.access_token })
        t.match(me.body.phone, masked, country)
        seen.push(done, me)
      }

      const texts = doorstep.services.inbox?.sent() ?? []
      const phones = (await sql<{ phone: string }>('SELECT DISTINCT phone FROM users')).map(({ phone }) => phone)
      const secrets = [
        ...phones.flatMap((phone) => [phone, phone.slice(1), phone.slice(-7)]),
        ...texts.map(({ body }) => /#(\d+)$/.exec(body)?.[1] ?? 'no code'),
      ]
      t.ok(phones.length > 60 && texts.length >= 100)
      const shown = seen.map(({ body, headers }) => JSON.stringify([body, headers]))
      t.same(
        secrets.filter((secret) => shown.some((text) => text.includes(secret))),
        [],
        'no number and no code in any answer',
      )
      t.same(
        secrets.filter((secret) => doorstep.logs.some((line) => line.includes(secret))),
        [],
        'nor in any line of the log, at its most talkative',
      )
      t.ok(doorstep.logs.length > 500 && shown.length > 150, 'and there was much to look at')
    },
  )
})
