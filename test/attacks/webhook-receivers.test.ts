import { mkdtempSync, rmSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { startWebhookSender } from '../../src/features/admin/webhooks/webhook-sender.ts'
import { startDoorstep, testKeys } from '../helpers/doorstep.ts'
import { codeOf, loader } from '../helpers/program.ts'
import { freePort, runService } from '../helpers/service-process.ts'
import { createUser } from '../helpers/story.ts'
import { startReceiver } from '../helpers/webhook-receiver.ts'
import { hook, passForHooks, receiversHere, send } from '../helpers/webhooks.ts'

// Whoever keeps a receiver, or is between it and here, can be slow, silent, wrong or gone: no other receiver may wait for him, no
// change may be lost by him, and a replica that is killed while it tells must not have been the only one who knew.

t.setTimeout(300_000)

const doorstep = await startDoorstep(t, { env: receiversHere })
const { services, sql, database } = doorstep

const record = (outcome: string, type = 'user.changed') =>
  sql('SELECT record_event($1, NULL)', [JSON.stringify({ type, outcome })])
const queue = () => sql('SELECT tries, error FROM webhook_deliveries ORDER BY event_id')

async function endpoint(t: Test, events = ['user.*']) {
  const receiver = await startReceiver(t)
  const webhook = await hook(doorstep, receiver.url, events)
  t.teardown(() => sql('DELETE FROM webhooks WHERE id = $1', [webhook.id]))
  const outcomes = (): string[] => receiver.received.map(({ body }) => JSON.parse(body).data.outcome)
  return { receiver, webhook, outcomes }
}

t.test('answers that are none: each is a failure, and told again', async (t) => {
  const { receiver, webhook } = await endpoint(t)
  const modes: [Parameters<typeof receiver.setMode>[0], string][] = [
    [{ status: 302, headers: { location: 'http://127.0.0.1:1/' } }, 'http_302'],
    [{ status: 404 }, 'http_404'],
    [{ status: 500, body: 'x'.repeat(20 * 1024) }, 'http_500'],
    ['cut', 'unreachable'],
  ]
  for (const [mode, error] of modes) {
    receiver.setMode(mode)
    await record(error)
    await send(doorstep)
    const [row] = await queue()
    t.match(row, { tries: 1, error })
    await sql('DELETE FROM webhook_deliveries')
  }
  receiver.setMode({ status: 200, body: 'x'.repeat(20 * 1024) })
  await record('long')
  await send(doorstep)
  t.same(await queue(), [], 'a long answer is one all the same')

  const upgrade = createServer((socket) => {
    socket.on('error', () => {})
    socket.once('data', () =>
      socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n'),
    )
  })
  await new Promise<void>((resolve) => upgrade.listen(0, '127.0.0.1', resolve))
  t.teardown(() => upgrade.close())
  const { port } = upgrade.address() as AddressInfo
  await sql('UPDATE webhooks SET url = $2 WHERE id = $1', [webhook.id, `http://127.0.0.1:${port}/`])
  await record('upgraded')
  await send(doorstep)
  t.match(await queue(), [{ error: 'http_101' }])
})

t.test(
  'a receiver that hangs and one that drips keep no other waiting, and take four places each at most',
  async (t) => {
    const [hanging, dripping, good] = [await endpoint(t), await endpoint(t), await endpoint(t)]
    hanging.receiver.setMode('hang')
    dripping.receiver.setMode('drip')
    const names = Array.from({ length: 40 }, (_, n) => `${n}`)
    for (const name of names) await record(name)
    const replica = await startDoorstep(t, { env: receiversHere, database })
    const begun = performance.now()
    const stop = startWebhookSender(replica.services)
    await good.receiver.until(40)
    const stopped = performance.now()
    t.same(good.outcomes().sort(), [...names].sort())
    // Each try ends after fifteen seconds, and this machine may be slow.
    const most = (until: number): number => 4 * (1 + Math.floor((until - begun) / 15_000))
    for (const { receiver } of [hanging, dripping]) {
      t.ok(
        receiver.received.length >= 4 && receiver.received.length <= most(stopped),
        `${receiver.received.length} at most ${most(stopped)}`,
      )
    }
    await stop()
    t.ok(performance.now() - stopped < 14_000, 'and a stop does not wait for them to end')
    const [left] = await sql<{ all: number; fresh: number; claimed: number }>(
      `SELECT count(*)::integer AS all, (count(*) FILTER (WHERE tries = 0))::integer AS fresh,
         (count(*) FILTER (WHERE claimed_until IS NOT NULL))::integer AS claimed FROM webhook_deliveries`,
    )
    t.match(left, { all: 80, claimed: 0 })
    t.ok(
      (left?.fresh ?? 0) >= 80 - 2 * (most(performance.now()) - 4),
      'what was broken off counts for nothing, and is anybody’s',
    )
  },
)

t.test('somebody who has a long log told again keeps nobody waiting for what was found first', async (t) => {
  const { receiver, outcomes } = await endpoint(t)
  await record('first')
  await sql(`SELECT record_event('{"type": "login.failed", "outcome": "between"}', NULL) FROM generate_series(1, 1000)`)
  await record('last')
  const replica = await startDoorstep(t, { env: receiversHere, database })
  const { webhooks } = replica.services.store
  const { makeDeliveries } = webhooks
  let goOn = (): void => {}
  const held = new Promise<void>((resolve) => {
    goOn = resolve
  })
  let batches = 0
  webhooks.makeDeliveries = async (batch) => {
    batches += 1
    if (batches > 1) await held
    return makeDeliveries(batch)
  }
  const stop = startWebhookSender(replica.services)
  await receiver.until(1)
  t.same(outcomes(), ['first'], 'told while the second batch is still made')
  goOn()
  await receiver.until(2)
  t.same(outcomes(), ['first', 'last'])
  await stop()
})

t.test('two replicas tell together, each event once', async (t) => {
  const other = await startDoorstep(t, { env: receiversHere, database })
  const { receiver, outcomes } = await endpoint(t)
  const names = Array.from({ length: 60 }, (_, n) => `${n}`)
  for (const name of names) await record(name)
  const { post } = other.services.webhookPoster
  let posted = 0
  other.services.webhookPoster.post = (...message) => {
    posted += 1
    return post(...message)
  }
  await services.store.webhooks.makeDeliveries(1_000)
  await Promise.all([send(doorstep), send(other), send(doorstep), send(other)])
  t.equal(receiver.received.length, 60)
  t.same(outcomes().sort(), [...names].sort())
  t.same(await queue(), [])
  t.ok(posted > 0 && posted < 60, `${posted} of 60 were the other’s`)
})

t.test('an endpoint that takes it while we do not hear of it: it comes twice, with the same id', async (t) => {
  const { receiver, webhook } = await endpoint(t)
  await record('twice')
  await services.store.webhooks.makeDeliveries(100)
  const { webhook: target, deliveries } = await services.store.webhooks.claim(webhook.id, 4)
  t.equal(deliveries.length, 1)
  // The process that has claimed it sends it, and is gone before it can write that down.
  const { id } = deliveries[0] ?? { id: '' }
  await services.webhookPoster.post(target?.url ?? '', { 'webhook-id': id }, '{"data":{"outcome":"twice"}}')
  t.equal(await send(doorstep), 0, 'for thirty seconds it is that one’s')
  await passForHooks(doorstep, 31)
  t.equal(await send(doorstep), 1)
  t.same(receiver.ids(), [id, id])
  const late = { result: 'failed' as const, error: 'http_500', retryAfter: 0 }
  const event = { type: 'webhook.disabled', outcome: 'failing' } as const
  t.match(await services.store.webhooks.recordDelivery(webhook.id, { id, tries: 1 }, late, event), { outcome: 'late' })
  t.same(await queue(), [], 'who is late changes nothing')
})

if (!database.isReal) {
  t.comment('needs TEST_DATABASE_URL: a service of its own on the same database')
} else {
  const serve = async (t: Test) => {
    const folder = mkdtempSync(join(tmpdir(), 'doorstep-webhooks-'))
    t.teardown(() => rmSync(folder, { recursive: true, force: true }))
    const env = {
      ...{
        ...testKeys,
        ...receiversHere,
        DATABASE_URL: database.url,
        DATA_DIR: folder,
        PORT: String(await freePort()),
      },
      ...{ ARGON2_MEMORY_KIB: '64', ARGON2_TIME: '1', NODE_ENV: 'test' },
    }
    const service = runService(t, [...loader, codeOf('src/main.ts')], { env, cwd: folder })
    return { service, address: await service.address() }
  }

  t.test('a replica that is killed between the commit and the sending', async (t) => {
    const { receiver } = await endpoint(t, ['session.started'])
    receiver.setMode('hang')
    const user = await createUser(doorstep, { twoFactor: 'off' })
    const { service, address } = await serve(t)
    const answer = await fetch(`${address}/login`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ email: user.email, password: user.password }),
    })
    t.equal(answer.status, 200)
    await receiver.until(1)
    service.kill('SIGKILL')
    await service.exit
    receiver.setMode({ status: 200 })
    t.equal(await send(doorstep), 0)
    await passForHooks(doorstep, 31)
    t.equal(await send(doorstep), 1, 'another tells it')
    t.same(receiver.types(), ['session.started', 'session.started'])
    t.equal(new Set(receiver.ids()).size, 1)
    t.equal(JSON.parse(receiver.received[1]?.body ?? '').data.user_id, user.id)
    const log = await sql(
      `SELECT event_name(id) AS id FROM audit_events WHERE type = 'session.started' AND user_id = $1`,
      [user.id],
    )
    t.same(log, [{ id: receiver.ids()[0] }], 'as the log has it')
  })

  t.test(
    'a replica that is stopped while a receiver hangs leaves within ten seconds, and leaves it to others',
    async (t) => {
      const { receiver } = await endpoint(t)
      receiver.setMode('hang')
      const { service } = await serve(t)
      await record('stopped')
      await receiver.until(1)
      const begun = performance.now()
      service.kill('SIGTERM')
      t.match(await service.exit, { code: 0 })
      t.ok(performance.now() - begun < 14_000, 'within 10 s, and what a busy machine adds')
      receiver.setMode({ status: 200 })
      t.equal(await send(doorstep), 1, 'at once')
      t.match(receiver.types(), ['user.changed', 'user.changed'])
    },
  )
}
