import { execFileSync } from 'node:child_process'
import { createHmac } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync } from 'node:fs'
import { cpus } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { drive, expectOk, type Load, type Operation, post, type Sample } from './load.ts'
import { timePasskeys } from './passkeys.ts'
import { cpuMs, familyCpuMs, memoryMiB, poolMs } from './process.ts'
import { profileClock, summarizeProfile } from './profile.ts'
import type { Task } from './raw-argon2.ts'
import { judge, median, percentile, type Result, resultTable, type Target, targetTable } from './report.ts'
import { floorKey, floorRows, openStage, type Stage } from './stage.ts'
import { countStatements, isTransactionControl } from './statements.ts'
import { password } from './supply.ts'
import type { Kind } from './users.ts'

const help = `npm run bench -- [options]

Measures, side by side in one run, what a login costs beyond what it cannot do without. Exit code 1: a target is missed.

  --quick           shorter rounds, fewer logins
  --clients 1,8,32  callers at once; the targets are judged at the last
  --rounds N        how often all programs are measured in turn (3)
  --seconds S       for each measurement (3)
  --logins N        whole logins over which memory is watched (10000)
  --profile         instead of all that: where the service spends its time, by module and function
  --no-build        measure dist/ as it is

Postgres: BENCH_DATABASE_URL or TEST_DATABASE_URL; without them one is started, and its CPU is measured as well.`

const { values: given } = parseArgs({
  options: {
    help: { type: 'boolean', default: false },
    quick: { type: 'boolean', default: false },
    profile: { type: 'boolean', default: false },
    'no-build': { type: 'boolean', default: false },
    clients: { type: 'string', default: '1,8,32' },
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string' },
    logins: { type: 'string' },
  },
})
const loads = given.clients.split(',').map(Number)
const mostClients = loads.at(-1) ?? 32
const rounds = Number(given.rounds)
const untilMs = 1_000 * Number(given.seconds ?? (given.quick ? 1.2 : 3))
const loginsWatched = Number(given.logins ?? (given.quick ? 1_000 : 10_000))
/** Memory of the first logins is that of a service warming up. */
const warmShare = 0.2
/** Operations, and seconds at most, before anything is measured: by then V8 has compiled what is hot. */
const warmUp: Load = { clients: 8, untilMs: 10_000, operations: 3_000 }
const counted = 100
const profiled = given.quick ? 1_000 : 4_000

const say = (line: string): void => void process.stdout.write(`${line}\n`)

type Measure = (stage: Stage, load: Load, results: Results) => Promise<Result>

const programs = {
  'argon2.verify': measureRawArgon2,
  'POST /login': measureLogin,
  floor: measureFloor,
  'POST /login/2fa': measureCode,
  '/login/2fa by totp': (stage, load) => measureProof(stage, load, 'totp'),
  '/login/2fa by passkey': (stage, load) => measureProof(stage, load, 'passkey'),
  'one statement': measureStatement,
  'POST /token/refresh': measureRefresh,
  'POST /token/introspect': measureIntrospection,
  'GET /me': measureMe,
} satisfies Record<string, Measure>
type Program = keyof typeof programs
type Results = Map<string, Map<number, Result[]>>

/** Operations of each caller before a measurement: by then every connection is open and its statements are planned. */
const leadIn = 10

/** Drives `next`, after a lead-in, and measures what the service with this pid and Postgres spend on it. */
async function driven(
  stage: Stage,
  service: { pid: number; port: number },
  load: Load,
  next: () => Operation | undefined,
) {
  await drive(service.port, { clients: load.clients, untilMs: 2_000, operations: leadIn * load.clients }, next)
  return measured(stage, service.pid, () => drive(service.port, load, next))
}

/** CPU of the program and of Postgres around `work`. */
async function measured(stage: Stage, pid: number, work: () => Promise<Sample>): Promise<Result> {
  const read = () => ({
    server: cpuMs(pid),
    pool: poolMs(pid),
    postgres: stage.postgres.pid === null ? null : familyCpuMs(stage.postgres.pid),
  })
  const before = read()
  const { operations, failed, ms, latencies } = await work()
  const after = read()
  if (operations === 0) throw new Error('nothing was done in the time given')
  return {
    failed,
    operationsPerSecond: (operations / ms) * 1_000,
    p50: percentile(latencies, 0.5),
    p95: percentile(latencies, 0.95),
    p99: percentile(latencies, 0.99),
    serverMs: (after.server - before.server) / operations,
    poolMs: (after.pool - before.pool) / operations,
    postgresMs:
      before.postgres === null || after.postgres === null ? null : (after.postgres - before.postgres) / operations,
  }
}

/** As many at once as the service allows itself, which is one per core. */
async function measureRawArgon2(stage: Stage, load: Load): Promise<Result> {
  const { rawArgon2, supply, config } = stage
  const clients = Math.min(load.clients, config.argon2.concurrency)
  const task: Task = { hash: supply.passwordHash, password, load: { ...load, clients } }
  return measured(stage, rawArgon2.pid ?? 0, async () => {
    rawArgon2.send(task)
    const [sample] = await once(rawArgon2, 'message', { signal: AbortSignal.timeout(load.untilMs + 30_000) })
    return sample as Sample
  })
}

async function measureLogin(stage: Stage, load: Load): Promise<Result> {
  const { doorstep, supply } = stage
  await supply.clear()
  return driven(stage, doorstep, load, supply.login)
}

async function measureFloor(stage: Stage, load: Load): Promise<Result> {
  const encode = (part: object): string => Buffer.from(JSON.stringify(part)).toString('base64url')
  const requests = Array.from({ length: floorRows }, (_, n) => {
    const signed = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode({ sub: String(n) })}`
    const token = `${signed}.${createHmac('sha256', floorKey).update(signed).digest('base64url')}`
    return post('/floor', { code: '123456' }, { token })
  })
  let sent = 0
  const next = (): Operation => {
    const request = requests[sent++ % requests.length] ?? ''
    return async (send) => void expectOk(await send(request))
  }
  return driven(stage, stage.floor, load, next)
}

/** Half as many codes are prepared as the floor could have used; if they do not last, the measurement is the shorter. */
async function measureCode(stage: Stage, load: Load, results: Results): Promise<Result> {
  const { doorstep, supply } = stage
  await supply.clear()
  const floor = results.get('floor')?.get(load.clients)?.at(-1)?.operationsPerSecond
  const wanted = floor === undefined ? (load.operations ?? 0) : Math.ceil((floor * load.untilMs) / 2_000)
  return driven(stage, doorstep, load, await supply.proofs('sms', wanted + leadIn * load.clients))
}

/** As many as there are users for it; the measurement is the shorter for it. */
async function measureProof({ supply, ...stage }: Stage, load: Load, kind: Kind): Promise<Result> {
  await supply.clear()
  const wanted = load.operations ?? Number.POSITIVE_INFINITY
  return driven({ ...stage, supply }, stage.doorstep, load, await supply.proofs(kind, wanted + leadIn * load.clients))
}

/** One route with one statement. */
async function measureStatement(stage: Stage, load: Load): Promise<Result> {
  let sent = 0
  const next = (): Operation => {
    const request = post('/floor/statement', { code: String(sent++ % floorRows) })
    return async (send) => void expectOk(await send(request))
  }
  return driven(stage, stage.floor, load, next)
}

/** More sessions than callers, so that none is refreshed by two at once. */
async function measureRefresh(stage: Stage, load: Load): Promise<Result> {
  const { doorstep, supply } = stage
  await supply.clear()
  return driven(stage, doorstep, load, await supply.refreshes(2 * load.clients))
}

async function measureIntrospection(stage: Stage, load: Load): Promise<Result> {
  const { doorstep, supply } = stage
  await supply.clear()
  return driven(stage, doorstep, load, await supply.introspections(doorstep.port))
}

async function measureMe(stage: Stage, load: Load): Promise<Result> {
  const { doorstep, supply } = stage
  await supply.clear()
  return driven(stage, doorstep, load, await supply.reads(doorstep.port))
}

/** All programs in turn, `rounds` times over, so that whatever else the machine does hits all of them alike. */
async function measureAll(stage: Stage): Promise<Results> {
  const results: Results = new Map()
  for (const measure of Object.values(programs)) await measure(stage, warmUp, results)
  for (let round = 1; round <= rounds; round += 1) {
    for (const clients of loads) {
      for (const [name, measure] of Object.entries(programs)) {
        const result = await measure(stage, { clients, untilMs }, results)
        const byLoad = results.get(name) ?? new Map<number, Result[]>()
        byLoad.set(clients, [...(byLoad.get(clients) ?? []), result])
        results.set(name, byLoad)
      }
    }
    say(`  round ${round} of ${rounds}`)
  }
  return results
}

/** Whole logins by all clients at a fresh service; resident memory after each hundredth of them. */
async function watchMemory(stage: Stage): Promise<{ peak: number; growth: number }> {
  const { supply } = stage
  const doorstep = await stage.startDoorstep(stage.url)
  await supply.clear()
  const seen: number[] = []
  let begun = 0
  const next = (): Operation => {
    if (begun % Math.ceil(loginsWatched / 100) === 0) seen.push(memoryMiB(doorstep.pid).now)
    begun += 1
    return supply.completeLogin()
  }
  const load = { clients: mostClients, untilMs: 600_000, operations: loginsWatched }
  const { operations, failed } = await drive(doorstep.port, load, next)
  if (operations + failed < loginsWatched) throw new Error(`only ${operations} logins in ${load.untilMs / 1_000} s`)
  const medianOf = (from: number, to: number) => median(seen.slice(seen.length * from, seen.length * to))
  const growth = medianOf(1 - warmShare, 1) - medianOf(warmShare, 2 * warmShare)
  const { peak } = memoryMiB(doorstep.pid)
  await doorstep.close()
  return { peak, growth }
}

/** How many users, texts and counters a service has that has been in use, against `smallUsers` in a new one. */
const grownRows = given.quick ? 100_000 : 1_000_000
const smallUsers = 1_000
const grownPrograms = [
  'POST /login',
  'POST /login/2fa',
  'POST /token/refresh',
  'POST /token/introspect',
  'GET /me',
] as const

type Growth = Map<string, number[]>

/** What each operation costs (CPU of the service beyond the hash, and of Postgres) in a large database to a small one. */
async function watchGrowth(stage: Stage): Promise<Growth> {
  const small = { ...stage, ...(await stage.openSite({ users: smallUsers })) }
  const large = { ...stage, ...(await stage.openSite({ users: smallUsers })) }
  await large.supply.grow(grownRows)
  const ratios: Growth = new Map()
  const costOf = async (site: Stage, name: Program): Promise<number> => {
    const load = { clients: mostClients, untilMs: 30_000, operations: name === 'POST /login' ? 200 : 600 }
    const { serverMs, poolMs, postgresMs } = await programs[name](site, load, new Map())
    return serverMs - poolMs + (postgresMs ?? 0)
  }
  for (const name of grownPrograms) for (const site of [small, large]) await costOf(site, name)
  for (let round = 1; round <= rounds; round += 1) {
    for (const name of grownPrograms) {
      const cost = await costOf(small, name)
      ratios.set(name, [...(ratios.get(name) ?? []), (await costOf(large, name)) / cost])
    }
  }
  return ratios
}

/** What one operation of each kind sends to Postgres, from a service that talks to it through a counting proxy. */
async function readStatements(stage: Stage) {
  const proxy = await countStatements(stage.url)
  const doorstep = await stage.startDoorstep(proxy.url)
  const count = async (next: () => Operation | undefined) => {
    proxy.reset()
    const { operations } = await drive(doorstep.port, { clients: 4, untilMs: 60_000, operations: counted }, next)
    if (operations < counted) throw new Error(`only ${operations} of ${counted} operations`)
    // What a connection says of itself when it is opened is no operation's.
    const executed = [...proxy.executed].filter(([sql]) => !sql.startsWith('SET '))
    const sum = (list: [string, number][]) => list.reduce((total, [, times]) => total + times, 0)
    return {
      each: sum(executed) / counted,
      transactionControl: sum(executed.filter(([sql]) => isTransactionControl(sql))),
    }
  }
  await stage.supply.clear()
  const login = await count(stage.supply.login)
  const code = await count(await stage.supply.proofs('sms', counted))
  const totp = await count(await stage.supply.proofs('totp', counted))
  const passkey = await count(await stage.supply.proofs('passkey', counted))
  const refresh = await count(await stage.supply.refreshes(2 * counted))
  await doorstep.close()
  await proxy.close()
  return { login, code, totp, passkey, refresh }
}

function targetsOf(
  results: Results,
  {
    memory,
    statements,
    growth,
    passkeys,
  }: { memory: Memory; statements: Statements; growth: Growth; passkeys: Passkeys },
): Target[] {
  const of = (program: Program, clients: number): Result[] => results.get(program)?.get(clients) ?? []
  const pairs = (ours: Program, theirs: Program, clients: number, compare: (a: Result, b: Result) => number) =>
    of(ours, clients).map((result, round) => compare(result, of(theirs, clients)[round] as Result))
  const speed = (a: Result, b: Result): number => a.operationsPerSecond / b.operationsPerSecond
  const at = `at ${mostClients} clients`
  return [
    {
      name: `/login to bare argon2, throughput, ${at}`,
      values: pairs('POST /login', 'argon2.verify', mostClients, speed),
      ...{ atLeast: 0.72, tolerance: 0.1 },
    },
    {
      name: `/login, server CPU beyond the hash, ${at}`,
      values: of('POST /login', mostClients).map(({ serverMs, poolMs }) => serverMs - poolMs),
      ...{ atMost: 4.5, tolerance: 0.25, unit: ' ms' },
    },
    {
      name: `/login, Postgres CPU, ${at}`,
      values: of('POST /login', mostClients).map(({ postgresMs }) => postgresMs),
      ...{ atMost: 1.5, tolerance: 0.25, unit: ' ms' },
    },
    {
      name: `/login/2fa to the floor, throughput, ${at}`,
      values: pairs('POST /login/2fa', 'floor', mostClients, speed),
      ...{ atLeast: 0.35, tolerance: 0.1 },
    },
    {
      name: `/login/2fa, server CPU, ${at}`,
      values: of('POST /login/2fa', mostClients).map(({ serverMs }) => serverMs),
      ...{ atMost: 0.6, tolerance: 0.25, unit: ' ms' },
    },
    {
      name: `/login/2fa, Postgres CPU, ${at}`,
      values: of('POST /login/2fa', mostClients).map(({ postgresMs }) => postgresMs),
      ...{ atMost: 0.55, tolerance: 0.25, unit: ' ms' },
    },
    {
      name: `/login/2fa by totp, server CPU, ${at}`,
      values: of('/login/2fa by totp', mostClients).map(({ serverMs }) => serverMs),
      ...{ atMost: 0.9, tolerance: 0.25, unit: ' ms' },
    },
    {
      name: `/login/2fa by passkey, server CPU, ${at}`,
      values: of('/login/2fa by passkey', mostClients).map(({ serverMs }) => serverMs),
      ...{ atMost: 2, tolerance: 0.25, unit: ' ms' },
    },
    ...[...passkeys].map(([algorithm, values]) => ({
      name: `a passkey's proof by ${algorithm}, CPU`,
      ...{ values, atMost: 1, tolerance: 0.25, unit: ' ms' },
    })),
    {
      name: `/token/refresh to one statement, throughput, ${at}`,
      values: pairs('POST /token/refresh', 'one statement', mostClients, speed),
      ...{ atLeast: 0.3, tolerance: 0.1 },
    },
    {
      name: `/token/introspect to one statement, throughput, ${at}`,
      values: pairs('POST /token/introspect', 'one statement', mostClients, speed),
      ...{ atLeast: 0.35, tolerance: 0.1 },
    },
    {
      name: `/me, server CPU, ${at}`,
      values: of('GET /me', mostClients).map(({ serverMs }) => serverMs),
      ...{ atMost: 0.4, tolerance: 0.25, unit: ' ms' },
    },
    { name: '/login, SQL statements', values: [statements.login.each], atMost: 3, tolerance: 0 },
    { name: '/login/2fa, SQL statements', values: [statements.code.each], atMost: 1, tolerance: 0 },
    { name: '/login/2fa by totp, SQL statements', values: [statements.totp.each], atMost: 2, tolerance: 0 },
    { name: '/login/2fa by passkey, SQL statements', values: [statements.passkey.each], atMost: 2, tolerance: 0 },
    { name: '/token/refresh, SQL statements', values: [statements.refresh.each], atMost: 1, tolerance: 0 },
    ...grownPrograms.map((name) => ({
      name: `${name}, CPU with ${grownRows} users to ${smallUsers}`,
      values: growth.get(name) ?? [],
      ...{ atMost: 1.2, tolerance: 0.1 },
    })),
    {
      name: 'BEGIN, COMMIT and the like',
      values: [Object.values(statements).reduce((sum, { transactionControl }) => sum + transactionControl, 0)],
      ...{ atMost: 0, tolerance: 0, digits: 0 },
    },
    { name: 'memory, peak', values: [memory.peak], ...{ atMost: 260, tolerance: 0.05, digits: 0, unit: ' MiB' } },
    {
      name: `memory, growth over ${loginsWatched} logins`,
      values: [memory.growth],
      ...{ atMost: 10, tolerance: 0.5, digits: 0, unit: ' MiB' },
    },
  ]
}
type Memory = Awaited<ReturnType<typeof watchMemory>>
type Statements = Awaited<ReturnType<typeof readStatements>>
type Passkeys = Awaited<ReturnType<typeof timePasskeys>>

/** The least that argon2 takes: the profile is about everything else. */
const smallHash = { NODE_ENV: 'test', PUBLIC_URL: 'http://localhost', ARGON2_MEMORY_KIB: '64', ARGON2_TIME: '1' }

/** Where a fresh service spends its time, for each step by itself. */
async function profile(stage: Stage): Promise<void> {
  const steps: [string, () => Promise<() => Operation | undefined>][] = [
    ['POST /login', async () => stage.supply.login],
    ['POST /login/2fa', () => stage.supply.proofs('sms', profiled + (warmUp.operations ?? 0))],
  ]
  for (const [name, supplyOf] of steps) {
    await stage.supply.clear()
    const next = await supplyOf()
    const folder = join(stage.folder, name.replaceAll(/\W+/g, '-'))
    mkdirSync(folder)
    const doorstep = await stage.startDoorstep(stage.url, ['--cpu-prof', `--cpu-prof-dir=${folder}`])
    await drive(doorstep.port, warmUp, next)
    const from = profileClock()
    const { operations } = await drive(doorstep.port, { clients: 8, untilMs: 120_000, operations: profiled }, next)
    const to = profileClock()
    await doorstep.close()
    say(`\n${name}: ms of the main thread per operation (${operations} of them)\n`)
    say(summarizeProfile(folder, { operations, from, to }))
  }
}

async function main(): Promise<void> {
  if (given.help) return say(help)
  if (!given['no-build']) execFileSync('npm', ['run', 'build'], { stdio: ['ignore', 'ignore', 'inherit'] })
  const open: (() => unknown)[] = []
  let closing: Promise<void> | undefined
  const closeEach = async (): Promise<void> => {
    for (const close of open.reverse()) await close()
  }
  // After a signal the run fails too, and must not end the process before everything is closed.
  const closeAll = (): Promise<void> => {
    closing ??= closeEach()
    return closing
  }
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => void closeAll().finally(() => process.exit(130)))
  }
  try {
    const stage = await openStage({
      users: Math.max(loginsWatched, 5_000),
      settings: given.profile ? smallHash : {},
      onClose: (close) => void open.push(close),
    })
    say(`Node ${process.version}, Postgres ${stage.postgres.version}, ${cpus().length} × ${cpus()[0]?.model}`)
    if (given.profile) return await profile(stage)
    const results = await measureAll(stage)
    const memory = await watchMemory(stage)
    const statements = await readStatements(stage)
    const growth = await watchGrowth(stage)
    const passkeys = await timePasskeys(rounds, given.quick ? 300 : 1_000)
    const targets = targetsOf(results, { memory, statements, growth, passkeys })
    say(`\nMedians of ${rounds} rounds; CPU in ms per operation\n\n${resultTable(results)}\n\n${targetTable(targets)}`)
    const failed = [...results.values()].flatMap((byLoad) => [...byLoad.values()].flat().map((result) => result.failed))
    say(`\n  Operations that failed and are not counted: ${failed.reduce((sum, count) => sum + count, 0)}`)
    if (targets.some((target) => judge(target) === 'MISSED')) process.exitCode = 1
  } finally {
    await closeAll()
  }
}

await main()
