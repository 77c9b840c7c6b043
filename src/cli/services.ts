import { destination } from 'pino'
import type { Config } from '../config.ts'
import { createLog } from '../log.ts'
import { type BaseServices, createServices } from '../services.ts'
import { migrate } from '../store/migrate.ts'
import { bringUpToDate, type OpenDatabase, openDatabase } from '../store/open.ts'
import { systemClock, systemRandom } from '../system.ts'

const say = (line: string): void => void process.stderr.write(`${line}\n`)

/** An operator rather waits than reads that the service is busy; no request is kept waiting by it. */
const patience = 20

/** Does `work` with the services that the settings describe, on a migrated database, and closes them. */
export function withServices<Result>(config: Config, work: (services: BaseServices) => Promise<Result>) {
  return withDatabase(config, async (database): Promise<Result> => {
    await bringUpToDate(database.url, say)
    // Standard output is for the result alone.
    const log = createLog('warn', destination({ fd: 2, sync: true }))
    const services = await createServices({
      config,
      database,
      clock: systemClock,
      random: systemRandom,
      log,
      show: say,
      patience,
    })
    return await work(services).finally(services.close)
  })
}

/** Applies the migrations that the database lacks; their names. */
export function migrateDatabase(config: Config): Promise<{ applied: string[] }> {
  return withDatabase(config, async ({ url }) => ({ applied: await migrate(url) }))
}

async function withDatabase<Result>(config: Config, work: (database: OpenDatabase) => Promise<Result>) {
  const database = await openDatabase(config, say)
  return await work(database).finally(database.close)
}
