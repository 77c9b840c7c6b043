import t, { type Test } from 'tap'
import type { Method } from '../../src/methods.ts'
import { age } from '../helpers/age.ts'
import { createAuthenticator } from '../helpers/authenticator.ts'
import { plantDevice } from '../helpers/credentials.ts'
import { createTestDatabase } from '../helpers/database.ts'
import { type Doorstep, startDoorstep } from '../helpers/doorstep.ts'
import {
  allMethods,
  createOwner,
  type Given,
  loginBy,
  type Owner,
  rightAnswer,
  sentCode,
  sessionOf,
} from '../helpers/equipped.ts'
import { forgetSteps, totpCode, wrongTotpCode } from '../helpers/factors.ts'
import { freshAddress } from '../helpers/password-guesses.ts'
import { type Answer, call, login, textsTo, wrongCode } from '../helpers/story.ts'
import { isOverloaded, repeat, tally, together } from '../helpers/together.ts'

t.setTimeout(300_000)

/**
 * Somebody who has the password, and as many machines, methods and replicas to try them at as there are, gains tries: a
 * budget that each method had for itself would be four.
 */
const database = await createTestDatabase()
t.teardown(() => database.close())
const one = await startDoorstep(t, { database, env: allMethods })
const two = await startDoorstep(t, { database, env: allMethods })
const { sql } = one
const replica = (index: number): Doorstep => (index % 2 === 0 ? one : two)
const hour = 3_600
const day = 24 * hour

const exhausted = { status: 429, body: { code: 'code_attempts_exhausted', attempts_remaining: 0 } }
const locked = { status: 429, body: { code: 'second_factor_locked' } }
const invalid = { status: 401, body: { code: 'invalid_token' } }
const tried = ['totp', 'sms', 'email', 'passkey', 'recovery_code'] as const satisfies Method[]

const prove = (at: Doorstep, token: string, given: Given): Promise<Answer> =>
  call(at, '/login/2fa', { token, body: given })

const switchTo = (token: string, method: Method): Promise<Answer> =>
  call(one, '/login/2fa/method', { token, body: { method } })

const forger = createAuthenticator({ origin: one.config.passkey.origins[0] ?? '' })
forger.register(
  one.services.passkeys.creationOptions({ cid: 'x', user: { handle: 'eA', name: 'x', displayName: 'x' }, exclude: [] }),
)

/** What is certainly wrong of a method, in a login. */
function wrongOf(owner: Owner, method: Method, token: string): Given {
  if (method === 'totp') return { method, code: wrongTotpCode(owner.secret) }
  if (method === 'recovery_code') return { method, code: 'Z'.repeat(24) }
  if (method !== 'passkey') return { method, code: wrongCode(sentCode(one, token, method)) }
  const { services } = one
  const options = services.passkeys.requestOptions({
    challenge: Buffer.alloc(32),
    allow: [],
    userVerification: 'preferred',
  })
  return { method, credential: forger.assert(options) }
}

/** A login in which every method was begun, so that each of them is heard. */
async function loginByAll(owner: Owner, from?: string): Promise<{ token: string; right: (method: Method) => Given }> {
  const first = await loginBy(one, owner, 'passkey', from === undefined ? {} : { from })
  const token: string = first.body.pending_token
  for (const method of ['sms', 'email', 'totp'] as const) {
    const { status, body } = await switchTo(token, method)
    if (status !== 200) throw new Error(`${method}: ${status} ${body.code}`)
  }
  return { token, right: (method) => rightAnswer(one, owner, method, first.body) }
}

const attemptsOf = async ({ id }: Owner): Promise<number> =>
  (await sql('SELECT sum(attempts)::integer AS n FROM challenges WHERE user_id = $1', [id]))[0]?.n ?? 0
const countedOf = async ({ id }: Owner): Promise<number> =>
  (await sql('SELECT sum(cardinality(failed_at))::integer AS n FROM factor_guards WHERE user_id = $1', [id]))[0]?.n ?? 0
const failedBy = async ({ id }: Owner, guarded: boolean): Promise<number> => {
  const methods = guarded ? ['sms', 'totp', 'email'] : ['passkey', 'recovery_code']
  const text = `SELECT FROM audit_events WHERE user_id = $1 AND type = 'code.failed' AND factor = ANY ($2)`
  return (await sql(text, [id, methods])).length
}

t.test('whoever goes from method to method gets five tries, not five of each', async (t) => {
  for (const [n, last] of tried.entries()) {
    const owner = await createOwner(one)
    const { token, right } = await loginByAll(owner)
    const order = [...tried.slice(n + 1), ...tried.slice(0, n + 1)]
    for (const [index, method] of order.entries()) {
      const switched = await switchTo(token, method)
      t.match(switched, { status: 200, body: { challenge: { attempts_remaining: 5 - index } } }, `to ${method}`)
      const answer = await prove(replica(index), token, wrongOf(owner, method, token))
      t.match(answer, { status: 422, body: { code: 'invalid_code', attempts_remaining: 4 - index } }, method)
    }
    for (const method of tried) t.match(await switchTo(token, method), exhausted, `no way on to ${method}`)
    for (const method of tried) t.match(await prove(one, token, right(method)), exhausted, `nor the right ${method}`)
    t.match(await call(one, '/login/2fa/resend', { token, body: {} }), { status: /4../ })
    t.equal(await attemptsOf(owner), 5, `ending with ${last}`)
    t.equal(textsTo(one, owner.phone).length, 1, 'going back to a text sends no other')
    t.equal(await countedOf(owner), 3, 'of which three count against the account')
  }
})

t.test('a hundred wrong answers at once, by all methods and over two replicas: five are judged', async (t) => {
  await repeat(t, 2, async () => {
    const owner = await createOwner(one)
    const { token, right } = await loginByAll(owner)
    const given = tried.map((method) => wrongOf(owner, method, token))
    const answers = await together(100, (index) => prove(replica(index), token, given[(index >> 1) % 5] ?? {}))
    const judged = answers.filter(({ status }) => status === 422)
    t.ok(judged.length <= 5, `${judged.length} judged`)
    t.equal(await attemptsOf(owner), 5)
    t.equal((await failedBy(owner, true)) + (await failedBy(owner, false)), 5)
    t.equal(await countedOf(owner), await failedBy(owner, true), 'the guarded ones count against the account')
    t.match(await prove(two, token, right('recovery_code')), exhausted)
    if (isOverloaded(answers)) return false
    t.same(tally(answers), { '422 invalid_code': 5, '429 code_attempts_exhausted': 95 })
    t.same(judged.map(({ body }) => body.attempts_remaining).sort(), [0, 1, 2, 3, 4], 'each is told another number')
    return true
  })
})

/** What is good for one use, sent `count` times at once to these logins over two replicas: one gets in. */
async function once(t: Test, logins: string[], given: Given, name: string): Promise<void> {
  const answers = await together(24, (index) =>
    prove(replica(index), logins[(index >> 1) % logins.length] ?? '', given),
  )
  t.equal(answers.filter(({ status }) => status === 200).length, 1, `${name}: ${JSON.stringify(tally(answers))}`)
  for (const { status } of answers) t.ok([200, 401, 422, 429, 503].includes(status))
}

t.test(
  'a code of an app, a recovery code, a passkey’s answer: each gets in once, in one login or in two',
  async (t) => {
    for (const method of ['totp', 'recovery_code', 'passkey'] as const) {
      for (const clients of [1, 2]) {
        const owner = await createOwner(one)
        const begun = await Promise.all(
          Array.from({ length: clients }, (_, n) => loginBy(replica(n), owner, method, { from: `192.0.2.${n + 1}` })),
        )
        const [first] = begun
        if (first === undefined) throw new Error('no login')
        const given = rightAnswer(one, owner, method, first.body)
        const tokens = begun.map(({ body }) => body.pending_token as string)
        t.equal(new Set(tokens).size, clients)
        await once(t, tokens, given, `${method} in ${clients}`)
        const [row] = await sql(`SELECT count(*)::integer AS n FROM sessions WHERE user_id = $1`, [owner.id])
        t.equal(row?.n, 1, `${method} in ${clients}: one session`)
        const codes = await sql('SELECT FROM recovery_codes WHERE user_id = $1', [owner.id])
        t.equal(codes.length, method === 'recovery_code' ? 9 : 10)
      }
    }
  },
)

t.test('nor in a login and a step-up at once', async (t) => {
  for (const method of ['totp', 'recovery_code'] as const) {
    const owner = await createOwner(one)
    const { access } = await sessionOf(one, owner)
    const raising = await call(two, '/login/step-up', { token: access, body: { method } })
    const starting = await loginBy(one, owner, method)
    const given = rightAnswer(one, owner, method, starting.body)
    await once(t, [raising.body.pending_token, starting.body.pending_token], given, method)
  }
})

t.test('a passkey start that is answered at both replicas at once signs in once', async (t) => {
  const owner = await createOwner(one)
  const { body } = await call(one, '/login/passkey', { body: {} })
  await once(t, [body.pending_token], { credential: owner.device.assert(body.challenge.public_key) }, 'start')
  t.equal((await sql('SELECT FROM sessions WHERE user_id = $1', [owner.id])).length, 1)
})

t.test('a stolen session is ended by five wrong proofs, whichever methods and challenges they are of', async (t) => {
  const owner = await createOwner(one)
  const { access } = await sessionOf(one, owner)
  const stepUp = (method: Method) => call(one, '/login/step-up', { token: access, body: { method } })
  const isAlive = async () => (await call(two, '/me', { token: access })).status === 200
  for (const [index, method] of (['totp', 'passkey', 'sms', 'recovery_code', 'passkey'] as const).entries()) {
    const { body } = await stepUp(method)
    t.match(body.challenge, { method, attempts_remaining: 5 - index })
    t.ok(await isAlive())
    const answer = await prove(replica(index), body.pending_token, wrongOf(owner, method, body.pending_token))
    t.match(answer, { status: 422, body: { attempts_remaining: 4 - index } }, method)
    // The next one is asked for in a challenge of its own.
    await age(one, owner, 601)
  }
  t.notOk(await isAlive(), 'the fifth has ended it')
  t.match(await stepUp('totp'), invalid)
  t.equal(await failedBy(owner, true), 2)
  t.equal(await countedOf(owner), 2)

  const other = await sessionOf(one, owner)
  const { body } = await call(one, '/login/step-up', { token: other.access, body: { method: 'totp' } })
  const token = body.pending_token
  t.equal((await switchTo(token, 'sms')).status, 200)
  t.equal((await switchTo(token, 'passkey')).status, 200)
  const given = (['totp', 'sms', 'passkey', 'recovery_code'] as const).map((method) => wrongOf(owner, method, token))
  const answers = await together(40, (index) => prove(replica(index), token, given[index % 4] ?? {}))
  t.ok(answers.filter(({ status }) => status === 422).length <= 5, JSON.stringify(tally(answers)))
  t.match(await call(one, '/me', { token: other.access }), invalid, 'at once, too')
  t.match(await prove(one, token, { method: 'totp', code: totpCode(owner.secret) }), invalid)
})

t.test(
  'with the password and no device token: 20 tries in any 24 hours and 100 in any 30 days, by all methods together',
  async (t) => {
    const owner = await createOwner(one, ['totp', 'sms'])
    const known = await plantDevice(one, owner)
    const guarded = ['totp', 'sms', 'email'] as const
    const perMethod: Record<string, number> = { totp: 0, sms: 0, email: 0 }
    const tries: number[] = []
    let skipped = 0
    let refusals = 0
    /** When the newest try was counted, as if the time that is skipped had gone by. Seconds. */
    const newestTry = async (): Promise<number> => {
      const [row] = await sql(
        'SELECT extract(epoch FROM failed_at[cardinality(failed_at)])::float AS at FROM factor_guards WHERE user_id = $1',
        [owner.id],
      )
      return Number(row?.at) + skipped
    }
    const wait = async (seconds: number): Promise<void> => {
      await age(one, owner, seconds)
      skipped += seconds
    }
    // No more than this can be had in that time, or it would go on for ever.
    while (skipped < 40 * day && tries.length <= 200) {
      const from = freshAddress()
      const first = await login(replica(tries.length), owner, { from })
      const token: string = first.body.pending_token
      // Recovery codes are no way around it: 120 bits, and they are all that is offered.
      if (first.body.methods?.length === 1) {
        t.same(first.body.methods, ['recovery_code'])
        const code = totpCode(owner.secret)
        const refused = await prove(one, token, { method: 'totp', code })
        t.match(refused, locked, 'the right code of the app does not get in either')
        t.match(await switchTo(token, 'sms'), locked, 'nor does a way on by text')
        refusals += 1
        await wait(Number(refused.body.retry_after))
        continue
      }
      t.equal(first.status, 200)
      const begun = ['totp']
      for (const method of ['sms', 'email'] as const)
        if ((await switchTo(token, method)).status === 200) begun.push(method)
      for (let n = 0; n < 5; n += 1) {
        const method = guarded[(tries.length + n) % 3] ?? 'totp'
        const by = begun.includes(method) ? method : 'totp'
        const answer = await prove(replica(n), token, wrongOf(owner, by, token))
        // Refused by one method, the thief goes on with the next.
        if (answer.status !== 422) continue
        perMethod[by] = (perMethod[by] ?? 0) + 1
        tries.push(await newestTry())
      }
      await wait(61)
    }
    const within = (seconds: number): number =>
      Math.max(...tries.map((at) => tries.filter((it) => it >= at && it < at + seconds - 0.001).length))
    t.equal(within(day), 20, 'in the worst 24 hours')
    t.equal(within(30 * day), 100, 'in the worst 30 days')
    t.ok(refusals >= 8, `${refusals} locks were met`)
    for (const [method, count] of Object.entries(perMethod)) t.ok(count > 10, `${count} of them by ${method}`)

    // And none of it was the owner's.
    await forgetSteps(one, owner)
    const mine = await login(one, owner, { body: { device_token: known } })
    t.match(mine.body, { challenge: { method: 'totp', attempts_remaining: 5 } })
    t.equal((await prove(one, mine.body.pending_token, { code: totpCode(owner.secret) })).status, 200)
  },
)
