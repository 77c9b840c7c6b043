import { buildApp } from './app.ts'
import { loadConfig } from './config.ts'
import { explainStartError, readDotEnv, welcome } from './console.ts'
import { createDemoUser } from './features/accounts/demo-user.ts'
import { startWebhookSender } from './features/admin/webhooks/webhook-sender.ts'
import { startMailSender } from './features/mails/mail-sender.ts'
import { startMetricsServer } from './http/metrics-server.ts'
import { createLog } from './log.ts'
import { startMaintenance } from './maintenance.ts'
import { createOutlet } from './outlet.ts'
import { createServices } from './services.ts'
import { bringUpToDate, openDatabase } from './store/open.ts'
import { systemClock, systemRandom } from './system.ts'

/** Milliseconds that requests in flight get after SIGTERM, before the process leaves all the same: within 10 s (SEC-88). */
const drainMs = 9_500

/** Milliseconds of them that a reader gets for the last lines: a log that nobody reads holds up no restart (SEC-112). */
const lastLinesMs = 2_000

/** Threads that Node hashes, looks up names and reads files with, unless UV_THREADPOOL_SIZE says otherwise. */
const defaultThreads = 4

/** The log, and what people read. */
const out = createOutlet(process.stdout)
const screen = createOutlet(process.stderr)
const say = (line: string): void => screen.write(`${line}\n`)

/** What is open, in the order of opening. */
const open: (() => Promise<unknown>)[] = []

/** Closes all of it in reverse; what fails to close does not keep the rest open. */
async function shutDown(): Promise<void> {
  for (const close of open.reverse()) await close().catch(() => {})
}

/** Leaves the process with `code`, once the last lines are written; after `lastLinesMs` without them. */
async function leave(code: number): Promise<never> {
  await Promise.all([out.flush(lastLinesMs), screen.flush(lastLinesMs)])
  process.exit(code)
}

/** config → database → services → app → listen; on SIGTERM and SIGINT all of it closes in reverse. */
async function main(): Promise<void> {
  readDotEnv()
  const config = loadConfig(process.env)
  const log = createLog(config.logLevel, out)
  out.onceBack((lost) => log.warn({ lost }, 'lines of this log were lost'))
  const threads = Number(process.env.UV_THREADPOOL_SIZE ?? defaultThreads)
  if (config.production && config.argon2.concurrency >= threads) {
    log.warn(
      { threads, hashing: config.argon2.concurrency },
      'passwords can take every thread: set UV_THREADPOOL_SIZE higher',
    )
  }
  if (config.mail.provider === 'none') {
    log.warn('no mail: nobody registers, resets a password or is told of a change, and no new address is confirmed')
    log.warn('no mail: whoever signs in to an account without a factor binds one with the password alone')
  }
  let draining = false

  const stop = async (signal: string): Promise<void> => {
    if (draining) return
    draining = true
    log.info({ signal }, 'stopping')
    setTimeout(() => process.exit(0), drainMs).unref()
    await shutDown()
    log.info('stopped')
    await leave(0)
  }
  process.on('SIGTERM', stop)
  process.on('SIGINT', stop)

  const database = await openDatabase(config, say)
  open.push(database.close)
  await bringUpToDate(database.url, say)
  const services = await createServices({ config, database, clock: systemClock, random: systemRandom, log, show: say })
  services.metrics.watchLog(() => out.lost() + screen.lost())
  open.push(services.close)
  await services.loginFloor.look()
  open.push(startMaintenance(services))
  open.push(startMailSender(services))
  open.push(startWebhookSender(services))
  const app = await buildApp(services, () => draining)
  open.push(() => app.close())
  if (config.metricsPort !== undefined) {
    open.push(await startMetricsServer({ ...services, isDraining: () => draining }, config.metricsPort))
  }

  const demoUser = config.production || config.databaseUrl !== undefined ? null : await createDemoUser(services)
  const address = await app.listen({ host: config.host, port: config.port })
  log.info({ address }, 'listening')
  if (demoUser) say(welcome(address, `${config.publicUrl}/`, demoUser))
}

process.on('unhandledRejection', (error) => {
  say(JSON.stringify({ level: 'error', msg: 'unhandled rejection', name: (error as Error)?.name }))
})

main().catch(async (error: unknown) => {
  say(explainStartError(error))
  setTimeout(() => process.exit(1), drainMs).unref()
  await shutDown()
  await leave(1)
})
