import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import pg from 'pg'
import type { Test } from 'tap'
import { buildApp } from '../../src/app.ts'
import { loadConfig } from '../../src/config.ts'
import { createLog } from '../../src/log.ts'
import { createServices } from '../../src/services.ts'
import { systemClock, systemRandom } from '../../src/system.ts'
import { createTestDatabase, type TestDatabase } from './database.ts'

export type Doorstep = Awaited<ReturnType<typeof startDoorstep>>

/** Settings of the tests: cheap hashing, and address limits out of the way. A test sets what it is about. */
const testEnvironment = {
  NODE_ENV: 'test',
  LOG_LEVEL: 'trace',
  PUBLIC_URL: 'http://localhost:3000',
  ARGON2_MEMORY_KIB: '64',
  ARGON2_TIME: '1',
  SMS_GLOBAL_HOUR: '1000000',
  SMS_GLOBAL_DAY: '1000000',
  SMS_PER_ADDRESS_HOUR: '100000',
  SMS_PER_ADDRESS_DAY: '100000',
  SMS_PER_PREFIX_HOUR: '100000',
  RATE_LOGIN_MINUTE: '100000',
  RATE_LOGIN_HOUR: '100000',
  RATE_VERIFY_MINUTE: '100000',
  RATE_RESEND_HOUR: '100000',
  RATE_REFRESH_MINUTE: '100000',
  RATE_MAIL_MINUTE: '100000',
  RATE_MAIL_HOUR: '100000',
  RATE_DEFAULT_MINUTE: '100000',
}

export const testKeys = { SECRET_KEYS: 'k1:q5Pu0wN2Vn8x1tJr7ZsYb3KdLmGh6cAeXoWf9iUkT4E=' }

/**
 * The whole application as main.ts builds it, on a database of its own (or on `database`, to run a second instance
 * beside a first), closed when the test ends. `sql` goes to the database directly; `logs` holds every line logged.
 * `patience`: how many times as long as the service's own the database is waited for, so that no test fails because the
 * machine stood still; 1 where those limits are what is tried.
 */
export async function startDoorstep(
  t: Test,
  options: { env?: Record<string, string>; database?: TestDatabase; patience?: number } = {},
) {
  const database = options.database ?? (await createTestDatabase())
  const dataDir = mkdtempSync(join(tmpdir(), 'doorstep-test-'))
  const config = loadConfig({ ...testEnvironment, ...testKeys, DATA_DIR: dataDir, ...options.env })
  const logs: string[] = []
  const sink = new Writable({
    write(chunk, _encoding, done) {
      logs.push(String(chunk))
      done()
    },
  })
  const system = { clock: systemClock, random: systemRandom, log: createLog(config.logLevel, sink) }
  let draining = false
  const services = await createServices({ config, database, ...system, patience: options.patience ?? 3 })
  const app = await buildApp(services, () => draining)
  const client = new pg.Client({ connectionString: database.url })
  client.on('error', () => {})
  await client.connect()

  t.teardown(async () => {
    await app.close()
    await services.close()
    await client.end()
    if (!options.database) await database.close()
    rmSync(dataDir, { recursive: true, force: true })
  })
  return {
    app,
    services,
    config,
    database,
    logs,
    drain: () => {
      draining = true
    },
    /** Rows of a statement sent straight to the database. */
    sql: async <Row extends pg.QueryResultRow = pg.QueryResultRow>(
      text: string,
      values: unknown[] = [],
    ): Promise<Row[]> => (await client.query<Row>(text, values)).rows,
  }
}
