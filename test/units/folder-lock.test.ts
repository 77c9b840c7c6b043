import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import fs, { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import t from 'tap'
import { lockFolder } from '../../src/store/folder-lock.ts'
import { codeOf, loader } from '../helpers/program.ts'

const lockModule = pathToFileURL(codeOf('src/store/folder-lock.ts')).href

/**
 * Another process that locks `folder` when it is told to, says `held` or `InUse`, and stays until it is killed.
 * Resolves once it is ready to be told.
 */
async function startContender(folder: string): Promise<{ child: ChildProcess; lock(): Promise<string> }> {
  const script = `
    const { lockFolder } = await import(${JSON.stringify(lockModule)})
    const [folder] = process.argv.slice(-1)
    process.stdin.once('data', () => {
      try { lockFolder(folder); console.log('held') } catch (error) { console.log(error.name) }
    })
    console.log('ready')`
  const child = spawn(process.execPath, [...loader, '--input-type=module', '-e', script, folder], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  await once(child.stdout, 'data')
  return {
    child,
    lock: async () => {
      child.stdin.write('now\n')
      const [said] = await once(child.stdout, 'data')
      return String(said).trim()
    },
  }
}

const readIfThere = (path: string): string => (existsSync(path) ? readFileSync(path, 'utf8') : '')

async function kill(child: ChildProcess): Promise<void> {
  child.kill('SIGKILL')
  await once(child, 'exit')
}

t.test('a second process is refused, until the first gives the folder back', async (t) => {
  const folder = join(t.testdir(), 'postgres')
  const unlock = lockFolder(folder)
  t.throws(() => lockFolder(folder), {
    name: 'InUse',
    message: new RegExp(`in use by process ${process.pid} \\(.*postgres\\.lock\\)`),
  })
  const other = await startContender(folder)
  t.equal(await other.lock(), 'InUse')
  unlock()
  await kill(other.child)

  const next = await startContender(folder)
  t.equal(await next.lock(), 'held')
  t.throws(() => lockFolder(folder), { name: 'InUse', message: new RegExp(`process ${next.child.pid} `) })
  unlock()
  t.throws(() => lockFolder(folder), { name: 'InUse' }, 'giving back twice takes nothing from others')
  await kill(next.child)
})

t.test('the lock of a process that was killed is taken over, by one process only', async (t) => {
  const folder = join(t.testdir(), 'postgres')
  const victim = await startContender(folder)
  t.equal(await victim.lock(), 'held')
  await kill(victim.child)
  t.ok(existsSync(`${folder}.lock`), 'it left its lock behind')

  const contenders = await Promise.all(Array.from({ length: 5 }, () => startContender(folder)))
  const outcomes = await Promise.all(contenders.map(({ lock }) => lock()))
  t.same(outcomes.sort(), ['InUse', 'InUse', 'InUse', 'InUse', 'held'])
  await Promise.all(contenders.map(({ child }) => kill(child)))
  lockFolder(folder)()
  t.same(readdirSync(join(folder, '..')), [], 'nothing is left lying about')
})

t.test('a lock that another took over a moment ago is never moved, not even for a moment', async (t) => {
  const folder = join(t.testdir(), 'postgres')
  const path = `${folder}.lock`
  const winner = await startContender(folder)
  t.equal(await winner.lock(), 'held')
  const live = readFileSync(path, 'utf8')
  writeFileSync(path, 'gone')
  const { linkSync, renameSync } = fs
  let calls = 0
  // Between the look at the stale lock and what is done about it.
  const beside =
    <Args extends unknown[]>(work: (...args: Args) => void) =>
    (...args: Args): void => {
      calls += 1
      if (calls === 1) writeFileSync(path, live)
      t.equal(readIfThere(path), live, `before step ${calls}`)
      work(...args)
      t.equal(readIfThere(path), live, `after step ${calls}`)
    }
  Object.assign(fs, { linkSync: beside(linkSync), renameSync: beside(renameSync) })
  syncBuiltinESMExports()
  t.teardown(() => {
    Object.assign(fs, { linkSync, renameSync })
    syncBuiltinESMExports()
  })
  t.throws(() => lockFolder(folder), { name: 'InUse' })
  t.ok(calls >= 1)
  t.same(readdirSync(join(folder, '..')), ['postgres.lock'], 'nothing is left lying about')
  await kill(winner.child)
})

t.test('a process that died while it took a lock over keeps nobody out', async (t) => {
  const folder = join(t.testdir(), 'postgres')
  for (const name of ['lock', 'lock.taking']) writeFileSync(`${folder}.${name}`, '99999999999 1\n')
  lockFolder(folder)()
  t.same(readdirSync(join(folder, '..')), [])
  writeFileSync(`${folder}.lock`, '99999999999 1\n')
  writeFileSync(`${folder}.lock.taking`, `${process.pid} \n`)
  t.throws(() => lockFolder(folder), { name: 'InUse', message: new RegExp(`process ${process.pid} `) }, 'one at a time')
})

t.test('the number of a dead process may belong to another one by now', async (t) => {
  const folder = join(t.testdir(), 'postgres')
  if (existsSync('/proc/self/stat')) {
    writeFileSync(`${folder}.lock`, `${process.pid} 1\n`)
    lockFolder(folder)()
    t.notOk(existsSync(`${folder}.lock`), 'taken over and given back')
  }
  writeFileSync(`${folder}.lock`, `${process.pid}\n`)
  t.throws(() => lockFolder(folder), { name: 'InUse' }, 'where nothing tells them apart, the safe answer')
})

t.test('a lock that nobody can have written does not lock anybody out', async (t) => {
  const folder = join(t.testdir(), 'postgres')
  for (const text of ['', 'gone', '-1 5', '0 0', '99999999999 1']) {
    writeFileSync(`${folder}.lock`, text)
    t.doesNotThrow(() => lockFolder(folder)(), JSON.stringify(text))
  }
})

t.test('a folder that cannot be written says so', async (t) => {
  t.throws(() => lockFolder(join(t.testdir(), 'missing', 'postgres')), { code: 'ENOENT' })
})
