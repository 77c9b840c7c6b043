import { createHash, randomBytes } from 'node:crypto'
import { cpSync, existsSync } from 'node:fs'
import { mkdtemp, readdir, readFile, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { embeddedConnections, startEmbedded } from '../../src/store/embedded.ts'
import { lockFolder } from '../../src/store/folder-lock.ts'
import { migrate } from '../../src/store/migrate.ts'

/** A migrated, empty database of its own for one test file. `isReal`: a Postgres server, where races are real. */
export type TestDatabase = { url: string; connections: number | null; isReal: boolean; close(): Promise<void> }

/** On the server of TEST_DATABASE_URL, if that is set; otherwise embedded. Both start as copies of one template. */
export async function createTestDatabase(): Promise<TestDatabase> {
  const server = process.env.TEST_DATABASE_URL
  return server ? createOnServer(server) : createEmbedded()
}

async function createOnServer(server: string): Promise<TestDatabase> {
  const template = `doorstep_template_${await schemaVersion()}`
  const name = `doorstep_test_${randomBytes(6).toString('hex')}`
  await withClient(server, async (admin) => {
    await admin.query('SELECT pg_advisory_lock(hashtext($1))', [template])
    const { rowCount } = await admin.query('SELECT FROM pg_database WHERE datname = $1', [template])
    if (rowCount === 0) {
      await admin.query(`CREATE DATABASE ${template}_new`)
      await migrate(onServer(server, `${template}_new`))
      await admin.query(`ALTER DATABASE ${template}_new RENAME TO ${template}`)
    }
    await admin.query(`CREATE DATABASE ${name} TEMPLATE ${template}`)
    await admin.query('SELECT pg_advisory_unlock(hashtext($1))', [template])
  })
  return {
    url: onServer(server, name),
    connections: null,
    isReal: true,
    close: () => withClient(server, (admin) => admin.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`)),
  }
}

async function createEmbedded(): Promise<TestDatabase> {
  const dataDir = await mkdtemp(join(tmpdir(), 'doorstep-test-db-'))
  await copyEmbedded(dataDir)
  const { url, close } = await startEmbedded(dataDir)
  return {
    url,
    connections: embeddedConnections,
    isReal: false,
    close: async () => {
      await close()
      await rm(dataDir, { recursive: true, force: true })
    },
  }
}

/** Puts a migrated, empty embedded database into a folder: a copy, since making one takes seconds. */
async function copyEmbedded(dataDir: string): Promise<void> {
  const template = join(tmpdir(), `doorstep-template-${await schemaVersion()}`)
  while (!existsSync(template)) {
    const unlock = lockIfFree(template)
    if (unlock === undefined) await sleep(100)
    else await makeTemplate(template).finally(unlock)
  }
  // A thousand files: each would be several waits otherwise.
  cpSync(template, dataDir, { recursive: true })
}

/** Of several processes one makes the template, and the others wait for it. */
function lockIfFree(folder: string): (() => void) | undefined {
  try {
    return lockFolder(folder)
  } catch (error) {
    if ((error as Error).name === 'InUse') return undefined
    throw error
  }
}

async function makeTemplate(template: string): Promise<void> {
  if (existsSync(template)) return
  const draft = await mkdtemp(`${template}-`)
  const { url, close } = await startEmbedded(draft)
  await migrate(url)
  // More than half of what there would be to copy, and only there to make other databases from.
  await withClient(url, async (admin) => {
    await admin.query('UPDATE pg_database SET datistemplate = false')
    for (const spare of ['template0', 'template1']) await admin.query(`DROP DATABASE ${spare}`)
  })
  await close()
  await rename(draft, template)
}

/** Changes with every change of a migration, so that an old template is never used. */
async function schemaVersion(): Promise<string> {
  const folder = new URL('../../prisma/migrations/', import.meta.url)
  const hash = createHash('sha256')
  for (const entry of (await readdir(folder, { recursive: true })).sort()) {
    if (entry.endsWith('.sql')) hash.update(entry).update(await readFile(new URL(entry, folder)))
  }
  return hash.digest('hex').slice(0, 12)
}

async function withClient(url: string, work: (client: pg.Client) => Promise<unknown>): Promise<void> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  await work(client).finally(() => client.end())
}

function onServer(server: string, database: string): string {
  const url = new URL(server)
  url.pathname = `/${database}`
  return url.toString()
}
