import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { createGroupCommit } from '../../src/store/group-commit.ts'

/** Flushes that end when they are told to. */
function startFlushes() {
  const begun: { end(): void; fail(error: Error): void }[] = []
  const commit = createGroupCommit(
    () => new Promise<void>((resolve, reject) => void begun.push({ end: resolve, fail: reject })),
  )
  return { commit, begun }
}

t.test('everybody gets a flush that begins after he asked, and those who ask meanwhile share one', async (t) => {
  const { commit, begun } = startFlushes()
  const done: string[] = []
  const ask = (name: string) => commit().then(() => void done.push(name))
  const first = [ask('a'), ask('b')]
  await turn()
  t.equal(begun.length, 1, 'asked in the same moment: one flush')
  const second = [ask('c'), ask('d')]
  await turn()
  t.equal(begun.length, 1, 'no two at once')
  begun[0]?.end()
  await Promise.all(first)
  await turn()
  t.same(done, ['a', 'b'], 'who asked while it was under way is not covered by it')
  t.equal(begun.length, 2)
  begun[1]?.end()
  await Promise.all(second)
  t.same(done, ['a', 'b', 'c', 'd'])
})

t.test('a flush that fails fails for those who share it, and for nobody else', async (t) => {
  const { commit, begun } = startFlushes()
  const sharers = [commit(), commit()]
  await turn()
  const next = commit()
  begun[0]?.fail(new Error('disk'))
  for (const sharer of sharers) await t.rejects(sharer, { message: 'disk' })
  await turn()
  begun[1]?.end()
  await t.resolves(next)
})
