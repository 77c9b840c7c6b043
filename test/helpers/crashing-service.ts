import { buildApp } from '../../src/app.ts'
import { loadConfig } from '../../src/config.ts'
import { createLog } from '../../src/log.ts'
import { createServices } from '../../src/services.ts'
import { bringUpToDate, openDatabase } from '../../src/store/open.ts'
import { systemClock, systemRandom } from '../../src/system.ts'

// The service as main.ts runs it, with one difference: at the failpoints that FAILPOINTS gives to users (by id, or by the
// keyed hash of the e-mail) their requests stop for good, and it says so, so that it can be killed exactly there.

const stops = new Map<string, string>(Object.entries(JSON.parse(process.env.FAILPOINTS ?? '{}')))
const say = (line: object): void => void process.stdout.write(`${JSON.stringify({ level: 'info', ...line })}\n`)
const forever = (failpoint: string): Promise<never> => {
  say({ msg: 'stopped', event: failpoint })
  return new Promise(() => {})
}

/** `verb`, which for the user of this failpoint does what it does and then never comes back. */
const stopAfter =
  <Given extends unknown[], Result>(
    failpoint: string,
    verb: (...given: Given) => Promise<Result>,
    who: (...given: Given) => string | undefined,
  ) =>
  async (...given: Given): Promise<Result> => {
    const result = await verb(...given)
    return who(...given) === stops.get(failpoint) ? forever(failpoint) : result
  }

/** The same, but it never begins. */
const stopBefore =
  <Given extends unknown[], Result>(
    failpoint: string,
    verb: (...given: Given) => Promise<Result>,
    who: (...given: Given) => string | undefined,
  ) =>
  async (...given: Given): Promise<Result> =>
    who(...given) === stops.get(failpoint) ? forever(failpoint) : verb(...given)

const config = loadConfig(process.env)
const database = await openDatabase(config, () => {})
await bringUpToDate(database.url, () => {})
const log = createLog('silent')
const services = await createServices({ config, database, clock: systemClock, random: systemRandom, log })
const { events } = services
const { throttle, challenges } = services.store

const byIdentifier = (identifier: Uint8Array): string => Buffer.from(identifier).toString('hex')
const byUser = (_challenge: string, userId: string): string => userId
throttle.charge = stopAfter('password charged', throttle.charge, byIdentifier)
throttle.settleFailure = stopAfter('password refused', throttle.settleFailure, byIdentifier)
challenges.open = stopAfter('challenge committed', challenges.open, ({ id }) => id)
challenges.charge = stopAfter('code charged', challenges.charge, byUser)
events.record = stopBefore('code compared, wrong', events.record, ({ userId }) => userId)
challenges.complete = stopBefore('code compared, right', challenges.complete, byUser)
challenges.complete = stopAfter('login committed', challenges.complete, byUser)

const app = await buildApp(services)
say({ msg: 'listening', address: await app.listen({ host: '127.0.0.1', port: 0 }) })
