import { buildApp } from '../../src/app.ts'
import { loadConfig } from '../../src/config.ts'
import { createLog } from '../../src/log.ts'
import { createServices } from '../../src/services.ts'
import type { Pending } from '../../src/store/challenges.ts'
import { bringUpToDate, openDatabase } from '../../src/store/open.ts'
import { systemClock, systemRandom } from '../../src/system.ts'

// The service as main.ts runs it, with one difference: at the failpoints that FAILPOINTS gives to somebody (by user, e-mail,
// phone, session or the hash of a link) their requests stop for good, and it says so, so that it can be killed exactly there.

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
const { throttle, challenges, messages, sessions, passwords, selfService } = services.store

const byUser = ({ sub }: Pending): string => sub
throttle.begin = stopAfter('password charged', throttle.begin, (email) => email)
throttle.fail = stopAfter('password refused', throttle.fail, (userId) => userId ?? undefined)
challenges.open = stopAfter('challenge committed', challenges.open, ({ id }) => id)
// What the provider answers is written under the number of the text.
const phones = new Map<number, string>()
const { send } = services.sms
services.sms.send = (text) => {
  phones.set(text.id, text.to)
  return send(text)
}
services.sms.send = stopAfter('text sent', services.sms.send, ({ to }) => to)
messages.recordAnswer = stopAfter('answer recorded', messages.recordAnswer, (id) => phones.get(id))
challenges.resend = stopAfter('resend committed', challenges.resend, byUser)
challenges.answer = stopBefore('code not judged', challenges.answer, byUser)
challenges.answer = stopAfter('wrong code committed', challenges.answer, byUser)
challenges.answer = stopAfter('login committed', challenges.answer, byUser)
challenges.answer = stopAfter('step-up committed', challenges.answer, byUser)
sessions.start = stopAfter('session committed', sessions.start, ({ id }) => id)
sessions.rotate = stopAfter('refresh committed', sessions.rotate, (id) => id)
sessions.end = stopAfter('logout committed', sessions.end, (userId) => userId)
const byHash = (tokenHash: Uint8Array): string => Buffer.from(tokenHash).toString('hex')
passwords.set = stopBefore('link not used', passwords.set, byHash)
passwords.set = stopAfter('password set committed', passwords.set, byHash)
selfService.secure = stopBefore('nothing taken back', selfService.secure, byHash)
selfService.secure = stopAfter('all taken back', selfService.secure, byHash)

const app = await buildApp(services)
say({ msg: 'listening', address: await app.listen({ host: '127.0.0.1', port: 0 }) })
