import pg from 'pg'
import t, { type Test } from 'tap'
import { createDatabase } from '../../src/store/client.ts'
import { createStore } from '../../src/store/index.ts'
import { startDoorstep } from '../helpers/doorstep.ts'
import { pgbouncer, startPooler } from '../helpers/pooler.ts'

// Whoever catches up with the log of events remembers the last one that he has read, and asks for what came after it. An event
// whose number is lower and whose transaction commits later would be one that no backend ever hears of: a removed factor, a
// deletion. And one transaction that hangs must not hide the log from everybody.

t.setTimeout(300_000)

const doorstep = await startDoorstep(t)
const { database, sql, services } = doorstep

type Step = { writer: number; does: 'record' | 'end' }

/** Every order in which the steps of these writers can follow each other, each writer's own in order. */
function interleavings(writers: Step['does'][][]): Step[][] {
  const next = writers.flatMap((steps, writer) => (steps[0] === undefined ? [] : [{ writer, does: steps[0] }]))
  if (next.length === 0) return [[]]
  return next.flatMap((step) => {
    const rest = writers.map((steps, writer) => (writer === step.writer ? steps.slice(1) : steps))
    return interleavings(rest).map((more) => [step, ...more])
  })
}

const connect = async (t: Test, url = database.url): Promise<pg.Client> => {
  const client = new pg.Client({ connectionString: url })
  client.on('error', () => {})
  await client.connect()
  t.teardown(() => client.end())
  return client
}

const eventOf = (name: string): string => JSON.stringify({ type: 'test.gap', outcome: name })
const record = (client: pg.Client, name: string) => client.query('SELECT record_event($1, NULL)', [eventOf(name)])

/** A backend that catches up: what it has read so far, in order, and whether anything came behind what it had read. */
function createReader(store: Pick<ReturnType<typeof createStore>, 'audit'>, from: string) {
  const seen: string[] = []
  let last = from
  return {
    seen,
    read: async (t: Test): Promise<void> => {
      for (;;) {
        const after_id = last.slice(4)
        const { events } = await store.audit.read({ limit: 3, order: 'asc', span: 1_000, after_id }, null)
        for (const event of events) {
          if (event.id <= last) t.fail(`${event.id} came behind ${last}`)
          last = event.id
          if (event.type === 'test.gap') seen.push(event.outcome)
        }
        if (events.length === 0) return
      }
    },
  }
}

const lastName = async (): Promise<string> => {
  const [{ name } = { name: '' }] = await sql<{ name: string }>('SELECT event_name(last_event()) AS name')
  return name
}
const readable = async () =>
  (await sql<{ left: number }>('SELECT (last_event() - readable_events())::integer AS left'))[0]?.left

if (!database.isReal) {
  t.comment('needs TEST_DATABASE_URL: the embedded database has one transaction at a time')
  t.test('what is recorded is read in order, each event once', async (t) => {
    const reader = createReader(services.store, await lastName())
    for (const name of ['a', 'b', 'c', 'd']) await sql('SELECT record_event($1, NULL)', [eventOf(name)])
    await reader.read(t)
    t.same(reader.seen, ['a', 'b', 'c', 'd'])
    t.equal(await readable(), 0)
  })
} else {
  t.test(
    'three writers whose commits overlap in every order: nothing missed, nothing behind what was read',
    async (t) => {
      const writers = [await connect(t), await connect(t), await connect(t)]
      const orders = interleavings([
        ['record', 'record', 'end'],
        ['record', 'end'],
        ['record', 'end'],
      ])
      t.equal(orders.length, 210)
      // Of the three one, or none, undoes what it has done.
      for (const [n, steps] of orders.entries()) await play(t, writers, steps, n % 4)
    },
  )

  t.test('the same behind a pooler that shares its connections', async (t) => {
    if (pgbouncer === undefined) return t.comment('needs PgBouncer')
    const url = await startPooler(t, { program: pgbouncer, target: database.url, mode: 'transaction', connections: 6 })
    const writers = [await connect(t, url), await connect(t, url), await connect(t, url)]
    const pooled = createDatabase({ ...{ url, poolSize: 2, isServer: true, patience: 1 }, onError: () => {} })
    t.teardown(() => pooled.close())
    const orders = interleavings([
      ['record', 'end'],
      ['record', 'end'],
      ['record', 'end'],
    ])
    t.equal(orders.length, 90)
    for (const [n, steps] of orders.entries()) await play(t, writers, steps, n % 4, createStore(pooled))
  })

  t.test('many writers at once, while a backend catches up', async (t) => {
    const reader = createReader(services.store, await lastName())
    const committed: string[] = []
    let writing = 12
    const write = async (writer: number): Promise<void> => {
      const client = await connect(t)
      for (let n = 0; n < 40; n += 1) {
        const names = Array.from({ length: 1 + (n % 3) }, (_, at) => `${writer}/${n}/${at}`)
        await client.query('BEGIN')
        for (const name of names) {
          await record(client, name)
          await client.query('SELECT pg_sleep(random() * 0.004)')
        }
        const isKept = n % 5 !== writer % 5
        await client.query(isKept ? 'COMMIT' : 'ROLLBACK')
        if (isKept) committed.push(...names)
      }
      writing -= 1
    }
    const catchUp = async (): Promise<void> => {
      while (writing > 0) await reader.read(t)
      await reader.read(t)
    }
    await Promise.all([catchUp(), ...Array.from({ length: 12 }, (_, writer) => write(writer))])
    t.equal(reader.seen.length, committed.length)
    t.same([...reader.seen].sort(), committed.sort(), 'each once')
  })

  t.test('who has not got a number yet hides nothing that was given before', async (t) => {
    const writer = await connect(t)
    await record(writer, 'before')
    await writer.query('BEGIN')
    // As one does that begins after the reader has asked for the last number, and before it looks at the locks.
    await writer.query('SELECT pg_advisory_xact_lock_shared(event_lock(), ((last_event() + 3) % 2147483648)::integer)')
    t.equal(await readable(), 0)
    await writer.query('ROLLBACK')
  })

  t.test('numbers that no longer fit into a lock', async (t) => {
    const writers = [await connect(t), await connect(t), await connect(t)]
    const orders = interleavings([
      ['record', 'end'],
      ['record', 'end'],
      ['record', 'end'],
    ])
    for (const start of [2_147_483_646, 4_294_967_294, 6_442_450_942]) {
      await sql(`SELECT setval('audit_events_id_seq', $1)`, [start])
      for (const [n, steps] of orders.slice(0, 20).entries()) await play(t, writers, steps, n % 4)
    }
  })

  t.test(
    'a thousand events of one transaction take one lock, and what fails within it gives its own back',
    async (t) => {
      const writer = await connect(t)
      const locks = async (): Promise<number> => {
        const [row] = await sql<{ count: number }>(
          `SELECT count(*)::integer AS count FROM pg_locks WHERE locktype = 'advisory' AND classid = event_lock()::oid
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`,
        )
        return row?.count ?? -1
      }
      await writer.query('BEGIN')
      await writer.query('SELECT record_event($1, NULL) FROM generate_series(1, 1000)', [eventOf('many')])
      t.equal(await locks(), 1)
      t.equal(await readable(), 1_000, 'and it hides them all')
      await writer.query('COMMIT')
      t.equal(await locks(), 0)
      t.equal(await readable(), 0)

      await writer.query('BEGIN; SAVEPOINT part')
      await record(writer, 'undone')
      await writer.query('ROLLBACK TO part')
      t.equal(await locks(), 0)
      await record(writer, 'kept')
      t.equal(await locks(), 1)
      t.equal(await readable(), 1)
      await writer.query('COMMIT')
      t.equal(await locks(), 0)
    },
  )

  t.test('nobody waits for anybody', async (t) => {
    const [held, other] = [await connect(t), await connect(t)]
    await held.query('BEGIN')
    await record(held, 'held')
    await other.query(`SET lock_timeout = '50ms'; SET statement_timeout = '30s'`)
    for (let n = 0; n < 5; n += 1) await t.resolves(record(other, `passing ${n}`))
    await t.resolves(services.store.audit.read({ limit: 5, order: 'desc', span: 10 }, null))
    await held.query('ROLLBACK')
  })

  t.test('a backup, or whatever else has an old transaction open, hides nothing', async (t) => {
    const backup = await connect(t)
    await backup.query('BEGIN ISOLATION LEVEL REPEATABLE READ')
    await backup.query('SELECT count(*) FROM audit_events')
    await record(await connect(t), 'meanwhile')
    t.equal(await readable(), 0)
    await backup.query('ROLLBACK')
  })

  t.test('a transaction of ours that hangs hides the log for ten seconds at most', async (t) => {
    for (const patience of [1, 5]) {
      const db = createDatabase({ ...{ url: database.url, poolSize: 1, isServer: true, patience }, onError: () => {} })
      t.teardown(() => db.close())
      const [limits] = await db.$queryRawUnsafe<{ statement: number; idle: number }[]>(
        `SELECT (SELECT setting::integer FROM pg_settings WHERE name = 'statement_timeout') AS statement,
           (SELECT setting::integer FROM pg_settings WHERE name = 'idle_in_transaction_session_timeout') AS idle`,
      )
      t.ok(limits && limits.statement > 0 && limits.statement <= 10_000, `a statement ends, patience ${patience}`)
      t.ok(limits && limits.idle > 0 && limits.idle <= 10_000, 'and so does a transaction in which nothing happens')
    }
    const hung = await connect(t)
    await hung.query('SET idle_in_transaction_session_timeout = 4000')
    await hung.query('BEGIN')
    await record(hung, 'lost')
    await record(await connect(t), 'behind it')
    t.equal(await readable(), 2)
    for (let tries = 0; tries < 100 && (await readable()) !== 0; tries += 1) await sql('SELECT pg_sleep(0.1)')
    t.equal(await readable(), 0)
  })
}

/** Plays the steps in their order, and reads after each; the writer `undone` rolls back, where there is one of that number. */
async function play(
  t: Test,
  writers: pg.Client[],
  steps: Step[],
  undone: number,
  store: Pick<ReturnType<typeof createStore>, 'audit'> = services.store,
): Promise<void> {
  const reader = createReader(store, await lastName())
  const begun = new Map<number, string[]>()
  const committed: string[] = []
  for (const { writer, does } of steps) {
    const client = writers[writer] as pg.Client
    if (does === 'record') {
      if (!begun.has(writer)) await client.query('BEGIN')
      const names = begun.get(writer) ?? []
      const name = `${writer}/${names.length}`
      await record(client, name)
      begun.set(writer, [...names, name])
    } else {
      await client.query(writer === undone ? 'ROLLBACK' : 'COMMIT')
      if (writer !== undone) committed.push(...(begun.get(writer) ?? []))
    }
    await reader.read(t)
  }
  if (reader.seen.length === committed.length) {
    if ([...reader.seen].sort().join() === committed.sort().join()) return
  }
  t.same(reader.seen, committed, JSON.stringify(steps))
}
