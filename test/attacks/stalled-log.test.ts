import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { buildService } from '../helpers/build.ts'
import { makePipe } from '../helpers/named-pipe.ts'
import { freePort, type LogLine, runService } from '../helpers/service-process.ts'

// Who stops the reader of the log, fills its disk or makes it slow, must not stop logins with it, nor keep the process
// from ending (SEC-84, SEC-112). What is lost is counted: a gap in the log is seen.

t.setTimeout(600_000)

const built = buildService(t)
const folder = mkdtempSync(join(tmpdir(), 'doorstep-stalled-log-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))
let pipes = 0
const newPipe = () => {
  pipes += 1
  return makePipe(join(folder, `pipe-${pipes}`))
}

/** Who stands still does not keep this test from saying so. */
const patience = (): AbortSignal => AbortSignal.timeout(20_000)

/** The built service with these outputs, once it answers. */
async function start(t: Test, outputs: { out?: number; err?: number }) {
  const [port, metricsPort] = [await freePort(), await freePort()]
  const env = {
    ...{ HOST: '127.0.0.1', PORT: String(port), METRICS_PORT: String(metricsPort), DATA_DIR: join(folder, 'data') },
    ...{ ARGON2_MEMORY_KIB: '64', ARGON2_TIME: '1', RATE_DEFAULT_MINUTE: '100000', RATE_LOGIN_MINUTE: '100000' },
  }
  const service = runService(t, [join(built, 'dist', 'main.js')], { env, cwd: folder, ...outputs })
  for (const output of Object.values(outputs)) closeSync(output)
  const address = `http://127.0.0.1:${port}`
  const isUp = () =>
    fetch(`${address}/health/live`, { signal: patience() }).then(
      ({ ok }) => ok,
      () => false,
    )
  let answered = 0
  let hasEnded = false
  void service.exit.then(() => {
    hasEnded = true
  })
  while (!(await isUp())) {
    if (hasEnded) throw new Error(`it ended: ${service.err()}`)
    await sleep(200)
  }
  answered += 1

  return {
    service,
    port,
    /** How many answers it has given, each a line of the log. */
    answered: () => answered,
    ask: async (times: number) => {
      for (let left = times; left > 0; left -= 50) {
        const replies = await Promise.all(Array.from({ length: Math.min(left, 50) }, isUp))
        answered += replies.filter(Boolean).length
        if (replies.includes(false)) return
      }
    },
    signIn: async () => {
      const body = JSON.stringify({ email: 'ada@example.com', password: 'correct horse battery staple' })
      const headers = { 'content-type': 'application/json' }
      const reply = await fetch(`${address}/login`, { method: 'POST', headers, body, signal: patience() })
      answered += 1
      return { status: reply.status, body: (await reply.json()) as { status?: string } }
    },
    lost: async (): Promise<number> => {
      const text = await (await fetch(`http://127.0.0.1:${metricsPort}/metrics`, { signal: patience() })).text()
      return Number(/^doorstep_log_lines_lost_total (\d+)$/m.exec(text)?.[1])
    },
    /** SIGTERM, and what came of it. */
    stop: async () => {
      const toldAt = performance.now()
      service.kill('SIGTERM')
      const overdue = setTimeout(() => service.kill('SIGKILL'), 20_000)
      t.teardown(() => clearTimeout(overdue))
      t.strictSame(await service.exit, { code: 0, signal: null }, 'it ends with 0')
      t.ok(performance.now() - toldAt < 14_000, 'within 10 s, and what a busy machine adds')
    },
  }
}

const linesOf = (text: string): (LogLine & { lost?: number })[] =>
  text
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line))
const answersIn = (text: string): number => linesOf(text).filter(({ msg }) => msg === 'answered').length

t.test(
  'a reader that sleeps for ever: all is answered, and SIGTERM ends it, with a request in flight too',
  async (t) => {
    const [log, screen] = [newPipe(), newPipe()]
    screen.fill()
    const { ask, answered, signIn, stop, port } = await start(t, { out: log.end, err: screen.end })
    t.match(await signIn(), { status: 200, body: { status: '2fa_required' } }, 'the screen is full: the login goes on')
    await ask(1_000)
    t.equal(answered(), 1_002, 'every request is answered')

    const unfinished = connect(port, '127.0.0.1')
    t.teardown(() => unfinished.destroy())
    unfinished.on('error', () => {})
    unfinished.write('POST /login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{')
    await ask(1)
    await stop()
    log.hangUp()
    screen.hangUp()
  },
)

t.test('a reader that comes back: each line is there or counted, and the log says so', async (t) => {
  const log = newPipe()
  const { ask, answered, lost, stop } = await start(t, { out: log.end })
  while ((await lost()) === 0 && answered() < 50_000) await ask(1_000)
  const missing = await lost()
  const { text, all } = log.read()
  const notice = () => linesOf(text()).find(({ msg }) => msg === 'lines of this log were lost')
  for (let waited = 0; waited < 300 && !notice(); waited += 1) await sleep(100)
  t.match(notice(), { level: 'warn', lost: missing })
  t.equal(answersIn(text()) + missing, answered(), 'nothing else is missing')
  await ask(100)
  await stop()
  t.equal(answersIn(await all) + missing, answered(), 'and nothing is any more')
  t.match(linesOf(await all).at(-1), { msg: 'stopped' })
})

t.test('an ordinary run loses nothing, though its reader is slow and the exit comes before it has read', async (t) => {
  const log = newPipe()
  const { ask, answered, lost, stop } = await start(t, { out: log.end })
  await ask(1_000)
  t.equal(await lost(), 0)
  const stopped = stop()
  const { all } = log.read()
  await stopped
  t.equal(answersIn(await all), answered())
  t.match(linesOf(await all).slice(-2), [{ msg: 'stopping' }, { msg: 'stopped' }])
})

for (const [name, outputs] of [
  ['a disk that is full', () => ({ out: openSync('/dev/full', 'w'), err: openSync('/dev/full', 'w') })],
  ['a reader that has gone', gone],
] as const) {
  t.test(`${name}: logins go on, and every line is counted as lost`, async (t) => {
    const { ask, answered, signIn, lost, stop } = await start(t, outputs())
    t.match(await signIn(), { status: 200 })
    await ask(500)
    t.equal(answered(), 502, 'every request is answered')
    t.ok((await lost()) > 502)
    await stop()
  })
}

function gone(): { out: number; err: number } {
  const [log, screen] = [newPipe(), newPipe()]
  log.hangUp()
  screen.hangUp()
  return { out: log.end, err: screen.end }
}
