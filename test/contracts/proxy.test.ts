import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { type Doorstep, startDoorstep } from '../helpers/doorstep.ts'
import { freePort } from '../helpers/service-process.ts'
import { codeFor, createUser } from '../helpers/story.ts'

t.setTimeout(300_000)

/** The service under a path of somebody's site: `start` puts a proxy at a port, in front of another, and takes `/auth` off. */
async function behind(t: Test, start: (t: Test, port: number, upstream: number) => Promise<void>, env = {}) {
  const port = await freePort()
  const base = `http://127.0.0.1:${port}/auth`
  const doorstep = await startDoorstep(t, { env: { PUBLIC_URL: base, TRUST_PROXY: '127.0.0.1', ...env } })
  await doorstep.app.listen({ host: '127.0.0.1', port: 0 })
  const { port: upstream } = doorstep.app.server.address() as AddressInfo
  await start(t, port, upstream)
  return { base, doorstep }
}

/** A proxy as plain as can be. */
async function plainProxy(t: Test, port: number, upstream: number): Promise<void> {
  const server = createServer((incoming, outgoing) => {
    if (!incoming.url?.startsWith('/auth/')) return void outgoing.writeHead(404).end()
    const { method, headers } = incoming
    const path = incoming.url.slice('/auth'.length)
    const passed = request({ port: upstream, host: '127.0.0.1', method, path, headers }, (answer) => {
      outgoing.writeHead(answer.statusCode ?? 502, answer.headers)
      answer.pipe(outgoing)
    })
    passed.on('error', () => outgoing.writeHead(502).end())
    incoming.pipe(passed)
  })
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  t.teardown(() => new Promise((resolve) => server.close(resolve).closeAllConnections()))
}

const isNginxInstalled = existsSync('/usr/sbin/nginx')

/** A real nginx with exactly what README says, but for its ports and TLS. */
async function nginx(t: Test, port: number, upstream: number): Promise<void> {
  const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8')
  const [, published = ''] = /<!-- nginx -->\s*```nginx\n(.*?)```/s.exec(readme) ?? []
  const http = published.replace('127.0.0.1:3000', `127.0.0.1:${upstream}`).replace('443 ssl', `127.0.0.1:${port}`)
  if (!http.includes(`${upstream}`) || !http.includes(`${port}`)) throw new Error('README has no such configuration')
  const folder = mkdtempSync(join(tmpdir(), 'doorstep-nginx-'))
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (name) => `${name}_temp_path ${folder}/${name};`,
  )
  writeFileSync(
    join(folder, 'nginx.conf'),
    `daemon off; master_process off; pid ${folder}/pid; error_log ${folder}/error.log;
     events {} http { access_log off; ${temporary.join(' ')} ${http} }`,
  )
  const child: ChildProcess = spawn('/usr/sbin/nginx', [
    '-p',
    folder,
    '-e',
    `${folder}/error.log`,
    '-c',
    `${folder}/nginx.conf`,
  ])
  const exit = new Promise((resolve) => child.once('close', resolve))
  t.teardown(async () => {
    child.kill('SIGKILL')
    await exit
    rmSync(folder, { recursive: true, force: true })
  })
  for (let n = 0; n < 100; n += 1) {
    const isUp = await fetch(`http://127.0.0.1:${port}/auth/health/live`).then(
      ({ ok }) => ok,
      () => false,
    )
    if (isUp) return
    await sleep(50)
  }
  throw new Error(readFileSync(join(folder, 'error.log'), 'utf8'))
}

/** Everything that the page of the documents loads, as a browser resolves it. */
async function docsWork(t: Test, base: string): Promise<void> {
  for (const path of ['/docs', '/docs/', '/docs?a=b', '/docs/static/index.html']) {
    const page = await fetch(`${base}${path}`)
    t.equal(page.status, 200, path)
    const html = await page.text()
    const links = [...html.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, link = '']) => new URL(link, page.url).href)
    t.ok(links.length >= 6)
    for (const link of links) {
      t.ok(link.startsWith(`${base}/docs/static/`), link)
      t.equal((await fetch(link)).status, 200, link)
    }
  }
  // The script asks for the document beside the page it stands on.
  t.match(await (await fetch(`${base}/docs/static/swagger-initializer.js`)).text(), /url: resolveUrl\('\.\/json'\)/)
  const document = (await (await fetch(`${base}/docs/json`)).json()) as { servers: { url: string }[] }
  t.strictSame(document.servers, [{ url: base }], 'and calls are tried where clients call')

  const { type } = (await (await fetch(`${base}/nothing`)).json()) as { type: string }
  const problem = await fetch(type, { headers: { accept: 'text/html' } })
  t.equal(problem.status, 200, 'the type of a problem can be followed')
  const [, back = ''] = /<a href="([^"]+)"/.exec(await problem.text()) ?? []
  t.equal(new URL(back, type).href, `${base}/docs`)
}

t.test('the service works under a path that a proxy takes off: documents, assets, problems', async (t) => {
  const { base } = await behind(t, plainProxy)
  await docsWork(t, base)
})

t.test('without a proxy the page of the documents finds its files just as well', async (t) => {
  const doorstep = await startDoorstep(t, { env: { PUBLIC_URL: 'http://localhost:3000/auth' } })
  const html = (await doorstep.app.inject('/docs')).body
  for (const [, link = ''] of html.matchAll(/(?:src|href)="([^"]+)"/g)) {
    const { pathname } = new URL(link, 'http://localhost:3000/docs')
    t.equal((await doorstep.app.inject(pathname)).statusCode, 200, pathname)
  }
})

/** A whole login through the proxy. */
async function signInThrough(t: Test, base: string, doorstep: Doorstep): Promise<void> {
  const post = async (path: string, body: object, token?: string) => {
    const headers = { 'content-type': 'application/json', ...(token && { authorization: `Bearer ${token}` }) }
    const reply = await fetch(`${base}${path}`, { method: 'POST', headers, body: JSON.stringify(body) })
    return (await reply.json()) as Record<string, string>
  }
  const { email, password, phone } = await createUser(doorstep)
  const first = await post('/login', { email, password })
  t.equal(first.status, '2fa_required')
  t.equal((await post('/login/2fa', { code: codeFor(doorstep, phone) }, first.pending_token)).status, 'authenticated')
}

if (isNginxInstalled) {
  t.test("a real nginx with README's configuration: documents, a login, and the client's own address", async (t) => {
    const { base, doorstep } = await behind(t, nginx, { RATE_LOGIN_MINUTE: '2', LOG_LEVEL: 'info' })
    await docsWork(t, base)
    await signInThrough(t, base, doorstep)
    const head = await fetch(`${base}/health/live`, { method: 'HEAD' })
    t.equal(head.status, 200)

    const statuses: number[] = []
    for (let n = 0; n < 4; n += 1) {
      // A client cannot claim an address: nginx says who it saw.
      const headers = { 'content-type': 'application/json', 'x-forwarded-for': `203.0.113.${n}` }
      statuses.push((await fetch(`${base}/login`, { method: 'POST', headers, body: '{}' })).status)
    }
    t.strictSame(statuses, [400, 400, 429, 429])
    const answered = doorstep.logs.map((line) => JSON.parse(line)).filter(({ route }) => route === '/login')
    t.ok(answered.length > 0 && answered.every(({ address }) => address === '127.0.0.1'))
  })

  t.test('nginx gives up idle connections before the service does, and uses each for many requests', async (t) => {
    const { base, doorstep } = await behind(t, nginx)
    const connections = () =>
      new Promise<number>((resolve) => doorstep.app.server.getConnections((_error, count) => resolve(count)))
    let opened = 0
    doorstep.app.server.on('connection', () => {
      opened += 1
    })
    const get = async () => (await fetch(`${base}/health/live`)).status
    const statuses = new Set<number>()
    // More than the thousand that the service answers on one connection.
    for (let n = 0; n < 150; n += 1)
      for (const it of await Promise.all(Array.from({ length: 8 }, get))) statuses.add(it)
    t.strictSame([...statuses], [200])
    t.ok(opened <= 24, `${opened} connections for 1,200 requests`)
    t.ok((await connections()) >= 1, 'they are kept')
    let tired = 0
    const tire = (): void => {
      tired += 1
    }
    // Whoever hears this keeps the connection open in the place of the service.
    doorstep.app.server.on('timeout', tire)
    await sleep(4_000)
    for (let waited = 0; waited < 1_000 && (await connections()) > 0; waited += 1) await sleep(20)
    doorstep.app.server.off('timeout', tire)
    t.strictSame([await connections(), tired], [0, 0], 'nginx closed them: after 4 s, and the service waits 5')

    // Whoever comes around the fifth second is answered all the same.
    for (const ms of [4_800, 5_000, 5_200]) {
      await Promise.all(Array.from({ length: 8 }, get))
      await sleep(ms)
      t.strictSame(await Promise.all(Array.from({ length: 8 }, get)), Array(8).fill(200))
    }
  })
}
