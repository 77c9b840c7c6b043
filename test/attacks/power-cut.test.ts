import t, { type Test } from 'tap'
import { enter, refresh } from '../helpers/credentials.ts'
import { startDoorstep } from '../helpers/doorstep.ts'
import { interceptStatements } from '../helpers/statements.ts'
import { type Answer, call, codeFor, createUser, finish, login, type TestUser, wrongCode } from '../helpers/story.ts'

// Who can make the database server lose its memory must not win back a try whose result is known, nor anybody lose a
// session: whatever an answer tells of is on disk before it is told, and what may not be is not told.

t.setTimeout(300_000)

const doorstep = await startDoorstep(t)
const { sql } = doorstep

/** A user for whom a code is waiting, and one who is signed in. */
async function begin(): Promise<{ user: TestUser; token: string; code: string; session: { refresh: string } }> {
  const user = await createUser(doorstep)
  const { body } = await login(doorstep, user)
  const session = await enter(doorstep, await createUser(doorstep, { twoFactor: 'off' }))
  return { user, token: body.pending_token, code: codeFor(doorstep, user.phone), session }
}
type Begun = Awaited<ReturnType<typeof begin>>

/** Everything that answers with something worth having, or with what somebody has found out. */
const steps: Record<string, { ask: (begun: Begun) => Promise<Answer>; status: number }> = {
  'a wrong password': { ask: ({ user }) => login(doorstep, { ...user, password: 'wrong' }), status: 401 },
  'a right password': { ask: ({ user }) => login(doorstep, user), status: 200 },
  'a wrong code': { ask: ({ token, code }) => finish(doorstep, token, wrongCode(code)), status: 422 },
  'a right code': { ask: ({ token, code }) => finish(doorstep, token, code), status: 200 },
  'a refresh': { ask: ({ session }) => refresh(doorstep, session.refresh), status: 200 },
}

const isDecision = (text: string): boolean => /^SELECT "public"\."?\w+"?\(/.test(text)
const unavailable = { status: 503, body: { code: 'unavailable', access_token: undefined, pending_token: undefined } }

t.test('the power goes the moment an answer is there: what it tells of is on disk', async (t) => {
  // How far the log of the database had come at the end of each transaction of the service.
  await sql('CREATE TABLE marks (at pg_lsn)')
  await sql(
    `CREATE FUNCTION mark() RETURNS trigger LANGUAGE plpgsql AS $$
     BEGIN INSERT INTO public.marks VALUES (pg_current_wal_insert_lsn()); RETURN NULL; END $$`,
  )
  const tables = ['login_throttles', 'challenges', 'sessions', 'audit_events']
  for (const table of tables) {
    await sql(
      `CREATE CONSTRAINT TRIGGER mark AFTER INSERT OR UPDATE ON ${table} DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION mark()`,
    )
  }
  const settings: string[] = []
  interceptStatements(t, (text, run) => {
    if (/synchronous_commit|fsync|wal/i.test(text)) settings.push(text)
    return run()
  })
  for (let times = 0; times < 5; times += 1) {
    const begun = await begin()
    for (const [what, { ask, status }] of Object.entries(steps)) {
      await sql('DELETE FROM marks')
      t.equal((await ask(begun)).status, status, what)
      const [row] = await sql(
        'SELECT count(*)::integer AS marks, bool_and(at <= pg_current_wal_flush_lsn()) AS flushed FROM marks',
      )
      t.ok(row?.marks > 0, `${what}: it has written something`)
      t.equal(row?.flushed, true, `${what}: on disk before it is told`)
    }
  }
  t.same(settings, [], 'nor does the service say how its commits wait: they wait as all others')
  for (const table of tables) await sql(`DROP TRIGGER mark ON ${table}`)
})

t.test('the disk fails at the commit: nobody is told, nobody has a token, and nothing was used up', async (t) => {
  const begun = await begin()
  await sql(
    `CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS $$
     BEGIN RAISE EXCEPTION 'could not flush' USING ERRCODE = '58030'; END $$`,
  )
  const tables = ['challenges', 'sessions', 'login_throttles']
  const fail = (table: string) =>
    sql(
      `CREATE CONSTRAINT TRIGGER lose AFTER INSERT OR UPDATE ON ${table} DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION lose()`,
    )
  for (const table of tables) await fail(table)
  for (const [what, { ask }] of Object.entries(steps)) t.match(await ask(begun), unavailable, what)
  for (const table of tables) await sql(`DROP TRIGGER lose ON ${table}`)
  t.equal((await finish(doorstep, begun.token, begun.code)).status, 200, 'the code is as good as it was')
  t.equal((await refresh(doorstep, begun.session.refresh)).status, 200)
})

t.test('the database server crashes between a commit and its answer', async (t) => {
  const crash = async (t: Test, ask: () => Promise<Answer>, what: string): Promise<void> => {
    let crashes = true
    await t.test(what, async (t) => {
      interceptStatements(t, async (text, run) => {
        const result = await run()
        if (!crashes || !isDecision(text)) return result
        crashes = false
        throw new Error('Connection terminated unexpectedly')
      })
      t.match(await ask(), unavailable)
      t.notOk(crashes, 'it crashed')
    })
  }
  const { user, token, code, session } = await begin()
  await crash(t, () => finish(doorstep, token, code), 'a right code')
  t.match(await finish(doorstep, token, code), { status: 401, body: { code: 'invalid_token' } }, 'it is spent')
  const [row] = await sql(
    'SELECT count(*)::integer AS sessions FROM sessions WHERE user_id = $1 AND ended_at IS NULL',
    [user.id],
  )
  t.equal(row?.sessions, 1, 'there is one session, and nobody holds it')

  await crash(t, () => refresh(doorstep, session.refresh), 'a refresh')
  const again = await refresh(doorstep, session.refresh)
  t.equal(again.status, 200, 'the token whose answer was lost is good within its grace')
  t.equal((await call(doorstep, '/me', { token: again.body.access_token })).status, 200, 'and opens doors')

  const next = await begin()
  await crash(t, () => finish(doorstep, next.token, wrongCode(next.code)), 'a wrong code')
  const left = await finish(doorstep, next.token, wrongCode(next.code))
  t.equal(left.body.attempts_remaining, 3, 'it is counted all the same')
  t.equal((await finish(doorstep, next.token, next.code)).status, 200)
})
