import { execFile } from 'node:child_process'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'
import { assertUrl } from '../../src/features/admin/webhooks/assert-url.ts'
import { createAddressRule, isPublicAddress } from '../../src/security/public-address.ts'
import { createWebhookPoster, type LookupAll } from '../../src/webhooks/poster.ts'
import { serverCertificate } from '../helpers/certificate.ts'
import { codeOf, loader } from '../helpers/program.ts'
import { startReceiver } from '../helpers/webhook-receiver.ts'

// Whoever may name the endpoints of webhooks (a backend's stolen key is enough) has this service send requests for him: to the
// metadata of the cloud, to admin pages without a password, to databases, from within the network (SEC-119).

t.setTimeout(300_000)

const forbidden = [
  ...[
    '0.0.0.0',
    '0.1.2.3',
    '10.0.0.1',
    '10.255.255.255',
    '100.64.0.1',
    '127.0.0.1',
    '127.255.255.254',
    '169.254.169.254',
  ],
  ...[
    '172.16.0.1',
    '172.31.255.255',
    '192.0.0.1',
    '192.0.0.170',
    '192.0.2.1',
    '192.88.99.1',
    '192.168.0.1',
    '198.18.0.1',
  ],
  ...['198.51.100.1', '203.0.113.1', '224.0.0.1', '239.255.255.250', '240.0.0.1', '255.255.255.255'],
  ...[
    '::',
    '::1',
    '::7f00:1',
    '::127.0.0.1',
    '::ffff:127.0.0.1',
    '::ffff:8.8.8.8',
    '::ffff:0:127.0.0.1',
    '64:ff9b::7f00:1',
  ],
  ...[
    '64:ff9b::8.8.8.8',
    '64:ff9b:1::a00:1',
    '100::1',
    '2001::1',
    '2001:0:7f00:1::',
    '2001:10::1',
    '2001:20::1',
    '2001:db8::1',
  ],
  ...[
    '2002:7f00:1::',
    '2002:a9fe:a9fe::',
    '3fff::1',
    '5f00::1',
    'fc00::1',
    'fd12:3456::1',
    'fe80::1',
    'fe80::1%eth0',
    'fec0::1',
  ],
  ...['ff02::1', 'ff0e::1', '4000::1'],
]
const allowed = [
  '1.1.1.1',
  '8.8.8.8',
  '100.63.255.255',
  '100.128.0.1',
  '172.15.0.1',
  '172.32.0.1',
  '192.169.0.1',
  '198.17.0.1',
]
const allowedToo = [
  '198.20.0.1',
  '223.255.255.254',
  '2001:4860:4860::8888',
  '2606:4700:4700::1111',
  '2a00:1450::1',
  '2620:4f::1',
]

t.test('an address of this machine, of its networks, or a way to one', async (t) => {
  for (const address of forbidden) t.equal(isPublicAddress(address), false, address)
  for (const address of [...allowed, ...allowedToo]) t.equal(isPublicAddress(address), true, address)
  for (const text of ['', 'localhost', '0x7f.1', '2130706433', '127.1', '0177.0.0.1', '[::1]', '1.1.1.1:80']) {
    t.equal(isPublicAddress(text), false, `"${text}" is no address`)
  }
})

t.test('WEBHOOK_ALLOWED_NETWORKS opens what it names and nothing beside', async (t) => {
  const isAllowed = createAddressRule(['10.1.0.0/16', 'fd00:1::/32', '64:ff9b::/96'])
  for (const address of ['10.1.2.3', 'fd00:1::5', '8.8.8.8']) t.equal(isAllowed(address), true, address)
  for (const address of [
    '10.2.0.1',
    'fd00:2::1',
    '127.0.0.1',
    '::ffff:10.1.2.3',
    'fd00:1::5%eth0',
    '169.254.169.254',
  ]) {
    t.equal(isAllowed(address), false, address)
  }
})

t.test('an endpoint that nothing will be sent to is refused when it is named', async (t) => {
  const config = { production: true, webhookAllowedNetworks: ['10.1.0.0/16'] }
  const refused = [
    ...[
      'http://example.com/',
      'ftp://example.com/',
      'file:///etc/passwd',
      'javascript:alert(1)',
      'example.com',
      '//example.com',
      '',
    ],
    ...[
      'https://user@example.com/',
      'https://user:secret@example.com/',
      'https://example.com/#part',
      'https://example.com/#',
    ],
    ...[
      'https://127.0.0.1/',
      'https://127.1/',
      'https://2130706433/',
      'https://0x7f000001/',
      'https://0x7f.0x0.0x0.0x1/',
    ],
    ...[
      'https://0177.0.0.1/',
      'https://017700000001/',
      'https://127.0.0.1./',
      'https://%31%32%37.0.0.1/',
      'https://①②⑦.⓪.⓪.①/',
    ],
    ...[
      'https://[::1]/',
      'https://[::ffff:127.0.0.1]/',
      'https://[0:0:0:0:0:ffff:7f00:1]/',
      'https://[::ffff:10.1.2.3]/',
    ],
    ...['https://[64:ff9b::127.0.0.1]/', 'https://[2002:7f00:1::]/', 'https://169.254.169.254/latest/meta-data/'],
    ...['https://[fd00::1]:8443/x', 'https://0/', 'https://10.2.0.1/'],
    ...['https://localhost/', 'https://LOCALHOST.:8443/x', 'https://hooks.localhost/', 'https://a.b.localhost./'],
  ]
  for (const url of refused) t.throws(() => assertUrl({ config }, url), { code: 'invalid_request' }, url)
  for (const url of [
    'https://example.com/',
    'https://example.com:8443/a?b=c',
    'https://10.1.2.3/',
    'https://8.8.8.8/',
    'https://localhost.example.com/',
    'https://notlocalhost/',
  ]) {
    t.equal(assertUrl({ config }, url), url)
  }
  const itself = { production: true, webhookAllowedNetworks: ['127.0.0.0/8'] }
  for (const url of ['https://localhost/', 'https://hooks.localhost:8443/']) {
    t.equal(assertUrl({ config: itself }, url), url, 'unless this machine is allowed')
  }
  const here = { production: false, webhookAllowedNetworks: [] }
  t.equal(assertUrl({ config: here }, 'http://example.com/x'), 'http://example.com/x', 'http, where nothing is serious')
  t.throws(
    () => assertUrl({ config: here }, 'http://127.0.0.1:80/'),
    { code: 'invalid_request' },
    'not to this machine',
  )
})

const nowMs = () => 1_800_000_000_000
const headers = { 'content-type': 'application/json' }

/** Answers of a name server, one after the other, the last for ever. */
function names(...answers: string[][]): LookupAll & { asked: string[] } {
  const asked: string[] = []
  const lookup: LookupAll = (name, done) => {
    const addresses = answers[Math.min(asked.length, answers.length - 1)] ?? []
    asked.push(name)
    done(
      null,
      addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })),
    )
  }
  return Object.assign(lookup, { asked })
}

t.test('a name is judged by the addresses that the socket connects to', async (t) => {
  const receiver = await startReceiver(t)
  const url = `http://hooks.example.com:${receiver.port}/`
  const isAllowed = createAddressRule([])
  for (const answers of [
    ['127.0.0.1'],
    ['::1'],
    ['::ffff:127.0.0.1'],
    ['8.8.8.8', '127.0.0.1'],
    ['127.0.0.1', '8.8.8.8'],
  ]) {
    const poster = createWebhookPoster({ isAllowed, nowMs, lookupAll: names(answers) })
    t.same(await poster.post(url, headers, '{}'), { error: 'refused' }, `${answers}`)
  }
  const none = createWebhookPoster({ isAllowed, nowMs, lookupAll: names([]) })
  t.same(await none.post(url, headers, '{}'), { error: 'unreachable' })
  const failing = createWebhookPoster({
    isAllowed,
    nowMs,
    lookupAll: (_name, done) => done(new Error('no answer'), []),
  })
  t.same(await failing.post(url, headers, '{}'), { error: 'unreachable' })
  t.equal(receiver.connections(), 0, 'nobody has so much as connected')
})

t.test('a name that means something else when it is looked up again (rebinding)', async (t) => {
  const receiver = await startReceiver(t)
  // Once it is a public address, which nobody answers here; from then on this machine.
  const lookupAll = names(['203.0.114.1'], ['127.0.0.1'])
  const poster = createWebhookPoster({ isAllowed: createAddressRule([]), nowMs, lookupAll, timeoutMs: 3_000 })
  const url = `http://rebind.example.com:${receiver.port}/`
  t.match(await poster.post(url, headers, '{}'), { error: /unreachable|timeout/ })
  t.same(lookupAll.asked, ['rebind.example.com'], 'looked up once, by the connection itself')
  t.same(await poster.post(url, headers, '{}'), { error: 'refused' }, 'and judged anew the next time')
  t.equal(receiver.connections(), 0)
})

t.test('an address in place of a name, which is never looked up', async (t) => {
  const receiver = await startReceiver(t)
  const lookupAll = names(['8.8.8.8'])
  const poster = createWebhookPoster({ isAllowed: createAddressRule([]), nowMs, lookupAll, timeoutMs: 3_000 })
  for (const host of [
    '127.0.0.1',
    '127.1',
    '2130706433',
    '0x7f.1',
    '[::1]',
    '[::ffff:127.0.0.1]',
    '[::ffff:7f00:1]',
    '0',
  ]) {
    t.same(await poster.post(`http://${host}:${receiver.port}/`, headers, '{}'), { error: 'refused' }, host)
  }
  t.equal(receiver.connections(), 0)
})

t.test('a receiver that leads elsewhere is not followed', async (t) => {
  const [first, second] = [await startReceiver(t), await startReceiver(t)]
  const poster = createWebhookPoster({ isAllowed: createAddressRule(['127.0.0.1']), nowMs })
  for (const status of [301, 302, 303, 307, 308]) {
    first.setMode({ status, headers: { location: second.url } })
    t.same(await poster.post(first.url, headers, '{}'), { status, retryAfterSeconds: 0 })
  }
  t.equal(second.connections(), 0)
})

t.test(
  'somebody in between, with a certificate that nobody trusts, of another name or of another time, is told nothing',
  async (t) => {
    const name = 'hooks.example.com'
    const right = serverCertificate(name)
    const expired = serverCertificate(name, '250102000000Z')
    const receivers = [
      await startReceiver(t, right),
      await startReceiver(t, serverCertificate(name)),
      await startReceiver(t, expired),
      await startReceiver(t, right),
    ]
    const urls = receivers.map(({ port }, at) => `https://${at === 3 ? 'another.example.com' : name}:${port}/hooks`)
    // In a process of its own: Node reads whom to trust once.
    const trusted = join(t.testdir({ 'trusted.pem': right.cert + expired.cert }), 'trusted.pem')
    const script = `
    import { createWebhookPoster } from ${JSON.stringify(pathToFileURL(codeOf('src/webhooks/poster.ts')).href)}
    const lookupAll = (name, done) => done(null, [{ address: '127.0.0.1', family: 4 }])
    const poster = createWebhookPoster({ isAllowed: () => true, nowMs: Date.now, lookupAll })
    for (const url of process.argv.slice(1)) console.log(JSON.stringify(await poster.post(url, {}, '{}')))`
    const { stdout } = await promisify(execFile)(
      process.execPath,
      [...loader, '--input-type=module', '--eval', script, ...urls],
      { env: { PATH: process.env.PATH, NODE_EXTRA_CA_CERTS: trusted } },
    )
    t.strictSame(
      stdout
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line)),
      [{ status: 204, retryAfterSeconds: 0 }, ...Array(3).fill({ error: 'unreachable' })],
    )
    t.strictSame(
      receivers.map(({ received }) => received.length),
      [1, 0, 0, 0],
    )
    t.equal(receivers[0]?.received[0]?.headers.host, new URL(urls[0] ?? '').host)
  },
)

t.test('a proxy of the environment, which would connect wherever it is asked to, is not asked', async (t) => {
  const [receiver, proxy] = [await startReceiver(t), await startReceiver(t)]
  const before = { ...process.env }
  const at = `http://127.0.0.1:${proxy.port}`
  Object.assign(process.env, {
    HTTP_PROXY: at,
    http_proxy: at,
    HTTPS_PROXY: at,
    ALL_PROXY: at,
    NODE_USE_ENV_PROXY: '1',
  })
  t.teardown(() => {
    process.env = before
  })
  const poster = createWebhookPoster({ isAllowed: createAddressRule(['127.0.0.1']), nowMs })
  t.match(await poster.post(receiver.url, headers, '{}'), { status: 204 })
  t.equal(proxy.connections(), 0)
})

t.test('what goes out, and what is read of an answer, has an end', async (t) => {
  const receiver = await startReceiver(t)
  const poster = createWebhookPoster({ isAllowed: createAddressRule(['127.0.0.1']), nowMs, timeoutMs: 2_000 })
  t.same(await poster.post(receiver.url, headers, 'x'.repeat(20 * 1024 + 1)), { error: 'too_large' })
  t.equal(receiver.connections(), 0)
  t.match(await poster.post(receiver.url, headers, 'x'.repeat(20 * 1024)), { status: 204 })

  let written = 0
  const flood = createServer((_request, response) => {
    const pour = (): void => {
      while (!response.destroyed && response.write('x'.repeat(1_024))) written += 1_024
    }
    response.on('drain', pour)
    response.writeHead(200)
    pour()
  })
  await new Promise<void>((resolve) => flood.listen(0, '127.0.0.1', resolve))
  t.teardown(() => flood.close())
  const { port } = flood.address() as AddressInfo
  t.match(await poster.post(`http://127.0.0.1:${port}/`, headers, '{}'), { status: 200 })
  await new Promise<void>((resolve) => {
    const look = (): void => {
      flood.getConnections((_error, count) => (count === 0 ? resolve() : setTimeout(look, 20)))
    }
    look()
  })
  t.ok(written < 8 * 1024 * 1024, 'only what fits into the buffers of a connection')
})

t.test('who says nothing, or a little at a time, has fifteen seconds in all', async (t) => {
  const [hanging, dripping] = [await startReceiver(t), await startReceiver(t)]
  hanging.setMode('hang')
  dripping.setMode('drip')
  const poster = createWebhookPoster({ isAllowed: createAddressRule(['127.0.0.1']), nowMs })
  const neverLooksUp = createWebhookPoster({ isAllowed: createAddressRule([]), nowMs, lookupAll: () => {} })
  const begun = performance.now()
  const ended = await Promise.all([
    poster.post(hanging.url, headers, '{}'),
    poster.post(dripping.url, headers, '{}'),
    neverLooksUp.post('http://slow.example.com/', headers, '{}'),
  ])
  t.same(ended, [{ error: 'timeout' }, { error: 'timeout' }, { error: 'timeout' }])
  const seconds = (performance.now() - begun) / 1_000
  t.ok(seconds >= 14.9 && seconds < 30, `${seconds.toFixed(1)} s`)
})

t.test(
  'a name server that hangs holds one thread, however many are told, and nobody longer than he waits',
  async (t) => {
    const receiver = await startReceiver(t)
    const asked: string[] = []
    const answers: ((address: string) => void)[] = []
    const lookupAll: LookupAll = (name, done) => {
      asked.push(name)
      answers.push((address) => done(null, [{ address, family: 4 }]))
    }
    const isAllowed = createAddressRule(['127.0.0.1'])
    const poster = createWebhookPoster({ isAllowed, nowMs, lookupAll, timeoutMs: 3_000 })
    const post = (host: string) => poster.post(`http://${host}.example.com:${receiver.port}/`, headers, '{}')

    const begun = performance.now()
    const ended = await Promise.all(['hung', 'hung', 'hung', 'good', 'good'].map(post))
    t.same(ended, Array(5).fill({ error: 'timeout' }))
    t.ok(performance.now() - begun < 10_000, 'the time in line counts')
    t.same(asked, ['hung.example.com'], 'one at a time')

    const [third, other] = [post('good'), post('hung')]
    answers[0]?.('127.0.0.1')
    t.match(await other, { status: 204 }, 'an answer is that of all who have asked')
    t.same(asked, ['hung.example.com', 'good.example.com'], 'the next one, once for all')
    answers[1]?.('127.0.0.1')
    t.match(await third, { status: 204 })
    const again = post('good')
    await setImmediate()
    t.same(asked.slice(2), ['good.example.com'], 'an answer is not kept')
    answers[2]?.('10.0.0.1')
    t.same(await again, { error: 'refused' })
    t.equal(receiver.received.length, 2)
  },
)

t.test('a name that there is not keeps no other from being looked up', async (t) => {
  const receiver = await startReceiver(t)
  const lookupAll: LookupAll = (name, done) =>
    name === 'none.example.com' ? done(new Error('no answer'), []) : done(null, [{ address: '127.0.0.1', family: 4 }])
  const poster = createWebhookPoster({ isAllowed: createAddressRule(['127.0.0.1']), nowMs, lookupAll })
  const post = (host: string) => poster.post(`http://${host}.example.com:${receiver.port}/`, headers, '{}')
  t.match(await Promise.all(['none', 'some', 'none'].map(post)), [
    { error: 'unreachable' },
    { status: 204 },
    { error: 'unreachable' },
  ])
})

t.test('Retry-After in either form, a day at most; whatever else it says is nothing', async (t) => {
  const receiver = await startReceiver(t)
  const poster = createWebhookPoster({ isAllowed: createAddressRule(['127.0.0.1']), nowMs })
  const cases: [string, number][] = [
    ...([
      ['120', 120],
      ['0', 0],
      ['-5', 0],
      ['1e3', 0],
      ['soon', 0],
      ['86401', 86_400],
      ['999999999999', 86_400],
      ['9'.repeat(400), 86_400],
      ['Fri, 31 Dec 9999 23:59:59 GMT', 86_400],
    ] as [string, number][]),
    [new Date(nowMs() + 90_000).toUTCString(), 90],
    [new Date(nowMs() - 90_000).toUTCString(), 0],
  ]
  for (const [text, retryAfterSeconds] of cases) {
    receiver.setMode({ status: 429, headers: { 'retry-after': text } })
    t.same(await poster.post(receiver.url, headers, '{}'), { status: 429, retryAfterSeconds }, text)
  }
})
