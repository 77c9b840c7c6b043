import { buildApp } from './app.ts'
import { loadConfig } from './config.ts'
import { explainStartError, readDotEnv, welcome } from './console.ts'
import { createDemoUser } from './features/accounts/demo-user.ts'
import { startMetricsServer } from './http/metrics-server.ts'
import { createLog } from './log.ts'
import { startMaintenance } from './maintenance.ts'
import { createServices } from './services.ts'
import { bringUpToDate, openDatabase } from './store/open.ts'
import { systemClock, systemRandom } from './system.ts'

/** Milliseconds that requests in flight get after SIGTERM, before the process leaves all the same: within 10 s (SEC-88). */
const drainMs = 9_500

/** Threads that Node hashes, looks up names and reads files with, unless UV_THREADPOOL_SIZE says otherwise. */
const defaultThreads = 4

/** What is open, in the order of opening. */
const open: (() => Promise<unknown>)[] = []

/** Closes all of it in reverse; what fails to close does not keep the rest open. */
async function shutDown(): Promise<void> {
  for (const close of open.reverse()) await close().catch(() => {})
}

/** config → database → services → app → listen; on SIGTERM and SIGINT all of it closes in reverse. */
async function main(): Promise<void> {
  readDotEnv()
  const config = loadConfig(process.env)
  const say = (line: string): void => void process.stderr.write(`${line}\n`)
  const log = createLog(config.logLevel)
  const threads = Number(process.env.UV_THREADPOOL_SIZE ?? defaultThreads)
  if (config.production && config.argon2.concurrency >= threads) {
    log.warn(
      { threads, hashing: config.argon2.concurrency },
      'passwords can take every thread: set UV_THREADPOOL_SIZE higher',
    )
  }
  let draining = false

  const stop = async (signal: string): Promise<void> => {
    if (draining) return
    draining = true
    log.info({ signal }, 'stopping')
    setTimeout(() => process.exit(0), drainMs).unref()
    await shutDown()
    log.info('stopped')
    process.exit(0)
  }
  process.on('SIGTERM', stop)
  process.on('SIGINT', stop)

  const database = await openDatabase(config, say)
  open.push(database.close)
  await bringUpToDate(database.url, say)
  const services = await createServices({ config, database, clock: systemClock, random: systemRandom, log, show: say })
  open.push(services.close)
  await services.loginFloor.look()
  open.push(startMaintenance(services))
  const app = await buildApp(services, () => draining)
  open.push(() => app.close())
  if (config.metricsPort !== undefined) open.push(await startMetricsServer(services, config.metricsPort))

  const demoUser = config.production || config.databaseUrl !== undefined ? null : await createDemoUser(services)
  const address = await app.listen({ host: config.host, port: config.port })
  log.info({ address }, 'listening')
  if (demoUser) say(welcome(address, demoUser))
}

// A full disk or a closed pipe behind what a person reads stops no login.
process.stderr.on('error', () => {})

process.on('unhandledRejection', (error) => {
  process.stderr.write(
    `${JSON.stringify({ level: 'error', msg: 'unhandled rejection', name: (error as Error)?.name })}\n`,
  )
})

main().catch(async (error: unknown) => {
  process.stderr.write(`${explainStartError(error)}\n`)
  setTimeout(() => process.exit(1), drainMs).unref()
  await shutDown()
  process.exit(1)
})
