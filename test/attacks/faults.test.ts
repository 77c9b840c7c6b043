import { type AddressInfo, createServer } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { createDatabase } from '../../src/store/client.ts'
import { startChaosProxy } from '../helpers/chaos-proxy.ts'
import { enter, refresh, type Signed } from '../helpers/credentials.ts'
import { type Doorstep, startDoorstep } from '../helpers/doorstep.ts'
import { thorough } from '../helpers/effort.ts'
import { reconcile } from '../helpers/reconcile.ts'
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
  textsTo,
  wrongCode,
} from '../helpers/story.ts'

// What goes wrong here goes wrong below the service: whatever happens to the database, nobody gets a token that it does
// not know of, nobody gets a code that it cannot check, nothing hangs, and the service is back as soon as it is.

/** 1 s for a connection and 2.5 s for an answer, with room for a machine that stands still. Without time-outs it would be for ever. */
const patienceMs = 7_500
const poolSize = 4
const strikeEvery = 7
const canary = 'canary-in-the-words-of-the-database'

type Books = {
  challenges: number
  consumed: number
  attempts: number
  sessions: number
  texts: number
  streak: number
  failed: number
}

t.setTimeout(300_000)

let direct: Doorstep
let doorstep: Doorstep
let proxy: Awaited<ReturnType<typeof startChaosProxy>>

/** Two instances on one database: `doorstep` behind the proxy, `direct` not. */
t.before(async () => {
  direct = await startDoorstep(t)
  proxy = await startChaosProxy(direct.database.url)
  t.teardown(proxy.close)
  const database = { ...direct.database, url: proxy.url }
  doorstep = await startDoorstep(t, { database, env: { DATABASE_POOL_SIZE: String(poolSize) }, patience: 1 })
})

t.afterEach(() => proxy.setMode('pass'))

async function timed(work: Promise<Answer>): Promise<Answer & { ms: number }> {
  const startedAt = performance.now()
  const answer = await work
  return { ...answer, ms: performance.now() - startedAt }
}

/** 503 in time, with Retry-After, and with nothing in it that is worth anything or tells anything. */
function checkUnavailable(t: Test, answer: Answer & { ms: number }, what: string): void {
  t.match(answer, { status: 503, body: { code: 'unavailable', retry_after: 1 } }, what)
  t.equal(answer.headers['retry-after'], '1', `${what}: Retry-After`)
  t.ok(answer.ms < patienceMs, `${what}: in time (${Math.round(answer.ms)} ms)`)
  checkNothingLeaked(t, answer, what)
}

function checkNothingLeaked(t: Test, { body, headers }: Answer, what: string): void {
  const known = ['type', 'title', 'status', 'detail', 'instance', 'code', 'retry_after']
  t.same(
    Object.keys(body).filter((key) => !known.includes(key)),
    [],
    `${what}: a problem document and nothing else`,
  )
  t.notMatch(
    JSON.stringify([body, headers]),
    /canary|prisma|postgres|sql|select|timeout|terminat|econn|token"|relation/i,
    `${what}: nothing internal`,
  )
}

async function booksOf(user: TestUser): Promise<Books> {
  const [books] = await direct.sql<Books>(
    `SELECT (SELECT count(*)::integer FROM challenges WHERE user_id = u.id) AS challenges,
       (SELECT count(*)::integer FROM challenges WHERE user_id = u.id AND consumed_at IS NOT NULL) AS consumed,
       (SELECT coalesce(sum(attempts), 0)::integer FROM challenges WHERE user_id = u.id) AS attempts,
       (SELECT count(*)::integer FROM sessions WHERE user_id = u.id) AS sessions,
       (SELECT count(*)::integer FROM sms_messages WHERE user_id = u.id) AS texts,
       coalesce((SELECT streak FROM factor_guards WHERE user_id = u.id AND NOT known), 0) AS streak,
       coalesce((SELECT cardinality(failed_at) FROM factor_guards WHERE user_id = u.id AND NOT known), 0) AS failed
     FROM users u WHERE u.id = $1`,
    [user.id],
  )
  if (books === undefined) throw new Error('no such user')
  return books
}

/** Everything a client can ask that needs the database. */
async function askEverything(people: { waiting: TestUser; pending: string; token: string; other: TestUser }) {
  const { waiting, pending, token, other } = people
  return {
    'right password': timed(login(doorstep, other)),
    'wrong password': timed(login(doorstep, { ...other, password: 'wrong' })),
    'made-up e-mail': timed(login(doorstep, { email: 'nobody@example.com', password: 'wrong' })),
    'right code': timed(finish(doorstep, pending, codeFor(doorstep, waiting.phone))),
    'wrong code': timed(finish(doorstep, pending, wrongCode(codeFor(doorstep, waiting.phone)))),
    resend: timed(resend(doorstep, pending)),
    status: timed(call(doorstep, '/login/2fa', { token: pending })),
    me: timed(call(doorstep, '/me', { token })),
  }
}

for (const mode of ['reset', 'blackhole'] as const) {
  t.test(
    `the database is lost (${mode}): nobody gets in, nothing hangs, and it goes on where it stopped`,
    async (t) => {
      const [waiting, signedIn, other] = await Promise.all([1, 2, 3].map(() => createUser(direct)))
      if (!waiting || !signedIn || !other) throw new Error('no users')
      const { access_token: token } = (await signIn(doorstep, signedIn)).body
      const { pending_token: pending } = (await login(doorstep, waiting)).body
      // Connections that are open and idle, to be lost while they are.
      await Promise.all([1, 2, 3, 4].map(() => call(doorstep, '/me', { token })))
      const [before, beforeOther] = [await booksOf(waiting), await booksOf(other)]

      proxy.setMode(mode)
      for (const [what, answer] of Object.entries(await askEverything({ waiting, pending, token, other }))) {
        checkUnavailable(t, await answer, what)
      }
      t.equal((await call(doorstep, '/health/live')).status, 200, 'the process is well')
      t.equal((await call(doorstep, '/.well-known/jwks.json')).status, 200, 'backends can still verify tokens')
      t.match(await call(doorstep, '/health/ready'), { status: 503, body: { status: 'not_ready' } })
      t.equal(textsTo(doorstep, other.phone).length, 0, 'no text without a stored challenge')
      t.equal(textsTo(doorstep, waiting.phone).length, 1)
      t.same(await booksOf(waiting), before, 'nothing happened to the login that waits')
      t.same(await booksOf(other), beforeOther)

      proxy.setMode('pass')
      const finished = await finish(doorstep, pending, codeFor(doorstep, waiting.phone))
      t.match(finished, { status: 200, body: { status: 'authenticated' } }, 'the code that waited is good')
      t.equal((await signIn(doorstep, other)).status, 200)
      t.equal((await call(doorstep, '/me', { token })).status, 200)
      t.ok(proxy.connections().open <= poolSize + 1, 'dead connections were given back')
    },
  )
}

t.test('connections that die in the pool take neither the process nor the next request with them (L21)', async (t) => {
  const user = await createUser(direct)
  await Promise.all([1, 2, 3, 4].map((n) => login(doorstep, { email: `nobody-${n}@example.com`, password: 'wrong' })))
  const open = proxy.connections().open
  t.ok(open >= 2, 'connections are there to be killed')
  const lost = () => doorstep.logs.filter((line) => line.includes('database connection lost')).length
  const lostBefore = lost()
  await killConnections()
  const deadline = performance.now() + patienceMs
  while ((lost() === lostBefore || proxy.connections().open > 1) && performance.now() < deadline) await wait(20)
  t.ok(lost() > lostBefore, 'the loss was noticed and logged')
  t.equal((await signIn(doorstep, user)).status, 200, 'a login goes through on new connections')
})

t.test('a connection that is lost in the very packet that opens it does not take the process with it', async (t) => {
  // AuthenticationOk, ReadyForQuery, and a fatal ErrorResponse (57P01) behind them.
  const fields = 'SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0\0'
  const length = Buffer.alloc(4)
  length.writeUInt32BE(4 + fields.length)
  const welcome = Buffer.from('R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I', 'latin1')
  const greeting = Buffer.concat([welcome, Buffer.from('E'), length, Buffer.from(fields)])
  const server = createServer((socket) => {
    socket.on('error', () => {})
    socket.once('data', () => socket.end(greeting))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  const { port } = server.address() as AddressInfo
  const url = `postgresql://doorstep@127.0.0.1:${port}/doorstep?sslmode=disable`
  const db = createDatabase({ url, poolSize: 2, isServer: true, patience: 1, onError: () => {} })
  t.teardown(() => db.close())

  const calls = Array.from({ length: 20 }, () => db.decide('unlock_user', 'ada@example.com', [], false, '{}'))
  for (const { status } of await Promise.allSettled(calls)) t.equal(status, 'rejected')
})

/** As an administrator or a failover does: every connection of the instance behind the proxy. */
async function killConnections(): Promise<void> {
  if (direct.database.isReal) {
    await direct.sql(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
       WHERE datname = current_database() AND application_name = 'doorstep' AND client_port = ANY ($1)`,
      [proxy.serverPorts()],
    )
  } else proxy.cutAll()
}

t.test('a locked table: 503 in time, other routes go on, and nothing is left waiting (F-06)', async (t) => {
  const users = await Promise.all([1, 2].map(() => createUser(direct)))
  const { access_token: token } = (await signIn(doorstep, await createUser(direct))).body
  await direct.sql('BEGIN')
  await direct.sql('LOCK TABLE factor_guards IN ACCESS EXCLUSIVE MODE')
  const blocked = users.map((user) => timed(login(doorstep, user)))
  if (direct.database.isReal) {
    await wait(100)
    const first = await Promise.race([call(doorstep, '/me', { token }), ...blocked])
    t.equal(first.status, 200, 'who only shows a token is served meanwhile')
  }
  for (const answer of await Promise.all(blocked)) checkUnavailable(t, answer, 'login')
  await direct.sql('ROLLBACK')
  for (const user of users) {
    t.equal(textsTo(doorstep, user.phone).length, 0)
    t.equal((await signIn(doorstep, user)).status, 200, 'as if nothing had been')
  }
})

t.test('a full pool is an answer, not a wait without end (SEC-87, L22)', async (t) => {
  const users = await Promise.all(Array.from({ length: 3 * poolSize }, () => createUser(direct)))
  await direct.sql('BEGIN')
  await direct.sql('LOCK TABLE login_throttles IN ACCESS EXCLUSIVE MODE')
  const answers = await Promise.all(users.map((user) => timed(login(doorstep, user))))
  await direct.sql('ROLLBACK')
  for (const answer of answers) checkUnavailable(t, answer, 'login')
  t.equal((await signIn(doorstep, users[0] as TestUser)).status, 200)
})

t.test('a statement that takes too long is given up (SEC-87)', async (t) => {
  // The embedded database has one thread, which a sleep in it would stop altogether.
  if (!direct.database.isReal) return t.comment('needs a real server')
  await direct.sql(
    `CREATE FUNCTION doze() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(20); RETURN NEW; END $$`,
  )
  await direct.sql('CREATE TRIGGER doze BEFORE INSERT ON login_throttles EXECUTE FUNCTION doze()')
  const answer = await timed(login(doorstep, { email: 'sleepy@example.com', password: 'wrong' }))
  await direct.sql('DROP TRIGGER doze ON login_throttles')
  checkUnavailable(t, answer, 'login')
})

t.test('one account that is stuck for five seconds keeps nobody else out', async (t) => {
  if (!direct.database.isReal) return t.comment('needs a real server: the embedded database has one backend')
  const instance = await startDoorstep(t, { database: direct.database, patience: 1 })
  const [stuck, flooded] = await Promise.all([createUser(direct), createUser(direct)])
  const { pending_token: pending } = (await login(instance, stuck)).body
  const { pending_token: pendingOfFlooded } = (await login(instance, flooded)).body
  const code = codeFor(instance, stuck.phone)
  const others = await Promise.all(Array.from({ length: 12 }, () => createUser(direct, { twoFactor: 'off' })))
  const withCode = await Promise.all(Array.from({ length: 12 }, () => createUser(direct)))
  const sessions: Signed[] = []
  for (const user of others) sessions.push(await enter(instance, user))

  await direct.sql('BEGIN')
  await direct.sql('SELECT lock_account($1), lock_account($2)', [stuck.id, flooded.id])
  const until = performance.now() + 5_000
  // The owner of one of them tries what he can, and comes to no answer. At the other somebody sends all that he can.
  const knocking = async (): Promise<Answer[]> => {
    const answers: Answer[] = []
    while (performance.now() < until - 3_000) {
      const tries = [finish(instance, pending, wrongCode(code)), finish(instance, pending, code)]
      answers.push(...(await Promise.all([...tries, login(instance, stuck), resend(instance, pending)])))
    }
    return answers
  }
  const flooding = async (): Promise<Answer[]> => {
    const answers: Answer[] = []
    while (performance.now() < until - 1_000) {
      const burst = Array.from({ length: 20 }, (_, n) =>
        n % 2 === 0 ? login(instance, flooded) : finish(instance, pendingOfFlooded, '000000'),
      )
      answers.push(...(await Promise.all(burst)))
    }
    return answers
  }
  const served: number[] = []
  const goOn = async (at: number): Promise<void> => {
    let { refresh: token } = sessions[at] as Signed
    while (performance.now() < until) {
      // Each from a network of its own: one has only so many places in the line for hashing.
      const from = `198.51.${at}.7`
      const answers = [await login(instance, others[at] as TestUser, { from }), await refresh(instance, token)]
      token = answers[1]?.body.refresh_token ?? token
      answers.push(await call(instance, '/me', { token: answers[1]?.body.access_token ?? '' }))
      served.push(...answers.map(({ status }) => status))
    }
  }
  const [refused, flood] = await Promise.all([
    knocking(),
    flooding(),
    ...others.map((_user, at) => goOn(at)),
    ...withCode.map(async (user, at) => {
      await wait(at * 300)
      served.push((await signIn(instance, user, { from: `198.51.${100 + at}.7` })).status)
    }),
  ])
  await direct.sql('ROLLBACK')
  t.ok(served.length > 100, `${served.length} requests of others`)
  t.same(
    served.filter((status) => status !== 200),
    [],
    'all of them served',
  )
  for (const answer of [...refused, ...flood]) checkNothingLeaked(t, answer, 'the stuck account')
  t.same([...new Set(refused.map(({ status }) => status))], [503], `${refused.length} requests of the stuck account`)
  const answeredTo = flood.map(({ status }) => status)
  t.same(
    answeredTo.filter((status) => status === 200 || status === 422),
    [],
    `${flood.length} of the flooded one`,
  )
  t.equal((await finish(instance, pending, code)).status, 200, 'none of which was a try at its code')
})

t.test('what the database complains of', async (t) => {
  await direct.sql(
    `CREATE FUNCTION complain() RETURNS trigger LANGUAGE plpgsql AS $$
     BEGIN RAISE EXCEPTION '${canary}: connection timeout in relation users' USING ERRCODE = TG_ARGV[0]; END $$`,
  )
  const complain = async (table: string, state: string, more = ''): Promise<() => Promise<unknown>> => {
    const deferred = more.startsWith('DEFERRED')
    await direct.sql(
      deferred
        ? `CREATE CONSTRAINT TRIGGER complain AFTER INSERT ON ${table} DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION complain('${state}')`
        : `CREATE TRIGGER complain BEFORE ${more || 'INSERT'} ON ${table} FOR EACH ROW EXECUTE FUNCTION complain('${state}')`,
    )
    return () => direct.sql(`DROP TRIGGER complain ON ${table}`)
  }

  await t.test(
    'is unavailability when it will pass, an error when not; the client is told neither word nor number',
    async (t) => {
      const states = { 503: [] as string[], 500: ['P0001', 'XX000', '23505', '22001', '42P01'] }
      states[503] = ['53100', '53200', '53300', '57P01', '57P02', '57P03', '57014', '55P03', '40001', '40P01', '25006']
      states[503].push('08006', '58030')
      for (const [status, list] of Object.entries(states)) {
        for (const state of list) {
          const user = await createUser(direct)
          const stop = await complain('challenges', state)
          const answer = await timed(login(doorstep, user))
          await stop()
          t.equal(answer.status, Number(status), `${state}: ${status}`)
          t.equal(answer.body.code, status === '503' ? 'unavailable' : 'internal_error')
          t.equal(answer.headers['retry-after'], status === '503' ? '1' : undefined)
          checkNothingLeaked(t, answer, state)
          t.equal(textsTo(doorstep, user.phone).length, 0, `${state}: no text`)
          t.match(await booksOf(user), { challenges: 0, texts: 0 }, `${state}: nothing half done`)
        }
      }
      t.equal(doorstep.logs.join('').includes(canary), false, 'nor is it in a log line')
      t.match(doorstep.logs.join(''), '"reason":"53100"', 'but the number is, for the operator')
    },
  )

  // SEC-44: success is one transaction. Wherever it breaks, there is no session, and the code is still good.
  const places = [
    { what: 'the session', table: 'sessions', more: '' },
    { what: 'the audit row', table: 'audit_events', more: '' },
    { what: 'the end of the streak', table: 'factor_guards', more: 'UPDATE OF streak' },
    { what: 'the challenge', table: 'challenges', more: 'UPDATE OF consumed_at' },
    { what: 'the end of the text', table: 'sms_messages', more: 'UPDATE OF state' },
    { what: 'the device', table: 'devices', more: '' },
    { what: 'the commit', table: 'sessions', more: 'DEFERRED' },
  ]
  for (const { what, table, more } of places) {
    await t.test(`a success that breaks at ${what} leaves nothing, and the code can be used again`, async (t) => {
      const user = await createUser(direct)
      const { pending_token: pending } = (await login(doorstep, user)).body
      // A wrong one first, so that there is a streak to end.
      await finish(doorstep, pending, wrongCode(codeFor(doorstep, user.phone)))
      const before = await booksOf(user)
      t.match(before, { attempts: 1, streak: 1, failed: 1 })
      const stop = await complain(table, '53100', more)
      const answer = await timed(finish(doorstep, pending, codeFor(doorstep, user.phone)))
      await stop()
      checkUnavailable(t, answer, what)
      t.same(await booksOf(user), before, 'as if it had never been typed: nobody was told anything of it')
      const again = await finish(doorstep, pending, codeFor(doorstep, user.phone))
      t.match(again, { status: 200, body: { status: 'authenticated' } })
      t.same(await booksOf(user), { ...before, attempts: 2, streak: 0, consumed: 1, sessions: 1 })
      t.match(await call(doorstep, '/me', { token: again.body.access_token }), { status: 200, body: { id: user.id } })
    })
  }

  await t.test('a password whose failure cannot be recorded is still counted (SEC-14)', async (t) => {
    const user = await createUser(direct)
    const failures = async () => {
      const [row] = await direct.sql('SELECT failures FROM login_throttles WHERE identifier = ANY ($1)', [
        doorstep.services.loginThrottle.identifyAll(user.email),
      ])
      return row?.failures ?? 0
    }
    const stop = await complain('audit_events', '53100')
    checkUnavailable(t, await timed(login(doorstep, { ...user, password: 'wrong' })), 'wrong password')
    await stop()
    t.equal(await failures(), 1)
  })

  await t.test(
    'a code whose failure cannot be recorded was not tried: right or wrong, it is told the same',
    async (t) => {
      const user = await createUser(direct)
      const { pending_token: pending } = (await login(doorstep, user)).body
      const code = codeFor(doorstep, user.phone)
      const before = await booksOf(user)
      const stop = await complain('audit_events', '53100')
      checkUnavailable(t, await timed(finish(doorstep, pending, wrongCode(code))), 'wrong code')
      checkUnavailable(t, await timed(finish(doorstep, pending, code)), 'right code')
      await stop()
      t.same(await booksOf(user), before)
      t.equal((await finish(doorstep, pending, code)).status, 200)
    },
  )

  await t.test('a text that has gone is not taken back because the database cannot note it', async (t) => {
    const user = await createUser(direct)
    const stop = await complain('sms_messages', '53100', 'UPDATE OF delivery')
    const first = await login(doorstep, user)
    await stop()
    t.match(first, { status: 200, body: { challenge: { delivery: 'sent' } } })
    t.equal((await finish(doorstep, first.body.pending_token, codeFor(doorstep, user.phone))).status, 200)
  })
})

t.test(
  'an answer that is lost after the commit: the code is spent, there is one session, and nobody has its token',
  async (t) => {
    const user = await createUser(direct)
    const { pending_token: pending } = (await login(doorstep, user)).body
    const { challenges } = doorstep.services.store
    const { answer } = challenges
    challenges.answer = async (...given) => {
      await answer(...given)
      throw new Error('Connection terminated unexpectedly')
    }
    const lost = await timed(finish(doorstep, pending, codeFor(doorstep, user.phone)))
    challenges.answer = answer
    checkUnavailable(t, lost, 'the lost answer')
    const again = await finish(doorstep, pending, codeFor(doorstep, user.phone))
    t.match(again, { status: 401, body: { code: 'invalid_token' } }, 'the code is spent: sign in again')
    t.match(await booksOf(user), { sessions: 1, consumed: 1 })
    const [session] = await direct.sql('SELECT expires_at > now() AS lives FROM sessions WHERE user_id = $1', [user.id])
    t.equal(session?.lives, true, 'the session that nobody holds ends by itself')
    t.equal((await signIn(doorstep, user)).status, 200)
  },
)

/** Requests, while connections die. */
const storm = thorough(400, 160)

t.test('many logins while connections are killed under them: the books agree (F-03, SEC-44)', async (t) => {
  const users: TestUser[] = []
  for (let count = 0; count < 40; count += 1) users.push(await createUser(direct))
  const answers: Answer[] = []
  let asked = 0
  // By turns, every few requests: cut in the middle of some answer, or every connection killed.
  const strike = async (): Promise<void> => {
    const blow = asked / strikeEvery
    if (blow % 2 === 0) await killConnections()
    else proxy.setMode({ cutAfterBytes: 1 + ((blow * 977) % 4_000) })
  }
  const ask = async (work: () => Promise<Answer>): Promise<Answer> => {
    asked += 1
    const striking = asked % strikeEvery === 0 ? strike() : undefined
    const answer = await work()
    answers.push(answer)
    await striking
    return answer
  }
  const client = async (mine: TestUser[]): Promise<void> => {
    for (let turn = 0; asked < storm; turn += 1) {
      const user = mine[turn % mine.length] as TestUser
      const first = await ask(() => login(doorstep, user))
      if (first.status !== 200 || textsTo(doorstep, user.phone).length === 0) continue
      const { pending_token: pending } = first.body
      const code = codeFor(doorstep, user.phone)
      if (turn % 3 === 0) await ask(() => finish(doorstep, pending, wrongCode(code)))
      // Twice at once: whatever breaks, at most one of them wins.
      await Promise.all([ask(() => finish(doorstep, pending, code)), ask(() => finish(doorstep, pending, code))])
    }
  }
  await Promise.all(Array.from({ length: 8 }, (_, at) => client(users.slice(at * 5, at * 5 + 5))))
  proxy.setMode('pass')

  const statuses = new Map<number, number>()
  for (const { status } of answers) statuses.set(status, (statuses.get(status) ?? 0) + 1)
  t.comment(`answers by status: ${JSON.stringify([...statuses])}`)
  t.same(
    [...statuses.keys()].filter((status) => ![200, 401, 422, 429, 503].includes(status)),
    [],
    'every answer is one of the contract',
  )
  t.ok((statuses.get(503) ?? 0) > 0, 'the storm did hit')
  t.ok(answers.filter(({ body }) => body.access_token).length > 5, 'and logins went through all the same')
  const texts = users.flatMap(({ phone }) => textsTo(doorstep, phone).map((body) => ({ to: phone, body })))
  await reconcile(t, direct, users, { answers, texts })
  const newcomer = await createUser(direct)
  t.equal((await signIn(doorstep, newcomer)).status, 200, 'when it is over, everything works')
})
