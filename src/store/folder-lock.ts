import { linkSync, readFileSync, rmSync, writeFileSync } from 'node:fs'

/**
 * Takes `folder` for this process, by a file beside it that names the process; returns what gives it back. Two
 * processes on one embedded database would spoil it. A lock whose process is gone (SIGKILL, a power cut) is taken over.
 * Throws an Error named `InUse`, to be shown as it is, while another process holds it.
 */
export function lockFolder(folder: string): () => void {
  const path = `${folder}.lock`
  const draft = `${path}.${process.pid}`
  const own = `${process.pid} ${birthOf(process.pid)}\n`
  // A finished file is linked into place: there is never half a lock, and a link never overwrites one.
  writeFileSync(draft, own, { mode: 0o600 })
  try {
    removeIfStale(path, draft)
    linkSync(draft, path)
  } catch (error) {
    throw (error as NodeJS.ErrnoException).code === 'EEXIST' ? inUse(path, readIfThere(path)) : error
  } finally {
    rmSync(draft)
  }
  return () => {
    if (readIfThere(path) === own) rmSync(path, { force: true })
  }
}

/** One process at a time takes over: so what it removes is the stale lock that it found, and no live one that came meanwhile. */
function removeIfStale(path: string, draft: string): void {
  const found = readIfThere(path)
  if (found === undefined) return
  if (isHeld(found)) throw inUse(path, found)
  const guard = `${path}.taking`
  const taker = readIfThere(guard)
  if (taker !== undefined) {
    if (isHeld(taker)) throw inUse(path, taker)
    rmSync(guard, { force: true })
  }
  linkSync(draft, guard)
  try {
    if (readIfThere(path) === found) rmSync(path, { force: true })
  } finally {
    rmSync(guard, { force: true })
  }
}

function isHeld(lock: string): boolean {
  const [pid, birth = ''] = lock.trim().split(' ')
  const birthNow = birthOf(Number(pid))
  const isAnother = birth !== '' && birthNow !== '' && birth !== birthNow
  return isAlive(Number(pid)) && !isAnother
}

function isAlive(pid: number): boolean {
  if (!Number.isInteger(pid) || pid < 1) return false
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

/** Tells a process from a later one that has its number (Linux: the start time, proc(5) field 22); empty elsewhere. */
function birthOf(pid: number): string {
  const [state, ...rest] = readIfThere(`/proc/${pid}/stat`)?.split(') ').at(-1)?.split(' ') ?? []
  return state === 'Z' ? 'ended' : (rest[18] ?? '')
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    if (['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined
    throw error
  }
}

function inUse(path: string, lock = ''): Error {
  const holder = lock.split(' ')[0]
  const message =
    `The embedded database is in use by process ${holder} (${path}). Stop that process first, ` +
    'or set DATABASE_URL to a Postgres server, which serves many.'
  return Object.assign(new Error(message), { name: 'InUse' })
}
