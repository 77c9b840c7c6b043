import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { bringUpToDate, openDatabase } from '../../src/store/open.ts'
import { age } from '../helpers/age.ts'
import { enter, refresh } from '../helpers/credentials.ts'
import { createTestDatabase, type TestDatabase } from '../helpers/database.ts'
import { type Doorstep, startDoorstep, testKeys } from '../helpers/doorstep.ts'
import { mailedToken, mailsTo } from '../helpers/links.ts'
import { codeOf, loader } from '../helpers/program.ts'
import { reconcile, sessionIdOf } from '../helpers/reconcile.ts'
import { runService } from '../helpers/service-process.ts'
import {
  type Answer,
  call,
  codeFor,
  createUser,
  finish,
  login,
  resend,
  signIn,
  type TestUser,
  wrongCode,
} from '../helpers/story.ts'

// Who can make the service die at the right moment must not get a try at a password or a code that is not counted
// (SEC-14), and never a login that is half done or a token of a session that is not there (SEC-44, SEC-113). One process is
// killed with SIGKILL while requests stand at each of these points: after a commit, and before its answer.

t.setTimeout(300_000)

/** What stands at a point: who, and what that client held when the service died. */
type Left = { user: TestUser; pending: string; code: string; refresh: string; access: string; link: string }
type Sent = { path: string; body: object; token?: string }
/** `by`: what the failpoint knows its request by; `request`: what walks into it. */
type Case = { by: (left: Left) => string; request: (left: Left) => Sent; twoFactor?: 'off' }

const passwordOf = ({ user }: Left, password = user.password): Sent => ({
  path: '/login',
  body: { email: user.email, password },
})
const codeOfLogin = ({ pending, code }: Left): Sent => ({ path: '/login/2fa', body: { code }, token: pending })
const byUser = ({ user }: Left): string => user.id
const byPhone = ({ user }: Left): string => user.phone
const byLink = ({ link }: Left): string => createHash('sha256').update(link).digest('hex')
const newPassword = 'a password that a link sets'
const newPasswordOf = ({ link }: Left): Sent => ({
  path: '/password/set',
  body: { token: link, password: newPassword },
})
const takenBackBy = ({ link }: Left): Sent => ({ path: '/account/secure', body: { token: link } })
const wrongly = (left: Left): Left => ({ ...left, code: wrongCode(left.code) })

const cases = {
  'password charged': { by: ({ user }) => user.email, request: (left) => passwordOf(left, 'wrong') },
  'password refused': { by: byUser, request: (left) => passwordOf(left, 'wrong') },
  'challenge committed': { by: byUser, request: passwordOf },
  'text sent': { by: byPhone, request: passwordOf },
  'answer recorded': { by: byPhone, request: passwordOf },
  'resend committed': {
    by: byUser,
    request: ({ pending }) => ({ path: '/login/2fa/resend', body: {}, token: pending }),
  },
  'code not judged': { by: byUser, request: codeOfLogin },
  'wrong code committed': { by: byUser, request: (left) => codeOfLogin(wrongly(left)) },
  'login committed': { by: byUser, request: codeOfLogin },
  'step-up committed': { by: byUser, request: codeOfLogin, twoFactor: 'off' },
  'session committed': { by: byUser, request: passwordOf, twoFactor: 'off' },
  'refresh committed': {
    by: ({ access }) => sessionIdOf(access),
    request: ({ refresh: token }) => ({ path: '/token/refresh', body: { refresh_token: token } }),
    twoFactor: 'off',
  },
  'logout committed': {
    by: byUser,
    request: ({ access }) => ({ path: '/logout', body: {}, token: access }),
    twoFactor: 'off',
  },
  'link not used': { by: byLink, request: newPasswordOf },
  'password set committed': { by: byLink, request: newPasswordOf },
  'nothing taken back': { by: byLink, request: takenBackBy, twoFactor: 'off' },
  'all taken back': { by: byLink, request: takenBackBy, twoFactor: 'off' },
} as const satisfies Record<string, Case>
type Name = keyof typeof cases
const names = Object.keys(cases) as Name[]
/** These have begun a login, and hold its code; these are signed in. */
const begun: Name[] = ['resend committed', 'code not judged', 'wrong code committed', 'login committed']
const signedIn: Name[] = ['step-up committed', 'refresh committed', 'logout committed']
/** These have a link that sets the password; these, whose password was set by one, have that of the notice about it. */
const linked: Name[] = ['link not used', 'password set committed']
const told: Name[] = ['nothing taken back', 'all taken back']

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

/** Each from a network of its own: one has only so many places in the line for hashing. */
const networkOf = (n: number): string => `198.51.${n}.7`

/** One and the same client, before and after. */
const client = { 'user-agent': 'a client that sees the service die' }
const again = (doorstep: Doorstep, user: TestUser): Promise<Answer> => login(doorstep, user, { headers: client })

type Reply = { status: number; body: { pending_token?: string; messages?: { to: string; body: string }[] } }

async function post(address: string, { path, body, token }: Sent, more: Record<string, string> = {}): Promise<Reply> {
  const credential = token && { authorization: `Bearer ${token}` }
  const headers = { ...client, ...more, 'content-type': 'application/json', ...credential }
  const reply = await fetch(address + path, { method: 'POST', headers, body: JSON.stringify(body) })
  const text = await reply.text()
  return { status: reply.status, body: text === '' ? {} : (JSON.parse(text) as Reply['body']) }
}

async function textTo(address: string, phone: string): Promise<string> {
  const { messages = [] } = (await (await fetch(`${address}/dev/sms`)).json()) as Reply['body']
  return /#(\d+)$/.exec(messages.find(({ to }) => to === phone)?.body ?? '')?.[1] ?? ''
}

t.test('a service that is killed in the middle of logins', async (t) => {
  const left = {} as Record<Name, Left>
  const crowd: TestUser[] = []
  await withDoorstep(t, async (doorstep) => {
    for (const name of names) {
      const { twoFactor }: Case = cases[name]
      const user = await createUser(doorstep, twoFactor && { twoFactor })
      left[name] = { user, pending: '', code: '', refresh: '', access: '', link: '' }
      if (begun.includes(name)) {
        const { body } = await again(doorstep, user)
        Object.assign(left[name], { pending: body.pending_token, code: codeFor(doorstep, user.phone) })
        await age(doorstep, user, 61)
      }
      if (signedIn.includes(name)) {
        Object.assign(left[name], await enter(doorstep, user))
        await age(doorstep, user, 61)
      }
      if (linked.includes(name) || told.includes(name)) {
        await call(doorstep, '/password/forgot', { body: { email: user.email } })
        left[name].link = await mailedToken(doorstep, user.email)
      }
      if (told.includes(name)) {
        const { status } = await call(doorstep, '/password/set', newPasswordOf(left[name]))
        t.equal(status, 200)
        user.password = newPassword
        Object.assign(left[name], await enter(doorstep, user))
        left[name].link = await mailedToken(doorstep, user.email, 'not-me')
      }
      if (name === 'step-up committed') {
        const { body } = await call(doorstep, '/login/step-up', { token: left[name].access, body: {} })
        Object.assign(left[name], { pending: body.pending_token, code: codeFor(doorstep, user.phone) })
      }
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
      TRUST_PROXY: '127.0.0.1',
      ARGON2_MEMORY_KIB: '64',
      ARGON2_TIME: '1',
      RATE_LOGIN_MINUTE: '1000',
      RATE_LOGIN_HOUR: '1000',
      RATE_VERIFY_MINUTE: '1000',
      RATE_DEFAULT_MINUTE: '1000',
      SMS_PER_ADDRESS_HOUR: '1000',
      SMS_PER_ADDRESS_DAY: '1000',
      SMS_PER_PREFIX_HOUR: '1000',
      FAILPOINTS: JSON.stringify(Object.fromEntries(names.map((name) => [name, cases[name].by(left[name])]))),
    },
  })
  const address = await service.address()

  const dying: Promise<string>[] = []
  for (const name of names) {
    const answer = post(address, cases[name].request(left[name]))
    dying.push(
      answer.then(
        ({ status }) => `${name}: answered ${status}`,
        () => 'no answer',
      ),
    )
    await service.until(() => service.lines().find(({ msg, event }) => msg === 'stopped' && event === name))
  }
  const sent = await textTo(address, left['text sent'].user.phone)
  // Others sign in, wherever they have got to when it dies.
  const seen: Answer[] = []
  const texts: { to: string; body: string }[] = []
  const others = crowd.map(async (user, n) => {
    const from = { 'x-forwarded-for': networkOf(n) }
    const first = await post(address, { path: '/login', body: { email: user.email, password: user.password } }, from)
    const code = await textTo(address, user.phone)
    if (code !== '') texts.push({ to: user.phone, body: `#${code}` })
    const second = await post(address, { path: '/login/2fa', body: { code }, token: first.body.pending_token ?? '' })
    seen.push({ ...second, headers: {} })
  })
  await Promise.any(others)
  service.kill('SIGKILL')
  t.match(await service.exit, { signal: 'SIGKILL' })
  // A provider that says nothing for 3 s keeps no reply waiting, and that reply grants nothing. Nor does any after 8 s, which
  // the first of them have waited for on a slow machine.
  const answered = (await Promise.all(dying)).filter(
    (what) => !/^(text sent|answer recorded): answered 200$|: answered 503$/.test(what),
  )
  t.same(new Set(answered), new Set(['no answer']), 'nobody was told anything, or given a token')
  t.ok(answered.length > 0, `${answered.length} of ${names.length} were not answered`)
  await Promise.allSettled(others)
  t.comment(`${seen.length} of ${crowd.length} others had their answer`)

  await withDoorstep(t, async (doorstep, t) => {
    const { sql } = doorstep
    /** What the database holds of a case after its crash. */
    const booksOf = async (name: Name) => {
      const { user } = left[name]
      const [row] = await sql(
        `SELECT u.id, coalesce((SELECT failures FROM login_throttles WHERE identifier = ANY ($2)), 0) AS failures,
           coalesce(g.streak, 0) AS streak, coalesce(cardinality(g.failed_at), 0) AS failed,
           (SELECT count(*)::integer FROM sessions s WHERE s.user_id = u.id) AS sessions,
           (SELECT count(*)::integer FROM sessions s WHERE s.user_id = u.id AND ended_at IS NULL) AS live,
           (SELECT max(generation) FROM sessions s WHERE s.user_id = u.id) AS generation,
           (SELECT max(acr) FROM sessions s WHERE s.user_id = u.id) AS acr,
           (SELECT coalesce(sum(c.attempts), 0)::integer FROM challenges c WHERE c.user_id = u.id) AS attempts,
           (SELECT max(sends) FROM challenge_codes JOIN challenges c ON c.id = challenge_id WHERE c.user_id = u.id) AS sends,
           (SELECT count(*)::integer FROM challenges c WHERE c.user_id = u.id) AS challenges,
           (SELECT count(*)::integer FROM challenges c WHERE c.user_id = u.id AND consumed_at IS NOT NULL) AS consumed,
           (SELECT count(*)::integer FROM sms_messages m WHERE m.user_id = u.id) AS texts,
           (SELECT count(*)::integer FROM devices d WHERE d.user_id = u.id) AS devices,
           ARRAY(SELECT type FROM audit_events a WHERE a.user_id = u.id ORDER BY id) AS events
         FROM users u LEFT JOIN factor_guards g ON g.user_id = u.id AND NOT g.known WHERE u.id = $1`,
        [user.id, doorstep.services.loginThrottle.identifyAll(user.email)],
      )
      return row
    }

    for (const [name, events] of [
      ['password charged', ['user.created']],
      ['password refused', ['user.created', 'login.failed']],
    ] as const) {
      await t.test(`${name}: the try at the password stays counted`, async (t) => {
        const { user } = left[name]
        t.match(await booksOf(name), { failures: 1, sessions: 0, challenges: 0, events })
        t.equal((await signIn(doorstep, user)).status, 200, 'and the owner is not shut out')
        t.match(await booksOf(name), { failures: 1 }, 'whose success gives back its own charge only')
      })
    }

    await t.test(
      'challenge committed: the text that never went is paid for, and the next one can be had',
      async (t) => {
        const { user } = left['challenge committed']
        t.match(await booksOf('challenge committed'), { challenges: 1, sessions: 0, texts: 1, failures: 0 })
        const joined = await again(doorstep, user)
        t.match(joined, { status: 200, body: { challenge: { delivery: 'queued', attempts_remaining: 5 } } })
        await age(doorstep, user, 61)
        const next = await again(doorstep, user)
        t.match(next, { status: 200, body: { challenge: { delivery: 'sent' } } })
        t.equal((await finish(doorstep, next.body.pending_token, codeFor(doorstep, user.phone))).status, 200)
        t.match(await booksOf('challenge committed'), { challenges: 1, sessions: 1, texts: 2 })
      },
    )

    for (const [name, delivery, code] of [
      ['text sent', 'queued', sent],
      ['answer recorded', 'sent', ''],
    ] as const) {
      await t.test(`${name}: its code is good for whoever signs in again, and no second one goes out`, async (t) => {
        const { user } = left[name]
        t.match(await booksOf(name), { challenges: 1, sessions: 0, texts: 1 })
        const joined = await again(doorstep, user)
        t.match(joined, { status: 200, body: { challenge: { delivery } } })
        if (code !== '') t.equal((await finish(doorstep, joined.body.pending_token, code)).status, 200)
        t.match(await booksOf(name), { challenges: 1, texts: 1 })
      })
    }

    await t.test('resend committed: it is counted, and the first code is still good', async (t) => {
      const { pending, code, user } = left['resend committed']
      t.match(await booksOf('resend committed'), { sends: 2, texts: 2, sessions: 0 })
      t.match(await resend(doorstep, pending), { status: 429, body: { code: 'resend_too_soon' } })
      await age(doorstep, user, 61)
      t.match(await resend(doorstep, pending), { status: 200, body: { challenge: { resend_after: null } } })
      t.equal((await finish(doorstep, pending, code)).status, 200)
    })

    await t.test('code not judged: no try was made, and the code is good once', async (t) => {
      const { pending, code } = left['code not judged']
      t.match(await booksOf('code not judged'), { attempts: 0, failed: 0, sessions: 0, consumed: 0 })
      t.match(await finish(doorstep, pending, code), { status: 200, body: { status: 'authenticated' } })
      t.match(await finish(doorstep, pending, code), { status: 401, body: { code: 'invalid_token' } })
      t.match(await booksOf('code not judged'), { sessions: 1, consumed: 1, streak: 0 })
    })

    await t.test('wrong code committed: the try stays counted, on the login and on the account', async (t) => {
      const { pending, code } = left['wrong code committed']
      t.match(await booksOf('wrong code committed'), { attempts: 1, streak: 1, failed: 1, sessions: 0, consumed: 0 })
      t.match(await finish(doorstep, pending, wrongCode(code)), { status: 422, body: { attempts_remaining: 3 } })
      t.equal((await finish(doorstep, pending, code)).status, 200, 'the login can still be finished')
    })

    await t.test('login committed: the code is spent, and no second session comes of it', async (t) => {
      const { user, pending, code } = left['login committed']
      const after = { sessions: 1, consumed: 1, streak: 0, attempts: 1, devices: 1 }
      t.match(await booksOf('login committed'), after)
      t.match(await finish(doorstep, pending, code), { status: 401, body: { code: 'invalid_token' } })
      t.match(await booksOf('login committed'), after)
      t.equal((await signIn(doorstep, user)).status, 200)
    })

    await t.test('step-up committed: the session is raised, and its next token says so', async (t) => {
      const { pending, code, refresh: token } = left['step-up committed']
      t.match(await booksOf('step-up committed'), { sessions: 1, consumed: 1, acr: 'aal2' })
      t.match(await finish(doorstep, pending, code), { status: 401, body: { code: 'invalid_token' } })
      t.equal((await refresh(doorstep, token)).status, 200)
    })

    await t.test('session committed: nobody holds it, and its owner can have another', async (t) => {
      const { user } = left['session committed']
      t.match(await booksOf('session committed'), {
        sessions: 1,
        failures: 0,
        events: ['user.created', 'session.started'],
      })
      t.match(await again(doorstep, user), { status: 200, body: { status: 'authenticated' } })
      t.match(await booksOf('session committed'), { sessions: 2 })
    })

    await t.test('refresh committed: the token whose answer was lost is good within its grace', async (t) => {
      const { refresh: token } = left['refresh committed']
      t.match(await booksOf('refresh committed'), { sessions: 1, generation: 1 })
      const next = await refresh(doorstep, token)
      t.match(next, { status: 200, body: { status: 'authenticated' } })
      t.equal((await call(doorstep, '/me', { token: next.body.access_token })).status, 200)
      t.match(await booksOf('refresh committed'), { generation: 1, live: 1 }, 'and it has turned once')
    })

    await t.test('logout committed: over, whatever was answered', async (t) => {
      const { access, refresh: token } = left['logout committed']
      t.match(await booksOf('logout committed'), { sessions: 1, live: 0 })
      t.equal((await call(doorstep, '/me', { token: access })).status, 401)
      t.equal((await refresh(doorstep, token)).status, 401)
    })

    await t.test('link not used: nothing of it is there, and it is good once', async (t) => {
      const { user, link } = left['link not used']
      t.match(await booksOf('link not used'), { sessions: 0, challenges: 0, events: ['user.created'] })
      t.equal((await again(doorstep, user)).status, 200, 'by the old password')
      t.equal((await call(doorstep, '/password/set', newPasswordOf(left['link not used']))).status, 200)
      t.match(await call(doorstep, '/password/set', { body: { token: link, password: 'another long one' } }), {
        ...{ status: 410, body: { code: 'link_expired' } },
      })
      t.equal((await again(doorstep, user)).status, 401)
    })

    await t.test('password set committed: all of it is there, and no token of anything', async (t) => {
      const { user } = left['password set committed']
      const events = ['user.created', 'password.changed']
      t.match(await booksOf('password set committed'), { sessions: 0, challenges: 0, devices: 0, texts: 0, events })
      t.equal((await call(doorstep, '/password/set', newPasswordOf(left['password set committed']))).status, 410)
      t.equal((await again(doorstep, user)).status, 401, 'by the old password')
      const signedIn = await signIn(doorstep, { ...user, password: newPassword })
      t.equal(signedIn.status, 200, 'and the new one asks for the second factor')
      const notices = (await mailsTo(doorstep, user.email)).filter(({ text }) => text.includes('/not-me#token='))
      t.equal(notices.length, 1, 'its owner is told')
    })

    await t.test('nothing taken back: the session lives until it is', async (t) => {
      const { access } = left['nothing taken back']
      t.equal((await call(doorstep, '/me', { token: access })).status, 200)
      t.equal((await call(doorstep, '/account/secure', takenBackBy(left['nothing taken back']))).status, 200)
      t.equal((await call(doorstep, '/me', { token: access })).status, 401)
    })

    await t.test('all taken back: nothing is signed in, and the mail goes out that sets the password', async (t) => {
      const { user, access } = left['all taken back']
      t.match(await booksOf('all taken back'), { live: 0, devices: 0 })
      t.equal((await call(doorstep, '/me', { token: access })).status, 401)
      t.equal((await call(doorstep, '/account/secure', takenBackBy(left['all taken back']))).status, 410)
      t.match(await again(doorstep, user), { status: 403, body: { code: 'password_reset_required' } })
      const link = await mailedToken(doorstep, user.email)
      const set = await call(doorstep, '/password/set', newPasswordOf({ ...left['all taken back'], link }))
      t.match(set, { status: 200, body: { status: 'authenticated' } })
    })

    await t.test('the others: the books agree', async (t) => {
      await reconcile(t, doorstep, crowd, { answers: seen, texts })
      for (const [n, user] of crowd.slice(0, 3).entries()) {
        const goesOn = await login(doorstep, user, { headers: client, from: networkOf(n) })
        t.equal(goesOn.status, 200, 'each can go on')
      }
    })
  })
})
