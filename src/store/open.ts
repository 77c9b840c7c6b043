import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Config } from '../config.ts'
import { embeddedConnections, startEmbedded } from './embedded.ts'
import { lockFolder } from './folder-lock.ts'
import { migrate } from './migrate.ts'

/** `connections`: the most it serves at once; null for a real server, which has room for what the settings say. */
export type OpenDatabase = { url: string; connections: number | null; close(): Promise<void> }

/**
 * The Postgres that the settings name, or the embedded one in `DATA_DIR` while they name none. `say` is told what takes
 * a while. Throws if the folder cannot be written, or (an Error named `InUse`) is held by another process.
 */
export async function openDatabase(
  config: Pick<Config, 'databaseUrl' | 'dataDir'>,
  say: (line: string) => void,
): Promise<OpenDatabase> {
  if (config.databaseUrl !== undefined) return { url: config.databaseUrl, connections: null, close: async () => {} }
  const dataDir = join(config.dataDir, 'postgres')
  await mkdir(dataDir, { recursive: true, mode: 0o700 })
  const unlock = lockFolder(dataDir)
  try {
    say(`Starting the embedded database in ${dataDir} (the first time it is made, which takes some seconds) …`)
    const { url, close } = await startEmbedded(dataDir)
    return { url, connections: embeddedConnections, close: () => close().finally(unlock) }
  } catch (error) {
    unlock()
    if ((error as NodeJS.ErrnoException).code !== undefined) throw error
    throw new Error(
      `the embedded database in ${dataDir} cannot be opened; put a copy back, or delete it to begin anew`,
      {
        cause: error,
      },
    )
  }
}

/** Applies the migrations that the database lacks, and says which. */
export async function bringUpToDate(url: string, say: (line: string) => void): Promise<void> {
  for (const name of await migrate(url)) say(`Applied migration ${name}`)
}
