import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { enter, refresh } from '../helpers/credentials.ts'
import { startDoorstep } from '../helpers/doorstep.ts'
import { interceptStatements } from '../helpers/statements.ts'
import { call, codeFor, createUser, finish, login, type TestUser, wrongCode } from '../helpers/story.ts'

// Commits that do not wait for the disk by themselves must have reached it before anybody is told what they did: who can
// make the database server lose its memory must not win back a try whose result is known, nor anybody lose a session.

t.setTimeout(60_000)

const doorstep = await startDoorstep(t)
const { sql } = doorstep

/** A user for whom a code is waiting. */
async function begin(): Promise<{ user: TestUser; token: string; code: string }> {
  const user = await createUser(doorstep)
  const { body } = await login(doorstep, user)
  return { user, token: body.pending_token, code: codeFor(doorstep, user.phone) }
}

const skipped = 'needs a real server: on the embedded database every commit waits for itself'

t.test('the power goes the moment an answer is there: what it tells of is on disk', async (t) => {
  if (!doorstep.database.isReal) return t.comment(skipped)
  let quickCommits = 0
  let end = '0/0'
  interceptStatements(t, async (text, run) => {
    const result = await run()
    if (text.includes('synchronous_commit')) {
      quickCommits += 1
      const [log] = await sql<{ end: string }>('SELECT pg_current_wal_insert_lsn()::text AS end')
      end = log?.end ?? end
    }
    return result
  })
  const isOnDisk = async () => (await sql('SELECT pg_current_wal_flush_lsn() >= $1::pg_lsn AS is', [end]))[0]?.is
  const check = async (
    what: string,
    answer: Promise<{ status: number }>,
    expected: { status: number; quick: number },
  ) => {
    quickCommits = 0
    t.equal((await answer).status, expected.status, what)
    if (quickCommits > 0) t.equal(await isOnDisk(), true, `${what}: on disk before it is told`)
    t.equal(quickCommits, expected.quick, `${what}: commits that do not wait by themselves`)
  }

  for (let times = 0; times < 3; times += 1) {
    const { user, token, code } = await begin()
    await check('wrong password', login(doorstep, { ...user, password: 'wrong' }), { status: 401, quick: 0 })
    await check('right password', login(doorstep, user), { status: 200, quick: 0 })
    await check('wrong code', finish(doorstep, token, wrongCode(code)), { status: 422, quick: 2 })
    await check('right code', finish(doorstep, token, code), { status: 200, quick: 2 })
    const session = await enter(doorstep, await createUser(doorstep, { twoFactor: 'off' }))
    await check('refresh', refresh(doorstep, session.refresh), { status: 200, quick: 1 })
  }
})

t.test('the disk fails after the commit: nobody is told, and nobody has a token', async (t) => {
  if (!doorstep.database.isReal) return t.comment(skipped)
  const { user, token, code } = await begin()
  const session = await enter(doorstep, await createUser(doorstep, { twoFactor: 'off' }))
  let diskFails = true
  interceptStatements(t, (text, run) =>
    diskFails && text.includes('pg_logical_emit_message')
      ? Promise.reject(Object.assign(new Error('could not flush'), { code: '58030' }))
      : run(),
  )
  const unavailable = { status: 503, body: { code: 'unavailable', access_token: undefined } }
  t.match(await finish(doorstep, token, wrongCode(code)), unavailable, 'a wrong code')
  t.match(await finish(doorstep, token, code), unavailable, 'a right code')
  t.match(await refresh(doorstep, session.refresh), unavailable, 'a refresh')

  diskFails = false
  t.match(await finish(doorstep, token, code), { status: 401, body: { code: 'invalid_token' } }, 'the code is spent')
  const [row] = await sql<{ sessions: number }>(
    'SELECT count(*)::integer AS sessions FROM sessions WHERE user_id = $1 AND ended_at IS NULL',
    [user.id],
  )
  t.equal(row?.sessions, 1, 'there is one session, and nobody holds it')
  const again = await refresh(doorstep, session.refresh)
  t.equal(again.status, 200, 'the refresh token whose answer was lost is good within its grace')
  t.equal(
    (await call(doorstep, '/me', { token: again.body.access_token })).status,
    200,
    'and what it gives opens doors',
  )
})

t.test('the database server crashes and comes back between the commit and its wait for the disk', async (t) => {
  if (!doorstep.database.isReal) return t.comment(skipped)
  const { token, code } = await begin()
  let crashes = true
  interceptStatements(t, async (text, run) => {
    const result = await run()
    if (!crashes || !text.includes('pg_logical_emit_message')) return result
    crashes = false
    const ours = `FROM pg_stat_activity WHERE application_name = 'doorstep' AND datname = current_database()`
    await sql(`SELECT pg_terminate_backend(pid, 5000) ${ours}`)
    await sleep(50) // for the news that the connections are lost
    return result
  })
  t.match(
    await finish(doorstep, token, code),
    { status: 503, body: { code: 'unavailable', access_token: undefined } },
    'what the server remembered before it crashed is not taken to be on disk',
  )
  t.notOk(crashes, 'it crashed')
  const next = await begin()
  t.equal((await finish(doorstep, next.token, next.code)).status, 200, 'and it goes on')
})
