import type { InjectOptions } from 'fastify'
import t, { type Test } from 'tap'
import { type Doorstep, startDoorstep } from '../helpers/doorstep.ts'

t.setTimeout(300_000)

// A developer's service shows every code it "sends" at /dev/sms, and on its page (SEC-110). Whoever gets there signs in as anybody: from the
// network beside the developer, through a proxy or tunnel that ends on the machine, or by a web page in the developer's own
// browser, whose name is made to point at 127.0.0.1 (DNS rebinding).

const closed = await startDoorstep(t)
const open = await startDoorstep(t, {
  database: closed.database,
  env: { DEVELOPMENT_NETWORKS: '192.168.1.0/24,fd12::/64', HOST: '192.168.1.7' },
})

type Way = { from?: string; host?: string; headers?: Record<string, string> }

async function reach(t: Test, { app }: Doorstep, way: Way, isLetIn: boolean): Promise<void> {
  for (const url of ['/dev/sms', '/dev/mail', '/', '/set-password', '/page/page.css']) {
    const request: InjectOptions = {
      url,
      remoteAddress: way.from ?? '127.0.0.1',
      headers: { host: way.host ?? 'localhost:3000', ...way.headers },
    }
    const reply = await app.inject(request)
    const shows = url.startsWith('/dev/') ? '"messages"' : 'Doorstep'
    const seen = isLetIn ? { statusCode: 200, body: new RegExp(shows) } : { statusCode: 404, body: /"not_found"/ }
    t.match(reply, seen, `${url} ${JSON.stringify(way)}`)
  }
}

t.test('a program on this machine that asks for this machine is answered', async (t) => {
  for (const from of ['127.0.0.1', '127.0.0.53', '::1', '::ffff:127.0.0.1']) {
    for (const host of ['localhost', 'localhost:3000', '127.0.0.1:3000', '[::1]:3000', 'app.localhost:8080']) {
      await reach(t, closed, { from, host }, true)
      await reach(t, open, { from, host }, true)
    }
  }
})

t.test('nobody else on the network is, unless the developer named it', async (t) => {
  for (const from of ['192.168.1.9', '::ffff:192.168.1.9', 'fd12::9']) {
    await reach(t, closed, { from }, false)
    await reach(t, open, { from }, true)
    await reach(t, open, { from, host: '192.168.1.7:3000' }, true)
  }
  for (const from of ['192.168.2.9', '10.0.0.1', '203.0.113.7', 'fd13::9', '2001:db8::1', '0.0.0.0']) {
    for (const doorstep of [closed, open]) await reach(t, doorstep, { from, host: 'localhost' }, false)
  }
})

t.test('a page whose name was made to point here is not: the browser says which name it was led to', async (t) => {
  for (const doorstep of [closed, open]) {
    for (const host of [
      ...['evil.example', 'evil.example:3000', 'localhost.evil.example', '127.0.0.1.evil.example', 'notlocalhost'],
      ...['192.168.1.7:3000', '[fd12::7]:3000', '0.0.0.0:3000', 'localhost@evil.example', 'localhost:3000:evil'],
    ]) {
      await reach(t, doorstep, { host }, false)
    }
  }
})

t.test('a proxy or tunnel that ends on this machine is not, whomever it names', async (t) => {
  const added = [
    { 'x-forwarded-for': '203.0.113.7' },
    { 'x-forwarded-for': '127.0.0.1' },
    { 'x-forwarded-host': 'login.example.com' },
    { 'x-forwarded-proto': 'https' },
    { 'X-Real-IP': '127.0.0.1' },
    { forwarded: 'for=127.0.0.1' },
    { via: '1.1 proxy' },
    { 'cf-connecting-ip': '203.0.113.7' },
    { 'true-client-ip': '203.0.113.7' },
  ]
  for (const headers of added) {
    for (const doorstep of [closed, open])
      await reach(t, doorstep, { headers: headers as Record<string, string> }, false)
  }
  // His next move: he writes himself what a trusted proxy would.
  const trusting = await startDoorstep(t, { database: closed.database, env: { TRUST_PROXY: '203.0.113.7' } })
  await reach(t, trusting, { from: '203.0.113.7', headers: { 'x-forwarded-for': '127.0.0.1' } }, false)
})

t.test('nor does another method or a HEAD tell more', async (t) => {
  for (const method of ['HEAD', 'POST', 'DELETE', 'OPTIONS'] as const) {
    const reply = await closed.app.inject({ method, url: '/dev/sms', remoteAddress: '203.0.113.7' })
    t.not(reply.statusCode, 200, method)
    t.notMatch(reply.body, /messages/)
  }
})
