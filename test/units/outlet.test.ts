import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from 'node:child_process'
import { closeSync, existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { Writable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { createOutlet } from '../../src/outlet.ts'
import { makePipe } from '../helpers/named-pipe.ts'

/** A stream that takes nothing until `take` is called, and then everything. */
function createReader() {
  const taken: string[] = []
  let isAwake = false
  let waiting = (): void => {}
  const stream = new Writable({
    writev(chunks, done) {
      const settle = (): void => {
        taken.push(...chunks.map(({ chunk }) => String(chunk)))
        done()
      }
      if (isAwake) settle()
      else waiting = settle
    },
  })
  return {
    stream,
    text: () => taken.join(''),
    take: (): void => {
      isAwake = true
      waiting()
    },
  }
}

const nextTurn = () => new Promise((resolve) => setImmediate(resolve))

t.test('what waits is bounded in bytes; what is lost is counted, and told once the reader is back', async (t) => {
  const reader = createReader()
  const outlet = createOutlet(reader.stream, 100)
  const told: number[] = []
  outlet.onceBack((lost) => {
    told.push(lost)
    outlet.write(`lost ${lost}\n`)
  })
  // Twelve bytes each: eight fit.
  for (let count = 0; count < 10; count += 1) outlet.write(`${'€'.repeat(3)} ${count}\n`)
  t.equal(outlet.lost(), 2)
  t.ok(reader.stream.writableLength <= 100)
  t.same(told, [])
  reader.take()
  await nextTurn()
  t.same(told, [2])
  t.equal(reader.text(), `${[0, 1, 2, 3, 4, 5, 6, 7].map((count) => `€€€ ${count}\n`).join('')}lost 2\n`)
  outlet.write('more\n')
  await nextTurn()
  t.same([told, outlet.lost()], [[2], 2], 'told once')
})

t.test('the exit waits for what can be written, and not for a reader that sleeps', async (t) => {
  const reader = createReader()
  const outlet = createOutlet(reader.stream)
  outlet.write('last words\n')
  const startedAt = performance.now()
  await outlet.flush(50)
  t.ok(performance.now() - startedAt >= 45)
  t.equal(reader.text(), '')
  const flushed = outlet.flush(600_000)
  reader.take()
  await flushed
  t.equal(reader.text(), 'last words\n')
})

/** A program that finds the outlet of its standard output as `outlet`. */
const program = (code: string): string =>
  `import { createOutlet } from '${new URL('../../src/outlet.ts', import.meta.url)}'
   const outlet = createOutlet(process.stdout)
   ${code}`

t.test('a reader that goes and another that comes: its first line begins on a line of its own', async (t) => {
  const echo = `
    const { createInterface } = await import('node:readline')
    for await (const line of createInterface({ input: process.stdin })) {
      outlet.write(line + '\\n')
      setTimeout(() => console.error(outlet.lost()), 50)
    }`
  const folder = t.testdir({ 'echo.mjs': program(echo) })
  const pipe = makePipe(join(folder, 'pipe'))
  const words = ['--import=tsx/esm', join(folder, 'echo.mjs')]
  const child = spawn(process.execPath, words, { stdio: ['pipe', pipe.end, 'pipe'] }) as ChildProcessWithoutNullStreams
  t.teardown(() => child.kill('SIGKILL'))
  closeSync(pipe.end)
  const replies = createInterface({ input: child.stderr })[Symbol.asyncIterator]()
  const write = async (line: string): Promise<string> => {
    child.stdin.write(`${line}\n`)
    return (await replies.next()).value
  }
  t.equal(await write('one'), '0')
  pipe.hangUp()
  t.equal(await write('two'), '1')
  t.equal(await write('three'), '2')
  pipe.comeBack()
  t.equal(await write('four'), '2')
  child.stdin.end()
  t.equal(await pipe.read().all, 'one\n\nfour\n')
})

t.test('a terminal that is held does not stop who writes to it', async (t) => {
  if (spawnSync('script', ['--version']).error) return t.comment('needs script(1)')
  const folder = t.testdir({
    'chatter.mjs': program(`
      for (let count = 0; count < 50_000; count += 1) outlet.write('a line of twenty-odd bytes\\n')
      const { writeFileSync } = await import('node:fs')
      writeFileSync(import.meta.dirname + '/lost', String(outlet.lost()))
      process.exit(0)`),
  })
  // Who shows the terminal stands still, for nobody reads its own output.
  const pipe = makePipe(join(folder, 'pipe'))
  pipe.fill()
  const command = `${process.execPath} --import=tsx/esm ${join(folder, 'chatter.mjs')}`
  const child = spawn('script', ['--quiet', '--command', command, '/dev/null'], { stdio: ['pipe', pipe.end, 'ignore'] })
  t.teardown(() => child.kill('SIGKILL'))
  closeSync(pipe.end)
  const written = join(folder, 'lost')
  const lost = () => (existsSync(written) ? Number(readFileSync(written, 'utf8')) : 0)
  for (let waited = 0; waited < 600 && lost() === 0; waited += 1) await sleep(100)
  t.ok(lost() > 0, 'it went on, and says what was lost')
  pipe.hangUp()
})
