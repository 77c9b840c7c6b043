import t, { type Test } from 'tap'
import { age } from '../helpers/age.ts'
import { type Doorstep, startDoorstep } from '../helpers/doorstep.ts'
import { type Answer, call, createUser, finish, login, resend, type TestUser } from '../helpers/story.ts'
import { type StubMode, startTwilioStub, type TwilioStub } from '../helpers/twilio-stub.ts'

// The whole service with the real provider code, against a server that speaks the provider's protocol and fails on command.

t.setTimeout(300_000)

const callback = 'http://localhost:3000/webhooks/twilio/status'

let stub: TwilioStub
let first: Doorstep
let env: Record<string, string>

t.before(async () => {
  stub = await startTwilioStub()
  t.teardown(stub.close)
  env = {
    SMS_PROVIDER: 'twilio',
    TWILIO_ACCOUNT_SID: stub.accountSid,
    TWILIO_AUTH_TOKEN: stub.authToken,
    TWILIO_FROM: '+12025550100',
    TWILIO_API_BASE_URL: stub.url,
  }
  first = await startDoorstep(t, { env })
})

t.beforeEach(() => stub.setMode('ok'))

/** Another instance on the same database, with a circuit breaker of its own. */
const another = (t: Test): Promise<Doorstep> => startDoorstep(t, { env, database: first.database })

/** The code in the newest text to a user. */
function codeFor(user: TestUser): string {
  const code = /#(\d+)$/.exec(stub.last(user.phone)?.body ?? '')?.[1]
  if (code === undefined) throw new Error('no text went')
  return code
}

const requestsTo = (user: TestUser): number => stub.requests.filter(({ to }) => to === user.phone).length

type Text = { state: string; delivery: string; error: string | null; provider_id: string | null }

/** What is written down of a user's texts, oldest first. */
const textsOf = (user: TestUser): Promise<Text[]> =>
  first.sql('SELECT state, delivery, error, provider_id FROM sms_messages WHERE user_id = $1 ORDER BY id', [user.id])

/** So that the next text may go: as if the last one had been a while ago. */
const letCooldownPass = (user: TestUser): Promise<void> => age(first, user, 61)

t.test('a login, through the provider', async (t) => {
  const user = await createUser(first)
  const answer = await login(first, user)
  t.match(answer, { status: 200, body: { status: '2fa_required', challenge: { delivery: 'sent' } } })
  t.equal(requestsTo(user), 1)
  const request = stub.last(user.phone)
  const { from, messagingServiceSid, statusCallback } = request ?? {}
  t.match({ from, messagingServiceSid }, { from: '+12025550100', messagingServiceSid: null })
  const [{ id } = { id: 0 }] = await first.sql('SELECT id FROM sms_messages WHERE user_id = $1', [user.id])
  t.equal(statusCallback, `${callback}?text=${id}`, 'receipts come with our number of the text')
  const life = answer.body.challenge.code_expires_in
  t.equal(request?.validityPeriod, life, 'the provider drops the text when its code is worthless')
  t.ok(life <= 300 && life >= 298)
  t.match(await textsOf(user), [{ state: 'open', delivery: 'sent', provider_id: /^SM[0-9a-f]{32}$/ }])

  await letCooldownPass(user)
  await first.sql(`UPDATE challenges SET ends_at = clock_timestamp() + interval '100 seconds' WHERE user_id = $1`, [
    user.id,
  ])
  const again = await resend(first, answer.body.pending_token)
  t.equal(again.status, 200)
  t.equal(requestsTo(user), 2)
  t.ok((stub.last(user.phone)?.validityPeriod ?? 999) <= 100, 'never longer than the login that it belongs to')
  t.equal(
    new Set(stub.requests.filter(({ to }) => to === user.phone).map(({ body }) => /#\d+$/.exec(body)?.[0])).size,
    1,
  )

  t.match(await finish(first, answer.body.pending_token, codeFor(user)), {
    status: 200,
    body: { access_token: /^eyJ/ },
  })
})

t.test('two instances share everything: begun on one, finished on the other', async (t) => {
  const second = await another(t)
  const user = await createUser(first)
  const begun = await login(first, user)
  const joined = await login(second, user)
  t.match([begun, joined], [{ status: 200 }, { status: 200, body: { challenge: { delivery: 'sent' } } }])
  t.equal(requestsTo(user), 1, 'one login, one text')
  const wrong = String((Number(codeFor(user)) + 1) % 1_000_000).padStart(6, '0')
  t.match(await finish(first, joined.body.pending_token, wrong), { status: 422, body: { attempts_remaining: 4 } })
  t.match(await finish(second, begun.body.pending_token, wrong), { status: 422, body: { attempts_remaining: 3 } })
  const done = await finish(second, begun.body.pending_token, codeFor(user))
  t.equal(done.status, 200)
  t.match(await finish(first, joined.body.pending_token, codeFor(user)), { status: 401 }, 'used up on both')
  for (const instance of [first, second]) {
    t.match(await call(instance, '/me', { token: done.body.access_token }), { status: 200, body: { id: user.id } })
  }
  const keys = await Promise.all([first, second].map((instance) => call(instance, '/.well-known/jwks.json')))
  t.same(keys[0]?.body, keys[1]?.body, 'and their tokens verify with the same keys')
})

t.test('what a refusal comes to: one request, budgets given back, and the challenge stays', async (t) => {
  const refusals: [twilioCode: number | null, httpStatus: number, status: number, code: string, outcome: string][] = [
    [21211, 400, 422, 'phone_unreachable', 'phone'],
    [21610, 400, 422, 'phone_unreachable', 'phone'],
    [21614, 400, 422, 'phone_unreachable', 'phone'],
    [21612, 400, 422, 'phone_unreachable', 'phone'],
    [21408, 400, 503, 'sms_unavailable', 'policy'],
    [21608, 400, 503, 'sms_unavailable', 'policy'],
    [60410, 400, 503, 'sms_unavailable', 'policy'],
    [21606, 400, 503, 'sms_unavailable', 'ours'],
    [99999, 400, 503, 'sms_unavailable', 'ours'],
    [20429, 429, 503, 'sms_unavailable', 'transient'],
    [20500, 500, 503, 'sms_unavailable', 'transient'],
    [null, 502, 503, 'sms_unavailable', 'transient'],
  ]
  const instance = await another(t)
  for (const [twilioCode, httpStatus, status, code, outcome] of refusals) {
    const user = await createUser(first)
    stub.setMode({ error: { httpStatus, twilioCode } })
    const answer = await login(instance, user)
    const what = `${httpStatus} ${twilioCode}`
    t.match(answer, { status, body: { code } }, what)
    t.equal(answer.headers['retry-after'], status === 503 ? '30' : undefined, `${what}: Retry-After`)
    t.same(
      Object.keys(answer.body).filter((key) => /token|challenge/.test(key)),
      [],
      `${what}: no token`,
    )
    t.equal(requestsTo(user), 1, `${what}: never sent twice`)
    const error = String(twilioCode ?? `http_${httpStatus}`)
    const state = httpStatus < 500 ? 'refused' : 'unsure'
    t.match(await textsOf(user), [{ state, delivery: 'failed', error }], `${what}: counts as ${state}`)
    const line = instance.logs.map((it) => JSON.parse(it)).findLast(({ event }) => event === 'sms.delivery')
    t.match(line, { outcome, detail: error, userId: user.id }, `${what}: recorded`)
    const alarms = await first.sql(`SELECT outcome FROM audit_events WHERE user_id = $1 AND type = 'sms.refused'`, [
      user.id,
    ])
    t.same(alarms, [{ outcome: code }], `${what}: with the alarm that README names`)

    // The provider recovers: nobody has to wait for more than the cooldown.
    stub.setMode('ok')
    await letCooldownPass(user)
    const later = await login(instance, user)
    t.match(later, { status: 200, body: { challenge: { delivery: 'sent' } } })
    t.equal((await finish(instance, later.body.pending_token, codeFor(user))).status, 200)
  }
  const logged = instance.logs.join('')
  for (const { to, body } of stub.requests) {
    const code = /#(\d+)$/.exec(body)?.[1] ?? ''
    t.equal(logged.includes(to), false, 'no number in the log')
    t.equal(new RegExp(`\\b${code}\\b`).test(logged), false, 'no code in the log')
  }
  t.equal(logged.includes(stub.authToken), false)
})

t.test('wrong credentials at the provider open the breaker at once (20003)', async (t) => {
  const instance = await another(t)
  const users = [await createUser(first), await createUser(first)] as const
  stub.setMode({ error: { httpStatus: 401, twilioCode: 20003 } })
  t.match(await login(instance, users[0]), { status: 503, body: { code: 'sms_unavailable' } })
  t.match(await login(instance, users[1]), { status: 503, body: { code: 'sms_unavailable' } })
  t.same([requestsTo(users[0]), requestsTo(users[1])], [1, 0], 'the second was not even tried')
  const alarms = instance.logs.map((it) => JSON.parse(it)).filter(({ level }) => level === 'error')
  t.match(alarms, [{ error: '20003', breaker_open: true }], 'the operator is told, once')
})

t.test('a trial account at Twilio is our configuration: nobody is told that the own number is bad', async (t) => {
  const instance = await another(t)
  stub.setMode({ error: { httpStatus: 400, twilioCode: 21608 } })
  for (let count = 0; count < 11; count += 1) {
    const answer = await login(instance, await createUser(first))
    t.match(answer, { status: 503, body: { code: 'sms_unavailable' } })
  }
  const alarms = instance.logs.map((it) => JSON.parse(it)).filter(({ level }) => level === 'error')
  t.equal(alarms.length, 11)
  t.match(alarms[0], { error: '21608', remedy: /verified callers only/, breaker_open: false })
  stub.setMode('ok')
  t.equal((await login(instance, await createUser(first))).status, 200, 'a verified caller gets the text all the same')
})

t.test('an open breaker: no request, no charge, and who holds a text goes on', async (t) => {
  const instance = await another(t)
  const holder = await createUser(first)
  const { pending_token: pending } = (await login(instance, holder)).body
  stub.setMode({ error: { httpStatus: 500, twilioCode: 20500 } })
  for (let failures = 0; failures < 10; failures += 1) {
    t.match(await login(instance, await createUser(first)), { status: 503 })
  }
  const hits = stub.hits()
  const [ledger] = await first.sql('SELECT count(*) FROM sms_messages')
  const stranded = await createUser(first)
  for (let tries = 0; tries < 3; tries += 1) {
    const answer = await login(instance, stranded)
    t.match(answer, { status: 503, body: { code: 'sms_unavailable', retry_after: Number } })
    t.ok(Number(answer.headers['retry-after']) >= 1)
  }
  t.same(await first.sql('SELECT count(*) FROM sms_messages'), [ledger], 'no text is counted, for nobody')

  t.match(await login(instance, holder), { status: 200, body: { challenge: { delivery: 'sent' } } }, 'joins')
  await letCooldownPass(holder)
  t.match(await login(instance, holder), { status: 200 }, 'joins even where a new text would be due')
  t.match(await resend(instance, pending), { status: 503, body: { code: 'sms_unavailable' } })
  t.equal((await finish(instance, pending, codeFor(holder))).status, 200, 'and signs in')
  t.equal((await login(instance, await createUser(first, { twoFactor: 'off' }))).status, 200, 'as do those without')
  t.equal(stub.hits(), hits, 'the provider heard nothing of all this')
  t.equal(instance.services.sms.isAvailable(), false)
  t.match(await call(instance, '/health/ready'), { status: 200 }, 'other methods still work')

  stub.setMode('ok')
  t.match(await login(first, stranded), { status: 200 }, 'another instance finds out for itself')
})

t.test(
  'a text whose answer was lost: it may have gone, so its code is good and it is not sent again (F-11)',
  async (t) => {
    const instance = await another(t)
    for (const mode of ['resetAfterAccept', 'brokenJson', 'wrongSid'] as StubMode[]) {
      const user = await createUser(first)
      stub.setMode(mode)
      const answer = await login(instance, user)
      t.match(answer, { status: 200, body: { challenge: { delivery: 'queued' } } }, String(mode))
      t.equal(requestsTo(user), 1, 'one request')
      t.match(await textsOf(user), [{ state: 'open', delivery: 'queued' }])
      stub.setMode('ok')
      t.match(await resend(instance, answer.body.pending_token), { status: 429, body: { code: 'resend_too_soon' } })
      t.equal(requestsTo(user), 1)
      t.equal((await finish(instance, answer.body.pending_token, codeFor(user))).status, 200, 'the code signs in')
    }
  },
)

t.test('a provider that is slow or silent keeps nobody waiting for more than 3 s (SEC-34)', async (t) => {
  const instance = await another(t)
  const [slow, silent] = [await createUser(first), await createUser(first)]
  const status = (answer: Answer) => call(instance, '/login/2fa', { token: answer.body.pending_token })

  stub.setMode({ slowMs: 4_500 })
  const startedAt = performance.now()
  const slowAnswer = login(instance, slow)
  while (requestsTo(slow) === 0) await new Promise((resolve) => setImmediate(resolve))
  stub.setMode('hang')
  const answers = await Promise.all([slowAnswer, login(instance, silent)])
  t.ok(performance.now() - startedAt < 12_000, 'both have their answer')
  for (const answer of answers) {
    t.match(answer, { status: 200, body: { challenge: { delivery: 'queued', attempts_remaining: 5 } } })
    t.match(await status(answer), { status: 200, body: { challenge: { delivery: 'queued' } } })
  }
  await instance.services.background.drain()
  t.match(await status(answers[0]), { status: 200, body: { challenge: { delivery: 'sent' } } }, 'heard later: sent')
  t.match(await status(answers[1]), { status: 200, body: { challenge: { delivery: 'queued' } } }, 'never heard')
  t.match(await textsOf(silent), [{ state: 'open', delivery: 'queued', error: 'timeout' }])
  t.same([requestsTo(slow), requestsTo(silent)], [1, 1], 'one request each')
  for (const [at, user] of [slow, silent].entries()) {
    t.equal((await finish(instance, answers[at]?.body.pending_token, codeFor(user))).status, 200)
  }
})

t.test('a crowd in front of a silent provider: at most 20 sockets, and nobody else notices (F-10)', async (t) => {
  const silent = await startTwilioStub()
  t.teardown(silent.close)
  silent.setMode('hang')
  const instance = await startDoorstep(t, {
    env: { ...env, TWILIO_API_BASE_URL: silent.url },
    database: first.database,
  })
  const users: TestUser[] = []
  for (let count = 0; count < 30; count += 1) users.push(await createUser(first))
  const reader = await createUser(first, { twoFactor: 'off' })
  const { access_token: token } = (await login(instance, reader)).body
  const finisher = await createUser(first)
  const { pending_token: pending } = (await login(first, finisher)).body

  let waiting = true
  // Each from a network of its own: one has only so many places in the line for hashing.
  const crowd = Promise.all(users.map((user, n) => login(instance, user, { from: `198.51.${n}.7` }))).finally(() => {
    waiting = false
  })
  while (waiting && silent.hits() < 20) await new Promise((resolve) => setImmediate(resolve))
  t.match(await call(instance, '/me', { token }), { status: 200 })
  t.match(await finish(instance, pending, codeFor(finisher)), { status: 200 })
  t.match(await login(instance, { ...reader, password: 'wrong' }), { status: 401 })
  t.equal(waiting, true, 'all of that while the crowd was waiting')

  const answers = await crowd
  const queued = answers.filter(({ status, body }) => status === 200 && body.challenge.delivery === 'queued')
  const refused = answers.filter(({ status, body }) => status === 503 && body.code === 'sms_unavailable')
  t.equal(queued.length + refused.length, users.length, 'everyone has an answer')
  t.ok(queued.length >= 10, 'refused are only those who came when the provider was known to be down')
  await instance.services.background.drain()
  t.ok(silent.peakSockets() <= 20, `sockets: ${silent.peakSockets()}`)
  t.ok(
    users.every(({ phone }) => silent.requests.filter(({ to }) => to === phone).length <= 1),
    'no text was asked for twice',
  )
})
