import { setTimeout as wait } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { createConsoleSender } from '../../src/sms/console.ts'
import type { SmsMessage, SmsResult, SmsSender } from '../../src/sms/index.ts'
import { createTwilioSender, type TwilioOptions, twilioRefusal } from '../../src/sms/twilio.ts'
import { systemClock } from '../../src/system.ts'
import { type StubMode, startTwilioStub } from '../helpers/twilio-stub.ts'

const to = '+12025550123'
const body = '481516 is your Doorstep code. It works for 5 minutes; never share it.\n@login.example.com #481516'
const message: SmsMessage = { id: 4711, to, body, validForSeconds: 300 }
const from = '+12025550100'

type Logged = { level: string; fields: object; text: string }

/** A sender on a stub of its own, a clock that moves by hand, and what was logged. */
async function setup(t: Test, options: Partial<TwilioOptions> = {}) {
  const stub = await startTwilioStub()
  const logged: Logged[] = []
  let nowMs = 1_700_000_000_000
  const { url: apiBaseUrl, accountSid, authToken } = stub
  const log = (level: string, fields: object, text: string) => logged.push({ level, fields, text })
  const clock = { nowMs: () => nowMs }
  const sender = createTwilioSender({ accountSid, authToken, from, apiBaseUrl, clock, log, ...options })
  t.teardown(() => {
    sender.close()
    return stub.close()
  })
  const pass = (ms: number) => {
    nowMs += ms
  }
  return { stub, sender, logged, pass }
}

function checkNothingLeaked(t: Test, values: unknown) {
  const text = JSON.stringify(values)
  for (const secret of ['2025550123', '481516', 'never share', 'stub-auth-token']) {
    t.notMatch(text, secret, `no ${secret} in what was logged or returned`)
  }
}

const senders: Record<string, (t: Test) => Promise<{ sender: SmsSender; texts: () => SmsMessage['body'][] }>> = {
  twilio: async (t) => {
    const { sender, stub } = await setup(t)
    return { sender, texts: () => stub.requests.map((request) => request.body) }
  },
  console: async () => {
    const sender = createConsoleSender({ clock: systemClock, print: () => {} })
    return { sender, texts: () => sender.sent().map((text) => text.body) }
  },
}

for (const [name, create] of Object.entries(senders)) {
  t.test(`every sender: ${name}`, async (t) => {
    const { sender, texts } = await create(t)
    t.equal(sender.isAvailable(), true)
    const results = await Promise.all([1, 2, 3].map(() => sender.send(message)))
    const ids = results.map((result) => (result.outcome === 'sent' ? result.providerId : ''))
    t.equal(new Set(ids).size, 3, 'three texts, three ids')
    t.equal(ids.includes(''), false, 'all sent')
    t.same(texts(), [body, body, body], 'byte for byte, once each')
    t.equal(sender.isAvailable(), true)
    sender.close()
    t.doesNotThrow(() => sender.close(), 'closing twice is harmless')
  })
}

t.test('console: one line each, the last 100 are kept, newest first', async (t) => {
  const lines: string[] = []
  const clock = { nowMs: () => Date.UTC(2030, 0, 2, 3, 4, 5) }
  const sender = createConsoleSender({ clock, print: (line) => lines.push(line) })
  for (let count = 1; count <= 103; count += 1) await sender.send({ ...message, body: `text ${count}\n@host #123456` })
  t.equal(sender.sent().length, 100)
  t.same(sender.sent()[0], { to, body: 'text 103\n@host #123456', sent_at: '2030-01-02T03:04:05.000Z' })
  t.equal(sender.sent()[99]?.body, 'text 4\n@host #123456')
  t.equal(lines.length, 103)
  t.equal(lines[0], `SMS to ${to}: text 1 | @host #123456`)
})

t.test('twilio: what is sent', async (t) => {
  const { sender, stub } = await setup(t, { statusCallbackUrl: 'https://login.example.com/webhooks/twilio/status' })
  t.match(await sender.send(message), { outcome: 'sent', providerId: /^SM[0-9a-f]{32}$/ })
  t.match(stub.last(to), {
    to,
    from,
    messagingServiceSid: null,
    body,
    validityPeriod: 300,
    statusCallback: 'https://login.example.com/webhooks/twilio/status?text=4711',
  })
  t.same(stub.codes(), ['481516'])
  await sender.send({ ...message, validForSeconds: 17.9 })
  t.equal(stub.last()?.validityPeriod, 17, 'whole seconds, never longer than the code lives')
})

t.test('twilio: a messaging service takes the place of a number', async (t) => {
  const { sender, stub } = await setup(t, { messagingServiceSid: `MG${'0'.repeat(32)}` })
  t.match(await sender.send(message), { outcome: 'sent' })
  t.match(stub.last(), { from: null, messagingServiceSid: `MG${'0'.repeat(32)}`, statusCallback: null })
})

type Refused = [httpStatus: number, twilioCode: number | null, reason: string, error: string]
const listed = (reason: string, codes: number[]) => codes.map((code): Refused => [400, code, reason, String(code)])

const refusals: Refused[] = [
  ...listed('phone', [21211, 21265, 21266, 21268, 21610, 21612, 21614, 21635, 30003, 30005, 30006]),
  ...listed('policy', [21408, 21608, 30004, 30007, 30034, 30450, 30453, 60410]),
  [401, 20003, 'ours', '20003'],
  [403, 20005, 'ours', '20005'],
  [404, 20404, 'ours', '20404'],
  [400, 21606, 'ours', '21606'],
  [400, 30002, 'ours', '30002'],
  [400, 21617, 'ours', '21617'],
  [401, null, 'ours', 'http_401'],
  [403, null, 'ours', 'http_403'],
  [302, null, 'ours', 'http_302'],
  [429, 20429, 'transient', '20429'],
  [429, null, 'transient', 'http_429'],
  [500, 20500, 'transient', '20500'],
  [503, 99999, 'transient', '99999'],
  [502, null, 'transient', 'http_502'],
]

for (const [httpStatus, twilioCode, reason, error] of refusals) {
  t.test(`twilio: HTTP ${httpStatus} with ${twilioCode} is refused: ${reason}`, async (t) => {
    const { sender, stub, logged } = await setup(t)
    stub.setMode({ error: { httpStatus, twilioCode } })
    const result = await sender.send(message)
    t.same(result, { outcome: 'refused', reason, isCertain: httpStatus < 500, error })
    t.equal(stub.hits(), 1, 'one request, no retry')
    const level = reason === 'ours' || reason === 'policy' ? 'error' : 'warn'
    t.match(logged, [{ level, fields: { reason, error, provider: 'twilio' } }])
    t.equal(logged.length, 1)
    t.equal(
      sender.isAvailable(),
      !['20003', '20005', '20404', 'http_401'].includes(error),
      'only credentials open the breaker',
    )
    checkNothingLeaked(t, [result, logged])
  })
}

t.test('twilio: a delivery receipt is sorted by the same table', async (t) => {
  const reasons = [30003, 30007, 30002, 30008, 12345, undefined].map((code) => twilioRefusal(code))
  t.same(reasons, ['phone', 'policy', 'ours', 'transient', 'ours', 'ours'])
})

const faults: [mode: StubMode, result: SmsResult, minMs: number][] = [
  ['hang', { outcome: 'unknown', error: 'timeout' }, 4_500],
  ['slowDrip', { outcome: 'unknown', error: 'timeout' }, 4_500],
  [{ slowMs: 7_000 }, { outcome: 'unknown', error: 'timeout' }, 4_500],
  ['resetAfterAccept', { outcome: 'unknown', error: 'connection_reset' }, 0],
  ['resetBeforeRead', { outcome: 'unknown', error: 'connection_reset' }, 0],
  ['brokenJson', { outcome: 'unknown', error: 'unreadable_answer' }, 0],
  ['wrongSid', { outcome: 'unknown', error: 'unreadable_answer' }, 0],
]

t.test('twilio: slow and broken answers, side by side because they take 5 s each', { jobs: 9 }, async (t) => {
  for (const [mode, expected, minMs] of faults) {
    t.test(`${JSON.stringify(mode)}: the text may have gone, so it is unknown; one request`, async (t) => {
      const { sender, stub, logged } = await setup(t)
      stub.setMode(mode)
      const startMs = systemClock.nowMs()
      const result = await sender.send(message)
      const tookMs = systemClock.nowMs() - startMs
      t.same(result, expected)
      t.ok(tookMs < 15_000 && tookMs >= minMs, `took ${tookMs} ms`)
      t.equal(stub.hits(), 1, 'one request, no retry')
      t.match(logged, [{ level: 'warn', fields: expected }])
      checkNothingLeaked(t, [result, logged])
    })
  }

  t.test('twilio: an answer that is slow but in time is an answer', async (t) => {
    const { sender, stub } = await setup(t)
    stub.setMode({ slowMs: 1_500 })
    t.match(await sender.send(message), { outcome: 'sent' })
  })

  t.test('twilio: at most 20 sockets, and who waits for one is bound by the same 5 s (F-10)', async (t) => {
    const { sender, stub } = await setup(t)
    stub.setMode('hang')
    const startMs = systemClock.nowMs()
    const sending = Promise.all(Array.from({ length: 30 }, () => sender.send(message)))
    // Looked at before the first time-out: one that is freed then may be given on in its last moment.
    await wait(3_000)
    t.equal(stub.peakSockets(), 20)
    t.equal(stub.requests.length, 20)
    const results = await sending
    t.ok(systemClock.nowMs() - startMs < 15_000)
    const open = results.filter((result) => result.outcome === 'unknown' && result.error === 'timeout')
    t.equal(open.length, 30)
    t.equal(sender.isAvailable(), false, 'ten of these open the breaker')
  })
})

t.test('twilio: no connection at all: certainly not sent', async (t) => {
  const { sender, stub } = await setup(t)
  await stub.close()
  t.same(await sender.send(message), {
    outcome: 'refused',
    reason: 'transient',
    isCertain: true,
    error: 'no_connection',
  })
})

t.test('twilio: wrong credentials are found out, and the breaker opens at once', async (t) => {
  const { sender, stub, logged, pass } = await setup(t, { authToken: 'not-the-token' })
  t.same(await sender.send(message), { outcome: 'refused', reason: 'ours', isCertain: true, error: '20003' })
  t.equal(sender.isAvailable(), false)
  t.same(await sender.send(message), {
    outcome: 'refused',
    reason: 'transient',
    isCertain: true,
    error: 'breaker_open',
  })
  t.equal(stub.hits(), 1, 'while open nothing is tried')
  pass(10_000)
  t.equal(sender.isAvailable(), true)
  t.same(await sender.send(message), { outcome: 'refused', reason: 'ours', isCertain: true, error: '20003' })
  t.equal(stub.hits(), 2)
  t.match(logged, [{ level: 'error', fields: { error: '20003', breaker_open: true } }, { level: 'error' }])
  t.equal(logged.length, 2, 'what the open breaker turns away is not logged')
})

t.test('twilio: ten failures open the breaker, one probe per 10 s, a success closes it (F-08)', async (t) => {
  const { sender, stub, pass } = await setup(t)
  stub.setMode({ error: { httpStatus: 429, twilioCode: 20429 } })
  for (let count = 0; count < 10; count += 1) await sender.send(message)
  t.equal(stub.hits(), 10)
  t.equal(sender.isAvailable(), false)
  await Promise.all([1, 2, 3].map(() => sender.send(message)))
  t.equal(stub.hits(), 10)
  pass(10_000)
  await Promise.all([1, 2, 3].map(() => sender.send(message)))
  t.equal(stub.hits(), 11, 'one probe')
  stub.setMode('ok')
  pass(10_000)
  t.match(await sender.send(message), { outcome: 'sent' })
  t.match(await Promise.all([1, 2, 3].map(() => sender.send(message))), Array(3).fill({ outcome: 'sent' }))
})

t.test('twilio: whoever brings odd numbers silences nobody: a refused text is a working provider', async (t) => {
  const { sender, stub, pass } = await setup(t)
  // 21617 and 99999: codes that nobody has sorted.
  for (const twilioCode of [21211, 21610, 21612, 21408, 21608, 21606, 21617, 99999]) {
    stub.setMode({ error: { httpStatus: 400, twilioCode } })
    for (let count = 0; count < 10; count += 1) await sender.send(message)
    t.equal(sender.isAvailable(), true, `ten times ${twilioCode}`)
  }

  stub.setMode({ error: { httpStatus: 503, twilioCode: null } })
  for (let count = 0; count < 10; count += 1) await sender.send(message)
  t.equal(sender.isAvailable(), false, 'a provider that fails is one that is down')
  pass(10_000)
  stub.setMode({ error: { httpStatus: 400, twilioCode: 21211 } })
  t.match(await sender.send(message), { reason: 'phone' }, 'the probe is refused for its number')
  t.equal(sender.isAvailable(), true, 'so the provider is back')
})

t.test('twilio: what only an operator can mend says how', async (t) => {
  const { sender, stub, logged } = await setup(t)
  for (const [twilioCode, remedy] of [
    [21408, /Geo permissions/],
    [21608, /trial account texts verified callers only/],
  ] as const) {
    stub.setMode({ error: { httpStatus: 400, twilioCode } })
    t.match(await sender.send(message), { outcome: 'refused', reason: 'policy', error: String(twilioCode) })
    t.match(logged.pop(), { level: 'error', fields: { error: String(twilioCode), remedy } })
  }
  stub.setMode({ error: { httpStatus: 400, twilioCode: 21211 } })
  await sender.send(message)
  t.notOk('remedy' in (logged.pop()?.fields ?? {}), 'a bad number is the number of one user')
})

t.test('twilio: nothing on the console, not even with TWILIO_LOG_LEVEL=debug, and no other host', async (t) => {
  const written: string[] = []
  for (const method of ['log', 'info', 'warn', 'error', 'debug'] as const) {
    const original = console[method]
    console[method] = (...values: unknown[]) => written.push(values.join(' '))
    t.teardown(() => {
      console[method] = original
    })
  }
  Object.assign(process.env, { TWILIO_LOG_LEVEL: 'debug', TWILIO_REGION: 'au1', TWILIO_EDGE: 'sydney' })
  t.teardown(() => {
    for (const name of ['TWILIO_LOG_LEVEL', 'TWILIO_REGION', 'TWILIO_EDGE']) delete process.env[name]
  })
  const { sender, stub } = await setup(t)
  t.match(await sender.send(message), { outcome: 'sent' })
  stub.setMode({ error: { httpStatus: 400, twilioCode: 21211 } })
  await sender.send(message)
  t.same(written, [])
  t.equal(stub.hits(), 2)
})
