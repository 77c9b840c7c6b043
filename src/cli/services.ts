import type { DestinationStream } from 'pino'
import type { Config } from '../config.ts'
import { createLog } from '../log.ts'
import { type BaseServices, createServices } from '../services.ts'
import { migrate } from '../store/migrate.ts'
import { bringUpToDate, type OpenDatabase, openDatabase } from '../store/open.ts'
import { systemClock, systemRandom } from '../system.ts'

/** An operator rather waits than reads that the service is busy: up to 10 s for a statement, 5 s for a lock. */
const patience = 5

/** `say` tells the operator; `log` is where warnings go. */
type Given = { config: Config; log: DestinationStream; say: Say; replacesKeys?: boolean }
type Say = (line: string) => void

/** Does `work` with the services that the settings describe, on a migrated database, and closes them. */
export function withServices<Result>(
  { config, log, say, replacesKeys = false }: Given,
  work: (services: BaseServices) => Promise<Result>,
): Promise<Result> {
  return withDatabase(config, say, async (database) => {
    await bringUpToDate(database.url, say)
    const services = await createServices({
      config,
      database,
      clock: systemClock,
      random: systemRandom,
      log: createLog('warn', log),
      show: say,
      patience,
      replacesKeys,
    })
    return await work(services).finally(services.close)
  })
}

/** Applies the migrations that the database lacks; their names. */
export function migrateDatabase(config: Config, say: Say): Promise<{ applied: string[] }> {
  return withDatabase(config, say, async ({ url }) => ({ applied: await migrate(url) }))
}

async function withDatabase<Result>(config: Config, say: Say, work: (database: OpenDatabase) => Promise<Result>) {
  const database = await openDatabase(config, say)
  return await work(database).finally(database.close)
}
