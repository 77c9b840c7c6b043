import pg from 'pg'
import t from 'tap'
import { enter, refresh } from '../helpers/credentials.ts'
import { createTestDatabase } from '../helpers/database.ts'
import { createDecisions } from '../helpers/decisions.ts'
import { startDoorstep } from '../helpers/doorstep.ts'
import { passTime } from '../helpers/pass-time.ts'
import { reconcile } from '../helpers/reconcile.ts'
import {
  type Answer,
  call,
  codeFor,
  createUser,
  finish,
  login,
  resend,
  type TestUser,
  textsTo,
  wrongCode,
} from '../helpers/story.ts'
import { countOf, isOverloaded, repeat, tally, together } from '../helpers/together.ts'

t.setTimeout(300_000)

const event = { type: 'user.changed', outcome: 'test' } as const
t.test('an attacker who sends everything at once, to two replicas on one database', async (t) => {
  const database = await createTestDatabase()
  t.teardown(() => database.close())
  const one = await startDoorstep(t, { database })
  const two = await startDoorstep(t, { database })
  const { sql } = one
  const replica = (index: number) => (index % 2 === 0 ? one : two)
  const textsSent = (phone: string): string[] => [...textsTo(one, phone), ...textsTo(two, phone)]
  const rounds = (onServer: number, embedded: number): number => (database.isReal ? onServer : embedded)

  const challengeOf = async ({ id }: TestUser) => {
    const [row] = await sql<{ id: string; attempts: number; sends: number }>(
      `SELECT id, attempts, sends FROM challenges JOIN challenge_codes ON challenge_id = id
       WHERE user_id = $1 ORDER BY created_at DESC LIMIT 1`,
      [id],
    )
    return row
  }
  const count = async (statement: string, { id }: TestUser): Promise<number> => {
    const [row] = await sql<{ n: number }>(`SELECT count(*)::integer AS n FROM ${statement}`, [id])
    return row?.n ?? -1
  }
  const sessionsOf = (user: TestUser) => count('sessions WHERE user_id = $1', user)
  const liveSessionsOf = (user: TestUser) => count('sessions WHERE user_id = $1 AND ended_at IS NULL', user)
  const liveChallengesOf = (user: TestUser) =>
    count('challenges WHERE user_id = $1 AND consumed_at IS NULL AND superseded_at IS NULL', user)
  const successesOf = (user: TestUser) => count(`audit_events WHERE user_id = $1 AND type = 'session.started'`, user)

  const begin = async (): Promise<{ user: TestUser; token: string; code: string }> => {
    const user = await createUser(one)
    const first = await login(one, user)
    if (first.status !== 200) throw new Error(`login: ${first.status} ${first.body.code}`)
    return { user, token: first.body.pending_token, code: codeFor(one, user.phone) }
  }

  await t.test('100 wrong codes at once: five are compared', async (t) => {
    await repeat(t, rounds(10, 3), async () => {
      const { user, token, code } = await begin()
      const answers = await together(100, (i) => finish(replica(i), token, wrongCode(code), { from: `10.1.0.${i}` }))
      const { attempts } = (await challengeOf(user)) ?? {}
      const evaluated = answers.filter(({ status }) => status === 422)
      t.ok(evaluated.length <= 5 && (attempts ?? 99) <= 5, 'never a sixth comparison')
      t.match(await finish(two, token, code), { status: 429 }, 'and the right code comes too late')
      if (isOverloaded(answers)) return false
      t.same(tally(answers), { '422 invalid_code': 5, '429 code_attempts_exhausted': 95 })
      t.equal(attempts, 5)
      t.same(evaluated.map(({ body }) => body.attempts_remaining).sort(), [0, 1, 2, 3, 4])
      const waits = answers.filter(({ status }) => status === 429).map(({ body }) => body.retry_after)
      t.ok(
        waits.every((seconds) => seconds >= 1 && seconds <= 60),
        'and says when the next code can be had',
      )
      return true
    })
  })

  await t.test('50 times the right code at once: one session', async (t) => {
    await repeat(t, rounds(8, 3), async () => {
      const { user, token, code } = await begin()
      const answers = await together(50, (i) => finish(replica(i), token, code))
      const granted = answers.filter(({ status }) => status === 200)
      t.ok(granted.length <= 1, 'never two tokens for one code')
      t.equal(await sessionsOf(user), await successesOf(user), 'a session and its audit row, or neither')
      if (isOverloaded(answers)) return false
      t.same(tally(answers), { '200': 1, '401 invalid_token': 49 })
      t.equal(await sessionsOf(user), 1)
      const guards = await sql('SELECT FROM factor_guards WHERE user_id = $1', [user.id])
      t.same(guards, [], 'the right code, sent twice, is not a failure of the owner')
      return true
    })
  })

  // A replica puts the tries at one login in line; here nothing does, as if each request had a replica of its own.
  await t.test('the database alone: 100 tries at once are five, 50 right codes at once are one session', async (t) => {
    const pool = new pg.Pool({ connectionString: database.url, max: database.isReal ? 25 : 6 })
    pool.on('error', () => {})
    t.teardown(() => pool.end())
    const { join, answer, begin: charge } = createDecisions(one)
    const outcomes = (count: number, script: { sql: string; values: unknown[] }) =>
      together(count, async (): Promise<string> => {
        const { rows } = await pool.query<[{ outcome: string }]>({
          text: script.sql,
          values: script.values,
          rowMode: 'array',
        })
        return rows[0]?.[0]?.outcome ?? 'nothing'
      })
    for (let round = 0; round < rounds(20, 3); round++) {
      const player = await join()
      t.same(countOf(await outcomes(100, answer(player, { right: false }))), { wrong: 5, exhausted: 95 })
      const [row] = await sql('SELECT attempts FROM challenges WHERE id = $1', [player.challenge])
      t.equal(row?.attempts, 5)
      await sql('UPDATE challenges SET attempts = 0 WHERE id = $1', [player.challenge])
      t.same(countOf(await outcomes(50, answer(player))), { completed: 1, invalid: 49 })
      const [made] = await sql(
        `SELECT (SELECT count(*)::integer FROM sessions WHERE user_id = $1 AND acr = 'aal2') AS sessions,
           (SELECT count(*)::integer FROM audit_events WHERE user_id = $1 AND type = 'session.started') AS events,
           (SELECT count(*)::integer FROM devices WHERE user_id = $1) AS devices`,
        [player.id],
      )
      t.same(made, { sessions: 1, events: 1, devices: 2 }, 'with one event, and one device more')
      t.same(
        countOf(await outcomes(100, charge(player))),
        { charged: 3, locked: 97 },
        'and two passwords were wrong before',
      )
    }
  })

  await t.test('50 correct logins of one client at once: one text, and everybody gets in (SEC-105)', async (t) => {
    await repeat(t, rounds(3, 2), async () => {
      const user = await createUser(one)
      const answers = await together(50, (i) => login(replica(i), user))
      t.ok(textsSent(user.phone).length <= 1, 'at most one')
      if (isOverloaded(answers)) return false
      t.equal(textsSent(user.phone).length, 1)
      t.equal(await count('sms_messages WHERE user_id = $1', user), 1)
      t.equal(await liveChallengesOf(user), 1)
      t.same(tally(answers), { '200': 50 })
      const code = /#(\d+)$/.exec(textsSent(user.phone)[0] ?? '')?.[1] ?? ''
      const last = answers.at(-1)?.body.pending_token
      t.equal((await finish(two, last, code)).status, 200, 'any of the tokens finishes the login')
      return true
    })
  })

  await t.test('50 correct logins of 50 clients at once: one of them is sent a code', async (t) => {
    await repeat(t, rounds(3, 2), async () => {
      const user = await createUser(one)
      const answers = await together(50, (i) => login(replica(i), user, { from: `10.2.0.${i}` }))
      t.ok(textsSent(user.phone).length <= 1, 'at most one')
      if (isOverloaded(answers)) return false
      t.equal(textsSent(user.phone).length, 1)
      t.equal(await liveChallengesOf(user), 1)
      t.same(tally(answers), { '200': 1, '429 resend_too_soon': 49 })
      return true
    })
  })

  await t.test('resends at once: one text', async (t) => {
    await repeat(t, rounds(5, 2), async () => {
      const { user, token } = await begin()
      await passTime(one, 61)
      const answers = await together(20, (i) => resend(replica(i), token))
      t.ok(textsSent(user.phone).length <= 2, 'the first text and one more')
      if (isOverloaded(answers)) return false
      t.equal(textsSent(user.phone).length, 2)
      t.equal((await challengeOf(user))?.sends, 2)
      t.same(tally(answers), { '200': 1, '429 resend_too_soon': 19 })
      return true
    })
  })

  await t.test('the right code among 50 wrong ones gets no more tries than they do', async (t) => {
    const places = [0, 1, 3, 5, 25, 49]
    await repeat(t, rounds(places.length, 2), async (round) => {
      const { user, token, code } = await begin()
      const place = places[round % places.length]
      const answers = await together(50, (i) => finish(replica(i), token, i === place ? code : wrongCode(code)))
      const granted = answers.filter(({ status }) => status === 200)
      const evaluated = granted.length + answers.filter(({ status }) => status === 422).length
      t.ok(evaluated <= 5 && ((await challengeOf(user))?.attempts ?? 99) <= 5, 'never a sixth comparison')
      t.equal(await sessionsOf(user), granted.length)
      t.equal(await successesOf(user), granted.length)
      t.equal(await liveChallengesOf(user), 1 - granted.length)
      const allowed = ['200', '401 invalid_token', '422 invalid_code', '429 code_attempts_exhausted']
      if (isOverloaded(answers)) return false
      t.same(
        Object.keys(tally(answers)).filter((name) => !allowed.includes(name)),
        [],
      )
      return true
    })
  })

  await t.test('whoever signs in while the account is being disabled ends with nothing', async (t) => {
    for (let round = 0; round < rounds(8, 3); round++) {
      const { user, token, code } = await begin()
      const plain = await createUser(one, { twoFactor: 'off' })
      const before = await enter(one, plain)
      const disable = ({ email }: TestUser) => two.services.store.accounts.change(email, [], { disabled: true }, event)
      const [answers] = await Promise.all([
        Promise.all([
          ...Array.from({ length: 4 }, (_, i) => login(replica(i), user)),
          ...Array.from({ length: 4 }, (_, i) => login(replica(i), plain)),
          finish(one, token, code),
          refresh(one, before.refresh),
        ]),
        disable(user),
        disable(plain),
      ])
      for (const { id, email } of [user, plain]) {
        t.equal(await liveChallengesOf({ id } as TestUser), 0, `no live challenge (${email})`)
        t.equal(await liveSessionsOf({ id } as TestUser), 0, `no live session (${email})`)
      }
      t.same(
        answers.map(({ status }) => status).filter((status) => ![200, 401, 503].includes(status)),
        [],
      )
      const tokens = answers.map(({ body }) => body as Record<string, string | undefined>)
      for (const { pending_token: pending, access_token: access, refresh_token: next } of tokens) {
        if (pending) t.equal((await call(two, '/login/2fa', { token: pending })).status, 401, 'a dead pending token')
        if (access) t.equal((await call(two, '/me', { token: access })).status, 401, 'a dead access token')
        if (next) t.equal((await refresh(two, next)).status, 401, 'a dead refresh token')
      }
    }
  })

  await t.test('two accounts with one phone cannot send it two texts at once', async (t) => {
    await repeat(t, rounds(8, 3), async () => {
      const ada = await createUser(one)
      const bob = await createUser(one, { phone: ada.phone })
      const answers = await together(8, (i) => login(replica(i >> 1), i % 2 === 0 ? ada : bob))
      t.ok(textsSent(ada.phone).length <= 1, 'at most one')
      if (isOverloaded(answers)) return false
      t.equal(textsSent(ada.phone).length, 1)
      t.equal((await liveChallengesOf(ada)) + (await liveChallengesOf(bob)), 1)
      t.same(tally(answers), { '200': 4, '429 resend_too_soon': 4 })
      return true
    })
  })

  await t.test('everything at once: no deadlock, and the books are right afterwards', async (t) => {
    // The embedded database has room for 32 connections, and the first two replicas keep theirs.
    const poolSize = database.isReal ? '10' : '3'
    const env = {
      SMS_COOLDOWN: '1',
      SMS_PER_USER_HOUR: '10000',
      SMS_PER_USER_DAY: '10000',
      DATABASE_POOL_SIZE: poolSize,
    }
    const crowd = [await startDoorstep(t, { database, env }), await startDoorstep(t, { database, env })] as const
    const ada = await createUser(one)
    const users = [ada, await createUser(one, { phone: ada.phone }), await createUser(one)]
    const answers: Answer[] = []
    const pending = new Map(users.map(({ id }) => [id, 'none yet']))
    const [refreshed, signedIn, known] = [
      new Map<string, string>(),
      new Map<string, string>(),
      new Map<string, object>(),
    ]
    const identifiers = ({ email }: TestUser) => one.services.loginThrottle.identifyAll(email)

    const act = async (step: number): Promise<void> => {
      const user = users[step % users.length] as TestUser
      const at = crowd[step % 2] as (typeof crowd)[0]
      const token = pending.get(user.id) ?? ''
      const { accounts, purge } = at.services.store
      const acts: (() => Promise<Answer | unknown>)[] = [
        () => login(at, user),
        () => finish(at, token, '000000'),
        () => finish(at, token, liveCode(user)),
        () => resend(at, token),
        () => call(at, '/login/2fa', { token }),
        () => login(at, { ...user, password: 'wrong password' }),
        () =>
          accounts.unlock(
            user.email,
            at.services.loginThrottle.identifyAll(user.email),
            { all: step % 2 === 0 },
            event,
          ),
        () =>
          step % 5 === 0 ? accounts.change(user.email, identifiers(user), { disabled: false }, event) : login(at, user),
        () =>
          step % 5 === 1
            ? accounts.change(user.email, identifiers(user), { phone: user.phone }, event)
            : login(at, user),
        () => (step % 7 === 0 ? purge.expired({ eventDays: 400, notices: true }) : login(at, user)),
        () => renew(at, user),
        () => login(at, { ...user, ...(step % 2 === 0 && { password: 'wrong' }) }, { body: known.get(user.id) ?? {} }),
        () =>
          step % 3 === 0
            ? call(at, '/logout', { token: signedIn.get(user.id) ?? '', body: { scope: 'local' } })
            : login(at, user),
      ]
      const answer = await acts[Math.floor(step / 3) % acts.length]?.()
      if (typeof answer === 'object' && answer !== null && 'status' in answer) {
        answers.push(answer as Answer)
        const {
          pending_token: next,
          access_token: access,
          refresh_token: newest,
          device_token: device,
        } = (answer as Answer).body
        if (next) pending.set(user.id, next)
        if (newest) refreshed.set(user.id, newest)
        if (access) signedIn.set(user.id, access)
        if (device) known.set(user.id, { device_token: device })
      }
    }
    /** A refresh, whose tokens are of the session that there was: they are kept out of what is reconciled. */
    const renew = async (at: (typeof crowd)[0], user: TestUser): Promise<Answer> => {
      const token = refreshed.get(user.id)
      if (token === undefined) return login(at, user)
      const { status, headers, body } = await refresh(at, token)
      if (body.refresh_token) refreshed.set(user.id, body.refresh_token)
      return { status, headers, body: { code: body.code } }
    }
    const liveCode = ({ phone }: TestUser): string => {
      const texts = crowd.flatMap(({ services }) => services.inbox?.sent() ?? []).filter(({ to }) => to === phone)
      const newest = texts.sort((a, b) => (a.sent_at < b.sent_at ? 1 : -1))[0]?.body ?? ''
      return /#(\d+)$/.exec(newest)?.[1] ?? '000000'
    }
    let step = 0
    const steps = rounds(480, 160)
    await together(12, async () => {
      while (step < steps) await act(step++)
    })

    const kinds = tally(answers)
    t.comment(JSON.stringify(kinds))
    t.same(
      Object.keys(kinds).filter((name) => !/^(200|204|401|410|422|429|503)/.test(name)),
      [],
      'only answers of the contract',
    )
    t.ok((kinds['200'] ?? 0) >= 5, 'and some of it got through')
    const logged = crowd.flatMap(({ logs }) => logs).filter((line) => /40P01|P2034|deadlock/.test(line))
    t.same(logged, [], 'no deadlock')
    const texts = crowd.flatMap(({ services }) => services.inbox?.sent() ?? [])
    await reconcile(t, one, users, { answers, texts })
    const sent = await sql<{ reserved_at: Date; phone: string; known: boolean }>(
      `SELECT reserved_at, phone, known FROM sms_messages WHERE user_id = ANY ($1) AND state = 'open'
       ORDER BY known, phone, reserved_at`,
      [users.map(({ id }) => id)],
    )
    const close = sent.filter(({ reserved_at: at, phone, known }, i) => {
      const before = sent[i - 1]
      return before?.phone === phone && before.known === known && at.getTime() - before.reserved_at.getTime() < 990
    })
    t.same(close, [], 'no phone got two texts within its cooldown')
  })
})
