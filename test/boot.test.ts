import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { Agent, type IncomingHttpHeaders, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { buildService } from './helpers/build.ts'
import { startChaosProxy } from './helpers/chaos-proxy.ts'
import { createTestDatabase, type TestDatabase } from './helpers/database.ts'
import { startDoorstep, testKeys } from './helpers/doorstep.ts'
import { freePort, runService, type ServiceProcess } from './helpers/service-process.ts'
import { createUser, rightPassword } from './helpers/story.ts'
import { startTwilioStub, type TwilioStub } from './helpers/twilio-stub.ts'

// The service as it is built and run: a process, its settings, its signals.

t.setTimeout(600_000)

const built = buildService(t)
const folder = mkdtempSync(join(tmpdir(), 'doorstep-boot-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))

const run = (t: Test, env: Record<string, string>, more: string[] = []): ServiceProcess =>
  runService(t, [...more, join(built, 'dist', 'main.js')], {
    env: { HOST: '127.0.0.1', PORT: '0', ...env },
    cwd: folder,
  })

type Reply = { status: number; headers: IncomingHttpHeaders; body: Record<string, unknown> & { code?: string } }

/** One request on a connection of `agent`; rejects when the connection is cut before the whole answer came. */
function ask(
  address: string,
  path: string,
  sent: { agent?: Agent; body?: object; token?: string } = {},
): Promise<Reply> {
  const { agent, body, token } = sent
  return new Promise((resolve, reject) => {
    const headers = {
      ...(body && { 'content-type': 'application/json' }),
      ...(token && { authorization: `Bearer ${token}` }),
    }
    const outgoing = request(
      address + path,
      { method: body ? 'POST' : 'GET', headers, agent: agent ?? false },
      (answer) => {
        let text = ''
        answer.setEncoding('utf8').on('data', (part: string) => {
          text += part
        })
        answer.on('end', () => {
          const isJson = answer.headers['content-type']?.includes('json')
          resolve({
            status: answer.statusCode ?? 0,
            headers: answer.headers,
            body: isJson ? JSON.parse(text) : { text },
          })
        })
        answer.on('error', reject)
      },
    )
    outgoing.on('error', reject)
    outgoing.end(body && JSON.stringify(body))
  })
}

/** SIGTERM, and what came of it. */
async function stop(t: Test, service: ServiceProcess): Promise<void> {
  const toldAt = performance.now()
  service.kill('SIGTERM')
  t.match(await service.exit, { code: 0, signal: null }, 'it leaves with 0')
  t.ok(performance.now() - toldAt < 14_000, 'within 10 s, and what a busy machine adds')
  t.match(service.lines().at(-1), { msg: 'stopped' })
}

t.test('a newcomer: one command, three lines, signed in; and it is all there after a restart', async (t) => {
  const metricsPort = await freePort()
  const slowHashing = { ARGON2_CONCURRENCY: '1', ARGON2_TIME: '20', RATE_LOGIN_MINUTE: '100' }
  const PUBLIC_URL = 'http://localhost:3000'
  const env = { PUBLIC_URL, DATA_DIR: join(folder, 'first'), METRICS_PORT: String(metricsPort), ...slowHashing }
  // As bash runs them, taken from what the service printed.
  const follow = async (service: ServiceProcess): Promise<Record<string, unknown>> => {
    const printed = await service.until(() => /\n((?: {2}\S.*\n){3})/.exec(service.err())?.[1])
    const { stdout } = await promisify(execFile)('bash', ['-ec', printed])
    return JSON.parse(stdout)
  }

  let me: Record<string, unknown> = {}
  let keys: unknown
  await t.test('the first start', async (t) => {
    const service = run(t, env)
    const address = await service.address()
    t.match(address, /^http:\/\/127\.0\.0\.1:[1-9]\d*$/, 'it listens on a real port')
    t.match(service.err(), /Starting the embedded database/, 'it says what takes a while')
    me = await follow(service)
    t.match(me, {
      email: 'ada@example.com',
      two_factor: 'required',
      methods: ['sms'],
      amr: ['pwd', 'sms', 'mfa'],
      acr: 'aal2',
    })
    t.match(await ask(address, '/health/ready'), { status: 200, body: { status: 'ready' } })
    t.equal((await ask(address, '/docs')).status, 200)
    const [, page = ''] = /page, which .*:\n\n {2}(\S+)\n/.exec(service.err()) ?? []
    t.equal(page, `${PUBLIC_URL}/`, 'and where the example page is')
    t.match((await ask(address, '/')).body.text, /src="page\/page\.js"/)
    t.match((await ask(address, '/page/page.js')).body.text, /\/login\/2fa/, 'which the build has made')
    keys = (await ask(address, '/.well-known/jwks.json')).body.keys

    t.equal((await ask(address, '/metrics')).status, 404, 'no figures in public')
    const metrics = await ask(`http://127.0.0.1:${metricsPort}`, '/metrics')
    t.equal(metrics.status, 200)
    t.match(metrics.body.text, /doorstep_events_total\{type="session.started",outcome="aal2"\} 1/)
    t.equal((await ask(`http://127.0.0.1:${metricsPort}`, '/me')).status, 404, 'and nothing else there')
    for (const line of service.lines()) t.type(line.msg, 'string', 'standard output is JSON lines')
    await stop(t, service)
  })

  await t.test('the second', async (t) => {
    // A callback of some library that fails: nobody waits for it.
    const tripwire = `process.on('SIGUSR2', () => { Promise.reject(new Error('canary')) })`
    const service = run(t, env, ['--import', `data:text/javascript,${encodeURIComponent(tripwire)}`])
    const address = await service.address()
    t.same((await follow(service)).id, me.id, 'the same user')
    t.same((await ask(address, '/.well-known/jwks.json')).body.keys, keys, 'the same key: tokens stay good')

    service.kill('SIGUSR2')
    await service.until(() => /unhandled rejection/.exec(service.err())?.[0])
    t.equal(
      (await ask(address, '/health/live')).status,
      200,
      'a failed background job does not end the process (SEC-90)',
    )
    t.notMatch(service.err(), /canary/, 'and its words are not logged')

    await t.test('logins under way at SIGTERM are answered (SEC-88, F-13)', (t) => drain(t, service, address))
  })

  await t.test('with other secrets it does not start, and says why', async (t) => {
    await refuses(t, { ...env, ...testKeys }, /^Doorstep could not start: The signing key .*SECRET_KEYS.*\n$/)
  })
})

/**
 * Twenty logins in line for hashing, connections with nothing in flight, and SIGTERM. Of the latter one has asked
 * before, one will ask for the first time, and one never does.
 */
async function drain(t: Test, service: ServiceProcess, address: string): Promise<void> {
  const agent = new Agent({ keepAlive: true, maxSockets: 20 })
  t.teardown(() => agent.destroy())
  await Promise.all(Array.from({ length: 20 }, () => ask(address, '/health/live', { agent })))
  const probe = new Agent({ keepAlive: true, maxSockets: 1 })
  t.teardown(() => probe.destroy())
  await ask(address, '/health/ready', { agent: probe })
  const [quiet, mute] = await Promise.all([openTo(t, address), openTo(t, address)])

  const logins = Array.from({ length: 20 }, (_, at) =>
    ask(address, '/login', { agent, body: { email: `nobody-${at}@example.com`, password: 'wrong' } }),
  )
  await Promise.any(logins)
  const toldAt = performance.now()
  service.kill('SIGTERM')
  await service.until(() => service.lines().find(({ msg }) => msg === 'stopping'))
  t.match(
    await readinessOn(quiet),
    /^HTTP\/1\.1 503 [\s\S]*connection: close[\s\S]*"status":"not_ready"/i,
    'not ready at once',
  )
  t.match(
    await ask(address, '/health/ready', { agent: probe }),
    { status: 503, headers: { connection: 'close' } },
    'which is told to who asked before on the same connection, rather than nothing',
  )
  await t.rejects(ask(address, '/health/live'), { code: 'ECONNREFUSED' }, 'nobody new is let in')

  const answers = await Promise.all(logins)
  t.same(
    answers.map(({ status }) => status).filter((status) => ![401, 503].includes(status)),
    [],
    'every login that had begun is answered',
  )
  t.ok(answers.some(({ status }) => status === 401))
  const closing = answers.filter(({ headers }) => headers.connection === 'close').length
  t.comment(`${closing} of ${answers.length} were answered after SIGTERM`)
  t.ok(closing > 0, 'and those answered after SIGTERM close their connection')
  t.match(await service.exit, { code: 0, signal: null })
  t.ok(performance.now() - toldAt < 14_000, 'within 10 s, and what a busy machine adds')
  t.match(service.lines().at(-1), { msg: 'stopped' }, 'and not because time was up: who is silent holds up nothing')
  t.equal(mute.readyState, 'closed')
}

/** A connection on which nothing has been asked. */
async function openTo(t: Test, address: string): Promise<Socket> {
  const socket = connect(Number(new URL(address).port), '127.0.0.1')
  t.teardown(() => socket.destroy())
  await new Promise((resolve) => socket.once('connect', resolve))
  return socket
}

/** Asks for readiness on a connection that was open before. */
function readinessOn(socket: Socket): Promise<string> {
  return new Promise((resolve) => {
    let text = ''
    socket.setEncoding('utf8').on('data', (part) => {
      text += part
    })
    socket.once('close', () => resolve(text))
    socket.write('GET /health/ready HTTP/1.1\r\nHost: localhost\r\n\r\n')
  })
}

/** It does not start: exit code 1, and on standard error these words and no more. */
async function refuses(t: Test, env: Record<string, string>, words: RegExp): Promise<void> {
  const service = run(t, env)
  t.match(await service.exit, { code: 1, signal: null }, 'it leaves with 1')
  const said = service.err().replace(/^Starting the embedded database .*\n/, '')
  t.match(said, words, 'it says why')
  t.same(
    service.lines().filter(({ msg }) => msg === 'listening'),
    [],
    'it never says that it listens',
  )
}

const oneLine = (words: string): RegExp => new RegExp(`^${words}\n$`)

t.test('what keeps it from starting is told in one line', async (t) => {
  const dataDir = (name: string) => ({ DATA_DIR: join(folder, name) })
  const away = oneLine('The database in DATABASE_URL cannot be reached, or does not answer\\.')

  await t.test('a port that is taken', async (t) => {
    const { port, close } = await listenSilently(() => {})
    t.teardown(close)
    const env = { ...dataDir('first'), PORT: String(port) }
    await refuses(
      t,
      env,
      oneLine(`Port ${port} is taken\\. Set PORT or METRICS_PORT to another one, or stop what listens there\\.`),
    )
  })

  await t.test('a host that no name server knows', async (t) => {
    const env = { ...dataDir('none'), DATABASE_URL: 'postgresql://doorstep@no-such-host.invalid/doorstep' }
    await refuses(t, env, oneLine('The host in DATABASE_URL is not known: .*'))
  })

  await t.test('an embedded database that is not one', async (t) => {
    const postgres = join(folder, 'spoiled', 'postgres')
    mkdirSync(postgres, { recursive: true })
    writeFileSync(join(postgres, 'PG_VERSION'), '99\n')
    const words = oneLine('Doorstep could not start: the embedded database in .* cannot be opened; put a copy back, .*')
    await refuses(t, { ...dataDir('spoiled'), ...testKeys }, words)
  })

  await t.test('an address that this machine does not have', async (t) => {
    const env = { ...dataDir('first'), HOST: '192.168.255.253', DEVELOPMENT_NETWORKS: '192.168.255.252/30' }
    await refuses(t, env, oneLine('This machine does not have the address in HOST or METRICS_HOST\\.'))
  })

  await t.test('a .env that cannot be read', async (t) => {
    const cwd = join(folder, 'with-env')
    mkdirSync(join(cwd, '.env'), { recursive: true })
    const service = runService(t, [join(built, 'dist', 'main.js')], { env: { PORT: '0' }, cwd })
    t.match(await service.exit, { code: 1 })
    t.match(service.err(), oneLine('Doorstep could not start: the file \\.env is there, but cannot be read'))
  })

  await t.test('a service that would be reached from elsewhere while NODE_ENV is forgotten', async (t) => {
    const env = { HOST: '0.0.0.0', PUBLIC_URL: 'https://login.example.com', DATABASE_URL: 'postgresql://a@127.0.0.1/a' }
    await refuses(
      t,
      { ...dataDir('none'), ...testKeys, ...env },
      /^The settings are not right:\n {2}HOST must .* unless NODE_ENV=production\n {2}PUBLIC_URL must .* unless NODE_ENV=production\n$/,
    )
  })

  await t.test('a Redis, which would not be used', async (t) => {
    const env = { ...dataDir('first'), REDIS_URL: 'redis://localhost' }
    await refuses(t, env, oneLine('Doorstep could not start: REDIS_URL is not supported yet: unset it'))
  })

  await t.test('settings: every mistake at once, by name and without its value', async (t) => {
    const env = { PORT: 'eighty', CODE_TTL: '9000', TRUST_PROXY: 'true', TWILIO_ACCOUNT_SID: 'canary-value' }
    const service = run(t, { ...dataDir('settings'), ...env })
    t.match(await service.exit, { code: 1 })
    for (const name of Object.keys(env)) t.match(service.err(), new RegExp(`^  ${name} `, 'm'))
    t.notMatch(service.err(), /canary|eighty|9000/)
  })

  await t.test('a data folder that cannot be', async (t) => {
    const file = join(folder, 'a-file')
    writeFileSync(file, '')
    const env = { DATA_DIR: join(file, 'data') }
    await refuses(t, env, /^The settings are not right:\n {2}DATA_DIR must be a directory .*\n$/)
    const blocked = join(folder, 'blocked')
    mkdirSync(blocked)
    writeFileSync(join(blocked, 'postgres'), '')
    await refuses(
      t,
      { DATA_DIR: blocked, ...testKeys },
      oneLine('.* is not writable\\. Set DATA_DIR to a folder that is\\.'),
    )
  })

  await t.test('a database that is not there', async (t) => {
    const port = await freePort()
    await refuses(t, { ...dataDir('none'), DATABASE_URL: `postgresql://doorstep@127.0.0.1:${port}/doorstep` }, away)
  })

  await t.test('a database that never answers', async (t) => {
    const { port, close } = await listenSilently(() => {})
    t.teardown(close)
    await refuses(t, { ...dataDir('none'), DATABASE_URL: `postgresql://doorstep@127.0.0.1:${port}/doorstep` }, away)
  })

  await t.test('a wrong password for the database', async (t) => {
    const { port, close } = await listenSilently((socket) => {
      const fields = 'SFATAL\0VFATAL\0C28P01\0Mpassword authentication failed\nfor user "ada"\0\0'
      const message = Buffer.alloc(5 + fields.length)
      message.write('E')
      message.writeInt32BE(4 + fields.length, 1)
      message.write(fields, 5)
      socket.once('data', () => socket.end(message))
    })
    t.teardown(close)
    const env = { DATABASE_URL: `postgresql://ada:canary@127.0.0.1:${port}/doorstep` }
    const words = oneLine('The database in DATABASE_URL refuses: password authentication failed for user "ada"')
    await refuses(t, { ...dataDir('none'), ...env }, words)
  })
})

/** A server that accepts and says nothing but what `greet` does. */
async function listenSilently(greet: (socket: Socket) => void) {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    greet(socket)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const close = (): void => {
    server.close()
    for (const socket of sockets) socket.destroy()
  }
  return { port: (server.address() as AddressInfo).port, close }
}

t.test('in production, on a Postgres server and with Twilio', async (t) => {
  if (!process.env.TEST_DATABASE_URL) return t.comment('needs TEST_DATABASE_URL')
  const database = await createTestDatabase()
  t.teardown(database.close)
  const stub = await startTwilioStub()
  t.teardown(stub.close)
  const email = 'ada@example.com'
  await t.test('an operator makes the user', async (t) => {
    const ada = await createUser(await startDoorstep(t, { database }), { email })
    t.equal(ada.email, email)
  })
  const proxy = await startChaosProxy(database.url)
  t.teardown(proxy.close)
  const env = production({ ...database, url: proxy.url }, stub)

  await t.test('the mistakes of a hasty operator are refused', async (t) => {
    const service = run(t, {
      ...env,
      SMS_PROVIDER: 'console',
      PUBLIC_URL: 'http://login.example.com',
      ARGON2_TIME: '1',
    })
    t.match(await service.exit, { code: 1 })
    for (const name of ['SMS_PROVIDER', 'PUBLIC_URL', 'ARGON2_MEMORY_KIB'])
      t.match(service.err(), new RegExp(`^  ${name} `, 'm'))
  })

  await t.test('a login over HTTP, and no way for a developer', async (t) => {
    const service = run(t, { ...env, ARGON2_CONCURRENCY: '4' })
    const address = await service.address()
    const warned = service.lines().find(({ msg }) => msg.includes('UV_THREADPOOL_SIZE'))
    t.match(warned, { level: 'warn', threads: 4, hashing: 4 }, 'more hashing than threads is told')
    const silent = service.lines().filter(({ msg }) => msg.startsWith('no mail: '))
    t.match(silent, [{ msg: /nobody registers, resets a password/ }, { msg: /binds one with the password alone/ }])
    const signInSlowly = async (): Promise<Reply> => {
      const first = await ask(address, '/login', { body: { email, password: rightPassword } })
      t.match(first, { status: 200, body: { status: '2fa_required' } })
      const code = /#(\d{6})$/.exec(stub.last()?.body ?? '')?.[1]
      return ask(address, '/login/2fa', { token: String(first.body.pending_token), body: { code } })
    }
    const second = await signInSlowly()
    t.equal(second.status, 200)
    t.match(await ask(address, '/me', { token: String(second.body.access_token) }), {
      status: 200,
      body: { email, acr: 'aal2' },
    })
    t.match(stub.last(), { statusCallback: 'https://login.example.com/webhooks/twilio/status' })
    t.match(await ask(address, '/dev/sms'), { status: 404, body: { code: 'not_found' } })
    for (const path of ['/', '/set-password', '/page/page.js']) {
      t.match(await ask(address, path), { status: 404, body: { code: 'not_found' } }, path)
    }
    t.notMatch(service.err(), /demo|curl|SMS to|page/, 'no demo user, no text on the screen')
    t.equal(service.err().includes('canary'), false)

    // The database goes while it runs, and comes back: no restart is needed.
    proxy.setMode('reset')
    t.match(await ask(address, '/login', { body: { email, password: rightPassword } }), {
      status: 503,
      body: { code: 'unavailable' },
    })
    proxy.setMode('pass')
    stub.setMode({ slowMs: 2_000 })
    const waiting = ask(address, '/login', { body: { email, password: rightPassword } })
    while (stub.hits() < 2) await sleep(5)
    await Promise.all([stop(t, service), waiting])
    t.match(await waiting, { status: 200, headers: { connection: 'close' }, body: { challenge: { delivery: 'sent' } } })
  })

  await t.test('a client that never ends its request does not keep the process alive', async (t) => {
    const service = run(t, env)
    const { port } = new URL(await service.address())
    const socket = connect(Number(port), '127.0.0.1')
    t.teardown(() => socket.destroy())
    await new Promise((resolve) => socket.once('connect', resolve))
    socket.on('error', () => {})
    socket.write(
      'POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{',
    )
    t.equal((await ask(`http://127.0.0.1:${port}`, '/health/live')).status, 200)
    const toldAt = performance.now()
    service.kill('SIGTERM')
    t.match(await service.exit, { code: 0, signal: null })
    t.ok(performance.now() - toldAt < 14_000, 'within 10 s, and what a busy machine adds')
  })
})

function production(database: TestDatabase, stub: TwilioStub): Record<string, string> {
  return {
    ...testKeys,
    NODE_ENV: 'production',
    PUBLIC_URL: 'https://login.example.com',
    APP_URL: 'https://app.example.com',
    REGISTRATION: 'closed',
    MAIL_PROVIDER: 'none',
    DATABASE_URL: database.url,
    SMS_PROVIDER: 'twilio',
    SMS_ALLOWED_COUNTRIES: 'US',
    SMS_SPEND_DAY: '2000',
    TRUST_PROXY: 'none',
    TWILIO_ACCOUNT_SID: stub.accountSid,
    TWILIO_AUTH_TOKEN: stub.authToken,
    TWILIO_FROM: '+12025550100',
    TWILIO_API_BASE_URL: stub.url,
  }
}
