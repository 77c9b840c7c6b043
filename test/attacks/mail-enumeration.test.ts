import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { buildApp } from '../../src/app.ts'
import { sendDueMails } from '../../src/features/mails/mail-sender.ts'
import { plantDevice } from '../helpers/credentials.ts'
import { type Doorstep, startDoorstep } from '../helpers/doorstep.ts'
import { mailsTo } from '../helpers/links.ts'
import { ageMails, ask, askings, everySort } from '../helpers/mail-asks.ts'
import { ghostEmail } from '../helpers/password-guesses.ts'
import { areaUnderCurve } from '../helpers/rank-test.ts'
import { watchStatements } from '../helpers/statements.ts'
import { type Answer, call, createUser } from '../helpers/story.ts'

t.setTimeout(300_000)

/**
 * A stranger gains a list of accounts, if asking for a mail looks otherwise for who has one, is disabled, or is leaving: in
 * what is answered, in how long that takes, in what is answered when no mail goes out, or in what the next one is told.
 */
const roomy = { RATE_MAIL_MINUTE: '100000', RATE_MAIL_HOUR: '100000' }
const doorstep = await startDoorstep(t, { env: roomy })
const { sql, services, database } = doorstep

/** What a client can see of an answer, without what differs between any two answers. */
function visible({ status, body, headers }: Answer) {
  const { date, ...otherHeaders } = headers
  const { instance, ...otherMembers } = body
  return { status, headers: otherHeaders, body: otherMembers, isNumbered: /^[\w-]{36}$/.test(instance ?? '') }
}

/** The same without the wait, which is a second shorter once a second has passed. */
function visibleButTheWait(answer: Answer) {
  const { headers, body, ...rest } = visible(answer)
  const { 'retry-after': wait, 'content-length': _length, ...otherHeaders } = headers
  const { retry_after: _wait, ...otherMembers } = body
  return { ...rest, headers: otherHeaders, body: otherMembers, waits: wait !== undefined }
}

const expected = { '/register': 86_400, '/password/forgot': 3_600 }
const says = { register: /Finish your registration/, none: /There is no account/, closed: /This account is closed/ }
const saysOf = {
  '/register': { 'no account': says.register, 'an account': /You already have an account/, closed: says.closed },
  '/password/forgot': { 'no account': says.none, 'an account': /Set a new password/, closed: says.closed },
} as const

for (const path of askings) {
  t.test(
    `${path}: one answer and one statement, whatever there is at the address; only its mailbox learns it`,
    async (t) => {
      const sorts = await everySort(doorstep)
      const statements = watchStatements(t)
      const seen = async (email: string, body: object = {}) => {
        statements.taken()
        const answer = await ask(doorstep, path, email, { body })
        return { ...visible(answer), length: answer.headers['content-length'], sent: statements.taken() }
      }
      const nobody = await seen(ghostEmail())
      t.match(nobody, { status: 202, sent: { length: 1 } })
      t.same(nobody.body, { status: 'mail_sent', expires_in: expected[path], resend_after: 60 })
      for (const [sort, email] of Object.entries(sorts)) t.same(await seen(email), nobody, sort)
      for (const [sort, email] of Object.entries(sorts)) t.same(await seen(email), nobody, `${sort}: in its cooldown`)

      for (const [sort, email] of Object.entries(sorts)) {
        const [newest] = await mailsTo(doorstep, email)
        const key = /closed|disabled|erased/.test(sort) ? 'closed' : sort === 'no account' ? sort : 'an account'
        t.match(newest?.subject, saysOf[path][key], sort)
      }
      for (const [sort, email] of Object.entries(sorts)) {
        for (let n = 0; n < 4; n += 1) {
          await ageMails(doorstep, email, 61)
          t.same(await seen(email), nobody, `${sort}: its mails of this hour are spent`)
          await sendDueMails(services)
        }
      }
    },
  )

  t.test(`${path}: nor does a device token, genuine or not, change what is seen`, async (t) => {
    const [owner, other] = [await createUser(doorstep), await createUser(doorstep)]
    const [device, others] = [await plantDevice(doorstep, owner), await plantDevice(doorstep, other)]
    const statements = watchStatements(t)
    const seen = async (email: string, device_token: string) => {
      statements.taken()
      return { ...visible(await ask(doorstep, path, email, { body: { device_token } })), sent: statements.taken() }
    }
    const nobody = await seen(ghostEmail(), others)
    t.equal(nobody.status, 202)
    t.same(await seen(owner.email, device), nobody, 'a known device of the account')
    t.same(await seen(owner.email, others), nobody, 'a device of another account')
    t.same(await seen(owner.email, device.replace(/.$/, 'x')), nobody, 'a token that nobody made')
  })

  t.test(`${path}: what is wrong with the request is told alike, and looks nobody up`, async (t) => {
    const { 'an account': account = '' } = await everySort(doorstep)
    const statements = watchStatements(t)
    for (const body of [{ locale: 'de\r\nBcc: eve@example.com' }, { device_token: 7 }, { role: 'admin' }]) {
      const [real, madeUp] = [
        await ask(doorstep, path, account, { body }),
        await ask(doorstep, path, ghostEmail(), { body }),
      ]
      t.equal(real.status, 400)
      t.same(visible(real), visible(madeUp), JSON.stringify(body))
    }
    for (const method of ['GET', 'PUT', 'DELETE'] as const) {
      t.equal((await call(doorstep, `${path}?email=${account}`, { method })).status, 405)
    }
    t.same(statements.taken(), [])
  })
}

t.test('while the budget of the service is spent, or mail is down, all alike are told to come again', async (t) => {
  const sorts = await everySort(doorstep)
  const spent = await startDoorstep(t, { database, env: { ...roomy, MAIL_GLOBAL_HOUR: '1' } })
  const mail: Doorstep['services']['mail'] = { ...services.mail, isAvailable: () => false }
  const down = await buildApp({ ...services, mail })
  t.teardown(() => down.close())
  const [row] = await sql('SELECT max(id) AS newest FROM mails')
  const statements = watchStatements(t)
  for (const [name, at, count] of [
    ['over its budget', spent, 1],
    ['down', { app: down }, 0],
  ] as const) {
    for (const path of askings) {
      const seen = async (email: string) => {
        statements.taken()
        const answer = await ask(at, path, email)
        return { ...visibleButTheWait(answer), sent: statements.taken() }
      }
      const nobody = await seen(ghostEmail())
      t.match(nobody, { status: 503, body: { code: 'mail_unavailable' }, waits: true, sent: { length: count } })
      for (const [sort, email] of Object.entries(sorts)) t.same(await seen(email), nobody, `${name}: ${path}, ${sort}`)
    }
  }
  t.same((await sql('SELECT max(id) AS newest FROM mails'))[0], row, 'nothing is kept for later')
  t.match(await ask(spent, '/register', ghostEmail()), { headers: { 'retry-after': /^\d{1,4}$/ } })
})

t.test('a stranger with a stopwatch cannot tell an account from none (SEC-02, SEC-115)', async (t) => {
  const known = await createUser(doorstep)
  const timeOf = async (at: Pick<Doorstep, 'app'>, email: string): Promise<number> => {
    const begun = performance.now()
    const { status } = await ask(at, '/password/forgot', email)
    const took = performance.now() - begun
    if (status !== 202) throw new Error(`answered ${status}`)
    return took
  }
  /** Pairs of one address with and one without an account, whichever first. The chance that the first takes longer. */
  const areaOver = async (at: Pick<Doorstep, 'app'>, pairs: number): Promise<number> => {
    const times = { known: [] as number[], unknown: [] as number[] }
    for (let n = 0; n < pairs; n += 1) {
      const sides = (['known', 'unknown'] as const).toSorted(() => services.random.bytes(1).readInt8())
      for (const side of sides) times[side].push(await timeOf(at, side === 'known' ? known.email : ghostEmail()))
    }
    await sql('DELETE FROM mails')
    return areaUnderCurve(times.known, times.unknown)
  }
  /** Measures up to four times, since other work on the machine disturbs it. */
  const measure = async (at: Pick<Doorstep, 'app'>, pairs: number, isExpected: (area: number) => boolean) => {
    const areas: number[] = []
    while (areas.length < 4 && !isExpected(areas.at(-1) ?? Number.NaN)) areas.push(await areaOver(at, pairs))
    return { last: areas.at(-1) ?? Number.NaN, all: areas.map((area) => area.toFixed(3)).join(', ') }
  }
  const isEven = (area: number): boolean => area >= 0.35 && area <= 0.65
  const isTelling = (area: number): boolean => area > 0.85

  await areaOver(doorstep, 10)
  const honest = await measure(doorstep, 150, isEven)
  t.ok(isEven(honest.last), `not to be told apart: ${honest.all}`)

  // What many do: they send where there is an account, and wait for a mail server that takes 200 ms.
  const { store } = services
  const request: typeof store.links.request = async (topic, to, ...rest) => {
    if ((await store.accounts.findByEmail(to.email)) !== null) await sleep(200)
    return await store.links.request(topic, to, ...rest)
  }
  const leaky = await buildApp({ ...services, store: { ...store, links: { ...store.links, request } } })
  t.teardown(() => leaky.close())
  const control = await measure({ app: leaky }, 30, isTelling)
  t.ok(isTelling(control.last), `the same measurement sees a build that sends at once: ${control.all}`)
})
