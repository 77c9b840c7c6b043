import t from 'tap'
import { forgetAccount } from '../../src/features/accounts/forget-account.ts'
import { createHourly } from '../../src/features/admin/hourly.ts'
import { sendDeliveries } from '../../src/features/admin/webhooks/webhook-sender.ts'
import { canariesIn } from '../helpers/canaries.ts'
import { runHere } from '../helpers/cli.ts'
import { ask, makeBackend } from '../helpers/clients.ts'
import { startDoorstep, testKeys } from '../helpers/doorstep.ts'
import { createUser, login, rightPassword, signIn } from '../helpers/story.ts'
import { startReceiver, verified } from '../helpers/webhook-receiver.ts'
import { hook, receiversHere, send } from '../helpers/webhooks.ts'

t.setTimeout(300_000)

const doorstep = await startDoorstep(t, { env: receiversHere })
const { services, sql, logs } = doorstep
const backend = await makeBackend(doorstep, { scopes: ['events:read', 'webhooks:write'] })
const read = (query = '') => ask(doorstep, backend, `GET /admin/events${query}`)
const record = (type: string, outcome: string, user: string | null = null) =>
  sql('SELECT record_event($1, $2)', [JSON.stringify({ type, outcome }), user])
const outcomesOf = ({ body }: { body: Record<string, { outcome: string }[]> }) =>
  body.events?.map(({ outcome }) => outcome)
const named = async (): Promise<string> => (await sql('SELECT event_name(last_event()) AS name'))[0]?.name

t.test('what happened to a user, as a backend reads it', async (t) => {
  const user = await createUser(doorstep)
  await login(doorstep, { ...user, password: 'wrong' }, { from: '198.51.100.7' })
  await signIn(doorstep, user)
  const { status, body, headers } = await read(`?user_id=${user.id}&order=asc`)
  t.equal(status, 200)
  t.equal(headers['cache-control'], 'no-store')
  t.same(
    body.events.map(({ type }: { type: string }) => type),
    ['user.created', 'login.failed', 'login.challenged', 'session.started', 'device.added'],
  )
  const [created, failed, , started, added] = body.events
  t.strictSame(Object.keys(created), 'id at type outcome user_id actor factor address request_id detail'.split(' '))
  t.match(created, { user_id: user.id, actor: { type: 'system', id: null }, address: null })
  t.match(failed, {
    outcome: 'invalid_credentials',
    factor: 'password',
    address: '198.51.100.7',
    request_id: /^\S{8,}$/,
  })
  t.match(failed.at, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
  t.match(started, { outcome: 'aal2', actor: { type: 'user', id: user.id }, factor: 'sms' })
  t.match(added, { detail: /^device [\w-]{36}$/ })
  const ids = body.events.map(({ id }: { id: string }) => id)
  t.same(ids, [...ids].sort(), 'ids rise, as texts too')
  t.match(ids[0], /^evt_\d{19}$/)
  t.equal(body.next_cursor, null)
  const newest = outcomesOf(await read(`?user_id=${user.id}`)) ?? []
  t.same(newest, ['of one user', ...(outcomesOf({ body }) ?? []).reverse()], 'the newest first without a word')
  t.notOk(JSON.stringify(body).includes(user.email), 'no e-mail')
  t.notOk(JSON.stringify(body).includes(user.phone), 'no number')
})

t.test('types and groups of them, before and after, page by page while more is written', async (t) => {
  const from = await named()
  for (let n = 0; n < 12; n += 1) await record(n % 2 ? 'factor.added' : 'factor.removed', `${n}`)
  await record('factorial.added', 'another group')
  const after = `?after=${from}`
  t.same(outcomesOf(await read(`${after}&type=factor.*`)), [
    '0',
    '1',
    '2',
    '3',
    '4',
    '5',
    '6',
    '7',
    '8',
    '9',
    '10',
    '11',
  ])
  t.same(outcomesOf(await read(`${after}&type=factor.added`)), ['1', '3', '5', '7', '9', '11'])
  t.same(outcomesOf(await read(`${after}&type=factor.added&order=desc&limit=2`)), ['11', '9'])

  for (const order of ['asc', 'desc']) {
    const seen: string[] = []
    let cursor: string | null = ''
    while (cursor !== null) {
      const page = await read(`${after}&type=factor.*&order=${order}&limit=5${cursor && `&cursor=${cursor}`}`)
      seen.push(...(outcomesOf(page) ?? []))
      cursor = page.body.next_cursor
      if (seen.length === 5) await record('factor.added', 'late')
    }
    const expected = Array.from({ length: 12 }, (_, n) => `${n}`)
    t.same(seen.slice(0, 5), order === 'asc' ? expected.slice(0, 5) : ['late', '11', '10', '9', '8'])
    t.equal(new Set(seen.filter((it) => it !== 'late')).size, 12, `${order}: nothing lost`)
    t.equal(seen.filter((it) => it !== 'late').length, 12, 'nothing twice')
  }

  const { body } = await read(`${after}&type=factor.*`)
  const [third, sixth] = [body.events[2], body.events[5]]
  t.same(outcomesOf(await read(`?after=${third.id}&before=${sixth.id}`)), ['3', '4'])
  await sql(`UPDATE audit_events SET at = at - interval '2 hours' WHERE id <= $1`, [Number(third.id.slice(4))])
  const hourAgo = new Date(Date.now() - 3_600_000).toISOString()
  t.same(outcomesOf(await read(`?after=${hourAgo}&type=factor.*&limit=2`)), ['3', '4'])
  t.same(outcomesOf(await read(`?before=${hourAgo}&type=factor.*&limit=2`)), ['2', '1'])
  t.same(outcomesOf(await read('?after=2100-01-01T00:00:00Z')), [])
  t.same(outcomesOf(await read('?before=1999-01-01T00:00:00%2B01:00')), [])
})

t.test(
  'times are as they are shown, to the millisecond: after one is later than it, before one is earlier',
  async (t) => {
    const { id } = await createUser(doorstep)
    const minute = new Date(Math.floor(Date.now() / 60_000) * 60_000).toISOString()
    for (const seconds of ['05.122999', '05.123', '05.123999', '05.124']) {
      await record('moment.told', seconds, id)
      const at = minute.replace('00.000Z', `${seconds}Z`)
      await sql('UPDATE audit_events SET at = $1::timestamptz WHERE id = last_event()', [at])
    }
    const told = `?user_id=${id}&type=moment.told&order=asc`
    const shown = (await read(told)).body.events.map(({ at }: { at: string }) => at)
    t.same(new Set(shown.slice(1, 3)), new Set([minute.replace('00.000Z', '05.123Z')]))
    t.same(outcomesOf(await read(`${told}&after=${shown[1]}`)), ['05.124'])
    t.same(outcomesOf(await read(`${told}&before=${shown[1]}`)), ['05.122999'])
  },
)

t.test('a rare type among many events: pages that are empty, and go on', async (t) => {
  const from = await named()
  await record('rare.one', 'first')
  await sql(`INSERT INTO audit_events (type, outcome) SELECT 'common', 'common' FROM generate_series(1, 45000)`)
  await record('rare.one', 'last')
  for (const order of ['asc', 'desc']) {
    const pages: string[][] = []
    let cursor: string | null = ''
    while (cursor !== null && pages.length < 10) {
      const page = await read(`?type=rare.*&after=${from}&order=${order}${cursor && `&cursor=${cursor}`}`)
      pages.push(outcomesOf(page) ?? [])
      cursor = page.body.next_cursor
    }
    t.same(pages, order === 'asc' ? [['first'], [], ['last']] : [['last'], [], ['first']])
  }
})

t.test('what is no query', async (t) => {
  const bad = [
    ...[
      'user_id=1',
      'type=factor',
      'type=*',
      'type=factor.',
      'type=a.b.c',
      'after=1',
      'after=evt_1',
      'after=yesterday',
      'after=',
    ],
    ...[
      'before=2026-11-24',
      'limit=0',
      'limit=201',
      'limit=1.5',
      'limit=-1',
      'limit=x',
      'order=up',
      'cursor=abc',
      'cursor=',
    ],
    ...[
      'other=1',
      'limit=5&limit=6',
      'after=evt_9999999999999999999',
      'cursor=evt_9999999999999999999',
      'after=2026-02-31T99:00:00Z',
      'after=2026-02-30T00:00:00Z',
    ],
  ]
  for (const query of bad) t.match(await read(`?${query}`), { status: 400, body: { code: 'invalid_request' } }, query)
  for (const query of ['limit=200', 'limit=1', 'after=evt_8999999999999999999', 'after=2026-02-28t00:00:00z'])
    t.equal((await read(`?${query}`)).status, 200, query)
  const other = await makeBackend(doorstep, { scopes: ['users:read', 'webhooks:write'] })
  t.match(await ask(doorstep, other, 'GET /admin/events'), {
    status: 403,
    body: { code: 'insufficient_scope', scope: 'events:read' },
  })
})

t.test(
  'who polls the log comes to its end: reading is recorded once an hour, for each user that is asked about',
  async (t) => {
    const poller = await makeBackend(doorstep, { scopes: ['events:read'] })
    const user = await createUser(doorstep)
    let last = await named()
    const pages: number[] = []
    for (let polls = 0; polls < 5; polls += 1) {
      const { body } = await ask(doorstep, poller, `GET /admin/events?after=${last}`)
      pages.push(body.events.length)
      last = body.events.at(-1)?.id ?? last
    }
    t.same(pages, [0, 1, 0, 0, 0], 'its own first call, and then nothing')
    for (let polls = 0; polls < 3; polls += 1) await ask(doorstep, poller, `GET /admin/events?user_id=${user.id}`)
    const nobody = '0d9a7a70-3c1f-4f1e-8a55-6c5e0d2b7f10'
    await ask(doorstep, poller, `GET /admin/events?user_id=${nobody}`)
    const recorded = await sql(
      `SELECT outcome, user_id, actor_type FROM audit_events WHERE type = 'events.read' AND actor_id = $1 ORDER BY id`,
      [poller.id],
    )
    t.same(recorded, [
      { outcome: 'all', user_id: null, actor_type: 'client' },
      { outcome: 'of one user', user_id: user.id, actor_type: 'client' },
      { outcome: 'of one user', user_id: null, actor_type: 'client' },
    ])

    let ms = 1_000
    const hourly = createHourly({ nowMs: () => ms })
    t.equal(hourly.isDue('a'), true)
    t.equal(hourly.isDue('a'), true, 'until it is done')
    hourly.done('a')
    t.same([hourly.isDue('a'), hourly.isDue('b')], [false, true])
    ms += 3_600_000
    t.equal(hourly.isDue('a'), true)
    for (let n = 0; n < 10_001; n += 1) hourly.done(`${n}`)
    t.equal(hourly.isDue('0'), true, 'what it remembers has an end')
  },
)

t.test('webhooks over HTTP, from the first to the last call', async (t) => {
  const receiver = await startReceiver(t)
  const made = await ask(doorstep, backend, 'POST /admin/webhooks', {
    url: receiver.url,
    events: ['user.*'],
    description: 'crm',
  })
  t.match(made, {
    status: 201,
    body: { secret: /^whsec_/, url: receiver.url, events: ['user.*'], description: 'crm', status: 'active' },
  })
  const at = `/admin/webhooks/${made.body.id}`
  const { secret, ...shown } = made.body
  t.match((await ask(doorstep, backend, 'GET /admin/webhooks')).body, { webhooks: [shown] })
  const user = await createUser(doorstep)
  await send(doorstep)
  t.match(verified(secret, receiver.received[0] as never), { type: 'user.created', data: { user_id: user.id } })
  t.match(await ask(doorstep, backend, `PATCH ${at}`, { events: ['email.*'] }), {
    status: 200,
    body: { events: ['email.*'] },
  })
  t.match(await ask(doorstep, backend, `POST ${at}/rotate-secret`), { status: 200, body: { secret: /^whsec_/ } })
  const from = receiver.ids()[0]
  t.match(await ask(doorstep, backend, `POST ${at}/redeliver`, { after: from }), { status: 202, body: { after: from } })
  const bad: [string, unknown][] = [
    ...['http://127.0.0.2/', 'ftp://example.com', 'https://u:p@example.com/', 'x'].map((url): [string, unknown] => [
      'POST /admin/webhooks',
      { url, events: ['user.*'] },
    ]),
    ...([['user.made'], [], ['*'], ['user.*', 'user.*'], 'user.*'] as unknown[]).map((events): [string, unknown] => [
      'POST /admin/webhooks',
      { url: receiver.url, events },
    ]),
    [`PATCH ${at}`, { status: 'gone' }],
    [`PATCH ${at}`, { secret: 'mine' }],
    [`POST ${at}/redeliver`, {}],
    [`POST ${at}/redeliver`, { after: '2001-01-01T00:00:00Z' }],
    [`POST ${at}/redeliver`, { after: '2100-02-29T00:00:00Z' }],
  ]
  for (const [what, body] of bad)
    t.match(await ask(doorstep, backend, what, body), { status: 400 }, JSON.stringify(body))
  t.match(await ask(doorstep, backend, `PATCH ${at}`, { status: 'disabled' }), {
    status: 200,
    body: { status: 'disabled' },
  })
  t.match(await ask(doorstep, backend, `POST ${at}/redeliver`, { after: from }), { status: 409 })
  t.equal((await ask(doorstep, backend, `DELETE ${at}`)).status, 204)
  for (const what of [`DELETE ${at}`, `PATCH ${at}`, `POST ${at}/rotate-secret`]) {
    t.match(await ask(doorstep, backend, what, what.startsWith('DELETE') ? undefined : {}), { status: 404 }, what)
  }
  const events = await sql(
    `SELECT type, actor_id FROM audit_events WHERE type LIKE 'webhook.%' AND actor_id = $1 ORDER BY id`,
    [backend.id],
  )
  t.same(
    events.map(({ type }) => type),
    [
      'webhook.created',
      'webhook.read',
      'webhook.changed',
      'webhook.secret_rotated',
      'webhook.redelivered',
      'webhook.disabled',
      'webhook.deleted',
    ],
  )
})

t.test('of who was forgotten backends hear whom, and nothing else tells it', async (t) => {
  const receiver = await startReceiver(t)
  const webhook = await hook(doorstep, receiver.url, ['user.*', 'session.*'])
  const user = await createUser(doorstep)
  await signIn(doorstep, user)
  await services.store.webhooks.makeDeliveries(1_000)
  await forgetAccount(services, { email: user.email })
  await services.store.webhooks.makeDeliveries(1_000)
  const rows = await sql('SELECT d::text AS text FROM webhook_deliveries d')
  t.ok(rows.length >= 3)
  t.same(
    canariesIn(JSON.stringify(rows), [
      { name: 'id', value: user.id },
      { name: 'e-mail', value: user.email },
    ]),
    [],
  )
  await sendDeliveries(services, webhook.id)
  const told = receiver.received.map((it) => verified(webhook.secret, it))
  const deleted = told.filter(({ type }) => type === 'user.deleted')
  t.match(deleted, [{ data: { user_id: user.id, actor: { type: 'operator', id: null } } }])
  for (const { type, data } of told) if (type !== 'user.deleted') t.not(data.user_id, user.id, type)
  t.match((await read('?type=user.deleted&limit=1')).body.events, [{ user_id: user.id }], 'in the log as well')
  await sql(`UPDATE forgotten_users SET at = at - interval '15 days'`)
  await services.store.purge.expired({ eventDays: 400, notices: true })
  t.notOk(JSON.stringify((await read('?type=user.deleted')).body).includes(user.id), 'for two weeks')
})

t.test(
  'what leaves is ids and words: no address, number, e-mail, password or secret, and none of them in the log',
  async (t) => {
    const receiver = await startReceiver(t)
    const webhook = await hook(doorstep, `${receiver.url}?token=canary-in-the-url`, [
      'user.*',
      'session.*',
      'device.*',
      'factor.*',
    ])
    const user = await createUser(doorstep, { email: 'canary-owner@example.net' })
    await signIn(doorstep, user, { from: '198.51.100.177' })
    receiver.setMode({ status: 500, body: 'canary-in-the-answer', headers: { 'x-canary': 'canary-in-the-header' } })
    await send(doorstep)
    await sql('UPDATE webhook_deliveries SET next_try_at = now()')
    receiver.setMode({ status: 200 })
    await send(doorstep)
    t.ok(receiver.received.length >= 6)
    const canaries = [
      ...Object.entries({ email: user.email, phone: user.phone, password: rightPassword, address: '198.51.100.177' }),
      ...Object.entries({ secret: webhook.secret.slice(6) }),
    ].map(([name, value]) => ({ name, value }))
    t.same(
      canariesIn(receiver.received.map(({ body, headers }) => body + JSON.stringify(headers)).join(), canaries),
      [],
    )
    const ours = logs.filter((line) => line.includes('webhook')).join('\n')
    t.ok(ours.includes(webhook.id))
    const words = [
      'canary-in-the-url',
      'canary-in-the-answer',
      'canary-in-the-header',
      webhook.secret,
      webhook.secret.slice(6),
    ]
    t.same(canariesIn(ours, [...canaries, ...words.map((value) => ({ name: value, value }))]), [])
    await sql('DELETE FROM webhooks')
  },
)

t.test('at the command line: what there is, and telling it once more', async (t) => {
  const receiver = await startReceiver(t)
  const from = await named()
  const webhook = await hook(doorstep, receiver.url, ['user.*'])
  const env = {
    ...testKeys,
    ...receiversHere,
    DATABASE_URL: doorstep.database.url,
    ARGON2_MEMORY_KIB: '64',
    ARGON2_TIME: '1',
  }
  const run = (...words: string[]) => runHere(words, { env })
  t.match(await run('webhook', 'list'), {
    exitCode: 0,
    result: { webhooks: [{ id: webhook.id, status: 'active', waiting: 0 }] },
  })
  t.notOk((await run('webhook', 'list')).stdout.includes('whsec_'))
  t.match(await run('webhook', 'redeliver', '--id', webhook.id, '--after', from), {
    exitCode: 0,
    result: { after: from },
  })
  t.match(await run('webhook', 'redeliver', '--id', 'x', '--after', from), { exitCode: 2 })
  t.match(await run('webhook', 'redeliver', '--id', webhook.id), { exitCode: 2 })
  t.match(await run('webhook', 'redeliver', '--id', webhook.id, '--after', 'now'), {
    exitCode: 1,
    stderr: /after must be/,
  })
  t.match(await run('webhook', 'redeliver', '--id', '0d9a7a70-3c1f-4f1e-8a55-6c5e0d2b7f10', '--after', from), {
    exitCode: 1,
  })
  const [event] = await sql(
    `SELECT actor_type FROM audit_events WHERE type = 'webhook.redelivered' ORDER BY id DESC LIMIT 1`,
  )
  t.match(event, { actor_type: 'operator' })
})
