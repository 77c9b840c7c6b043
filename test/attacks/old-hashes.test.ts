import { performance } from 'node:perf_hooks'
import argon2 from 'argon2'
import t from 'tap'
import { createLoginFloor } from '../../src/security/login-floor.ts'
import { type Doorstep, startDoorstep } from '../helpers/doorstep.ts'
import { areaUnderCurve } from '../helpers/rank-test.ts'
import { createUser, login, rightPassword } from '../helpers/story.ts'

t.setTimeout(300_000)

// An operator has raised ARGON2_TIME. Whoever has not signed in since has a hash that is quicker than what a made-up e-mail
// costs: a stranger with a stopwatch reads a list of accounts from it (SEC-108). LOGIN_FLOOR_MS hides them.

const memory = { ARGON2_MEMORY_KIB: '4096', LOG_LEVEL: 'warn' }
const floorMs = 300
const past = await startDoorstep(t, { env: { ...memory, ARGON2_TIME: '1' } })
const start = (env: Record<string, string>) =>
  startDoorstep(t, { database: past.database, env: { ...memory, ARGON2_TIME: '8', ...env } })
const open = await start({})
const hidden = await start({ LOGIN_FLOOR_MS: String(floorMs) })
const user = await createUser(past)

let ghosts = 0
const ghost = () => ({ email: `none-${String(++ghosts).padStart(12, '0')}@example.com` })

/** Milliseconds that a wrong password takes; nothing is counted afterwards. */
async function timeOf(doorstep: Doorstep, { email }: { email: string }): Promise<number> {
  const begun = performance.now()
  const { status } = await login(doorstep, { email, password: 'this is not the password' })
  const took = performance.now() - begun
  if (status !== 401) throw new Error(`answered ${status}`)
  await past.sql('DELETE FROM login_throttles')
  return took
}

/** The chance that the account takes longer than a made-up e-mail. */
async function areaOver(doorstep: Doorstep, target: { email: string }, pairs: number): Promise<number> {
  const times = { account: [] as number[], ghost: [] as number[] }
  for (let n = 0; n < pairs; n += 1) {
    const sides = n % 2 === 0 ? (['account', 'ghost'] as const) : (['ghost', 'account'] as const)
    for (const side of sides) times[side].push(await timeOf(doorstep, side === 'account' ? target : ghost()))
  }
  return areaUnderCurve(times.account, times.ghost)
}

/** Measures up to four times, since other work on the machine disturbs it. */
async function measure(
  doorstep: Doorstep,
  target: { email: string },
  pairs: number,
  isExpected: (area: number) => boolean,
) {
  const areas: number[] = []
  while (areas.length < 4 && !isExpected(areas.at(-1) ?? Number.NaN))
    areas.push(await areaOver(doorstep, target, pairs))
  return { isExpected: isExpected(areas.at(-1) ?? Number.NaN), all: areas.map((area) => area.toFixed(3)).join(', ') }
}

const isEven = (area: number): boolean => area >= 0.4 && area <= 0.6
const isTelling = (area: number): boolean => area < 0.05 || area > 0.95
const warningsOf = ({ logs }: Doorstep) => logs.map((line) => JSON.parse(line)).filter(({ kind }) => kind)

t.test(
  'a stranger with a stopwatch finds old hashes where there is no floor, and none where there is one',
  async (t) => {
    for (const doorstep of [open, hidden]) {
      t.same(await doorstep.services.loginFloor.look(), { otherHashes: 1 })
    }
    const told = await measure(open, user, 12, isTelling)
    t.ok(told.isExpected, `without a floor they show: ${told.all}`)
    const kept = await measure(hidden, user, 30, isEven)
    t.ok(kept.isExpected, `with one they do not: ${kept.all}`)
    t.ok(
      (await timeOf(hidden, user)) >= floorMs && (await timeOf(hidden, ghost())) >= floorMs,
      'no sooner than the floor',
    )
  },
)

t.test('hashes that are slower than those of today are hidden as well', async (t) => {
  const slow = await createUser(past)
  const hash = await argon2.hash(rightPassword, { memoryCost: 4_096, timeCost: 16, parallelism: 1 })
  await past.sql('UPDATE users SET password_hash = $2 WHERE id = $1', [slow.id, hash])
  t.same(await hidden.services.loginFloor.look(), { otherHashes: 2 })
  const kept = await measure(hidden, slow, 20, isEven)
  t.ok(kept.isExpected, kept.all)
  await past.sql('DELETE FROM users WHERE id = $1', [slow.id])
})

t.test('the service says that the floor is too short, how long it should be, and of each kind once', async (t) => {
  await open.services.loginFloor.look()
  const warnings = warningsOf(open)
  t.match(warnings, [
    {
      level: 'warn',
      kind: '$argon2id$v=19$m=4096,t=1,p=1',
      loginFloorMs: 0,
      msg: /set LOGIN_FLOOR_MS to \d+ or more$/,
    },
  ])
  t.equal(warnings.length, 1)
  t.ok(warnings[0].neededMs > 5 && warnings[0].neededMs < 5_000, `${warnings[0].neededMs} ms`)
  t.notMatch(JSON.stringify(open.logs), /\$[\w+/]{40}/, 'no hash is logged')

  const parts = { ...hidden.services, log: { warn: () => t.fail('it is long enough') } }
  const floor = createLoginFloor({ ...parts, config: { loginFloorMs: 5_000 } })
  t.same(await floor.look(), { otherHashes: 1 })
})

t.test('nobody waits for a failed login, and a right one waits for nothing', async (t) => {
  const patient = await start({ LOGIN_FLOOR_MS: '3000' })
  await patient.services.loginFloor.look()
  const owner = await createUser(patient, { twoFactor: 'off' })
  const answered: string[] = []
  await Promise.all([
    login(patient, { ...owner, password: 'wrong' }).then(() => answered.push('wrong')),
    login(patient, owner).then(() => answered.push('right')),
  ])
  t.same(answered, ['right', 'wrong'], 'the later of two logins of one e-mail is answered first')
})

t.test('once the last of them is replaced nobody waits any more', async (t) => {
  const replaced = await login(hidden, user)
  t.equal(replaced.status, 200, 'the owner signs in, and the hash is made anew')
  t.same(await hidden.services.loginFloor.look(), { otherHashes: 0 })
  const begun = performance.now()
  await hidden.services.loginFloor.reached(hidden.services.clock.nowMs())
  t.ok(performance.now() - begun < floorMs / 2)
})

t.test('looking costs a step in an index for each kind, however many users there are', async (t) => {
  const { sql } = past
  await sql(`INSERT INTO users (email, password_hash)
    SELECT 'many-' || n || '@example.com', '$argon2id$v=19$m=4096,t=8,p=1$' || repeat('s', 22) || '$' || repeat('h', 43)
    FROM generate_series(1, 20000) AS n`)
  for (const [hash, kind] of Object.entries({
    $2b$12$abcdefghijklmnopqrstuuQ1w2e3r4t5y6u7i8o9p0a1s2d3f4g5: '$2b$12',
    '$scrypt$ln=17,r=8,p=1$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD': '$scrypt$ln=17,r=8,p=1',
    '$pbkdf2-sha256$i=600000$aM15713r3Xs$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD': '$pbkdf2-sha256$i=600000',
    '$aspnet$AQAAAAIAAYagAAAAEGVYc2FsdHNhbHRzYWx0cw==': '$aspnet',
  })) {
    t.match(await sql('SELECT hash_kind($1) AS kind', [hash]), [{ kind }])
  }
  await sql('ANALYZE users')
  const plan = await sql(
    `EXPLAIN SELECT password_hash FROM users WHERE hash_kind(password_hash) > '$a' ORDER BY hash_kind(password_hash) LIMIT 1`,
  )
  t.match(JSON.stringify(plan), /Index Scan using users_hash_kind_idx/)
  const samples = await hidden.services.store.accounts.hashSamples()
  t.same(
    samples.map(({ kind }) => kind),
    ['$argon2id$v=19$m=4096,t=8,p=1'],
  )
})
