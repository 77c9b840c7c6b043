import t, { type Test } from 'tap'
import { pushedTypes } from '../../src/events.ts'
import { changeWebhook, deleteWebhook } from '../../src/features/admin/webhooks/change-webhook.ts'
import { listWebhooks } from '../../src/features/admin/webhooks/list-webhooks.ts'
import { redeliver } from '../../src/features/admin/webhooks/redeliver.ts'
import { rotateSecret } from '../../src/features/admin/webhooks/rotate-secret.ts'
import { createReadiness } from '../../src/features/health/readiness.ts'
import { startDoorstep } from '../helpers/doorstep.ts'
import { createUser, signIn } from '../helpers/story.ts'
import { startReceiver, verified } from '../helpers/webhook-receiver.ts'
import { backend, hook, passForHooks, receiversHere, send } from '../helpers/webhooks.ts'

t.setTimeout(300_000)

const doorstep = await startDoorstep(t, { env: receiversHere })
const { services, sql } = doorstep
const by = { caller: backend }

/** A receiver with an endpoint of its own, which goes when the test ends. */
async function endpoint(t: Test, events: string[]) {
  const receiver = await startReceiver(t)
  const webhook = await hook(doorstep, receiver.url, events)
  t.teardown(() => sql('DELETE FROM webhooks WHERE id = $1', [webhook.id]))
  const state = async () => {
    const { webhooks } = await listWebhooks(services)
    return webhooks.find(({ id }) => id === webhook.id)
  }
  return { receiver, webhook, state }
}

const record = (type: string, outcome = 'test', user: string | null = null) =>
  sql('SELECT record_event($1, $2)', [JSON.stringify({ type, outcome }), user])
const queued = async (): Promise<number> => (await sql('SELECT FROM webhook_deliveries')).length
const named = async (): Promise<string> => (await sql('SELECT event_name(last_event()) AS name'))[0]?.name

t.test('a change is told to whoever wants to hear of it, signed as the specification says', async (t) => {
  const { receiver, webhook, state } = await endpoint(t, ['user.created', 'session.*'])
  t.match(webhook, { id: /^[\w-]{36}$/, url: receiver.url, events: ['user.created', 'session.*'], status: 'active' })
  t.match(webhook.secret, /^whsec_[A-Za-z0-9+/]{43}=$/)
  t.notOk(JSON.stringify(await sql('SELECT * FROM webhooks')).includes(webhook.secret.slice(6)), 'stored sealed')
  const user = await createUser(doorstep)
  await signIn(doorstep, user)
  t.equal(await send(doorstep), 2)
  t.equal(await send(doorstep), 0)
  t.same(receiver.types(), ['user.created', 'session.started'])
  const [created, started] = receiver.received.map((it) => verified(webhook.secret, it))
  t.match(created, {
    type: 'user.created',
    timestamp: /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/,
    data: { user_id: user.id, outcome: 'test', actor: { type: 'system', id: null } },
  })
  t.match(started, { data: { user_id: user.id, outcome: 'aal2', factor: 'sms', actor: { type: 'user', id: user.id } } })
  const [message] = receiver.received
  t.match(message?.headers, {
    'content-type': 'application/json',
    'webhook-id': /^evt_\d{19}$/,
    'webhook-signature': /^v1,\S{44}$/,
  })
  t.same(Object.keys(created ?? {}), ['type', 'timestamp', 'data'])
  t.throws(() => verified('whsec_AAAA', message as never), 'another secret does not fit')
  t.match(await state(), {
    status: 'active',
    waiting: 0,
    failing_since: null,
    last_error: null,
    last_delivered_at: /Z$/,
  })
  t.notOk('secret' in ((await state()) ?? {}), 'the secret is shown once')
})

t.test('every type that is pushed, and none that is not; groups of them', async (t) => {
  const all = await endpoint(t, [...pushedTypes])
  const groups = await endpoint(t, ['factor.*', 'user.*'])
  for (const type of [...pushedTypes, 'login.failed', 'key.created', 'user.exported', 'session.raised'])
    await record(type)
  await send(doorstep)
  t.same(all.receiver.types(), [...pushedTypes])
  t.same(
    groups.receiver.types(),
    pushedTypes.filter((type) => /^(factor|user)\./.test(type)),
  )
  t.same(new Set(all.receiver.ids()).size, pushedTypes.length)
})

t.test('at most ten endpoints, however many are made at once', async (t) => {
  const url = 'https://hooks.example.com/'
  const made = await Promise.allSettled(Array.from({ length: 14 }, () => hook(doorstep, url, ['user.*'])))
  t.equal(made.filter(({ status }) => status === 'fulfilled').length, 10)
  t.match(
    made.find((it) => it.status === 'rejected'),
    { reason: { code: 'conflict' } },
  )
  const { webhooks } = await listWebhooks(services)
  for (const { id } of webhooks) await deleteWebhook(services, id, backend)
  t.same(await listWebhooks(services), { webhooks: [] })
  await t.rejects(deleteWebhook(services, webhooks[0]?.id ?? '', backend), { code: 'not_found' })
})

t.test('a new secret: the one before signs beside it for a day, also when the answer is asked for again', async (t) => {
  const { receiver, webhook } = await endpoint(t, ['user.changed'])
  const fits = async (): Promise<boolean[]> => {
    await record('user.changed')
    await send(doorstep)
    const last = receiver.received.at(-1)
    return [webhook.secret, ...later].map((secret) => {
      try {
        return verified(secret, last as never) !== null
      } catch {
        return false
      }
    })
  }
  const later: string[] = []
  t.same(await fits(), [true])
  for (let n = 0; n < 2; n += 1) later.push((await rotateSecret(services, webhook.id, backend)).secret)
  t.same(await fits(), [true, true, true], 'nobody knows yet which of them arrived')
  await passForHooks(doorstep, 86_000)
  t.same(await fits(), [true, true, true])
  await passForHooks(doorstep, 500)
  t.same(await fits(), [false, false, true])
  for (let n = 0; n < 6; n += 1) later.push((await rotateSecret(services, webhook.id, backend)).secret)
  t.same(await fits(), [false, false, false, false, false, true, true, true, true], 'four at most')
  await t.rejects(rotateSecret(services, '00000000-0000-4000-8000-000000000000', backend), { code: 'not_found' })
})

t.test('a try that fails is made again, later and later, ten times in all', async (t) => {
  const { receiver, webhook, state } = await endpoint(t, ['user.changed'])
  receiver.setMode({ status: 500 })
  await record('user.changed')
  const delays = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400]
  for (const [at, delay] of delays.entries()) {
    t.equal(await send(doorstep), 1, `try ${at + 1}`)
    const [row] = await sql<{ tries: number; wait: number; error: string }>(
      'SELECT tries, error, extract(epoch FROM next_try_at - clock_timestamp())::float AS wait FROM webhook_deliveries',
    )
    t.match(row, { tries: at + 1, error: 'http_500' })
    const wait = row?.wait ?? 0
    t.ok(wait > delay * 0.8 - 60 && wait <= delay * 1.2, `${wait} s after try ${at + 1}`)
    // This machine may have stood still for some of the seconds.
    await passForHooks(doorstep, -60)
    t.equal(await send(doorstep), 0, 'not before its time')
    // Half of it is not enough, one and a fifth always is.
    await passForHooks(doorstep, 60 + delay * 1.2)
  }
  t.match(await state(), { status: 'active', failing_since: /Z$/, last_error: 'http_500', waiting: 1 })
  t.equal(await send(doorstep), 1, 'the tenth')
  t.equal(await queued(), 0, 'is the last')
  t.equal(new Set(receiver.ids()).size, 1, 'each with the same id')
  t.ok(
    doorstep.logs.some((line) => line.includes('"gave_up"')),
    'the log tells',
  )

  receiver.setMode({ status: 200 })
  await record('user.changed')
  await send(doorstep)
  t.match(await state(), { failing_since: null, last_error: null, waiting: 0 })
  t.match(verified(webhook.secret, receiver.received.at(-1) as never), { type: 'user.changed' })
})

t.test('five days without a success disable an endpoint, one bad minute on the sixth does not', async (t) => {
  const watcher = await endpoint(t, ['webhook.disabled'])
  const { receiver, webhook, state } = await endpoint(t, ['user.changed'])
  const words = async () => createReadiness({ ...services, isDraining: () => false })()
  receiver.setMode({ status: 503 })
  await record('user.changed')
  await send(doorstep)
  for (let day = 0; day < 6; day += 1) {
    await passForHooks(doorstep, 86_400)
    await send(doorstep)
  }
  // By now the delivery was tried seven times; it is the newest that counts.
  t.match(await state(), { status: 'disabled', disabled_reason: 'failing' })
  t.match(await words(), { status: 'ready', webhooks: 'disabled' })
  await send(doorstep)
  t.same(watcher.receiver.types(), ['webhook.disabled'], 'others hear of it')
  t.match(verified(watcher.webhook.secret, watcher.receiver.received[0] as never), {
    data: { user_id: null, outcome: 'failing', detail: `webhook ${webhook.id}`, actor: { type: 'system', id: null } },
  })
  const tried = receiver.received.length
  await record('user.changed')
  await send(doorstep)
  t.equal(receiver.received.length, tried, 'nothing more is sent')
  await t.rejects(redeliver(services, webhook.id, { after: await named(), by }), { code: 'conflict' })

  receiver.setMode({ status: 200 })
  t.match(await changeWebhook(services, webhook.id, { change: { status: 'active' }, caller: backend }), {
    ...{ status: 'active', disabled_reason: null, failing_since: null },
  })
  t.match(await words(), { webhooks: 'ok' })
  await record('user.changed')
  await send(doorstep)
  t.equal(receiver.received.length, tried + 2, 'what was waiting, and what happens from now on')

  receiver.setMode({ status: 500 })
  await record('user.changed')
  for (let tries = 0; tries < 3; tries += 1) {
    await send(doorstep)
    await passForHooks(doorstep, 400)
  }
  await sql(`UPDATE webhooks SET failing_since = failing_since - interval '6 days' WHERE id = $1`, [webhook.id])
  await record('user.changed')
  const newest = await sql(
    "UPDATE webhook_deliveries SET next_try_at = next_try_at + interval '1 hour' RETURNING event_id",
  )
  t.equal(newest.length, 1)
  await send(doorstep)
  t.match(await state(), { status: 'active' }, 'a first try says too little')
})

t.test('an endpoint that says 410 is disabled at once; by hand, too', async (t) => {
  const { receiver, webhook, state } = await endpoint(t, ['user.changed'])
  const words = async () => createReadiness({ ...services, isDraining: () => false })()
  receiver.setMode({ status: 410 })
  await record('user.changed')
  await send(doorstep)
  t.match(await state(), { status: 'disabled', disabled_reason: 'gone', last_error: 'http_410' })
  t.match(await words(), { webhooks: 'disabled' })
  const change = { status: 'disabled' } as const
  await changeWebhook(services, webhook.id, { change: { status: 'active' }, caller: backend })
  await changeWebhook(services, webhook.id, { change, caller: backend })
  t.match(await state(), { status: 'disabled', disabled_reason: 'by_hand' })
  t.match(await words(), { webhooks: 'ok' }, 'which is nothing to be alarmed at')
  const types = (await sql(
    `SELECT type, outcome, actor_type, actor_id FROM audit_events WHERE detail = $1 ORDER BY id`,
    [`webhook ${webhook.id}`],
  )) as object[]
  t.match(types, [
    { type: 'webhook.created', actor_type: 'client', actor_id: 'dsc_test' },
    { type: 'webhook.disabled', outcome: 'gone', actor_type: 'system' },
    { type: 'webhook.changed', outcome: 'enabled' },
    { type: 'webhook.disabled', outcome: 'by_hand', actor_type: 'client' },
  ])
})

t.test('an endpoint that moves, wants something else, or has another name', async (t) => {
  const { receiver, webhook, state } = await endpoint(t, ['user.changed'])
  const other = await startReceiver(t)
  const change = { url: other.url, events: ['email.*' as const], description: 'moved' }
  t.match(await changeWebhook(services, webhook.id, { change, caller: backend }), change)
  for (const type of ['user.changed', 'email.changed']) await record(type)
  await send(doorstep)
  t.same([receiver.types(), other.types()], [[], ['email.changed']])
  t.ok(verified(webhook.secret, other.received[0] as never), 'the secret stays')
  await changeWebhook(services, webhook.id, { change: { description: null }, caller: backend })
  t.match(await state(), { url: other.url, events: ['email.*'], description: null })
  const inside = { url: 'http://192.168.0.1/' }
  await t.rejects(changeWebhook(services, webhook.id, { change: inside, caller: backend }), { code: 'invalid_request' })
  const gone = changeWebhook(services, '00000000-0000-4000-8000-000000000000', { change: {}, caller: backend })
  await t.rejects(gone, { code: 'not_found' })
})

t.test('Retry-After leaves an endpoint alone for as long as it says, a day at most', async (t) => {
  const { receiver, state } = await endpoint(t, ['user.changed'])
  const after = async (seconds: number): Promise<number> => {
    await passForHooks(doorstep, seconds)
    return send(doorstep)
  }
  receiver.setMode({ status: 429, headers: { 'retry-after': '3600' } })
  await record('user.changed')
  t.equal(await send(doorstep), 1)
  await record('user.changed')
  t.equal(await send(doorstep), 0, 'a new event waits as well')
  t.equal(await after(1_800), 0)
  receiver.setMode({ status: 503, headers: { 'retry-after': '999999999' } })
  t.ok((await after(1_900)) >= 1)
  receiver.setMode({ status: 200 })
  t.equal(await after(86_000), 0)
  t.equal(await after(500), 2)
  t.match(await state(), { waiting: 0, failing_since: null })
})

t.test('a receiver that asks to be left alone for ever is given up like any other', async (t) => {
  const { receiver, webhook, state } = await endpoint(t, ['user.changed'])
  const forever = ['Fri, 31 Dec 9999 23:59:59 GMT', '999999999999']
  await record('user.changed')
  for (let tried = 1; tried <= 10; tried += 1) {
    receiver.setMode({ status: 503, headers: { 'retry-after': forever[tried % 2] ?? '' } })
    t.equal(await send(doorstep), 1, `try ${tried}`)
    // Others of its deliveries went well.
    await sql('UPDATE webhooks SET failing_since = NULL WHERE id = $1', [webhook.id])
    await passForHooks(doorstep, 86_400 * 1.25)
  }
  t.equal(await queued(), 0, 'ten tries')
  t.match(await state(), { status: 'active', last_error: 'http_503' })

  receiver.setMode({ status: 410, headers: { 'retry-after': forever[0] ?? '' } })
  await record('user.changed')
  await send(doorstep)
  t.match(await state(), { status: 'disabled', disabled_reason: 'gone' })
})

t.test('a receiver that was down for a day has everything in the end, and again when it asks', async (t) => {
  const { receiver, webhook } = await endpoint(t, ['user.*'])
  const from = await named()
  receiver.setMode('cut')
  const names = Array.from({ length: 30 }, (_, n) => `change ${n}`)
  for (const name of names) {
    await record('user.changed', name)
    if (name.endsWith('5')) await send(doorstep)
  }
  for (let hour = 0; hour < 24; hour += 1) {
    await passForHooks(doorstep, 3_600)
    await send(doorstep)
  }
  receiver.setMode({ status: 200 })
  receiver.received.length = 0
  await passForHooks(doorstep, 86_400)
  await send(doorstep)
  const outcomes = () => receiver.received.map(({ body }) => JSON.parse(body).data.outcome)
  t.same(outcomes().sort(), [...names].sort(), 'each once')

  receiver.received.length = 0
  const eleventh = (
    await services.store.audit.read({ limit: 30, order: 'asc', span: 1_000, after_id: from.slice(4) }, null)
  ).events[10]
  const answer = await redeliver(services, webhook.id, { after: eleventh?.id ?? '', by })
  t.same(answer, { after: eleventh?.id })
  await send(doorstep)
  t.same(outcomes().sort(), names.slice(11).sort(), 'what came after the eleventh, once more')
  t.same(await redeliver(services, webhook.id, { after: eleventh?.id ?? '', by }), answer, 'as often as one likes')

  const minuteAgo = new Date(Date.now() - 60_000).toISOString()
  t.match(await redeliver(services, webhook.id, { after: minuteAgo, by }), { after: /^evt_/ })
  const old = new Date(Date.now() - 14.1 * 86_400_000).toISOString()
  await t.rejects(redeliver(services, webhook.id, { after: old, by }), { code: 'invalid_request' })
  for (const after of ['', 'yesterday', 'evt_1', 'evt_9999999999999999999', '2026-13-45T00:00:00Z', '2026-11-24']) {
    await t.rejects(redeliver(services, webhook.id, { after, by }), { code: 'invalid_request' }, after)
  }
  const nobody = redeliver(services, '00000000-0000-4000-8000-000000000000', { after: minuteAgo, by })
  await t.rejects(nobody, { code: 'not_found' })
})

t.test('told again from the very beginning, where all that came since is young enough', async (t) => {
  const { receiver, webhook } = await endpoint(t, ['user.changed'])
  const first = 'evt_0000000000000000000'
  await sql('DELETE FROM audit_events')
  t.same(await redeliver(services, webhook.id, { after: first, by }), { after: first }, 'an empty log')
  for (const outcome of ['one', 'two']) await record('user.changed', outcome)
  const [oldest] = await sql('SELECT min(id)::integer AS id FROM audit_events')
  t.ok(oldest?.id > 1, 'what was before is gone')
  t.same(await redeliver(services, webhook.id, { after: first, by }), { after: first })
  await send(doorstep)
  t.same(receiver.received.map(({ body }) => JSON.parse(body).data.outcome).sort(), ['one', 'two'])

  const [one] = await sql(`SELECT id, event_name(id) AS name FROM audit_events WHERE outcome = 'one'`)
  await sql(`UPDATE audit_events SET at = at - interval '14 days 1 hour' WHERE id <= $1`, [one?.id])
  await t.rejects(
    redeliver(services, webhook.id, { after: first, by }),
    { code: 'invalid_request' },
    'one of them is not',
  )
  t.same(await redeliver(services, webhook.id, { after: one?.name, by }), { after: one?.name }, 'those after it are')
})

t.test('what nobody will send any more goes by itself', async (t) => {
  const { webhook } = await endpoint(t, ['user.changed'])
  await record('user.changed')
  await services.store.webhooks.makeDeliveries(1_000)
  await changeWebhook(services, webhook.id, { change: { status: 'disabled' }, caller: backend })
  const purge = () => services.store.purge.expired({ eventDays: 400, notices: true })
  await passForHooks(doorstep, 13.9 * 86_400)
  t.match(await purge(), { deliveries: 0 })
  await passForHooks(doorstep, 0.2 * 86_400)
  t.match(await purge(), { deliveries: 1 })
})
