import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { freePort } from './service-process.ts'

const folders = ['/usr/sbin', '/usr/bin', '/usr/local/bin', '/opt/homebrew/bin']

/** PgBouncer of this machine, if there is one. */
export const pgbouncer = folders.map((folder) => join(folder, 'pgbouncer')).find((program) => existsSync(program))

/**
 * Starts a PgBouncer, set up as it comes but for the mode, before the server of `target`, until `t` ends.
 * Returns `target` through it. `connections`: how many it opens to the server at most.
 */
export async function startPooler(
  t: { teardown(work: () => unknown): void },
  given: { program: string; target: string; mode: 'session' | 'transaction'; connections: number },
): Promise<string> {
  const { program, target, mode, connections } = given
  const { hostname, port: targetPort, username, password } = new URL(target)
  const folder = mkdtempSync(join(tmpdir(), 'doorstep-pooler-'))
  const port = await freePort()
  const server = {
    host: hostname,
    port: targetPort || '5432',
    user: decodeURIComponent(username),
    password: decodeURIComponent(password),
  }
  const known = Object.entries(server).filter(([, value]) => value !== '')
  const settings = {
    ...{ listen_addr: '127.0.0.1', listen_port: port, unix_socket_dir: '' },
    ...{ auth_type: 'any', pool_mode: mode, default_pool_size: connections },
  }
  const lines = [
    '[databases]',
    `* = ${known.map(([name, value]) => `${name}='${value.replaceAll("'", "''")}'`).join(' ')}`,
    '[pgbouncer]',
    ...Object.entries(settings).map(([name, value]) => `${name} = ${value}`),
  ]
  writeFileSync(join(folder, 'pgbouncer.ini'), `${lines.join('\n')}\n`)
  // It refuses to run as root.
  const owner = process.getuid?.() === 0 ? { uid: idOf('-u'), gid: idOf('-g') } : {}
  chmodSync(folder, 0o755)
  const child = spawn(program, ['-q', join(folder, 'pgbouncer.ini')], { ...owner, cwd: '/', stdio: 'ignore' })
  const exited = once(child, 'exit')
  t.teardown(async () => {
    child.kill('SIGQUIT')
    await exited
    rmSync(folder, { recursive: true, force: true })
  })
  const url = new URL(target)
  url.hostname = '127.0.0.1'
  url.port = String(port)
  for (let tries = 0; tries < 100 && child.exitCode === null; tries += 1) {
    if (await isUp(url.href)) return url.href
    await sleep(100)
  }
  throw new Error('PgBouncer did not start')
}

const idOf = (flag: '-u' | '-g'): number => Number(execFileSync('id', [flag, 'nobody'], { encoding: 'utf8' }))

async function isUp(url: string): Promise<boolean> {
  const client = new pg.Client({ connectionString: url })
  client.on('error', () => {})
  try {
    await client.connect()
    await client.end()
    return true
  } catch {
    return false
  }
}
