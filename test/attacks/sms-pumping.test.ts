import fc from 'fast-check'
import { getCountries, getExampleNumber } from 'libphonenumber-js/max'
import examples from 'libphonenumber-js/mobile/examples'
import t from 'tap'
import { becomeKnown, codeOf, plantDevice } from '../helpers/credentials.ts'
import { createTestDatabase } from '../helpers/database.ts'
import { type Doorstep, startDoorstep } from '../helpers/doorstep.ts'
import { passTime } from '../helpers/pass-time.ts'
import { ghostEmail } from '../helpers/password-guesses.ts'
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

t.setTimeout(300_000)

const hour = 3_600
const day = 86_400

/** The budgets as an operator gets them who sets none, and codes so long that no other number looks like one. */
const env = {
  ...{ SMS_PER_ADDRESS_HOUR: '', SMS_PER_ADDRESS_DAY: '', SMS_PER_PREFIX_HOUR: '' },
  ...{ SMS_GLOBAL_HOUR: '', SMS_GLOBAL_DAY: '', CODE_LENGTH: '10', SMS_SPEND_DAY: '100000' },
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
  /** Texts of the last 24 hours that led nowhere, of a user's class and of their phone; and all that went to it. */
  const budgetsOf = async ({ id, phone }: TestUser, known = false) => {
    const [row] = await sql(
      `SELECT count(*) FILTER (WHERE user_id = $1 AND state = 'open' AND known = $3)::integer AS user,
         count(*) FILTER (WHERE phone = $2 AND state = 'open' AND known = $3)::integer AS phone,
         count(*) FILTER (WHERE phone = $2 AND state <> 'refused')::integer AS total
       FROM sms_messages WHERE reserved_at > clock_timestamp() - interval '24 hours'`,
      [id, phone, known],
    )
    return row
  }
  /** As if so many texts had gone to others, one a second until some time ago, and nobody had signed in with them. */
  const sendToOthers = async (count: number, secondsAgo = 0): Promise<void> => {
    await sql(
      `INSERT INTO sms_messages (user_id, challenge_id, known, phone, prefix, address, reserved_at)
       SELECT gen_random_uuid(), gen_random_uuid(), false, '', '', '', clock_timestamp() - ($2::integer + n) * interval '1 second'
       FROM generate_series(1, $1) n`,
      [count, secondsAgo],
    )
    await sql('DELETE FROM text_totals')
  }
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
    const first = await attempt(user, '192.0.2.1')
    t.equal(first.status, 200)
    const joined = await attempt(user, '192.0.2.1')
    t.match(joined, { status: 200, body: { challenge: { delivery: 'sent' } } }, 'who joins gets in')
    t.match(await attempt(user), { status: 429, body: { code: 'resend_too_soon' } }, 'another client has to wait')
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
    t.same(await budgetsOf(user), { user: 5, phone: 5, total: 5 }, 'what is refused charges nothing')
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
    t.same(await budgetsOf(bob), { user: 0, phone: 1, total: 1 })
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

  await t.test(
    'from one address: 10 in an hour, 20 in a day; then no password of a stranger is looked at (SEC-107)',
    async (t) => {
      await afterwards(2 * day)
      const from = '192.0.2.9'
      const home = await createUser(doorstep, { phone: phoneIn(401) })
      const { device } = await becomeKnown(doorstep, home)
      await afterwards(61)
      const oneEach = async (): Promise<[TestUser, Answer]> => {
        const user = await createUser(doorstep, { phone: phoneIn(401 + (lines % 9)) })
        return [user, await attempt(user, from)]
      }
      /** Refused before the hash, whoever it is; and what is charged is nothing. */
      const isRefused = async (user: TestUser): Promise<Answer> => {
        const { started } = doorstep.services.passwordHash.load()
        const before = await sql('SELECT * FROM login_throttles ORDER BY identifier')
        const answers = [
          await attempt(user, from),
          await attempt({ ...user, password: 'wrong' }, from),
          await attempt({ ...user, email: ghostEmail() }, from),
          await login(doorstep, user, { from, body: { device_token: device } }),
        ]
        const [first] = answers as [Answer]
        t.match(first, { status: 429, body: { code: 'rate_limited' } })
        t.equal(first.headers['retry-after'], String(first.body.retry_after))
        for (const { status, body } of answers) {
          t.same(
            [status, body.code, body.detail],
            [429, 'rate_limited', first.body.detail],
            'right, wrong, made up: alike',
          )
        }
        t.equal(
          doorstep.services.passwordHash.load().started,
          started,
          'a list of passwords cannot be checked in silence',
        )
        t.same(await sql('SELECT * FROM login_throttles ORDER BY identifier'), before)
        return first
      }
      for (let sent = 1; sent <= 10; sent++) t.equal((await oneEach())[1].status, 200, `text ${sent}`)
      const user = await createUser(doorstep, { phone: phoneIn(401) })
      await isRefused(user)
      t.equal((await attempt(user)).status, 200, 'at another address it is looked at')
      const known = await login(doorstep, home, { from, body: { device_token: device } })
      t.equal(known.status, 200, 'and a known device gets its text there')
      t.same(await budgetsOf(home, true), { user: 1, phone: 1, total: 2 })
      t.equal(
        (await login(doorstep, { ...home, password: 'wrong' }, { from, body: { device_token: device } })).status,
        401,
      )

      await afterwards(hour)
      for (let sent = 11; sent <= 20; sent++) t.equal((await oneEach())[1].status, 200, `text ${sent}`)
      await afterwards(hour)
      const late = await createUser(doorstep, { phone: phoneIn(402) })
      const over = await isRefused(late)
      t.ok(over.body.retry_after > 21 * hour && over.body.retry_after <= 22 * hour, 'not a 21st in a day')
      await waitIsExact(late, over, from)
    },
  )

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
    t.same(await budgetsOf(user), { user: 0, phone: 0, total: 30 }, 'each success gave the others back')
    const refused = await attempt(user)
    t.match(refused, { status: 429, body: { code: 'sms_limit_reached' } }, 'not a 31st')
    t.ok(refused.body.retry_after > day - 600 && refused.body.retry_after <= day)
  })

  await t.test(
    'and uses up what the owner gets: a success gives back the texts of its own login, and no others',
    async (t) => {
      await afterwards(2 * day)
      const ada = await createUser(doorstep, { phone: phoneIn(801) })
      const bob = await createUser(doorstep, { phone: ada.phone })
      const { device } = await becomeKnown(doorstep, ada)
      const from = '192.0.2.44'
      const body = { device_token: device }
      t.equal((await attempt(bob, from)).status, 200)
      await afterwards(61)
      t.equal((await attempt(ada, from)).status, 200)
      t.equal((await login(doorstep, ada, { from, body })).status, 200, 'the known device does not wait for strangers')
      await afterwards(310)
      const last = await attempt(ada, from)
      for (let sent = 2; sent <= 3; sent++) {
        await afterwards(61)
        t.equal((await resend(doorstep, last.body.pending_token)).status, 200)
      }
      t.same(await budgetsOf(ada), { user: 4, phone: 5, total: 7 })
      t.equal((await finish(doorstep, last.body.pending_token, codeOf(doorstep, last))).status, 200)
      t.same(await budgetsOf(ada), { user: 1, phone: 2, total: 7 }, 'the texts of other logins stay counted')
      t.same(await budgetsOf(ada, true), { user: 1, phone: 1, total: 7 }, 'and so does that of the other class')
      const [row] = await sql(
        `SELECT count(*)::integer AS used FROM sms_messages WHERE address = $1 AND NOT known AND state = 'open'`,
        [from],
      )
      t.same(row, { used: 2 }, "nor does a success give back others' texts from the same address")
      await afterwards(61)
      t.equal((await attempt(ada)).status, 200)
      t.match(await resend(doorstep, last.body.pending_token), { status: 401 })
    },
  )

  await t.test(
    'of the whole service: 200 in an hour, 2,000 in a day, of which strangers get three quarters',
    async (t) => {
      for (const [max, ago, length] of [
        [200, 0, hour],
        [2_000, 2 * hour, day],
      ] as const) {
        await afterwards(2 * day)
        await sendToOthers(0.75 * max - 1, ago)
        const [user, next, owner, other] = [
          await createUser(doorstep),
          await createUser(doorstep),
          await createUser(doorstep),
          await createUser(doorstep),
        ]
        const devices = [await plantDevice(doorstep, owner), await plantDevice(doorstep, other)]
        const first = await attempt(user)
        t.equal(first.status, 200, `text ${0.75 * max}`)
        const texts = await textCount()
        const refused = await attempt(next)
        t.match(refused, { status: 503, body: { code: 'sms_unavailable' } }, 'and no more')
        const left = length - ago - (0.75 * max - 1)
        t.ok(Math.abs(refused.body.retry_after - left) < 60, 'until the first of them is old enough')
        t.equal(refused.headers['retry-after'], String(refused.body.retry_after))
        await afterwards(61)
        t.match(await resend(doorstep, first.body.pending_token), { status: 503, body: { code: 'sms_unavailable' } })
        t.same(await budgetsOf(next), { user: 0, phone: 0, total: 0 }, 'what is refused charges nothing')
        t.equal(await textCount(), texts)
        const plain = await createUser(doorstep, { twoFactor: 'off' })
        t.equal((await attempt(plain)).status, 200, 'who needs no text gets in')

        const enter = (who: TestUser, n: number) => login(doorstep, who, { body: { device_token: devices[n] } })
        const known = await enter(owner, 0)
        t.equal(known.status, 200, 'the last quarter is for known devices')
        t.equal((await finish(doorstep, known.body.pending_token, codeOf(doorstep, known))).status, 200)
        await sendToOthers(0.25 * max - 1, ago)
        t.equal((await enter(other, 1)).status, 200, `text ${max}`)
        const over = await enter(owner, 0)
        t.match(over, { status: 503, body: { code: 'sms_unavailable' } }, 'and that is all')
        t.equal((await finish(doorstep, first.body.pending_token, codeOf(doorstep, first))).status, 200)
        t.equal((await enter(owner, 0)).status, 200, 'a finished login gives its text back to the service')

        await afterwards(2 * day)
        await sendToOthers(0.75 * max, ago)
        await waitIsExact(next, await attempt(next))
      }
      await afterwards(2 * day)
    },
  )

  await t.test('without the password', async (t) => {
    const user = await createUser(doorstep)
    const texts = await textCount()
    for (let i = 0; i < 50; i++) {
      const answer = await attempt({ ...user, password: `wrong ${i}` })
      if (![401, 429].includes(answer.status)) t.fail(`${answer.status}`)
      await sql('DELETE FROM login_throttles')
    }
    t.equal(await textCount(), texts, 'no text')
    t.same(await sql('SELECT FROM challenges WHERE user_id = $1', [user.id]), [], 'and no challenge')
  })

  await t.test('by using up the code or locking the account', async (t) => {
    const user = await createUser(doorstep)
    const from = '192.0.2.77'
    const first = await attempt(user, from)
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
    t.same(await budgetsOf(user), { user: 2, phone: 2, total: 2 })
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
    t.match(await budgetsOf(user), { total: 1 }, 'and nothing is charged')
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
      const phones = (await sql<{ phone: string }>('SELECT DISTINCT phone FROM factors')).map(({ phone }) => phone)
      const secrets = [
        ...phones.flatMap((phone) => [phone, phone.slice(1), phone.slice(-7)]),
        ...texts.map(({ body }) => /#(\d+)$/.exec(body)?.[1] ?? 'no code'),
      ]
      t.ok(phones.length > 60 && texts.length >= 100)
      // An id may hold any digits.
      const withoutIds = (text: string): string => text.replaceAll(/[0-9a-f]{8}-[0-9a-f-]{27}/g, '')
      const shown = seen.map(({ body, headers }) => withoutIds(JSON.stringify([body, headers])))
      const logged = doorstep.logs.map(withoutIds)
      t.same(
        secrets.filter((secret) => shown.some((text) => text.includes(secret))),
        [],
        'no number and no code in any answer',
      )
      t.same(
        secrets.filter((secret) => logged.some((line) => line.includes(secret))),
        [],
        'nor in any line of the log, at its most talkative',
      )
      t.ok(doorstep.logs.length > 500 && shown.length > 150, 'and there was much to look at')
    },
  )
})
