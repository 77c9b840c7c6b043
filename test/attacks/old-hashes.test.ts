import { pbkdf2Sync, randomBytes } from 'node:crypto'
import { performance } from 'node:perf_hooks'
import { setTimeout as wait } from 'node:timers/promises'
import argon2 from 'argon2'
import bcrypt from 'bcrypt'
import t from 'tap'
import { longestFloorMs } from '../../src/config/schema.ts'
import { startMaintenance } from '../../src/maintenance.ts'
import { createLoginFloor } from '../../src/security/login-floor.ts'
import { type Doorstep, startDoorstep } from '../helpers/doorstep.ts'
import { thorough } from '../helpers/effort.ts'
import { areaUnderCurve } from '../helpers/rank-test.ts'
import { createUser, login, rightPassword } from '../helpers/story.ts'

t.setTimeout(600_000)

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

// Users of another system: each kind takes a time of its own, and has a floor that hides it, on a machine with other work too.
const leastForeignFloorMs = thorough(1_500, 600)
const foreignCost = { bcrypt: thorough(12, 11), rounds: 100_000 }

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

/** Measures up to four times, or `tries`, since other work on the machine disturbs it. */
async function measure(
  doorstep: Doorstep,
  target: { email: string },
  pairs: number,
  isExpected: (area: number) => boolean,
  tries = 4,
) {
  const areas: number[] = []
  while (areas.length < tries && !isExpected(areas.at(-1) ?? Number.NaN))
    areas.push(await areaOver(doorstep, target, pairs))
  return { isExpected: isExpected(areas.at(-1) ?? Number.NaN), all: areas.map((area) => area.toFixed(3)).join(', ') }
}

const isEven = (area: number): boolean => area >= 0.3 && area <= 0.7
const isShowing = (area: number): boolean => area > 0.85
const isTelling = (area: number): boolean => area < 0.15 || area > 0.85
const warningsOf = ({ logs }: Doorstep) => logs.map((line) => JSON.parse(line)).filter(({ kind }) => kind)

t.test(
  'a stranger with a stopwatch finds old hashes where there is no floor, and none where there is one',
  async (t) => {
    for (const doorstep of [open, hidden]) {
      t.same(await doorstep.services.loginFloor.look(), { otherHashes: 1 })
    }
    const told = await measure(open, user, 12, isTelling, 8)
    t.ok(told.isExpected, `without a floor they show: ${told.all}`)
    const kept = await measure(hidden, user, 30, isEven)
    t.ok(kept.isExpected, `with one they do not: ${kept.all}`)
    t.ok(
      (await timeOf(hidden, user)) >= floorMs && (await timeOf(hidden, ghost())) >= floorMs,
      'no sooner than the floor',
    )
    const begun = performance.now()
    const reached = hidden.services.loginFloor.begin()
    while (performance.now() - begun < floorMs / 2);
    await reached()
    t.ok(performance.now() - begun >= floorMs, 'nor in a process that was busy, whose timers are early')
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

/** Identity's version 3, with HMAC-SHA-512. */
function identityHash(rounds: number): string {
  const salt = randomBytes(16)
  const head = Buffer.alloc(13)
  head.writeUInt8(1, 0)
  for (const [at, number] of [2, rounds, salt.length].entries()) head.writeUInt32BE(number, 1 + 4 * at)
  return `$aspnet$${Buffer.concat([head, salt, pbkdf2Sync(rightPassword, salt, rounds, 32, 'sha512')]).toString('base64')}`
}

t.test('nor does a hash of another system show who has moved in', async (t) => {
  for (const [name, hash] of Object.entries({
    'bcrypt, slower than ours': await bcrypt.hash(rightPassword, foreignCost.bcrypt),
    'ASP.NET Core Identity, version 3': identityHash(foreignCost.rounds),
  })) {
    const mover = await createUser(past, { twoFactor: 'off' })
    await past.sql(`UPDATE users SET password_hash = $2, password_state = 'imported' WHERE id = $1`, [mover.id, hash])
    t.same(await open.services.loginFloor.look(), { otherHashes: 2 })
    // Longer than the service advises, where this machine is so slow now.
    const foreignFloorMs = Math.min(Math.max(leastForeignFloorMs, 2 * warningsOf(open).at(-1).neededMs), longestFloorMs)
    const foreign = await start({ LOGIN_FLOOR_MS: String(foreignFloorMs) })
    t.same(await foreign.services.loginFloor.look(), { otherHashes: 2 })
    const told = await measure(open, mover, 8, isShowing, 8)
    t.ok(told.isExpected, `${name}: without a floor it shows: ${told.all}`)
    const kept = await measure(foreign, mover, 12, isEven, 8)
    t.ok(kept.isExpected, `${name}: with one it does not: ${kept.all}`)
    t.ok((await timeOf(foreign, mover)) >= foreignFloorMs, 'no sooner than the floor')
    t.equal((await login(foreign, mover)).status, 200, 'and the right one signs in')
    t.match(await past.sql('SELECT password_state FROM users WHERE id = $1', [mover.id]), [{ password_state: 'set' }])
    await past.sql('DELETE FROM users WHERE id = $1', [mover.id])
  }
})

t.test('many first logins at once, at two replicas: one replaces the hash, and all get in', async (t) => {
  const mover = await createUser(past, { twoFactor: 'off' })
  const old = identityHash(1_000)
  await past.sql(`UPDATE users SET password_hash = $2, password_state = 'imported' WHERE id = $1`, [mover.id, old])
  const { accounts } = past.services.store
  const renewed: boolean[] = []
  const replicas = [open, hidden].map(({ app, services }) => ({ app, store: services.store.accounts }))
  for (const { store } of replicas) {
    const { rehash } = store
    t.teardown(() => Object.assign(store, { rehash }))
    Object.assign(store, {
      rehash: async (...given: Parameters<typeof rehash>) => {
        const won = await rehash(...given)
        renewed.push(won)
        return won
      },
    })
  }
  const answers = await Promise.all([...replicas, ...replicas, ...replicas].map((replica) => login(replica, mover)))
  t.same(
    answers.map(({ status }) => status),
    answers.map(() => 200),
  )
  t.equal(renewed.filter(Boolean).length, 1, `of ${renewed.length} that hashed it anew`)
  const [now] = await past.sql('SELECT password_hash, password_state FROM users WHERE id = $1', [mover.id])
  t.match(now, { password_hash: /^\$argon2id\$v=19\$m=4096,t=8,p=1\$/, password_state: 'set' })

  // Whoever has verified the old hash, and is slow, does not take back what its owner has set since.
  const slow = await open.services.passwordHash.hash('what a slow login has made')
  t.equal(await accounts.rehash(mover.id, old, slow), false)
  t.match(await past.sql('SELECT password_hash FROM users WHERE id = $1', [mover.id]), [
    now && { password_hash: now.password_hash },
  ])
  t.equal((await login(open, mover)).status, 200)
  await past.sql('DELETE FROM users WHERE id = $1', [mover.id])
})

t.test('a hash of another system that was made with our numbers is ours from the first login on', async (t) => {
  const mover = await createUser(open, { twoFactor: 'off' })
  await past.sql(`UPDATE users SET password_state = 'imported' WHERE id = $1`, [mover.id])
  const [before] = await past.sql('SELECT password_hash FROM users WHERE id = $1', [mover.id])
  t.equal((await login(open, mover)).status, 200)
  const [after] = await past.sql('SELECT password_hash, password_state FROM users WHERE id = $1', [mover.id])
  t.equal(after?.password_state, 'set')
  t.not(after?.password_hash, before?.password_hash)
  await past.sql('DELETE FROM users WHERE id = $1', [mover.id])
})

t.test('the service says that the floor is too short, how long it should be, and of each kind once', async (t) => {
  await open.services.loginFloor.look()
  const warnings = warningsOf(open)
  const kinds = [
    '$argon2id$v=19$m=4096,t=1,p=1',
    `$2b$${String(foreignCost.bcrypt).padStart(2, '0')}`,
    identityHash(foreignCost.rounds).slice(0, 20),
  ]
  t.match(
    warnings,
    kinds.map((kind) => ({ level: 'warn', kind, loginFloorMs: 0, msg: /set LOGIN_FLOOR_MS to \d+ or more$/ })),
  )
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
  await hidden.services.loginFloor.begin()()
  t.ok(performance.now() - begun < floorMs / 2)
})

t.test('a thousand kinds, which a list of made-up hashes has, do not keep the floor from being there', async (t) => {
  const { sql } = past
  await sql(`INSERT INTO users (email, password_hash, password_state)
    SELECT 'kinds-' || n || '@example.com', '$pbkdf2-sha1$i=' || n || '$' || repeat('s', 22) || '$' || repeat('h', 22), 'imported'
    FROM generate_series(1, 1000) AS n`)
  const { started } = hidden.services.passwordHash.load()
  const { otherHashes } = await hidden.services.loginFloor.look()
  t.ok(otherHashes >= 99 && otherHashes <= 100, `${otherHashes}`)
  t.ok(hidden.services.passwordHash.load().started - started <= 15, 'and few of them are tried at once')
  t.ok((await timeOf(hidden, ghost())) >= floorMs)
  await sql(`DELETE FROM users WHERE email LIKE 'kinds-%'`)
  await hidden.services.loginFloor.look()
})

t.test('hashes that no setting can read are told of, and fit no password', async (t) => {
  const { sql } = past
  const stranger = await createUser(past, { twoFactor: 'off' })
  const hash =
    '$firebase$ln=14,r=8,p=1$42xEC+ixf3L2lw==$lSrfV15cpx95/sZS2W9c9Kp6i/LVgQNDNC/qzrCnh1SAyZvqmZqAjTdn3aoItz+VHjoZilo78198JAdRuid5lQ=='
  await sql('UPDATE users SET password_hash = $2 WHERE id = $1', [stranger.id, hash])
  await open.services.loginFloor.look()
  const told = warningsOf(open).filter(({ kind }) => kind === '$firebase$ln=14,r=8,p=1')
  t.ok(told.some(({ msg }) => /no password fits.*IMPORT_FIREBASE_SIGNER_KEY/.test(msg)))
  t.equal((await login(open, { ...stranger, password: 'user1password' })).status, 401)
  await sql('DELETE FROM login_throttles')
  await sql('DELETE FROM users WHERE id = $1', [stranger.id])
})

t.test('a hash that the functions throw on is told of, and keeps no service from starting', async (t) => {
  const { sql } = past
  const salt = 'c2FsdHNhbHRzYWx0c2FsdA'
  const hashes = [
    '$argon2id$',
    '$argon2id$x',
    `$argon2id$v=19$m=1,t=1,p=1$${salt}$${salt}`,
    `$argon2id$v=19$m=4096,t=1,p=1$${salt}$a=b`,
  ]
  for (const hash of hashes) await t.rejects(past.services.passwordHash.verify(hash, 'any'), hash)
  for (const hash of hashes) {
    const { id } = await createUser(past)
    await sql('UPDATE users SET password_hash = $2 WHERE id = $1', [id, hash])
  }
  const told: object[] = []
  const parts = {
    ...hidden.services,
    log: { warn: (fields: object, message?: string) => told.push({ ...fields, message }) },
  }
  const floor = createLoginFloor({ ...parts, config: { loginFloorMs: 5_000 } })
  t.match(await floor.look(), { otherHashes: hashes.length })
  t.equal(told.length, hashes.length)
  for (const line of told) t.match(line, { kind: /^\$argon2id/, message: /^no password fits/ })
  await floor.look()
  t.equal(told.length, hashes.length, 'once')
  await sql('DELETE FROM users WHERE password_hash = ANY ($1)', [hashes])
})

t.test('an import that comes while the service runs is hidden after five seconds', async (t) => {
  const late = await start({ LOGIN_FLOOR_MS: String(floorMs) })
  t.same(await late.services.loginFloor.look(), { otherHashes: 0 })
  // The quickest of a few: other work on the machine only makes them slower.
  const quickestGhost = async (): Promise<number> => {
    const times: number[] = []
    while (times.length < 10 && (times.at(-1) ?? floorMs) >= floorMs) times.push(await timeOf(late, ghost()))
    return Math.min(...times)
  }
  t.ok((await quickestGhost()) < floorMs, 'nobody waits for nothing')
  const stop = startMaintenance(late.services)
  t.teardown(stop)
  const mover = await createUser(past, { twoFactor: 'off' })
  await past.sql(`UPDATE users SET password_hash = $2, password_state = 'imported' WHERE id = $1`, [
    mover.id,
    identityHash(1),
  ])
  const { started } = late.services.passwordHash.load()
  await wait(5_500)
  t.equal(late.services.passwordHash.load().started, started, 'and nothing was computed for it')
  for (const target of [mover, ghost()]) t.ok((await timeOf(late, target)) >= floorMs)
  await past.sql('DELETE FROM users WHERE id = $1', [mover.id])
  await wait(5_500)
  t.ok((await quickestGhost()) < floorMs, 'nor longer than it is needed')
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
    // Of a blob, digest and rounds: others than these take another time. Of version 2 all take the same.
    '$aspnet$AQAAAAIAAYagAAAAEGVYc2FsdHNhbHRzYWx0cw==': '$aspnet$AQAAAAIAAYag',
    '$aspnet$AQAAAAEAACcQAAAAEAABAgMEBQYHCAkKCwwNDg+yWU7rLgUwPZb1Itsmra7cbxw2EFpwpVFIEtP+JIuUEw==':
      '$aspnet$AQAAAAEAACcQ',
    '$aspnet$AAABAgMEBQYHCAkKCwwNDg+ukCEMDf0yyQ29NYubggHIVY0sdEUfdyeM+E1LtH1uJg==': '$aspnet',
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
