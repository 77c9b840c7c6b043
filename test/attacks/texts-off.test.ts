import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { codeOf, plantDevice } from '../helpers/credentials.ts'
import { type Doorstep, startDoorstep } from '../helpers/doorstep.ts'
import { thorough } from '../helpers/effort.ts'
import { passTime } from '../helpers/pass-time.ts'
import { freshAddress } from '../helpers/password-guesses.ts'
import { type Answer, call, createUser, finish, login, resend, type TestUser } from '../helpers/story.ts'
import { isOverloaded, tally, together } from '../helpers/together.ts'
import { startTwilioStub } from '../helpers/twilio-stub.ts'

// Somebody wants nobody to get a code any more: by using up what the service sends, or what is counted of one number (SEC-106).

t.setTimeout(300_000)

/** The service's budgets as an operator gets them who sets nothing. */
const budgets = { SMS_GLOBAL_HOUR: '', SMS_GLOBAL_DAY: '', SMS_PER_ADDRESS_HOUR: '', SMS_PER_ADDRESS_DAY: '' }
const noText = { status: 503, body: { code: 'sms_unavailable' } }

/**
 * A first step from a new address, with a device token or without. A machine that is too busy tells its clients to come
 * again, which they do: what was begun all the same they join.
 */
async function begin(at: Doorstep, user: TestUser, device?: string): Promise<Answer> {
  const more = { from: freshAddress(), ...(device !== undefined && { body: { device_token: device } }) }
  for (;;) {
    const answer = await login(at, user, more)
    if (!isOverloaded([answer])) return answer
    await sleep(1_000)
  }
}

/** Both steps. */
async function enter(at: Doorstep, user: TestUser, device?: string): Promise<Answer> {
  const first = await begin(at, user, device)
  return first.status === 200 ? finish(at, first.body.pending_token, codeOf(at, first)) : first
}

async function createUsers(at: Doorstep, count: number): Promise<TestUser[]> {
  const users: TestUser[] = []
  while (users.length < count) users.push(await createUser(at))
  return users
}

/** A known device of each. */
async function devicesOf(at: Doorstep, users: TestUser[]): Promise<string[]> {
  const devices: string[] = []
  for (const user of users) devices.push(await plantDevice(at, user))
  return devices
}

/** Two instances on one database. */
async function startTwo(t: Test, env: Record<string, string>) {
  const roomy = { ...env, ARGON2_QUEUE: '200' }
  const one = await startDoorstep(t, { env: roomy })
  const two = await startDoorstep(t, { env: roomy, database: one.database })
  return { one, two, either: (n: number): Doorstep => (n % 2 === 0 ? one : two) }
}

const countTexts = async ({ sql }: Doorstep): Promise<number> =>
  (await sql<{ n: number }>('SELECT count(*)::integer AS n FROM sms_messages'))[0]?.n ?? -1

const spendEvents = async ({ sql }: Doorstep): Promise<string[]> =>
  (await sql(`SELECT outcome FROM audit_events WHERE type = 'sms.spend' ORDER BY id`)).map(({ outcome }) => outcome)

t.test(
  'forty thieves with forty passwords and any number of machines do not keep a known owner from a text',
  async (t) => {
    const { one, either } = await startTwo(t, { ...budgets, SMS_SPEND_DAY: '500' })
    const thieves = await createUsers(one, 40)
    const owners = await createUsers(one, 4)
    const devices = await devicesOf(one, owners)
    const answers: Answer[] = []
    const rounds = thorough(24, 15)
    for (let round = 0; round < rounds; round++) {
      answers.push(...(await together(40, (n) => begin(either(n), thieves[n] as TestUser))))
      const [owner, device] = [owners[round % 4] as TestUser, devices[round % 4]]
      t.match(
        await enter(either(round), owner, device),
        { status: 200, body: { access_token: /^eyJ/ } },
        `round ${round}`,
      )
      await passTime(one, 620)
    }
    const counts = tally(answers)
    const sent = counts['200'] ?? 0
    t.ok(sent <= 375 && sent > 375 - rounds, `${sent}: what strangers may spend in a day, less what the owners did`)
    t.ok((counts['503 sms_unavailable'] ?? 0) > 50, JSON.stringify(counts))
    t.match(await begin(one, owners[0] as TestUser), noText, 'which the owner on a new device feels as well')
  },
)

const goodLogins = thorough(500, 220)

t.test(`${goodLogins} good logins in an hour pass, whatever they cost in unfinished texts`, async (t) => {
  const { one, either } = await startTwo(t, { ...budgets, SMS_SPEND_DAY: '2000' })
  const users = await createUsers(one, 25)
  const failed: Answer[] = []
  await together(5, async (worker) => {
    for (let n = worker; n < goodLogins; n += 5) {
      const answer = await enter(either(n), users[n % 25] as TestUser)
      if (answer.status !== 200) failed.push(answer)
    }
  })
  t.same(
    failed.map(({ body }) => body),
    [],
  )
  t.equal(await countTexts(one), goodLogins, 'a text each: more than may be unfinished')
  t.same(await one.sql(`SELECT FROM sms_messages WHERE state = 'open'`), [], 'none of which counts against the service')
})

t.test('the money cap is exact, strangers stop before it, and operators are told at 50, 80 and 100 %', async (t) => {
  const { one, either } = await startTwo(t, { SMS_SPEND_DAY: '10' })
  const strangers = await createUsers(one, 24)
  const owners = await createUsers(one, 8)
  const devices = await devicesOf(one, owners)

  const answers = await together(24, (n) => begin(either(n), strangers[n] as TestUser))
  t.same(tally(answers), { 200: 8, '503 sms_unavailable': 16 }, 'three quarters, rounded up, at once')
  t.same(await spendEvents(one), ['50 %', '80 %'])
  const first = answers.findIndex(({ status }) => status === 200)
  const done = await finish(one, answers[first]?.body.pending_token, codeOf(one, answers[first] as Answer))
  t.equal(done.status, 200)
  t.match(await begin(one, strangers[first] as TestUser), noText, 'a finished login has cost its text all the same')

  const known = await together(8, (n) => begin(either(n), owners[n] as TestUser, devices[n]))
  t.same(tally(known), { 200: 2, '503 sms_unavailable': 6 }, 'the rest is for known devices')
  t.same(await spendEvents(one), ['50 %', '80 %', '100 %'])
  t.equal(await countTexts(one), 10)
  const refused = known.find(({ status }) => status === 503)
  const { retry_after: wait } = refused?.body ?? {}
  t.ok(wait > 86_300 && wait <= 86_400, 'until the oldest is a day old')
  const late = known.findIndex(({ status }) => status === 503)
  await passTime(one, wait - 30)
  t.match(await begin(one, owners[late] as TestUser, devices[late]), noText, 'not half a minute earlier')
  await passTime(one, 30)
  t.equal((await begin(one, owners[late] as TestUser, devices[late])).status, 200)
})

t.test('near the limits of the service each text is counted, whoever asks at the same moment', async (t) => {
  for (const [name, limit] of [
    ['SMS_GLOBAL_HOUR', 20],
    ['SMS_GLOBAL_DAY', 20],
    ['SMS_GLOBAL_HOUR', 1_000],
    ['SMS_SPEND_DAY', 1_000],
  ] as const) {
    const { one, either } = await startTwo(t, {
      [name]: String(limit),
      ...(name !== 'SMS_SPEND_DAY' && { SMS_SPEND_DAY: '100000' }),
    })
    // Far from the limit nobody waits for the texts of others; ten before it everybody does.
    const spent = limit === 20 ? 0 : limit * 0.75 - 10
    await one.sql(
      `INSERT INTO sms_messages (user_id, challenge_id, known, phone, prefix, address)
       SELECT gen_random_uuid(), gen_random_uuid(), false, '', '', '' FROM generate_series(1, $1)`,
      [spent],
    )
    const strangers = await createUsers(one, 40)
    const owners = await createUsers(one, 20)
    const devices = await devicesOf(one, owners)
    const left = limit * 0.75 - spent
    const answers = await together(40, (n) => begin(either(n), strangers[n] as TestUser))
    t.same(tally(answers), { 200: left, '503 sms_unavailable': 40 - left }, `${name} ${limit}: strangers`)
    if (limit > 20) continue
    const known = await together(20, (n) => begin(either(n), owners[n] as TestUser, devices[n]))
    t.same(tally(known), { 200: 5, '503 sms_unavailable': 15 }, `${name} ${limit}: known devices`)
  }
})

t.test(
  'a number that refuses texts uses up nothing but the cooldown; one that may have got them costs money too',
  async (t) => {
    const stub = await startTwilioStub()
    t.teardown(() => stub.close())
    const env = {
      ...{ SMS_PROVIDER: 'twilio', TWILIO_ACCOUNT_SID: stub.accountSid, TWILIO_AUTH_TOKEN: stub.authToken },
      ...{ TWILIO_FROM: '+12025550100', TWILIO_API_BASE_URL: stub.url, ...budgets, SMS_SPEND_DAY: '500' },
    }
    const doorstep = await startDoorstep(t, { env })
    const { sql, services } = doorstep
    const spent = async (): Promise<number> =>
      (await sql<{ spent: number }>('SELECT spent FROM spent_texts(clock_timestamp())'))[0]?.spent ?? -1

    stub.setMode({ error: { httpStatus: 400, twilioCode: 21211 } })
    const odd = await createUser(doorstep)
    for (let n = 1; n <= 12; n++) {
      t.match(await begin(doorstep, odd), { status: 422, body: { code: 'phone_unreachable' } }, `text ${n}`)
      t.match(await begin(doorstep, odd), { status: 429, body: { code: 'resend_too_soon' } }, 'but not at once')
      await passTime(doorstep, 61)
    }
    t.equal(stub.hits(), 12)
    t.equal(await spent(), 0, 'what was not sent is not paid for')
    await passTime(doorstep, 2)
    t.match(await services.store.messages.used(), { hour: 0, day: 0, spent: 0 })

    const unsure = await createUser(doorstep)
    stub.setMode('ok')
    t.equal((await begin(doorstep, await createUser(doorstep))).status, 200)
    stub.setMode({ error: { httpStatus: 500, twilioCode: 20500 } })
    for (let n = 1; n <= 2; n++) {
      t.match(await begin(doorstep, unsure), noText, `5xx ${n}`)
      t.match(await begin(doorstep, unsure), { status: 429, body: { code: 'resend_too_soon' } }, 'nor at once here')
      await passTime(doorstep, 61)
    }
    t.equal(await spent(), 3, 'it may have gone, so it is paid for')
    stub.setMode('ok')
    for (let n = 1; n <= 5; n++) {
      t.equal((await begin(doorstep, unsure)).status, 200, `text ${n}: nothing else is counted of it`)
      await passTime(doorstep, 310)
    }
    t.match(await begin(doorstep, unsure), { status: 429, body: { code: 'sms_limit_reached' } })
  },
)

t.test('a text that never came is no reason to wait for the next', async (t) => {
  const doorstep = await startDoorstep(t)
  const { sql, services } = doorstep
  const report = async ({ id }: TestUser, delivery: 'failed' | 'delivered'): Promise<void> => {
    const [row] = await sql<{ id: number; provider: string }>(
      'SELECT id::integer, provider_id AS provider FROM sms_messages WHERE user_id = $1 ORDER BY id DESC LIMIT 1',
      [id],
    )
    const told = { providerId: row?.provider ?? '', delivery, error: null }
    t.ok(await services.store.messages.recordReceipt(row?.id ?? 0, told))
  }
  const user = await createUser(doorstep)
  const first = await begin(doorstep, user)
  const token: string = first.body.pending_token
  t.match(await resend(doorstep, token), { status: 429, body: { code: 'resend_too_soon' } })
  await report(user, 'failed')
  t.match(await call(doorstep, '/login/2fa', { token }), {
    body: { challenge: { delivery: 'failed', resend_after: 0 } },
  })
  t.match(await resend(doorstep, token), { status: 200, body: { challenge: { delivery: 'sent' } } }, 'at once')
  t.match(await resend(doorstep, token), { status: 429, body: { code: 'resend_too_soon' } }, 'that one is on its way')
  await report(user, 'failed')
  t.equal((await begin(doorstep, user)).status, 200, 'nor has another client to wait')
  await report(user, 'delivered')
  t.match(await begin(doorstep, user), { status: 429, body: { code: 'resend_too_soon' } }, 'for one that came it has')
  await passTime(doorstep, 61)
  for (let n = 4; n <= 5; n++) {
    t.equal((await begin(doorstep, user)).status, 200)
    await report(user, 'failed')
  }
  t.match(
    await begin(doorstep, user),
    { status: 429, body: { code: 'sms_limit_reached' } },
    'five an hour, come or not',
  )
})
