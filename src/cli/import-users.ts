import { once } from 'node:events'
import { createWriteStream, existsSync, type ReadStream, rmSync, statSync } from 'node:fs'
import type { Writable } from 'node:stream'
import { finished } from 'node:stream/promises'
import type { RowResult } from '../features/admin/import-users.ts'
import type { BaseServices } from '../services.ts'
import { type Given, type Place, required, serve } from './command.ts'
import { refusal } from './failures.ts'
import { createProgress } from './progress.ts'

/** `users import`: reads the file, says how far it is, writes the report, and answers with the summary. */
export async function importFile(given: Given, place: Place): Promise<object> {
  const source = await openFile(required(given, 'file'))
  const path = given.report === undefined ? null : String(given.report)
  try {
    if (path !== null && existsSync(path)) throw noReport()
    return await serve(place, (services) =>
      withReport(path, (report) => importFrom(services, source, { given, place, report })),
    )
  } finally {
    source.stream.destroy()
  }
}

type Source = { stream: ReadStream; size: number }
type Report = { write(result: RowResult): Promise<void>; close(): Promise<void> }
type How = { given: Given; place: Place; report: Report | null }

async function importFrom(services: BaseServices, { stream, size }: Source, { given, place, report }: How) {
  const { readLines } = await import('../features/admin/import-lines.ts')
  const { importUsers } = await import('../features/admin/import-users.ts')
  const progress = createProgress({ clock: services.clock, to: place.stderr, size })
  const tell = async (result: RowResult): Promise<void> => {
    progress.step(stream.bytesRead)
    if (result.outcome !== 'created') await report?.write(result)
  }
  try {
    return await importUsers(services, readLines(stream), { dryRun: given['dry-run'] === true, tell })
  } finally {
    progress.end(stream.bytesRead)
  }
}

/** Opens it before anything else is done. `size`: bytes; 0 where it is not known, as of a pipe. */
async function openFile(path: string): Promise<Source> {
  const { open } = await import('node:fs/promises')
  const refused = refusal('The file of --file cannot be read.')
  const file = await open(path).catch(() => {
    throw refused
  })
  const found = await file.stat()
  if (found.isDirectory()) {
    await file.close()
    throw refused
  }
  const stream = file.createReadStream()
  // What goes wrong while it is read is heard by whoever reads.
  stream.on('error', () => {})
  return { stream, size: found.isFile() ? found.size : 0 }
}

const noReport = (): Error => refusal('The file of --report cannot be made, or is there already.')

/** What ends a command from outside. */
const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** Does `work` with a new file, which is taken away again where the work is cut short and nothing stands in it: so it can be done again. */
async function withReport<Result>(
  path: string | null,
  work: (report: Report | null) => Promise<Result>,
): Promise<Result> {
  if (path === null) return work(null)
  const report = await createReport(path)
  const leave = (signal: NodeJS.Signals): void => {
    removeEmpty(path)
    process.kill(process.pid, signal)
  }
  for (const signal of signals) process.once(signal, leave)
  try {
    const result = await work(report)
    await report.close()
    return result
  } catch (error) {
    await report.close().catch(() => {})
    removeEmpty(path)
    throw error
  } finally {
    for (const signal of signals) process.off(signal, leave)
  }
}

function removeEmpty(path: string): void {
  if (statSync(path, { throwIfNoEntry: false })?.size === 0) rmSync(path, { force: true })
}

/** A new file: what is there already is not overwritten. */
async function createReport(path: string): Promise<Report> {
  const stream = createWriteStream(path, { flags: 'wx', mode: 0o600 })
  await once(stream, 'open').catch(() => {
    throw noReport()
  })
  return {
    write: (result) => writeLine(stream, JSON.stringify(result)),
    close: async () => {
      stream.end()
      await finished(stream)
    },
  }
}

async function writeLine(stream: Writable, line: string): Promise<void> {
  if (!stream.write(`${line}\n`)) await once(stream, 'drain')
}
