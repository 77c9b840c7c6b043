import { randomInt, randomUUID } from 'node:crypto'
import t from 'tap'
import { startDoorstep } from '../helpers/doorstep.ts'
import { type Outcome, openSessions, ordersOf, type Script } from '../helpers/interleave.ts'

t.setTimeout(180_000)

/** What the statements did, for a scenario to judge: the first thing that is wrong, or null. */
type Scenario = {
  name: string
  scripts: () => Promise<{ scripts: Script[]; wrong: (outcomes: Outcome[]) => Promise<string | null> }>
}

t.test('the statements of the login, in every order in which two or three sessions can run them', async (t) => {
  const { sql, services, database } = await startDoorstep(t)
  const sessions = await openSessions(database, 3)
  t.teardown(() => sessions.close())
  const { limits, sending } = services.challengeRules
  const event = JSON.stringify({ type: 'test', outcome: 'test' })
  let users = 0

  type User = { id: string; email: string; phone: string; challenge: string }
  const newUser = async (phone = `+1555${String(++users).padStart(7, '0')}`): Promise<User> => {
    const email = `${++users}@example.com`
    const [row] = await sql<{ user: { id: string } }>(`SELECT create_user($1, $2, 'not a hash', 'sms', $3) AS "user"`, [
      email,
      phone,
      event,
    ])
    return { id: row?.user.id ?? '', email, phone, challenge: '' }
  }
  const open = ({ id, phone }: User, epoch = 0): Script => ({
    sql: 'SELECT open_challenge($1, $2, $3, $4, $5, $6)',
    values: [
      ...[id, epoch, Buffer.from(id)],
      JSON.stringify({ id: randomUUID(), purpose: 'login', code_mac: '00', key_id: 'k', message_id: randomUUID() }),
      ...[JSON.stringify(sending({ userId: id, phone, address: '192.0.2.1', maySend: true })), event],
    ],
  })
  const charge = ({ id, challenge }: User): Script => ({
    sql: 'SELECT charge_code($1, $2, $3)',
    values: [challenge, id, JSON.stringify(limits)],
  })
  const complete = ({ id, challenge }: User): Script => ({
    sql: 'SELECT complete_challenge($1, $2, $3, NULL, $4)',
    values: [
      challenge,
      id,
      JSON.stringify({ id: randomUUID(), amr: ['pwd'], acr: 'aal2', remember: false, ttl: 60, idle_ttl: 60 }),
      event,
    ],
  })
  const resend = ({ id, phone, challenge }: User, more: object = {}): Script => ({
    sql: 'SELECT resend_code($1, $2, $3, $4, $5)',
    values: [
      ...[challenge, id, randomUUID()],
      ...[JSON.stringify({ ...sending({ userId: id, phone, address: '192.0.2.1', maySend: true }), ...more }), event],
    ],
  })
  const change = ({ email }: User, what: object = { disabled: true }): Script => ({
    sql: 'SELECT change_user($1, $2, $3)',
    values: [email, JSON.stringify(what), event],
  })
  const start = ({ id }: User): Script => ({
    sql: 'SELECT start_session($1, 0, $2, NULL, $3, $4)',
    values: [
      id,
      Buffer.from(id),
      JSON.stringify({ id: randomUUID(), amr: ['pwd'], acr: 'aal1', remember: false, ttl: 60, idle_ttl: 60 }),
      event,
    ],
  })
  const run = async ({ sql: text, values }: Script): Promise<Record<string, unknown>> =>
    Object.values((await sql(text, values))[0] ?? {})[0] as Record<string, unknown>

  /** A user with a challenge whose text went `ago` seconds before now, and `attempts` tries used. */
  const begun = async ({ attempts = 0, ago = 0, phone }: { attempts?: number; ago?: number; phone?: string } = {}) => {
    const user = await newUser(phone)
    const { challenge_id: challenge } = await run(open(user))
    const by = `make_interval(secs => ${ago})`
    await sql(
      `UPDATE challenges SET attempts = $2, created_at = created_at - ${by}, last_sent_at = last_sent_at - ${by},
         expires_at = expires_at - ${by}, ends_at = ends_at - ${by} WHERE id = $1`,
      [challenge, attempts],
    )
    await sql(`UPDATE sms_messages SET reserved_at = reserved_at - ${by} WHERE user_id = $1`, [user.id])
    await sql(`UPDATE sms_budgets SET sent_at = ARRAY(SELECT s - ${by} FROM unnest(sent_at) s) WHERE key = ANY ($1)`, [
      [`user:${user.id}`, `phone:${user.phone}`],
    ])
    return { ...user, challenge: challenge as string }
  }
  const outcomesOf = (outcomes: Outcome[]): string[] =>
    outcomes
      .map((outcome) => {
        if ('failed' in outcome) return `failed ${outcome.failed}`
        return typeof outcome.value === 'object' ? String(outcome.value?.outcome) : 'changed'
      })
      .sort()
  const be = (expected: string[]) => (outcomes: Outcome[]) => {
    const found = outcomesOf(outcomes).join()
    return found === [...expected].sort().join() ? null : found
  }
  const stateOf = async (user: User): Promise<Record<string, number>> => {
    const [row] = await sql<Record<string, number>>(
      `SELECT coalesce(max(c.attempts), 0)::integer AS attempts, coalesce(max(c.sends), 0)::integer AS sends,
         count(*) FILTER (WHERE c.consumed_at IS NULL AND c.superseded_at IS NULL)::integer AS live,
         count(*) FILTER (WHERE c.consumed_at IS NOT NULL)::integer AS consumed,
         (SELECT count(*)::integer FROM sessions s WHERE s.user_id = $1) AS sessions,
         (SELECT count(*)::integer FROM sessions s WHERE s.user_id = $1 AND s.ended_at IS NULL) AS "liveSessions",
         (SELECT count(*)::integer FROM sms_messages m WHERE m.user_id = $1) AS texts,
         (SELECT cardinality(failed_at) FROM factor_guards WHERE user_id = $1) AS failures,
         (SELECT cardinality(counted_texts(b)) FROM sms_budgets b WHERE key = 'phone:' || $2) AS "phoneTexts"
       FROM challenges c WHERE c.user_id = $1`,
      [user.id, user.phone],
    )
    return row ?? {}
  }
  const states = (user: User, expected: Record<string, number>) => async (): Promise<string | null> => {
    const found = await stateOf(user)
    const differs = Object.entries(expected).filter(([name, value]) => found[name] !== value)
    return differs.length === 0 ? null : differs.map(([name]) => `${name} ${found[name]}`).join()
  }
  const first =
    (...checks: ((outcomes: Outcome[]) => string | null | Promise<string | null>)[]) =>
    async (outcomes: Outcome[]) => {
      for (const check of checks) {
        const wrong = await check(outcomes)
        if (wrong !== null) return wrong
      }
      return null
    }
  const failedBefore = (user: User, count: number, within: string, streak = 0) =>
    sql(
      `UPDATE factor_guards SET streak = $3, failed_at = ARRAY(
         SELECT clock_timestamp() - $4::interval * n / ($2 + 1) FROM generate_series($2, 1, -1) n) WHERE user_id = $1`,
      [user.id, count, streak, within],
    )

  const lastTry: Scenario = {
    name: 'two tries when one is left: one is compared',
    scripts: async () => {
      const user = await begun({ attempts: 4 })
      return {
        scripts: [charge(user), charge(user)],
        wrong: first(be(['charged', 'exhausted']), states(user, { attempts: 5, failures: 1 })),
      }
    },
  }
  const lastOfBudget = (name: string, count: number, within: string, streak: number): Scenario => ({
    name: `two tries when the account has one left ${name}: one is compared`,
    scripts: async () => {
      const user = await begun()
      await failedBefore(user, count, within, streak)
      return {
        scripts: [charge(user), charge(user)],
        wrong: first(be(['charged', 'locked']), states(user, { attempts: 1, failures: count + 1 })),
      }
    },
  })
  const rightTwice: Scenario = {
    name: 'a right code twice: one session',
    scripts: async () => {
      const user = await begun()
      await run(charge(user))
      await run(charge(user))
      return {
        scripts: [complete(user), complete(user)],
        wrong: first(be(['completed', 'invalid']), states(user, { sessions: 1, consumed: 1, live: 0, failures: 0 })),
      }
    },
  }
  const twoLogins: Scenario = {
    name: 'two logins: one challenge, one text',
    scripts: async () => {
      const user = await newUser()
      return {
        scripts: [open(user), open(user)],
        wrong: first(be(['joined', 'opened']), states(user, { live: 1, texts: 1, phoneTexts: 1 })),
      }
    },
  }
  const twoResends: Scenario = {
    name: 'two resends: one text',
    scripts: async () => {
      const user = await begun({ ago: 61 })
      return {
        scripts: [resend(user), resend(user)],
        wrong: first(be(['resend_too_soon', 'sent']), states(user, { sends: 2, texts: 2 })),
      }
    },
  }
  const lastText: Scenario = {
    name: 'two resends when one is left, and no budget stands behind: one text',
    scripts: async () => {
      const user = await begun()
      await sql('UPDATE challenges SET sends = 2 WHERE id = $1', [user.challenge])
      const unlimited = { cooldown: 0, rules: [] }
      return {
        scripts: [resend(user, unlimited), resend(user, unlimited)],
        wrong: first(be(['sent', 'sms_limit_reached']), states(user, { sends: 3, texts: 2 })),
      }
    },
  }
  const sharedPhone: Scenario = {
    name: 'two accounts with one phone: one text',
    scripts: async () => {
      // An hour ago the phone had a text, so that its budget's row is there and only its lock keeps them apart.
      const ada = await begun({ ago: 4_000 })
      const bob = await newUser(ada.phone)
      return {
        scripts: [open(ada), open(bob)],
        wrong: first(be(['opened', 'resend_too_soon']), states(ada, { phoneTexts: 2 })),
      }
    },
  }
  const loginAndDisable: Scenario = {
    name: 'a login while the account is disabled: nothing stays alive',
    scripts: async () => {
      const user = await newUser()
      return { scripts: [open(user), change(user)], wrong: states(user, { live: 0 }) }
    },
  }
  const codeAndDisable: Scenario = {
    name: 'a right code while the account is disabled: nothing stays alive',
    scripts: async () => {
      const user = await begun()
      await run(charge(user))
      return { scripts: [complete(user), change(user)], wrong: states(user, { live: 0, liveSessions: 0 }) }
    },
  }
  const passwordOnlyAndDisable: Scenario = {
    name: 'a login without a second factor while the account is disabled: nothing stays alive',
    scripts: async () => {
      const user = await newUser()
      return { scripts: [start(user), change(user)], wrong: states(user, { liveSessions: 0 }) }
    },
  }

  const two: Scenario[] = [
    lastTry,
    lastOfBudget('in a row', 9, '24 hours', 9),
    lastOfBudget('in 24 hours', 19, '23 hours', 0),
    lastOfBudget('in 30 days', 99, '719 hours', 0),
    rightTwice,
    twoLogins,
    twoResends,
    lastText,
    {
      name: 'a login and a resend: one text',
      scripts: async () => {
        const user = await begun({ ago: 61 })
        return { scripts: [open(user), resend(user)], wrong: states(user, { sends: 2, texts: 2, live: 1 }) }
      },
    },
    sharedPhone,
    loginAndDisable,
    codeAndDisable,
    passwordOnlyAndDisable,
    {
      name: 'a try while the password changes: the login is over',
      scripts: async () => {
        const user = await begun()
        return {
          scripts: [charge(user), change(user, { password_hash: 'another' })],
          wrong: first(states(user, { live: 0 }), async () =>
            (await run(charge(user))).outcome === 'invalid' ? null : 'a try after the change',
          ),
        }
      },
    },
    {
      name: 'a resend while the phone changes: the login is over',
      scripts: async () => {
        const user = await begun({ ago: 61 })
        return {
          scripts: [resend(user), change(user, { phone: `+1555${randomInt(1_000_000, 9_999_999)}` })],
          wrong: first(states(user, { live: 0 }), async ([resent]) => {
            const sent = resent && 'value' in resent && (resent.value as { outcome: string }).outcome === 'sent'
            return (await stateOf(user)).texts === (sent ? 2 : 1) ? null : 'a text that nobody asked for'
          }),
        }
      },
    },
    {
      name: 'a right code and a resend: the texts are given back whichever comes first',
      scripts: async () => {
        const user = await begun({ ago: 61 })
        await run(charge(user))
        return {
          scripts: [complete(user), resend(user)],
          wrong: states(user, { sessions: 1, live: 0, phoneTexts: 0, failures: 0 }),
        }
      },
    },
  ]
  const three: Scenario[] = [
    {
      name: 'three tries when two are left: two are compared',
      scripts: async () => {
        const user = await begun({ attempts: 3 })
        return {
          scripts: [charge(user), charge(user), charge(user)],
          wrong: first(be(['charged', 'charged', 'exhausted']), states(user, { attempts: 5, failures: 2 })),
        }
      },
    },
    {
      name: 'a right code twice while the account is disabled: at most one session, and none that lives',
      scripts: async () => {
        const user = await begun()
        await run(charge(user))
        await run(charge(user))
        return {
          scripts: [complete(user), complete(user), change(user)],
          wrong: first(states(user, { live: 0, liveSessions: 0 }), async () => {
            const { sessions: made = 9, consumed } = await stateOf(user)
            return made <= 1 && made === consumed ? null : `${made} sessions`
          }),
        }
      },
    },
  ]
  /** Someone else's try at the same e-mail holds the throttle's row while an operator unlocks and the owner signs in. */
  const unlocking: Scenario = {
    name: 'a login, an unlock and a failing password: no deadlock',
    scripts: async () => {
      const user = await newUser()
      const identifier = Buffer.from(user.id)
      await sql('INSERT INTO login_throttles (identifier) VALUES ($1)', [identifier])
      return {
        scripts: [
          { sql: 'UPDATE login_throttles SET failures = failures + 1 WHERE identifier = $1', values: [identifier] },
          { sql: 'SELECT unlock_user($1, $2, $3)', values: [user.email, [identifier], event] },
          open(user),
        ],
        wrong: async (outcomes) => outcomesOf(outcomes).find((outcome) => outcome.startsWith('failed')) ?? null,
      }
    },
  }
  three.push(unlocking)

  const sequential = (orders: number[][]): number[][] =>
    orders.filter((order) =>
      order.every((session, i) => session === order[i - 1] || !order.slice(0, i).includes(session)),
    )
  const ordersFor = (sessionCount: 2 | 3): number[][] => {
    const orders = ordersOf(sessionCount === 2 ? [3, 3] : [2, 2, 2])
    return database.isReal ? orders : sequential(orders)
  }
  /** The orders after which something was wrong, as `order: what`; stops at the first if `untilFirst`. */
  const broken = async (scenario: Scenario, sessionCount: 2 | 3, untilFirst = false): Promise<string[]> => {
    const found: string[] = []
    for (const order of ordersFor(sessionCount)) {
      const { scripts, wrong } = await scenario.scripts()
      const outcomes = await sessions.play(scripts, order, sessionCount === 2 ? 3 : 2)
      const what = await wrong(outcomes)
      if (what !== null) found.push(`${order.join('')}: ${what}`)
      if (untilFirst && found.length > 0) break
    }
    return found
  }

  await t.test('every order keeps the rules', async (t) => {
    t.equal(ordersOf([3, 3]).length, 20)
    t.equal(ordersOf([2, 2, 2]).length, 90)
    for (const scenario of two) t.same(await broken(scenario, 2), [], scenario.name)
    for (const scenario of three) t.same(await broken(scenario, 3), [], scenario.name)
  })

  /** Replaces a part of a function in this database while `work` runs. */
  const without = async (name: string, part: string, instead: string, work: () => Promise<void>): Promise<void> => {
    const [row] = await sql<{ definition: string }>('SELECT pg_get_functiondef($1::regproc) AS definition', [name])
    const definition = row?.definition ?? ''
    if (!definition.includes(part)) throw new Error(`${name} has no "${part}"`)
    await sql(definition.replace(part, instead))
    await work().finally(() => sql(definition))
  }
  type Tooth = {
    guard: string
    in: string
    part: string
    instead: string
    breaks: Scenario
    sessions?: 3
    race: boolean
  }
  const noLock = {
    guard: 'the lock of the account',
    in: 'lock_account',
    part: 'SELECT pg_advisory_xact_lock(uuid_hash_extended(p_user, 0))',
    instead: 'SELECT NULL::void',
    race: true,
  }
  const noEpoch = {
    guard: 'the look at the epoch',
    part: 'AND epoch = p_epoch AND disabled_at IS NULL',
    instead: '',
    race: false,
  }
  const teeth: Tooth[] = [
    { ...noLock, breaks: lastTry },
    { ...noLock, breaks: lastOfBudget('in a row', 9, '24 hours', 9) },
    { ...noLock, breaks: rightTwice },
    { ...noLock, breaks: twoLogins },
    { ...noLock, breaks: lastText },
    { ...noLock, breaks: loginAndDisable },
    { ...noLock, breaks: passwordOnlyAndDisable },
    {
      guard: 'the lock of a budget',
      in: 'reserve_sms',
      part: `INSERT INTO sms_budgets AS old (key) VALUES (r.key)
    ON CONFLICT (key) DO UPDATE SET sent_at = counted_texts(old), touched_at = p_now RETURNING * INTO budget;`,
      instead: 'SELECT * INTO budget FROM sms_budgets WHERE key = r.key;',
      race: true,
      breaks: sharedPhone,
    },
    {
      guard: 'the lock before a change',
      in: 'change_user',
      part: 'PERFORM lock_account(the_user);',
      instead: '',
      race: true,
      breaks: loginAndDisable,
    },
    {
      guard: 'the order of the locks of an unlock',
      in: 'unlock_user',
      part: `PERFORM lock_account(the_user);
  DELETE FROM login_throttles WHERE identifier = ANY (p_identifiers);`,
      instead: `DELETE FROM login_throttles WHERE identifier = ANY (p_identifiers);
  PERFORM lock_account(the_user);`,
      race: true,
      breaks: unlocking,
      sessions: 3,
    },
    { ...noEpoch, in: 'open_challenge', breaks: loginAndDisable },
    { ...noEpoch, in: 'start_session', breaks: passwordOnlyAndDisable },
    {
      guard: 'five tries per code',
      in: 'charge_code',
      part: `c.attempts >= (p_policy->>'max_attempts')::integer`,
      instead: 'false',
      race: false,
      breaks: lastTry,
    },
    {
      guard: 'the locks of the account',
      in: 'charge_code',
      part: 'factor_locked_until(g, t) IS NOT NULL',
      instead: 'false',
      race: false,
      breaks: lastOfBudget('in 24 hours', 19, '23 hours', 0),
    },
    {
      guard: 'one success per code',
      in: 'pending_challenge',
      part: 'AND consumed_at IS NULL',
      instead: '',
      race: false,
      breaks: rightTwice,
    },
    {
      guard: 'the end of live challenges',
      in: 'change_user',
      part: 'SET superseded_at = t WHERE',
      instead: 'SET superseded_at = NULL WHERE',
      race: false,
      breaks: loginAndDisable,
    },
    {
      guard: 'the end of sessions',
      in: 'change_user',
      part: 'SET ended_at = t WHERE',
      instead: 'SET ended_at = NULL WHERE',
      race: false,
      breaks: codeAndDisable,
    },
    {
      guard: 'three texts per code',
      in: 'resend_code',
      part: `c.sends >= (p_policy->>'max_sends')::integer`,
      instead: 'false',
      race: false,
      breaks: lastText,
    },
    {
      guard: 'the refund to the loser of a race',
      in: 'complete_challenge',
      part: 'failed_at = trim_array(failed_at, least(1, cardinality(failed_at))) WHERE user_id = p_user;\n    RETURN',
      instead: 'failed_at = failed_at WHERE user_id = p_user;\n    RETURN',
      race: false,
      breaks: rightTwice,
    },
  ]
  await t.test('without one of its guards some order breaks them', async (t) => {
    for (const tooth of teeth.filter(({ race }) => database.isReal || !race)) {
      await without(tooth.in, tooth.part, tooth.instead, async () => {
        const found = await broken(tooth.breaks, tooth.sessions ?? 2, true)
        t.not(found.length, 0, `${tooth.guard} (${tooth.in}): ${tooth.breaks.name}`)
        if (found.length > 0) t.comment(found[0])
      })
    }
    t.same(await broken(lastTry, 2), [], 'and with all of them back none does')
  })
})
