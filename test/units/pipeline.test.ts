import { setImmediate as turn } from 'node:timers/promises'
import type pg from 'pg'
import t from 'tap'
import { createPipeline } from '../../src/store/pipeline.ts'

type Sent = { text: string; connection: number; end(): void; fail(): void }

/** A pool of `max` connections, handed out in order; statements end when they are told to. */
function startPool(max: number) {
  const sent: Sent[] = []
  const idle = Array.from({ length: max }, (_, connection) => connection)
  const closed: number[] = []
  const waiting: (() => void)[] = []
  const connect = async () => {
    if (idle.length === 0) await new Promise<void>((resolve) => void waiting.push(resolve))
    const connection = idle.shift() as number
    return {
      query: ({ text }: { text: string }) =>
        new Promise((resolve, reject) => {
          sent.push({ text, connection, end: () => resolve({ rows: [{ text }] }), fail: () => reject(new Error(text)) })
        }),
      release: (failed: boolean) => {
        if (failed) closed.push(connection)
        idle.push(connection)
        waiting.shift()?.()
      },
    }
  }
  const pool = {
    ...{ options: { max }, totalCount: max, connect },
    get idleCount() {
      return idle.length
    },
  }
  return { pool: pool as unknown as pg.Pool, sent, closed }
}

t.test('statements go one behind another over a connection until it is full, then over the next', async (t) => {
  const { pool, sent } = startPool(3)
  const ask = createPipeline(pool, 2)
  const answers = ['a', 'b', 'c'].map((text) => ask({ text }))
  await turn()
  t.same(
    sent.map(({ text, connection }) => [text, connection]),
    [
      ['a', 0],
      ['b', 0],
      ['c', 1],
    ],
  )
  for (const { end } of sent) end()
  t.same(await Promise.all(answers), [[{ text: 'a' }], [{ text: 'b' }], [{ text: 'c' }]])
})

t.test('after a failure a connection gets nothing more to do, and is closed when nothing is on its way', async (t) => {
  const { pool, sent, closed } = startPool(2)
  const ask = createPipeline(pool, 8)
  const [broken, behind] = [ask({ text: 'broken' }), ask({ text: 'behind' })]
  await turn()
  sent[0]?.fail()
  await t.rejects(broken)
  const next = ask({ text: 'next' })
  await turn()
  t.equal(sent[2]?.connection, 1)
  t.same(closed, [], 'not under the statement behind')
  sent[1]?.end()
  await behind
  t.same(closed, [0])
  sent[2]?.end()
  await next
  t.same(closed, [0])
})

t.test(
  'a statement apart waits behind none and lets none wait behind it, while there is a connection left',
  async (t) => {
    const { pool, sent } = startPool(2)
    const ask = createPipeline(pool, 8)
    const apart = ask({ text: 'apart' }, { apart: true })
    const other = ask({ text: 'other' })
    await turn()
    t.same(new Set(sent.map(({ connection }) => connection)).size, 2, 'each has one of its own')
    const second = ask({ text: 'second' }, { apart: true })
    await turn()
    t.equal(sent[2]?.connection, sent.find(({ text }) => text === 'other')?.connection, 'none left: behind the others')
    for (const { end } of sent) end()
    await Promise.all([apart, other, second])
  },
)

t.test('a pool of one connection serves all of it', async (t) => {
  const { pool, sent } = startPool(1)
  const ask = createPipeline(pool, 8)
  const apart = ask({ text: 'apart' }, { apart: true })
  const other = ask({ text: 'other' })
  await turn()
  t.equal(sent.length, 1)
  sent[0]?.end()
  await apart
  await turn()
  t.equal(sent.length, 2)
  sent[1]?.end()
  await other
})
