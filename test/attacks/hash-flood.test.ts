import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { type Doorstep, startDoorstep } from '../helpers/doorstep.ts'
import { countedFor, freshAddress, ghostEmail, guess, watchHashing } from '../helpers/password-guesses.ts'
import { type Answer, call, createUser, login } from '../helpers/story.ts'

t.setTimeout(300_000)
/** Two at once, as on a machine with two cores; the line as long as an operator gets it who sets nothing. */
const doorstep = await startDoorstep(t, { env: { ARGON2_CONCURRENCY: '2', LOG_LEVEL: 'silent' } })
const { database, services, config } = doorstep

/** Logins at once, each for another e-mail from another address. */
const flood = (target: Pick<Doorstep, 'app'>, count: number): Promise<Answer[]> =>
  Promise.all(Array.from({ length: count }, () => guess(target, ghostEmail())))

t.test(
  'a flood of strangers never has more than two hashes running and 24 waiting; the next is told at once (SEC-08)',
  async (t) => {
    t.match(config.argon2, { concurrency: 2, queue: 32 })
    const user = await createUser(doorstep)
    let running = 0
    let mostRunning = 0
    let open = (): void => {}
    const held = new Promise<void>((resolve) => {
      open = resolve
    })
    watchHashing(t, async (compute) => {
      running += 1
      mostRunning = Math.max(mostRunning, running)
      await held
      return compute().finally(() => {
        running -= 1
      })
    })
    const { load } = services.passwordHash
    const before = load().started
    const inside = (): number => load().running + load().waiting
    const early: { email: string; answer: Promise<Answer> }[] = []
    // Three quarters of the line: the rest is for known devices.
    while (inside() < 26) {
      const [email, already] = [ghostEmail(), inside()]
      let isOver = false
      const answer = guess(doorstep, email).finally(() => {
        isOver = true
      })
      while (inside() === already && !isOver) await sleep(1)
      if (inside() > already) early.push({ email, answer })
    }
    t.match(load(), { running: 2, waiting: 24 })

    // No hash ends while these are answered: whoever got in line after all would never be answered.
    const late: { email: string; answer: Answer }[] = []
    for (let n = 0; n < 20; n += 1) {
      const email = ghostEmail()
      late.push({ email, answer: await guess(doorstep, email) })
    }
    late.push({ email: user.email, answer: await login(doorstep, user) })
    for (const { email, answer } of late) {
      t.match(answer, { status: 503, body: { code: 'busy', retry_after: 1 }, headers: { 'retry-after': '1' } })
      t.equal(answer.headers['content-type'], 'application/problem+json; charset=utf-8')
      t.match(await countedFor(doorstep, email), { failures: 0, lockSeconds: null }, 'it cost no try')
    }
    t.match(load(), { running: 2, waiting: 24, started: before + 2 })
    t.equal((await call(doorstep, '/health/live')).status, 200, 'what needs no hash is answered meanwhile')
    t.equal((await call(doorstep, '/health/ready')).status, 200)
    t.equal((await call(doorstep, '/login/2fa', { token: 'a.b.c', body: {} })).status, 401)

    open()
    for (const { email, answer } of early) {
      // 503: held here for longer than a handler may take, on a machine that is busy with other things.
      t.ok([401, 503].includes((await answer).status))
      t.equal((await countedFor(doorstep, email)).failures, 1)
    }
    while (inside() > 0) await sleep(5)
    t.equal(mostRunning, 2)
    t.match(load(), { running: 0, waiting: 0, started: before + 26 })
    t.equal((await login(doorstep, user)).status, 200, 'the flood leaves nothing behind')
  },
)

t.test('while passwords are hashed, everything else goes on, and memory stays what it was (SEC-08)', async (t) => {
  const realistic = await startDoorstep(t, {
    database,
    env: { ARGON2_MEMORY_KIB: '', ARGON2_TIME: '', ARGON2_CONCURRENCY: '2', LOG_LEVEL: 'silent' },
  })
  t.match(realistic.config.argon2, { memoryKib: 19_456, time: 2 })
  await flood(realistic, 40)
  const before = process.memoryUsage().rss
  let mostMemory = before
  const seen = new Set<number>()
  let besides = 0
  for (let wave = 0; wave < 2; wave += 1) {
    let isOver = false
    const answers = flood(realistic, 50).finally(() => {
      isOver = true
    })
    while (!isOver) {
      const live = await call(realistic, '/health/live', { from: freshAddress() })
      t.equal(live.status, 200)
      if (realistic.services.passwordHash.load().running === 2) besides += 1
      mostMemory = Math.max(mostMemory, process.memoryUsage().rss)
      await sleep(10)
    }
    for (const { status } of await answers) seen.add(status)
  }
  t.ok(besides >= 10, `answered while two hashes were running: ${besides}`)
  // How many are too many depends on the machine; the test before says exactly who is refused.
  t.same(
    [...seen].filter((status) => status !== 503),
    [401],
  )
  const growth = (mostMemory - before) / 2 ** 20
  t.ok(growth < 100, `memory grew by ${growth.toFixed(0)} MiB`)
})
