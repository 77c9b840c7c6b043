import t from 'tap'
import { createBreaker } from '../../src/breaker.ts'

const startMs = 1_700_000_000_000

function setup() {
  let nowMs = startMs
  const breaker = createBreaker({ nowMs: () => nowMs })
  const fail = (times: number, gapMs = 0) => {
    for (let count = 0; count < times; count += 1) {
      breaker.failed()
      nowMs += gapMs
    }
  }
  return {
    breaker,
    fail,
    pass: (ms: number) => {
      nowMs += ms
    },
  }
}

t.test('opens at the tenth failure, not at the ninth', async (t) => {
  const { breaker, fail } = setup()
  fail(9)
  t.equal(breaker.isAvailable(), true)
  t.equal(breaker.tryEnter(), true)
  fail(1)
  t.equal(breaker.isAvailable(), false)
  t.equal(breaker.tryEnter(), false)
})

t.test('only failures of the last 30 s count', async (t) => {
  const apart = setup()
  apart.fail(20, 3_334)
  t.equal(apart.breaker.isAvailable(), true, 'never ten within 30 s')
  const close = setup()
  close.fail(10, 3_333)
  t.equal(close.breaker.isAvailable(), false, 'the first and the tenth are 29,997 ms apart')
  const edge = setup()
  edge.fail(1)
  edge.pass(30_000)
  edge.fail(9)
  t.equal(edge.breaker.isAvailable(), true, 'exactly 30 s old is too old')
})

t.test('a success while closed does not wipe failures out', async (t) => {
  const { breaker, fail } = setup()
  fail(9)
  breaker.succeeded()
  fail(1)
  t.equal(breaker.isAvailable(), false)
})

t.test('while open: one probe per 10 s, and looking does not take it', async (t) => {
  const { breaker, pass } = setup()
  breaker.trip()
  t.equal(breaker.isAvailable(), false, 'opened at once')
  pass(9_999)
  t.equal(breaker.tryEnter(), false)
  pass(1)
  t.same([1, 2, 3].map(breaker.isAvailable), [true, true, true])
  t.equal(breaker.tryEnter(), true, 'the probe is still there')
  t.equal(breaker.isAvailable(), false)
  t.equal(breaker.tryEnter(), false, 'and only one')
  breaker.failed()
  pass(9_999)
  t.equal(breaker.tryEnter(), false)
  pass(1)
  t.equal(breaker.tryEnter(), true, 'the next, although the last probe failed')
})

t.test('failures and trips while open do not put the probe off', async (t) => {
  const { breaker, fail, pass } = setup()
  breaker.trip()
  pass(9_000)
  fail(30)
  breaker.trip()
  pass(1_000)
  t.equal(breaker.tryEnter(), true)
})

t.test('a success closes it, with a clean slate', async (t) => {
  const { breaker, fail, pass } = setup()
  fail(10)
  pass(10_000)
  t.equal(breaker.tryEnter(), true)
  breaker.succeeded()
  t.same([1, 2, 3].map(breaker.tryEnter), [true, true, true])
  fail(9)
  t.equal(breaker.isAvailable(), true)
  fail(1)
  t.equal(breaker.isAvailable(), false)
})

t.test('a machine clock that is set back does not keep it open for hours', async (t) => {
  const { breaker, pass } = setup()
  breaker.trip()
  pass(-3_600_000)
  t.equal(breaker.isAvailable(), true)
  t.equal(breaker.tryEnter(), true)
  t.equal(breaker.tryEnter(), false)
  pass(10_000)
  t.equal(breaker.tryEnter(), true)
})
