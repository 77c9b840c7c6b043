import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { Problem } from '../../src/errors.ts'
import { createPasswordHash, type Place } from '../../src/security/password-hash.ts'
import { type Doorstep, startDoorstep } from '../helpers/doorstep.ts'
import { freshAddress, ghostEmail, guess, watchHashing } from '../helpers/password-guesses.ts'
import { type Answer, codeFor, createUser, finish, login, type TestUser } from '../helpers/story.ts'

t.setTimeout(300_000)

const cheap = { memoryKib: 64, time: 1 }

/** A line whose hashes end one by one, when told. `order` holds the names in the order in which their turn came. */
async function heldLine(t: Test, { concurrency, queue }: { concurrency: number; queue: number }) {
  const { verify, load } = await createPasswordHash({ ...cheap, concurrency, queue })
  const ends: (() => void)[] = []
  const order: string[] = []
  watchHashing(t, async (compute) => {
    await new Promise<void>((resolve) => ends.push(resolve))
    return compute()
  })
  const refused: string[] = []
  const join = (name: string, place: Place): void => {
    void verify(null, name, place).then(
      () => order.push(name),
      (error: unknown) => {
        if (!(error instanceof Problem) || error.code !== 'busy') throw error
        refused.push(name)
      },
    )
  }
  /** Ends the hashes that run, until none is left. */
  const finishAll = async (): Promise<void> => {
    while (load().running > 0) {
      while (ends.length === 0) await sleep(1)
      const before = order.length
      ends.shift()?.()
      while (order.length === before) await sleep(1)
    }
  }
  return { join, load, order, refused, finishAll }
}

const stranger = (network: string): Place => ({ known: false, network })
const known = (network: string): Place => ({ known: true, network })

t.test('no network has more than four places in the line, known devices or not (SEC-109)', async (t) => {
  const { join, load, order, refused, finishAll } = await heldLine(t, { concurrency: 1, queue: 32 })
  join('running', stranger('a'))
  for (let n = 0; n < 100; n += 1) join(`flood ${n}`, n % 2 ? stranger('a') : known('a'))
  await sleep(0)
  t.strictSame([load().waiting, refused.length], [4, 96])
  join('elsewhere', stranger('b'))
  await sleep(0)
  t.equal(load().waiting, 5)
  await finishAll()
  t.strictSame(
    order,
    ['running', 'flood 0', 'flood 2', 'flood 1', 'flood 3', 'elsewhere'],
    'and known devices came first',
  )
})

t.test(
  'strangers from everywhere leave a quarter of the line to known devices, who come first (SEC-109)',
  async (t) => {
    const { join, load, order, refused, finishAll } = await heldLine(t, { concurrency: 2, queue: 8 })
    for (let n = 0; n < 40; n += 1) join(`stranger ${n}`, stranger(`network ${n}`))
    await sleep(0)
    t.strictSame([load().running, load().waiting, refused.length], [2, 6, 32])
    join('owner 1', known('home'))
    join('owner 2', known('office'))
    join('stranger late', stranger('late'))
    await sleep(0)
    t.strictSame([load().waiting, refused.at(-1)], [8, 'stranger late'])
    join('owner 3', known('third'))
    await sleep(0)
    t.equal(refused.at(-1), 'owner 3', 'the line has an end for them too')
    await finishAll()
    t.strictSame(order.slice(0, 4).sort(), ['owner 1', 'owner 2', 'stranger 0', 'stranger 1'])
    t.equal(order.length, 10)
    t.strictSame([load().running, load().waiting], [0, 0])
  },
)

t.test('an operator is no network, and a line of nothing holds nobody', async (t) => {
  const { verify, load } = await createPasswordHash({ ...cheap, concurrency: 1, queue: 32 })
  await Promise.all(Array.from({ length: 20 }, () => verify(null, 'x')))
  t.strictSame([load().started, load().waiting], [20, 0])
  const { join, refused, finishAll } = await heldLine(t, { concurrency: 1, queue: 0 })
  join('running', known('a'))
  join('next', known('b'))
  await sleep(0)
  t.strictSame(refused, ['next'])
  await finishAll()
})

const doorstep = await startDoorstep(t, { env: { ARGON2_CONCURRENCY: '1', LOG_LEVEL: 'silent' } })

const outcomeOf = ({ status, body }: Answer): string => [status, body.code].filter(Boolean).join(' ')

/** Keeps `width` requests in flight until it is stopped; how many were answered how. */
function flood(width: number, send: (n: number) => Promise<Answer>) {
  const outcomes = new Map<string, number>()
  let isOver = false
  let sent = 0
  const one = async (): Promise<void> => {
    while (!isOver) {
      sent += 1
      const outcome = outcomeOf(await send(sent))
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
    }
  }
  const all = Promise.all(Array.from({ length: width }, one))
  return {
    outcomes,
    stop: async () => {
      isOver = true
      await all
    },
  }
}

/** Never `busy`. A small machine's database may be away for a moment meanwhile, which is another matter. */
function assertLetIn(t: Test, answers: string[]): void {
  t.notOk(answers.includes('503 busy'), 'never busy')
  t.ok(answers.filter((it) => it === '200').length >= answers.length - 3, answers.join(', '))
}

/** Slow hashes, as on a machine that is at its limit. */
const slowHashes = (t: Test): void =>
  watchHashing(t, async (compute) => {
    await sleep(60)
    return compute()
  })

async function deviceOf(target: Doorstep, user: TestUser): Promise<string> {
  const { body } = await login(target, user, { from: freshAddress() })
  const answer = await finish(target, body.pending_token, codeFor(target, user.phone))
  return answer.body.device_token
}

t.test('one /48 at full speed: an owner elsewhere is never `busy` (SEC-109)', async (t) => {
  const owner = await createUser(doorstep, { twoFactor: 'off' })
  slowHashes(t)
  // The attacker has every /64 of his /48, and does not wait.
  const attack = flood(12, (n) => guess(doorstep, ghostEmail(), `2001:db8:bad:${(n % 65_536).toString(16)}::1`))
  const answers: string[] = []
  for (let n = 0; n < 15; n += 1) answers.push(outcomeOf(await login(doorstep, owner, { from: freshAddress() })))
  await attack.stop()
  assertLetIn(t, answers)
  t.ok((attack.outcomes.get('503 busy') ?? 0) > 0, 'the attacker was')
})

t.test('strangers from a thousand networks: a known device of the owner is never `busy` (SEC-101, 109)', async (t) => {
  const owner = await createUser(doorstep)
  const device = await deviceOf(doorstep, owner)
  await doorstep.sql('UPDATE users SET two_factor = $1 WHERE id = $2', ['off', owner.id])
  slowHashes(t)
  const attack = flood(40, () => guess(doorstep, ghostEmail(), freshAddress()))
  const answers: string[] = []
  const waits: number[] = []
  for (let n = 0; n < 15; n += 1) {
    const startedAt = performance.now()
    answers.push(outcomeOf(await login(doorstep, owner, { from: freshAddress(), body: { device_token: device } })))
    waits.push(performance.now() - startedAt)
  }
  await attack.stop()
  assertLetIn(t, answers)
  t.ok((attack.outcomes.get('503 busy') ?? 0) > 0, 'the flood filled its share')
  t.comment(`waits: ${waits.map(Math.round).join(' ')} ms`)
})
