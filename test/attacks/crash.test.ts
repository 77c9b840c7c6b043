import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { bringUpToDate, openDatabase } from '../../src/store/open.ts'
import { createTestDatabase, type TestDatabase } from '../helpers/database.ts'
import { type Doorstep, startDoorstep, testKeys } from '../helpers/doorstep.ts'
import { codeOf, loader } from '../helpers/program.ts'
import { reconcile } from '../helpers/reconcile.ts'
import { runService } from '../helpers/service-process.ts'
import { type Answer, codeFor, createUser, finish, login, signIn, type TestUser, wrongCode } from '../helpers/story.ts'

// Who can make the service die at the right moment must not get a try at a password or a code that is not counted
// (SEC-14), and never a login that is half done. One process is killed with SIGKILL
// while requests stand at each of these points.

t.setTimeout(180_000)

const cases = {
  'password charged': { wrongPassword: true },
  'password refused': { wrongPassword: true },
  'challenge committed': {},
  'code charged': { code: 'wrong' },
  'code compared, wrong': { code: 'wrong' },
  'code compared, right': { code: 'right' },
  'login committed': { code: 'right' },
} as const satisfies Record<string, { wrongPassword?: true; code?: 'right' | 'wrong' }>
type Case = keyof typeof cases

/** What is left of a case after the crash: who it was, and what that client held. */
type Left = { user: TestUser; pending: string; code: string }

const names = Object.keys(cases) as Case[]
const folder = mkdtempSync(join(tmpdir(), 'doorstep-crash-'))
const repository = fileURLToPath(new URL('../../', import.meta.url))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))

/** A server that all share or, without one, the embedded database in a folder, which one process at a time has. */
const server: TestDatabase | null = process.env.TEST_DATABASE_URL ? await createTestDatabase() : null
t.teardown(() => server?.close())

async function open(): Promise<TestDatabase> {
  if (server) return { ...server, close: async () => {} }
  const database = await openDatabase({ databaseUrl: undefined, dataDir: folder }, () => {})
  await bringUpToDate(database.url, () => {})
  return { ...database, isReal: false }
}

/** An instance in this process, for as long as `work` takes. */
async function withDoorstep(t: Test, work: (doorstep: Doorstep, t: Test) => Promise<void>): Promise<void> {
  const database = await open()
  await t.test('an instance', async (t) => {
    await work(await startDoorstep(t, { database }), t)
  })
  await database.close()
}

type Reply = { status: number; body: { pending_token?: string; messages?: { to: string; body: string }[] } }

async function post(address: string, path: string, body: object, token?: string): Promise<Reply> {
  const headers = { 'content-type': 'application/json', ...(token && { authorization: `Bearer ${token}` }) }
  const reply = await fetch(address + path, { method: 'POST', headers, body: JSON.stringify(body) })
  return { status: reply.status, body: (await reply.json()) as Reply['body'] }
}

/** The first step over HTTP, and the code from the development inbox. */
async function firstStep(address: string, user: TestUser): Promise<{ pending: string; code: string }> {
  const first = await post(address, '/login', { email: user.email, password: user.password })
  const { messages = [] } = (await (await fetch(`${address}/dev/sms`)).json()) as Reply['body']
  const code = /#(\d+)$/.exec(messages.find(({ to }) => to === user.phone)?.body ?? '')?.[1] ?? ''
  return { pending: first.body.pending_token ?? '', code }
}

/** Walks into the failpoint of `name`. `dying` is the request that nobody will answer. */
async function walkInto(address: string, name: Case, user: TestUser): Promise<Left & { dying: Promise<Reply> }> {
  const { wrongPassword, code: wanted }: { wrongPassword?: true; code?: 'right' | 'wrong' } = cases[name]
  if (wanted === undefined) {
    const password = wrongPassword ? 'wrong' : user.password
    return { user, pending: '', code: '', dying: post(address, '/login', { email: user.email, password }) }
  }
  const { pending, code } = await firstStep(address, user)
  const typed = wanted === 'right' ? code : wrongCode(code)
  return { user, pending, code, dying: post(address, '/login/2fa', { code: typed }, pending) }
}

t.test('a service that is killed in the middle of logins', async (t) => {
  const users = new Map<Case, TestUser>()
  const crowd: TestUser[] = []
  const stops: Record<string, string> = {}
  await withDoorstep(t, async (doorstep) => {
    for (const name of names) {
      const user = await createUser(doorstep)
      users.set(name, user)
      const identifier = doorstep.services.loginThrottle.identify(user.email)
      stops[name] = name.startsWith('password') ? identifier.toString('hex') : user.id
    }
    for (let count = 0; count < 20; count += 1) crowd.push(await createUser(doorstep))
  })

  const service = runService(t, [...loader, codeOf('test/helpers/crashing-service.ts')], {
    cwd: repository,
    env: {
      ...testKeys,
      ...(server ? { DATABASE_URL: server.url } : { DATA_DIR: folder }),
      NODE_ENV: 'test',
      PUBLIC_URL: 'http://localhost:3000',
      ARGON2_MEMORY_KIB: '64',
      ARGON2_TIME: '1',
      RATE_LOGIN_MINUTE: '1000',
      RATE_LOGIN_HOUR: '1000',
      RATE_VERIFY_MINUTE: '1000',
      RATE_DEFAULT_MINUTE: '1000',
      SMS_PER_ADDRESS_HOUR: '1000',
      SMS_PER_ADDRESS_DAY: '1000',
      SMS_PER_PREFIX_HOUR: '1000',
      FAILPOINTS: JSON.stringify(stops),
    },
  })
  const address = await service.address()

  const left = new Map<Case, Left>()
  const dying: Promise<string>[] = []
  for (const name of names) {
    const case_ = await walkInto(address, name, users.get(name) as TestUser)
    left.set(name, case_)
    dying.push(
      case_.dying.then(
        ({ status }) => `${name}: answered ${status}`,
        () => 'no answer',
      ),
    )
    await service.until(() => service.lines().find(({ msg, event }) => msg === 'stopped' && event === name))
  }
  // Others sign in, wherever they have got to when it dies.
  const seen: Answer[] = []
  const texts: { to: string; body: string }[] = []
  const others = crowd.map(async (user) => {
    const { pending, code } = await firstStep(address, user)
    texts.push({ to: user.phone, body: `#${code}` })
    seen.push({ ...(await post(address, '/login/2fa', { code }, pending)), headers: {} })
  })
  await Promise.any(others)
  service.kill('SIGKILL')
  t.match(await service.exit, { signal: 'SIGKILL' })
  t.same(new Set(await Promise.all(dying)), new Set(['no answer']), 'nobody was told anything, or given a token')
  await Promise.allSettled(others)
  t.comment(`${seen.length} of ${crowd.length} others had their answer`)

  await withDoorstep(t, async (doorstep, t) => {
    const { sql } = doorstep
    /** What the database holds of a case after its crash. */
    const booksOf = async (name: Case) => {
      const { user } = left.get(name) as Left
      const [row] = await sql(
        `SELECT u.id, coalesce(l.failures, 0) AS failures, g.streak, cardinality(g.failed_at) AS failed,
           (SELECT count(*)::integer FROM sessions s WHERE s.user_id = u.id) AS sessions,
           (SELECT coalesce(sum(c.attempts), 0)::integer FROM challenges c WHERE c.user_id = u.id) AS attempts,
           (SELECT count(*)::integer FROM challenges c WHERE c.user_id = u.id) AS challenges,
           (SELECT count(*)::integer FROM challenges c WHERE c.user_id = u.id AND consumed_at IS NOT NULL) AS consumed,
           ARRAY(SELECT type FROM audit_events a WHERE a.user_id = u.id ORDER BY at) AS events
         FROM users u JOIN factor_guards g ON g.user_id = u.id LEFT JOIN login_throttles l ON l.identifier = $2
         WHERE u.id = $1`,
        [user.id, doorstep.services.loginThrottle.identify(user.email)],
      )
      return row
    }

    for (const [name, events] of [
      ['password charged', ['user.created']],
      ['password refused', ['user.created', 'login.failed']],
    ] as const) {
      await t.test(`${name}: the try at the password stays counted`, async (t) => {
        const { user } = left.get(name) as Left
        t.match(await booksOf(name), { failures: 1, sessions: 0, challenges: 0, events })
        t.equal((await signIn(doorstep, user)).status, 200, 'and the owner is not shut out')
        t.match(await booksOf(name), { failures: 0 }, 'whose success ends the count')
      })
    }

    for (const name of ['code charged', 'code compared, wrong'] as const) {
      await t.test(`${name}: the try at the code stays counted, on the login and on the account`, async (t) => {
        const { pending, code } = left.get(name) as Left
        t.match(await booksOf(name), { attempts: 1, streak: 1, failed: 1, sessions: 0, consumed: 0 })
        t.match(await finish(doorstep, pending, wrongCode(code)), { status: 422, body: { attempts_remaining: 3 } })
        t.equal((await finish(doorstep, pending, code)).status, 200, 'the login can still be finished')
      })
    }

    await t.test('the others: the books agree', async (t) => {
      await reconcile(t, doorstep, crowd, { answers: seen, texts })
      for (const user of crowd.slice(0, 3)) {
        t.equal((await login(doorstep, user)).status, 200, 'each can go on')
      }
    })

    await t.test('code compared, right: nobody is signed in yet, and the code is still good once', async (t) => {
      const { pending, code } = left.get('code compared, right') as Left
      t.match(await booksOf('code compared, right'), { attempts: 1, streak: 1, sessions: 0, consumed: 0 })
      t.match(await finish(doorstep, pending, code), { status: 200, body: { status: 'authenticated' } })
      t.match(await finish(doorstep, pending, code), { status: 401, body: { code: 'invalid_token' } })
      t.match(await booksOf('code compared, right'), { sessions: 1, consumed: 1, streak: 0 })
    })

    await t.test('login committed: the code is spent, and no second session comes of it', async (t) => {
      const { user, pending, code } = left.get('login committed') as Left
      t.match(await booksOf('login committed'), { sessions: 1, consumed: 1, streak: 0, attempts: 1 })
      t.match(await finish(doorstep, pending, code), { status: 401, body: { code: 'invalid_token' } })
      t.match(await booksOf('login committed'), { sessions: 1 })
      t.equal((await signIn(doorstep, user)).status, 200)
    })

    await t.test(
      'challenge committed: the text that never went is paid for, and the next one can be had',
      async (t) => {
        const { user } = left.get('challenge committed') as Left
        t.match(await booksOf('challenge committed'), { challenges: 1, sessions: 0 })
        const joined = await login(doorstep, user)
        t.match(joined, { status: 200, body: { challenge: { delivery: 'queued', attempts_remaining: 5 } } })
        await sql(`UPDATE challenges SET last_sent_at = last_sent_at - interval '61 seconds' WHERE user_id = $1`, [
          user.id,
        ])
        await sql(
          `UPDATE sms_budgets SET sent_at = ARRAY(SELECT s - interval '61 seconds' FROM unnest(sent_at) s)
         WHERE key IN ('user:' || $1, 'phone:' || $2)`,
          [user.id, user.phone],
        )
        const again = await login(doorstep, user)
        t.match(again, { status: 200, body: { challenge: { delivery: 'sent' } } })
        t.equal((await finish(doorstep, again.body.pending_token, codeFor(doorstep, user.phone))).status, 200)
      },
    )
  })
})
