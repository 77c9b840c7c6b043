import { randomInt } from 'node:crypto'
import { performance } from 'node:perf_hooks'
import t, { type Test } from 'tap'
import { changeAccount } from '../../src/features/accounts/change-account.ts'
import { unlockAccount } from '../../src/features/accounts/unlock-account.ts'
import { becomeKnown, codeOf, type Signed } from '../helpers/credentials.ts'
import { startDoorstep } from '../helpers/doorstep.ts'
import { passTime } from '../helpers/pass-time.ts'
import { countedFor, freshAddress, guess } from '../helpers/password-guesses.ts'
import { resetLink } from '../helpers/planted-links.ts'
import { type Answer, call, createUser, finish, freshPhone, login, type TestUser, wrongCode } from '../helpers/story.ts'
import { tally } from '../helpers/together.ts'

// Somebody wants an owner to be kept out of the own account, by making its limits hit the owner.

t.setTimeout(300_000)

/** Texts as an operator gets them who sets nothing. */
const env = { SMS_PER_ADDRESS_HOUR: '', SMS_PER_ADDRESS_DAY: '', SMS_PER_PREFIX_HOUR: '' }
const doorstep = await startDoorstep(t, { env })
const { sql, services } = doorstep

const day = 86_400
const home = '198.51.100.7'

/** Both steps from home, with a device token or without. */
async function enter(user: TestUser, device?: string): Promise<Answer> {
  const first = await login(doorstep, user, {
    from: home,
    ...(device !== undefined && { body: { device_token: device } }),
  })
  if (first.status !== 200) return first
  return finish(doorstep, first.body.pending_token, codeOf(doorstep, first), { from: home })
}

/**
 * 30 days of an attack: `strike` is one move, which says after how many seconds the next is due. Once a day, at a moment
 * that nobody knows, the owner signs in from a known device. Returns those answers.
 */
async function thirtyDays(user: TestUser, strike: (move: number) => Promise<number>): Promise<Answer[]> {
  const { device } = await becomeKnown(doorstep, user, home)
  const visits: Answer[] = []
  const start = performance.now()
  let aged = 0
  const now = (): number => aged + (performance.now() - start) / 1_000
  const moments = Array.from({ length: 30 }, (_, n) => n * day + randomInt(day))
  t.comment(`the owner comes at ${moments.join(', ')} s`)
  let due = 0
  for (let move = 0; visits.length < moments.length; ) {
    const ownerComes = moments[visits.length] as number
    const wait = Math.max(0, Math.min(due, ownerComes) - now())
    await passTime(doorstep, wait)
    aged += wait
    if (now() >= ownerComes) {
      visits.push(await enter(user, device))
      continue
    }
    const pause = await strike(move++)
    due = now() + pause
  }
  return visits
}

/** The owner was let in whenever he came. */
function cameIn(t: Test, visits: Answer[]): void {
  t.same(tally(visits), { 200: 30 }, 'the owner came in on every one of 30 days')
  t.same(
    visits.filter(({ body }) => body.access_token === undefined),
    [],
  )
}

t.test('by a stranger who knows the e-mail and guesses at the very end of each lock (SEC-101)', async (t) => {
  const user = await createUser(doorstep)
  const told: Answer[] = []
  const visits = await thirtyDays(user, async (move) => {
    const answer = await guess(doorstep, user.email, move % 3 === 0 ? home : freshAddress())
    told.push(answer)
    return (await countedFor(doorstep, user.email)).lockSeconds ?? 0
  })
  cameIn(t, visits)
  const { '401 invalid_credentials': evaluated = 0, ...others } = tally(told)
  t.same(others, {}, 'each guess came when the lock was over')
  t.ok(evaluated > 30 * 23, `and there were ${evaluated} of them`)
})

t.test('by a thief who has the password and types wrong codes as often as he may (SEC-101)', async (t) => {
  const user = await createUser(doorstep)
  const told: Answer[] = []
  const visits = await thirtyDays(user, async (move) => {
    const from = move % 2 === 0 ? home : freshAddress()
    const first = await login(doorstep, user, { from })
    told.push(first)
    if (first.status !== 200) return first.body.retry_after
    for (let n = 0; n < 5; n++) {
      told.push(await finish(doorstep, first.body.pending_token, wrongCode(codeOf(doorstep, first)), { from }))
    }
    return 1
  })
  cameIn(t, visits)
  const counts = tally(told)
  t.equal(counts['422 invalid_code'], 100, 'the thief did what he could')
  t.ok((counts['429 second_factor_locked'] ?? 0) > 10, JSON.stringify(counts))
})

/** What can keep somebody out: how it comes about, and what is then answered. */
const locks: Record<string, { code: string; impose(user: TestUser, device: string | undefined): Promise<unknown> }> = {
  'wrong passwords': {
    code: 'login_locked',
    impose: async ({ email }, device) => {
      const body = device === undefined ? {} : { device_token: device }
      for (let n = 0; n < 5; n++) await login(doorstep, { email, password: 'wrong' }, { body })
    },
  },
  'wrong codes in a row': {
    code: 'second_factor_locked',
    impose: ({ id }, device) =>
      sql(
        `INSERT INTO factor_guards (user_id, known, streak, failed_at, locked_until)
         VALUES ($1, $2, 10, array_fill(now(), ARRAY[10]), now() + interval '15 minutes')`,
        [id, device !== undefined],
      ),
  },
  'wrong codes of a day': {
    code: 'second_factor_locked',
    impose: ({ id }, device) =>
      sql(`INSERT INTO factor_guards (user_id, known, failed_at) VALUES ($1, $2, array_fill(now(), ARRAY[20]))`, [
        id,
        device !== undefined,
      ]),
  },
  'wrong codes of 30 days': {
    code: 'second_factor_locked',
    impose: ({ id }, device) =>
      sql(
        `INSERT INTO factor_guards (user_id, known, failed_at)
         VALUES ($1, $2, array_fill(now() - interval '20 days', ARRAY[100]))`,
        [id, device !== undefined],
      ),
  },
  texts: {
    code: 'sms_limit_reached',
    impose: ({ id, phone }, device) =>
      sql(
        `INSERT INTO sms_messages (user_id, challenge_id, known, phone, prefix, address, reserved_at)
         SELECT $1, gen_random_uuid(), $2, $3, left($3, -4), '', now() - n * interval '5 minutes' FROM generate_series(1, 5) n`,
        [id, device !== undefined, phone],
      ),
  },
}

/** What an operator or the owner can do, with an earlier session of his, and which locks are over after it. */
const remedies: Record<string, { lifts: string[]; apply(user: TestUser, session: Signed): Promise<unknown> }> = {
  'set-password': {
    lifts: Object.keys(locks),
    apply: async (user) => {
      user.password = 'a quite different password'
      return changeAccount(services, { email: user.email, edit: { password: user.password }, outcome: 'test' })
    },
  },
  'set-phone': {
    lifts: Object.keys(locks),
    apply: (user) => {
      user.phone = freshPhone()
      return changeAccount(services, { email: user.email, edit: { phone: user.phone }, outcome: 'test' })
    },
  },
  unlock: {
    lifts: ['wrong passwords', 'wrong codes in a row'],
    apply: ({ email }) => unlockAccount(services, { email, all: false }),
  },
  'unlock --all': { lifts: Object.keys(locks), apply: ({ email }) => unlockAccount(services, { email, all: true }) },
  'a password set by link': {
    lifts: ['wrong passwords'],
    apply: async (user) => {
      const password = 'a password that a mailbox has set'
      const token = await resetLink(doorstep, user)
      const set = await call(doorstep, '/password/set', { body: { token, password }, from: home })
      if (set.status !== 200) throw new Error(`set: ${set.status} ${set.body.code}`)
      user.password = password
    },
  },
  'a password changed by a fresh aal2 session': {
    lifts: Object.keys(locks),
    apply: async (user, { access }) => {
      const body = { current_password: user.password, password: 'a password that its owner has changed' }
      const changed = await call(doorstep, '/me/password', { method: 'PUT', token: access, body })
      if (changed.status !== 200) throw new Error(`changed: ${changed.status} ${changed.body.code}`)
      user.password = body.password
    },
  },
  revoke: { lifts: [], apply: ({ email }) => changeAccount(services, { email, edit: {}, outcome: 'test' }) },
}

for (const [lock, { code, impose }] of Object.entries(locks)) {
  t.test(`by ${lock}: who gets in after which command, from a known device and as a stranger (SEC-103)`, async (t) => {
    for (const [remedy, { lifts, apply }] of Object.entries(remedies)) {
      for (const isKnown of [true, false]) {
        const name = `${remedy}, ${isKnown ? 'known' : 'stranger'}`
        const user = await createUser(doorstep)
        const session = await becomeKnown(doorstep, user)
        const { device } = session
        const mine = isKnown ? device : undefined
        await impose(user, mine)
        t.match(await enter(user, mine), { status: 429, body: { code } }, `${name}: locked`)
        const other = await enter(user, isKnown ? undefined : device)
        t.match(other, { status: 200, body: { access_token: /^eyJ/ } }, `${name}: the other class is not`)
        await apply(user, session)
        const answer = await enter(user, mine)
        if (lifts.includes(lock)) t.match(answer, { status: 200, body: { access_token: /^eyJ/ } }, `${name}: gets in`)
        else t.match(answer, { status: 429, body: { code } }, `${name}: is locked still`)
      }
    }
  })
}

t.test('by both classes at once: the commands that empty counters empty those of both', async (t) => {
  for (const [remedy, { lifts, apply }] of Object.entries(remedies)) {
    if (lifts.length < Object.keys(locks).length) continue
    const user = await createUser(doorstep)
    const session = await becomeKnown(doorstep, user)
    const { device } = session
    for (const mine of [device, undefined]) {
      for (const name of ['wrong codes of a day', 'texts', 'wrong passwords']) await locks[name]?.impose(user, mine)
    }
    await apply(user, session)
    for (const mine of [device, undefined]) t.match(await enter(user, mine), { body: { access_token: /^eyJ/ } }, remedy)
  }
})
