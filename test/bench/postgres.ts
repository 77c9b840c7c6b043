import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chownSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { systemRandom } from '../../src/system.ts'
import { freePort } from '../helpers/service-process.ts'

/** `pid` of the server's first process, when it is ours and its CPU can be measured. */
export type BenchPostgres = {
  version: string
  pid: number | null
  /** Makes an empty database; its address. */
  create(): Promise<string>
  /** Drops what was made, and stops the server if it is ours. */
  close(): Promise<void>
}

/** The server of BENCH_DATABASE_URL or TEST_DATABASE_URL, or one started for this run. */
export async function openPostgres(): Promise<BenchPostgres> {
  const given = process.env.BENCH_DATABASE_URL || process.env.TEST_DATABASE_URL
  const server = given ? { url: given, pid: null, close: async () => {} } : await startPostgres()
  const made: string[] = []
  const { rows } = await withAdmin(server.url, (admin) =>
    admin.query<{ server_version: string }>('SHOW server_version'),
  )
  return {
    version: rows[0]?.server_version ?? '?',
    pid: server.pid,
    create: async () => {
      const name = `doorstep_bench_${systemRandom.bytes(6).toString('hex')}`
      await withAdmin(server.url, (admin) => admin.query(`CREATE DATABASE ${name}`))
      made.push(name)
      const url = new URL(server.url)
      url.pathname = `/${name}`
      return url.toString()
    },
    close: async () => {
      for (const name of made) {
        await withAdmin(server.url, (admin) => admin.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`))
      }
      await server.close()
    },
  }
}

/** A Postgres with its default settings, durable commits included, in a temporary folder. */
async function startPostgres() {
  const bin = findBinaries()
  const folder = mkdtempSync(join(tmpdir(), 'doorstep-bench-pg-'))
  // initdb and postgres refuse to run as root.
  const owner = process.getuid?.() === 0 ? { uid: idOf('-u'), gid: idOf('-g') } : {}
  if (owner.uid !== undefined) chownSync(folder, owner.uid, owner.gid)
  const run = { ...owner, cwd: folder, stdio: 'ignore' as const, env: { PATH: process.env.PATH ?? '' } }
  execFileSync(join(bin, 'initdb'), ['-D', folder, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--no-sync'], run)

  const port = await freePort()
  const settings = { listen_addresses: '127.0.0.1', port, unix_socket_directories: '' }
  const args = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
  const postmaster = spawn(join(bin, 'postgres'), ['-D', folder, ...args], run)
  const exited = once(postmaster, 'exit')
  const close = async (): Promise<void> => {
    postmaster.kill('SIGINT')
    await exited
    rmSync(folder, { recursive: true, force: true })
  }
  const url = `postgresql://postgres@127.0.0.1:${port}/postgres`
  for (let tries = 0; tries < 100 && postmaster.exitCode === null; tries += 1) {
    if (await isUp(url)) return { url, pid: postmaster.pid ?? null, close }
    await sleep(100)
  }
  await close()
  throw new Error('Postgres did not start')
}

function findBinaries(): string {
  const root = '/usr/lib/postgresql'
  const versions = existsSync(root) ? readdirSync(root).sort((a, b) => Number(b) - Number(a)) : []
  const found = versions.map((version) => join(root, version, 'bin')).find((bin) => existsSync(join(bin, 'initdb')))
  if (found === undefined) throw new Error('No Postgres found: install one, or set BENCH_DATABASE_URL')
  return found
}

const idOf = (flag: '-u' | '-g'): number => Number(execFileSync('id', [flag, 'postgres'], { encoding: 'utf8' }))

async function isUp(url: string): Promise<boolean> {
  try {
    await withAdmin(url, (admin) => admin.query('SELECT 1'))
    return true
  } catch {
    return false
  }
}

async function withAdmin<T>(url: string, work: (admin: pg.Client) => Promise<T>): Promise<T> {
  const admin = new pg.Client({ connectionString: url })
  admin.on('error', () => {})
  try {
    await admin.connect()
    return await work(admin)
  } finally {
    await admin.end()
  }
}
