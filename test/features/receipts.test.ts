import { createHmac } from 'node:crypto'
import type { AddressInfo, Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { assertSigned } from '../../src/features/sms-codes/record-receipt.ts'
import { startDoorstep } from '../helpers/doorstep.ts'
import { exchange } from '../helpers/raw-http.ts'
import { call, createUser, finish, login, resend, type TestUser } from '../helpers/story.ts'
import { together } from '../helpers/together.ts'
import { type StubMode, startTwilioStub } from '../helpers/twilio-stub.ts'

t.setTimeout(300_000)

const stub = await startTwilioStub()
const settings = {
  SMS_PROVIDER: 'twilio',
  TWILIO_ACCOUNT_SID: stub.accountSid,
  TWILIO_AUTH_TOKEN: stub.authToken,
  TWILIO_FROM: '+12025550100',
  TWILIO_API_BASE_URL: stub.url,
}
const doorstep = await startDoorstep(t, { env: settings })
t.teardown(() => stub.close())
const { app, config, sql, logs } = doorstep

const path = '/webhooks/twilio/status'
const url = `${config.publicUrl}${path}`
const form = 'application/x-www-form-urlencoded'
type Fields = Record<string, string>

/** As Twilio documents it: the address, then every field's name and value in the order of the names; HMAC-SHA-1. */
function signatureOf(fields: Fields, at = url, authToken = stub.authToken): string {
  const text = Object.keys(fields)
    .sort()
    .reduce((before, name) => before + name + fields[name], at)
  return createHmac('sha1', authToken).update(text).digest('base64')
}

/** One receipt, as Twilio would send it unless something is changed. `query`: of the address that it was given. */
async function send(
  fields: Fields,
  more: {
    query?: string
    signature?: string | null
    headers?: Record<string, string>
    body?: string
    at?: string
    to?: typeof app
  } = {},
) {
  const { query = '', headers, to = app } = more
  const { signature = signatureOf(fields, url + query), at = path + query } = more
  const { body = new URLSearchParams(fields).toString() } = more
  const reply = await to.inject({
    method: 'POST',
    url: at,
    headers: { 'content-type': form, ...(signature !== null && { 'x-twilio-signature': signature }), ...headers },
    payload: body,
  })
  return { status: reply.statusCode, body: reply.body === '' ? {} : reply.json() }
}

type Text = { id: string; provider_id: string | null; delivery: string; state: string; error: string | null }

/** The newest text of a user, as it is stored. */
async function textOf(user: TestUser): Promise<Text> {
  const [row] = await sql<Text>(
    'SELECT id, provider_id, delivery, state, error FROM sms_messages WHERE user_id = $1 ORDER BY id DESC LIMIT 1',
    [user.id],
  )
  if (row === undefined) throw new Error('no text')
  return row
}

/** What Twilio says of a text that it calls `MessageSid`. */
const receiptOf = (user: TestUser, MessageSid: string, MessageStatus: string, more: Fields = {}): Fields => ({
  AccountSid: stub.accountSid,
  ApiVersion: '2010-04-01',
  From: '+12025550100',
  MessageSid,
  MessageStatus,
  SmsSid: MessageSid,
  SmsStatus: MessageStatus,
  To: user.phone,
  ...more,
})

/** A login that is waiting for its code; its text as it is stored, and as its owner is shown it. */
async function waiting(at = doorstep) {
  const user = await createUser(at)
  const pending: string = (await login(at, user)).body.pending_token
  const stored = () => textOf(user)
  const challenge = async () => (await call(at, '/login/2fa', { token: pending })).body.challenge
  const shown = async () => (await challenge()).delivery
  const { id, provider_id: sid } = await stored()
  const receipt = (status: string, more: Fields = {}) => receiptOf(user, sid ?? '', status, more)
  return { user, pending, stored, challenge, shown, receipt, query: `?text=${id}` }
}

const taken = { status: 204, body: {} }
const refused = { status: 403, body: { code: 'invalid_signature', status: 403 } }

/** Refused, and nothing of it has been believed. */
async function isRefused(t: Test, name: string, { status, body }: Awaited<ReturnType<typeof send>>) {
  t.match({ status, body }, refused, name)
  t.notOk('errors' in body, 'and nothing is said of its fields')
}

t.test('what becomes of a text is shown to whoever waits for it', async (t) => {
  const { user, pending, shown, stored, receipt, query } = await waiting()
  t.equal(stub.last(user.phone)?.statusCallback, url + query, 'the provider is told where to report')
  t.equal(await shown(), 'sent')
  t.match(await send(receipt('delivered'), { query }), taken)
  t.equal(await shown(), 'delivered')
  t.match(await stored(), { delivery: 'delivered', error: null })
  const code = /#(\d{6})$/.exec(stub.last(user.phone)?.body ?? '')?.[1] ?? ''
  t.equal((await finish(doorstep, pending, code)).status, 200)

  const lost = await waiting()
  t.match(await send(lost.receipt('undelivered', { ErrorCode: '30005' })), taken)
  t.equal(await lost.shown(), 'failed')
  t.match(await lost.stored(), { delivery: 'failed', error: '30005' })
})

t.test('a forger without the auth token reports nothing', async (t) => {
  const { stored, receipt } = await waiting()
  const fields = receipt('failed')
  const right = signatureOf(fields)
  const attempts: Record<string, Parameters<typeof send>[1]> = {
    'no signature': { signature: null },
    'an empty signature': { signature: '' },
    'the signature of another auth token': { signature: signatureOf(fields, url, 'stub-auth-token-5f2b') },
    'the signature of an empty auth token': { signature: signatureOf(fields, url, '') },
    'the signature of other fields': { signature: signatureOf(receipt('delivered')) },
    'the signature of another address': {
      signature: signatureOf(fields, 'https://evil.example/webhooks/twilio/status'),
    },
    'the signature of another path': { signature: signatureOf(fields, `${config.publicUrl}/webhooks/twilio`) },
    'the signature of a longer path': { signature: signatureOf(fields, `${url}/`) },
    'the signature of the bare address': { signature: signatureOf({}) },
    'a signature in other letters': { signature: right.toLowerCase() },
    'half a signature': { signature: right.slice(0, 14) },
    'a signature twice': { signature: `${right}, ${right}` },
    'a very long signature': { signature: 'A'.repeat(4_000) },
    'a field more than was signed': { signature: right, body: `${new URLSearchParams(fields)}&ErrorCode=30005` },
    'a field less than was signed': { signature: right, body: `MessageSid=${fields.MessageSid}&MessageStatus=failed` },
    'a field twice': { signature: right, body: `${new URLSearchParams(fields)}&MessageSid=SMother` },
    'the right fields in the address': { signature: right, body: '', at: `${path}?${new URLSearchParams(fields)}` },
  }
  for (const [name, more] of Object.entries(attempts)) await isRefused(t, name, await send(fields, more))
  t.match(await stored(), { delivery: 'sent', error: null }, 'nothing of it was believed')
  t.match(await send(fields), taken, 'the real one is')
})

t.test('a forger gains nothing from the Host header: the signature is over our own address', async (t) => {
  const { stored, receipt } = await waiting()
  const fields = receipt('failed')
  const host = 'evil.example'
  const spoofed = {
    host,
    'x-forwarded-host': host,
    'x-forwarded-proto': 'https',
    forwarded: `host=${host};proto=https`,
  }
  await isRefused(
    t,
    'signed for the host',
    await send(fields, { headers: spoofed, signature: signatureOf(fields, `http://${host}${path}`) }),
  )
  await isRefused(
    t,
    'signed for https',
    await send(fields, { headers: spoofed, signature: signatureOf(fields, `https://${host}${path}`) }),
  )
  t.match(await stored(), { delivery: 'sent' })
  t.match(await send(fields, { headers: spoofed }), taken, 'behind a proxy that changes Host, the real one is taken')
})

t.test('a forger is told the same whatever is in the body: the signature comes first', async (t) => {
  const bodies: Record<string, [type: string | undefined, body: string, encoding?: string]> = {
    'no body': [undefined, ''],
    'an empty form': [form, ''],
    'one value too long for any field': [form, `MessageSid=${'x'.repeat(2_000)}`],
    NUL: [form, 'MessageSid=%00'],
    'half a character': [form, 'MessageSid=%ED%A0%80&x=%'],
    'a prototype': [form, '__proto__=1&constructor=2'],
    'a thousand fields': [form, Array.from({ length: 1_000 }, (_, n) => `a${n}=1`).join('&')],
    JSON: ['application/json', '{"MessageStatus":"delivered"}'],
    'broken JSON': ['application/json', '{'],
    'plain text': ['text/plain', 'hello'],
    'no type': [undefined, 'MessageStatus=delivered'],
    'a type that is none': ['form; =', 'MessageStatus=delivered'],
    'another charset': [`${form}; charset=iso-8859-1`, 'MessageStatus=delivered'],
    'an encoded body': [form, 'MessageStatus=delivered', 'gzip'],
    'a body larger than any receipt': [form, 'x'.repeat(9_000)],
    'a body just larger than what is read': [form, 'x'.repeat(16_385)],
    'a body larger than any request': ['application/json', 'x'.repeat(100_000)],
  }
  for (const [name, [type, body, encoding]] of Object.entries(bodies)) {
    for (const signature of [undefined, '', 'bm8gc2lnbmF0dXJl', `${'A'.repeat(27)}=`, 'A'.repeat(200)]) {
      const reply = await app.inject({
        method: 'POST',
        url: path,
        headers: {
          ...(type !== undefined && { 'content-type': type }),
          ...(encoding !== undefined && { 'content-encoding': encoding }),
          ...(signature !== undefined && { 'x-twilio-signature': signature }),
        },
        ...(body !== '' && { payload: body }),
      })
      await isRefused(t, `${name}, signature ${signature?.slice(0, 20)}`, {
        status: reply.statusCode,
        body: reply.json(),
      })
    }
  }
})

t.test('a forger cannot have more read of him than a receipt has', async (t) => {
  const server = await startDoorstep(t, { database: doorstep.database, env: settings })
  await server.app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = server.app.server.address() as AddressInfo
  const sockets: Socket[] = []
  server.app.server.on('connection', (socket) => sockets.push(socket))
  const lines = [
    `POST ${path} HTTP/1.1`,
    'Host: localhost',
    `Content-Type: ${form}`,
    `X-Twilio-Signature: ${'A'.repeat(27)}=`,
  ]
  const chunk = `${(64 * 1_024).toString(16)}\r\n${'x'.repeat(64 * 1_024)}\r\n`
  for (const length of ['Content-Length: 10000000', 'Transfer-Encoding: chunked']) {
    const head = `${[...lines, length].join('\r\n')}\r\n\r\n`
    const { answers, ended } = await exchange(port, head + chunk.repeat(150), { waitMs: 60_000 })
    t.equal(answers[0]?.status, 403, length)
    t.ok(ended, 'the connection is cut')
    t.ok((sockets.at(-1)?.bytesRead ?? Infinity) < 1_000_000, `read ${sockets.at(-1)?.bytesRead} of 10 MB`)
  }
})

t.test('fields that are new, and fields in another order, do not matter', async (t) => {
  const { shown, receipt } = await waiting()
  const fields = receipt('delivered', {
    RawDlrDoneDate: '2611241200',
    NewField: 'ä & = + %',
    ' odd name': '',
    Zero: '0',
  })
  const reordered = Object.fromEntries(Object.entries(fields).reverse())
  t.equal(signatureOf(fields), signatureOf(reordered))
  t.match(await send(reordered), taken)
  t.equal(await shown(), 'delivered')
})

t.test('200 copies of a receipt are one', async (t) => {
  const { stored, receipt } = await waiting()
  const count = () => logs.filter((line) => line.includes('"sms.delivery"') && line.includes('"delivered"')).length
  const before = count()
  for (let round = 0; round < 20; round++) {
    const answers = await together(10, () => send(receipt('delivered')))
    for (const answer of answers) t.match(answer, taken)
  }
  t.match(await stored(), { delivery: 'delivered', error: null })
  t.equal(count() - before, 1, 'one of them was news')
})

t.test('a late receipt does not undo what is known', async (t) => {
  for (const [statuses, end] of [
    [['delivered', 'sent', 'queued', 'sending'], 'delivered'],
    [['undelivered', 'sent', 'delivered'], 'failed'],
    [['delivered', 'failed'], 'delivered'],
    [['sending', 'queued', 'accepted', 'read', 'constructor', ''], 'sent'],
    [['sent', 'sent', 'delivered'], 'delivered'],
  ] as const) {
    const { shown, receipt } = await waiting()
    for (const status of statuses) t.match(await send(receipt(status)), taken)
    t.equal(await shown(), end, statuses.join(', '))
  }
})

t.test('a receipt that is quicker than the answer it is about counts, whatever the answer says then', async (t) => {
  const sid = (digit: string) => `SM${digit.repeat(32)}`
  /** A login whose text is on its way while its receipt comes; what is known when the answer has come as well. */
  const overtaken = async (mode: StubMode, digit: string, status: string) => {
    const user = await createUser(doorstep)
    stub.setMode(mode)
    const answering = login(doorstep, user)
    while (stub.last(user.phone) === undefined) await sleep(5)
    const { id } = await textOf(user)
    t.match(await send(receiptOf(user, sid(digit), status), { query: `?text=${id}` }), taken)
    t.match(await textOf(user), { provider_id: sid(digit) })
    const answer = await answering
    stub.setMode('ok')
    await doorstep.services.background.drain()
    return { user, answer, text: await textOf(user) }
  }

  const early = await overtaken({ slowMs: 2_000 }, 'a', 'delivered')
  t.match(early.text, { delivery: 'delivered', state: 'open', provider_id: sid('a') })
  const shown = await call(doorstep, '/login/2fa', { token: early.answer.body.pending_token })
  t.equal(shown.body.challenge.delivery, 'delivered', 'its owner is told')
  const lost = await overtaken({ slowMs: 2_000 }, 'b', 'undelivered')
  t.match(lost.text, { delivery: 'failed', state: 'open' })

  // After our own time-out: the answer that nobody waits for any more says nothing of it.
  const late = await overtaken('hang', 'c', 'sent')
  t.match(late.answer.body.challenge, { delivery: 'queued' })
  t.match(late.text, { delivery: 'sent', state: 'open' })
  t.match(await send(receiptOf(late.user, sid('c'), 'delivered'), { query: `?text=${late.text.id}` }), taken)
  t.match(await textOf(late.user), { delivery: 'delivered' })
})

t.test(
  'a text that the provider failed at, and sent all the same, is a text like others once a receipt says so',
  async (t) => {
    const user = await createUser(doorstep)
    stub.setMode({ error: { httpStatus: 500, twilioCode: 20500 } })
    t.match(await login(doorstep, user), { status: 503, body: { code: 'sms_unavailable' } })
    stub.setMode('ok')
    const { id } = await textOf(user)
    t.match(await textOf(user), { delivery: 'failed', state: 'unsure', provider_id: null })
    const sid = `SM${'d'.repeat(32)}`
    t.match(await send(receiptOf(user, sid, 'delivered'), { query: `?text=${id}` }), taken)
    t.match(await textOf(user), { delivery: 'delivered', state: 'open', provider_id: sid, error: null })
    t.match(
      await login(doorstep, user),
      { status: 200, body: { challenge: { delivery: 'delivered' } } },
      'and is joined',
    )
    t.equal(stub.requests.filter(({ to }) => to === user.phone).length, 1, 'without a second text')
  },
)

t.test('a text of which a receipt says that it failed may be resent at once', async (t) => {
  const { user, pending, challenge, receipt, query } = await waiting()
  t.match(await resend(doorstep, pending), { status: 429, body: { code: 'resend_too_soon' } })
  t.ok((await challenge()).resend_after > 50)
  t.match(await send(receipt('undelivered', { ErrorCode: '30003' }), { query }), taken)
  t.match(await challenge(), { delivery: 'failed', resend_after: 0 })
  t.match(await resend(doorstep, pending), { status: 200, body: { challenge: { delivery: 'sent' } } })
  t.match(await resend(doorstep, pending), { status: 429, body: { code: 'resend_too_soon' } }, 'but only once')

  const second = await textOf(user)
  const failed = receiptOf(user, second.provider_id ?? '', 'failed')
  t.match(await send(failed, { query: `?text=${second.id}` }), taken)
  t.match(await login(doorstep, user), { status: 200 }, 'a login that joins sends it too')
  t.equal(stub.requests.filter(({ to }) => to === user.phone).length, 3)
  t.match(await challenge(), { resend_after: null }, 'three texts are all that a login gets')
  const [used] = await sql(`SELECT count(*)::integer AS open FROM sms_messages WHERE user_id = $1 AND state = 'open'`, [
    user.id,
  ])
  t.same(used, { open: 3 }, 'and each of them counts')
})

t.test('a receipt is about the text whose number is signed with it, and about no other', async (t) => {
  const [mine, other] = [await waiting(), await waiting()]
  const fields = mine.receipt('failed')
  const moved = { query: other.query, signature: signatureOf(fields, url + mine.query) }
  await isRefused(t, "signed for one's own, sent to another's", await send(fields, moved))
  await isRefused(
    t,
    'signed without the number',
    await send(fields, { query: mine.query, signature: signatureOf(fields) }),
  )
  await isRefused(
    t,
    'sent without it',
    await send(fields, { signature: signatureOf(fields, url + mine.query), at: path }),
  )

  t.match(await send(fields, { query: other.query }), taken, "Twilio's own, with the id of another text")
  for (const query of [
    '?text=999999999',
    '?text=',
    '?text=0',
    '?text=-1',
    "?text=1' OR true",
    `${mine.query}&x=1`,
    '?x=1',
  ]) {
    const strange = receiptOf(mine.user, `SM${'e'.repeat(32)}`, 'failed')
    t.match(await send(strange, { query: encodeURI(query) }), taken, `${query}, of a text that we do not know`)
  }
  for (const { stored } of [mine, other]) t.match(await stored(), { delivery: 'sent', error: null })

  t.match(await send(fields), taken, 'an old one, which carries no number of ours')
  t.match(await mine.stored(), { delivery: 'failed' }, "is found by the provider's own")
})

t.test('a receipt for a text that is not ours changes nothing and tells nothing', async (t) => {
  const { stored, receipt } = await waiting()
  const before = await sql('SELECT id, delivery, error FROM sms_messages ORDER BY id')
  for (const MessageSid of [`SM${'0'.repeat(32)}`, '', "' OR true --"]) {
    t.match(await send(receipt('failed', { MessageSid })), taken, 'signed, so it is taken')
  }
  const { MessageSid, ...without } = receipt('failed')
  t.equal(MessageSid, (await stored()).provider_id)
  t.match(await send(without), taken, 'and so is one without an id')
  t.strictSame(await sql('SELECT id, delivery, error FROM sms_messages ORDER BY id'), before)
  t.match(await stored(), { delivery: 'sent' })
})

t.test('neither receipts nor what they quote come into the log', async (t) => {
  const { user, receipt } = await waiting()
  await send(receipt('undelivered', { ErrorCode: '30003' }))
  await send(receipt('failed'), { signature: 'wrong' })
  t.ok(
    logs.some((line) => line.includes('30003')),
    'the error number is logged',
  )
  for (const secret of [user.phone, user.phone.slice(2), stub.authToken]) {
    t.notOk(
      logs.some((line) => line.includes(secret)),
      'a number or secret is not',
    )
  }
})

t.test('without Twilio no receipt is taken, by whatever key it is signed', async (t) => {
  const other = await startDoorstep(t, {
    database: doorstep.database,
    env: { SMS_PROVIDER: 'console', TWILIO_AUTH_TOKEN: stub.authToken },
  })
  const { stored, receipt } = await waiting(other)
  const before = await stored()
  t.match(before, { provider_id: /^console-/, delivery: 'sent', error: null })
  const fields = receipt('failed', { ErrorCode: '30003' })
  const emptyKey = signatureOf(fields, url, '')
  const attempts: Record<string, Parameters<typeof send>[1]> = {
    'no signature': { signature: null },
    'an empty signature': { signature: '' },
    'a made-up signature': { signature: 'bm8gc2lnbmF0dXJl' },
    'the signature of an empty auth token': { signature: emptyKey },
    'the signature of "undefined"': { signature: signatureOf(fields, url, 'undefined') },
    'the signature of an auth token that is not in use': {},
    'a body too large to read': { signature: emptyKey, body: 'x'.repeat(100_000) },
    'a body of a kind that nobody reads': { signature: emptyKey, headers: { 'content-encoding': 'gzip' } },
  }
  for (const [name, more] of Object.entries(attempts)) {
    await isRefused(t, name, await send(fields, { ...more, to: other.app }))
  }
  t.throws(() => assertSigned(other, { signature: emptyKey, query: '', fields }), { code: 'invalid_signature' })
  t.strictSame(await stored(), before, 'nothing of it was believed')
  t.notOk(
    other.logs.some((line) => line.includes('30003')),
    'nor logged',
  )
})
