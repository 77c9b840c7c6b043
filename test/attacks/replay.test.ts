import { randomUUID } from 'node:crypto'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { anyText } from '../helpers/any-text.ts'
import { createTestDatabase, type TestDatabase } from '../helpers/database.ts'
import { type Doorstep, startDoorstep } from '../helpers/doorstep.ts'
import { passTime } from '../helpers/pass-time.ts'
import {
  call,
  codeFor,
  createUser,
  finish,
  login,
  resend,
  type TestUser,
  textsTo,
  wrongCode,
} from '../helpers/story.ts'

t.setTimeout(300_000)

let database: TestDatabase
t.before(async () => {
  database = await createTestDatabase()
})
t.teardown(() => database.close())

t.test('a thief who holds a token or a code that was good once, or is good elsewhere', async (t) => {
  const doorstep = await startDoorstep(t, {
    database,
    env: { SMS_PER_USER_HOUR: '100000', SMS_PER_USER_DAY: '100000' },
  })
  const { sql, services } = doorstep

  const attemptsOf = async ({ id }: TestUser): Promise<number> => {
    const [row] = await sql<{ attempts: number }>(
      'SELECT coalesce(sum(attempts), 0)::integer AS attempts FROM challenges WHERE user_id = $1',
      [id],
    )
    return row?.attempts ?? -1
  }
  const liveOf = async ({ id }: TestUser): Promise<number> => {
    const [row] = await sql<{ n: number }>(
      'SELECT count(*)::integer AS n FROM challenges WHERE user_id = $1 AND consumed_at IS NULL AND superseded_at IS NULL',
      [id],
    )
    return row?.n ?? -1
  }
  type Login = { user: TestUser; token: string; code: string }
  const begin = async (user?: TestUser): Promise<Login> => {
    const who = user ?? (await createUser(doorstep))
    const first = await login(doorstep, who)
    if (first.status !== 200) throw new Error(`login: ${first.status} ${first.body.code}`)
    return { user: who, token: first.body.pending_token, code: codeFor(doorstep, who.phone) }
  }
  const isOver = async ({ token }: Login, code: string): Promise<boolean> => {
    const answers = [
      await finish(doorstep, token, code),
      await resend(doorstep, token),
      await call(doorstep, '/login/2fa', { token }),
      await finish(doorstep, token, 'not a code'),
    ]
    return answers.every(({ status, body }) => status === 401 && body.code === 'invalid_token')
  }

  await t.test('old or current, his own or another account: only the code of the very login opens it', async (t) => {
    const logins = async (): Promise<Login[]> => {
      const old = [await begin(), await begin()]
      await passTime(doorstep, 301)
      return [...old, ...(await Promise.all(old.map(({ user }) => begin(user))))]
    }
    const names = ['A old', 'B old', 'A current', 'B current']
    for (const [i, name] of names.entries()) {
      for (const [j, codeName] of names.entries()) {
        const all = await logins()
        const { token, user } = all[i] as Login
        const own = all[i]?.code === all[j]?.code
        const before = await attemptsOf(user)
        const answer = await finish(doorstep, token, all[j]?.code ?? '')
        const expected = i < 2 ? 401 : i === j || own ? 200 : 422
        t.equal(answer.status, expected, `token ${name}, code ${codeName}`)
        t.equal('access_token' in answer.body, expected === 200)
        t.equal((await attemptsOf(user)) - before, expected === 401 ? 0 : 1, 'and costs the owner of the token a try')
      }
    }
  })

  // Who has the password too, and the owner's ear ("which code did you get?"), gains nothing by a code that the owner was
  // sent for a login of his own; and his open logins do not keep the owner out.
  await t.test(
    'the owner and a thief at one account: a code finishes only the login it was sent for (SEC-105)',
    async (t) => {
      const thiefs = { from: '203.0.113.66' }
      const clients: Record<string, (device: string) => Parameters<typeof login>[2]> = {
        'another address': () => thiefs,
        'another browser behind the same address': () => ({ headers: { 'user-agent': 'another' } }),
        'a known device': (device) => ({ body: { device_token: device } }),
      }
      for (const [what, asThief] of Object.entries(clients)) {
        for (const [holder, codeOf] of [
          ['owner', 'owner'],
          ['owner', 'thief'],
          ['thief', 'owner'],
          ['thief', 'thief'],
        ] as const) {
          const ada = await begin()
          const { device_token: device } = (await finish(doorstep, ada.token, ada.code)).body
          await passTime(doorstep, 61)
          const owner = await begin(ada.user)
          await passTime(doorstep, 61)
          const first = await login(doorstep, ada.user, asThief(device))
          t.equal(first.status, 200)
          const both = {
            owner,
            thief: { user: ada.user, token: first.body.pending_token, code: codeFor(doorstep, ada.user.phone) },
          }
          t.equal(await liveOf(ada.user), 2, 'two logins wait')
          const own = holder === codeOf || both.owner.code === both.thief.code
          const answer = await finish(doorstep, both[holder].token, both[codeOf].code)
          t.equal(answer.status, own ? 200 : 422, `${what}: token of the ${holder}, code of the ${codeOf}`)
          t.equal('access_token' in answer.body, own)
          if (own) {
            const other = holder === 'owner' ? both.thief : both.owner
            t.equal(
              (await finish(doorstep, other.token, other.code)).status,
              200,
              'and the other one is not ended by it',
            )
          }
        }
      }

      const ada = await begin()
      const { device_token: device } = (await finish(doorstep, ada.token, ada.code)).body
      const thieves = []
      for (let n = 1; n <= 4; n++) {
        await passTime(doorstep, 61)
        thieves.push(await login(doorstep, ada.user, { from: `203.0.113.${n}` }))
        t.equal(thieves[n - 1]?.status, 200)
      }
      t.equal(await liveOf(ada.user), 3, 'of more than three the oldest has ended')
      t.equal((await call(doorstep, '/login/2fa', { token: thieves[0]?.body.pending_token })).status, 401)
      const mine = await login(doorstep, ada.user, { body: { device_token: device } })
      t.equal(mine.status, 200, 'and the owner, at his own device, is not kept out by them')
      t.equal(await liveOf(ada.user), 4, 'nor ends them')
      t.equal((await finish(doorstep, mine.body.pending_token, codeFor(doorstep, ada.user.phone))).status, 200)
    },
  )

  await t.test('a token and a code that were used', async (t) => {
    const used = await begin()
    const joined = await login(doorstep, used.user)
    t.equal((await finish(doorstep, used.token, used.code)).status, 200)
    t.ok(await isOver(used, used.code), 'the token is dead')
    t.ok(await isOver({ ...used, token: joined.body.pending_token }, used.code), 'and every other of that login')
    const next = await begin(used.user)
    t.equal((await finish(doorstep, next.token, used.code)).status, next.code === used.code ? 200 : 422)
    t.ok(await isOver(used, next.code))
    t.same(await sql('SELECT count(*)::integer AS n FROM sessions WHERE user_id = $1', [used.user.id]), [{ n: 1 }])
  })

  await t.test('a token with another login or user written into it', async (t) => {
    const [ada, bob] = [await begin(), await begin()]
    const idOf = async ({ user }: Login): Promise<string> =>
      (await sql<{ id: string }>('SELECT id FROM challenges WHERE user_id = $1', [user.id]))[0]?.id ?? ''
    const [head, body, signature] = ada.token.split('.') as [string, string, string]
    const claims = JSON.parse(Buffer.from(body, 'base64url').toString('utf8'))
    for (const change of [{ cid: await idOf(bob) }, { sub: bob.user.id }, { cid: await idOf(bob), sub: bob.user.id }]) {
      const forged = Buffer.from(JSON.stringify({ ...claims, ...change })).toString('base64url')
      for (const { code } of [ada, bob]) {
        t.equal((await finish(doorstep, `${head}.${forged}.${signature}`, code)).status, 401)
      }
    }
    // Even one that we signed ourselves does not bring a user and somebody else's challenge together.
    const mint = (userId: string, challengeId: string) => pendingToken(doorstep, claims, userId, challengeId)
    for (const { code } of [ada, bob]) {
      t.equal((await finish(doorstep, mint(ada.user.id, await idOf(bob)), code)).status, 401)
      t.equal((await finish(doorstep, mint(bob.user.id, await idOf(ada)), code)).status, 401)
      t.equal((await finish(doorstep, mint(ada.user.id, randomUUID()), code)).status, 401)
    }
    t.same([await attemptsOf(ada.user), await attemptsOf(bob.user)], [0, 0], 'nobody was charged')
    t.equal((await finish(doorstep, mint(ada.user.id, await idOf(ada)), ada.code)).status, 200, 'such tokens are good')
  })

  await t.test('a code that was made for something else than a login', async (t) => {
    for (const purpose of ['must_enrol', 'enrol', 'step_up'] as const) {
      const ada = await begin()
      const challengeId = randomUUID()
      const binding = { challengeId, userId: ada.user.id, purpose, method: 'sms' } as const
      const { code, mac, keyId } = services.oneTimeCodes.issue(binding)
      await sql(
        `WITH challenge AS (INSERT INTO challenges (id, user_id, purpose, client, known, method, begun, ends_at)
           VALUES ($1, $2, $3, 'x', false, 'sms', '{sms}', now() + interval '10 minutes'))
         INSERT INTO challenge_codes (challenge_id, method, channel, code_mac, key_id, message_id, last_sent_at, expires_at)
         VALUES ($1, 'sms', 'sms', $4, $5, -1, now(), now() + interval '5 minutes')`,
        [challengeId, ada.user.id, purpose, mac, keyId],
      )
      t.equal(services.oneTimeCodes.macs(binding, code)[keyId], mac.toString('hex'), 'it is right where it belongs')
      t.equal((await finish(doorstep, ada.token, code)).status, code === ada.code ? 200 : 422)
      const claims = JSON.parse(Buffer.from(ada.token.split('.')[1] ?? '', 'base64url').toString('utf8'))
      const mint = () => pendingToken(doorstep, claims, ada.user.id, challengeId)
      t.equal((await finish(doorstep, mint(), code)).status, 401, `${purpose}: a token of a login is none for it`)
      // And if what the challenge is for were forgotten, the code itself would still know.
      await sql(`UPDATE challenges SET purpose = 'login' WHERE id = $1`, [challengeId])
      t.equal((await finish(doorstep, mint(), code)).status, 422, `${purpose}: not even if it were one`)
      t.same(await sql('SELECT FROM sessions WHERE user_id = $1', [ada.user.id]), [])
    }
  })

  await t.test('twenty logins, one after another: one is alive at a time', async (t) => {
    const user = await createUser(doorstep)
    let previous: Login | undefined
    for (let round = 0; round < 20; round++) {
      const current = await begin(user)
      t.equal(await liveOf(user), 1)
      if (previous) {
        t.equal((await finish(doorstep, previous.token, previous.code)).status, 401, 'old token, old code')
        t.equal((await finish(doorstep, previous.token, current.code)).status, 401, 'old token, new code')
        const mixed = await finish(doorstep, current.token, previous.code)
        if (previous.code !== current.code) t.equal(mixed.status, 422, 'new token, old code')
        await sql(`UPDATE factor_guards SET streak = 0, failed_at = '{}' WHERE user_id = $1`, [user.id])
      }
      // Some end by success, some by wrong codes, some by time.
      if (round % 3 === 0) t.equal((await finish(doorstep, current.token, current.code)).status, 200)
      if (round % 3 === 1) {
        for (let i = 0; i < 5; i++) await finish(doorstep, current.token, wrongCode(current.code))
        await passTime(doorstep, 61)
      }
      if (round % 3 === 2) await passTime(doorstep, 301)
      await sql(`UPDATE factor_guards SET streak = 0, failed_at = '{}', locked_until = NULL WHERE user_id = $1`, [
        user.id,
      ])
      t.ok((await liveOf(user)) <= 1)
      previous = current
    }
  })

  await t.test('a resend: the same code again, and no more tries for it', async (t) => {
    const late = await begin()
    for (let i = 0; i < 4; i++) {
      t.equal((await finish(doorstep, late.token, wrongCode(late.code))).body.attempts_remaining, 4 - i)
    }
    await passTime(doorstep, 61)
    t.match(await resend(doorstep, late.token), { status: 200, body: { challenge: { attempts_remaining: 1 } } })
    const texts = textsTo(doorstep, late.user.phone)
    t.equal(texts.length, 2)
    t.equal(new Set(texts.map((text) => /#(\d+)$/.exec(text)?.[1])).size, 1, 'both texts carry the same code')
    t.match(await finish(doorstep, late.token, wrongCode(late.code)), { status: 422, body: { attempts_remaining: 0 } })
    t.match(await finish(doorstep, late.token, late.code), { status: 429, body: { code: 'code_attempts_exhausted' } })
    t.match(await resend(doorstep, late.token), { status: 429, body: { code: 'code_attempts_exhausted' } })

    const first = await begin()
    await passTime(doorstep, 61)
    t.equal((await resend(doorstep, first.token)).status, 200)
    t.equal((await finish(doorstep, first.token, first.code)).status, 200, "the first text's code is good")

    const thrice = await begin()
    for (const expected of [200, 200, 429]) {
      await passTime(doorstep, 61)
      const answer = await resend(doorstep, thrice.token)
      t.equal(answer.status, expected)
      if (expected === 429)
        t.equal(answer.body.code, 'sms_limit_reached', 'three texts per login, the first among them')
    }
    t.equal(textsTo(doorstep, thrice.user.phone).length, 3)
  })

  /** Puts the end of this login, or of its code, `ms` from now, by the database's clock. */
  const move = ({ user }: Login, what: 'code' | 'login', ms: number) =>
    sql(
      what === 'login'
        ? `UPDATE challenges SET ends_at = clock_timestamp() + $2 * interval '1 millisecond' WHERE user_id = $1`
        : `UPDATE challenge_codes SET expires_at = clock_timestamp() + $2 * interval '1 millisecond'
           WHERE challenge_id IN (SELECT id FROM challenges WHERE user_id = $1)`,
      [user.id, ms],
    )
  /** The answer to a code sent less than a second before that moment; asked again if this machine was too slow. */
  const justBefore = async (what: 'code' | 'login'): Promise<number> => {
    for (let round = 0; round < 10; round++) {
      const running = await begin()
      await move(running, what, 1_000)
      const start = performance.now()
      const { status } = await finish(doorstep, running.token, running.code)
      if (performance.now() - start < 900) return status
    }
    throw new Error('this machine needs a second for every request')
  }

  const lifetime = async (t: Test): Promise<void> => {
    const running = await begin()
    await passTime(doorstep, 290)
    const { challenge } = (await call(doorstep, '/login/2fa', { token: running.token })).body
    t.ok(challenge.code_expires_in > 0 && challenge.code_expires_in <= 10)
    t.equal((await finish(doorstep, running.token, running.code)).status, 200, 'after 290 s')

    const expired = await begin()
    await passTime(doorstep, 301)
    t.match(await finish(doorstep, expired.token, expired.code), { status: 410, body: { code: 'code_expired' } })
    t.equal(await attemptsOf(expired.user), 0, 'and costs no try')
    const { challenge: again } = (await resend(doorstep, expired.token)).body
    t.ok(again.code_expires_in > 240 && again.code_expires_in < 300, 'a resend gives it 300 s more')
    await passTime(doorstep, 280)
    const last = await resend(doorstep, expired.token)
    t.ok(last.body.challenge.code_expires_in <= 19, 'but never past 600 s from the first')
    t.equal(last.body.challenge.resend_after, null)
    t.equal((await finish(doorstep, expired.token, wrongCode(expired.code))).status, 422)
    await passTime(doorstep, 20)
    t.ok(await isOver(expired, expired.code), 'then the login is over')
  }
  await t.test('a code that was good until a moment ago', async (t) => {
    await lifetime(t)
    t.equal(await justBefore('code'), 200, 'up to the last second')
    t.equal(await justBefore('login'), 200)
    const expired = await begin()
    await move(expired, 'code', -1)
    t.equal((await finish(doorstep, expired.token, expired.code)).status, 410, 'not a millisecond longer')
    const over = await begin()
    await move(over, 'login', -1)
    t.ok(await isOver(over, over.code))
  })

  for (const hours of [1, -1]) {
    await t.test(`a replica whose clock is ${hours} h off: codes live as long as ever`, async (t) => {
      // The service asks this one function for the time; what it reads must not matter to what is stored.
      const real = Date.now
      Date.now = () => real() + hours * 3_600_000
      t.teardown(() => {
        Date.now = real
      })
      await lifetime(t)
    })
  }

  await t.test('a login from before the account changed', async (t) => {
    const changes = [
      { password_hash: await services.passwordHash.hash('a new password') },
      { phone: '+12025550199' },
      { two_factor: 'off' as const },
      { disabled: true },
      { disabled: false },
    ]
    for (const change of changes) {
      const begun = await begin()
      const texts = textsTo(doorstep, begun.user.phone).length
      await passTime(doorstep, 61)
      await services.store.accounts.change(begun.user.email, [], change, { type: 'user.changed', outcome: 'test' })
      t.ok(await isOver(begun, begun.code), `${Object.keys(change)[0]}: the right code gets 401`)
      t.equal(textsTo(doorstep, begun.user.phone).length, texts, 'and nobody a text')
      t.equal(await attemptsOf(begun.user), 0)
      t.same(await sql('SELECT FROM sessions WHERE user_id = $1', [begun.user.id]), [])
    }
    const back = await begin()
    for (const disabled of [true, false]) {
      await services.store.accounts.change(back.user.email, [], { disabled }, { type: 'user.changed', outcome: 'test' })
    }
    t.ok(await isOver(back, back.code), 'disabled and enabled again: over all the same')
    await passTime(doorstep, 61)
    const next = await begin(back.user)
    t.equal((await finish(doorstep, next.token, next.code)).status, 200, 'but the owner can sign in')
  })
})

t.test('somebody who sends anything but a code', async (t) => {
  const doorstep = await startDoorstep(t, { database, env: { RATE_VERIFY_MINUTE: '20' } })
  const user = await createUser(doorstep)
  const first = await login(doorstep, user)
  const token: string = first.body.pending_token
  const code = codeFor(doorstep, user.phone)
  let address = 0
  const send = (body: unknown) =>
    call(doorstep, '/login/2fa', {
      ...{ method: 'POST' as const, token, from: `10.0.${address >> 8}.${address++ & 255}` },
      ...{ body: JSON.stringify(body), headers: { 'content-type': 'application/json' } },
    })
  const attempts = async () =>
    (await doorstep.sql('SELECT attempts FROM challenges WHERE user_id = $1', [user.id]))[0]?.attempts
  const digits = (zero: number) => [...code].map((digit) => String.fromCodePoint(zero + Number(digit))).join('')

  await t.test('is told so, and it costs no try', async (t) => {
    const bad: Record<string, unknown> = {
      ...{ number: Number(code), null: null, true: true, list: [code], object: { code }, empty: '', spaces: '      ' },
      ...{
        'one too few': code.slice(1),
        'one too many': `${code}0`,
        letters: 'abcdef',
        hex: '0x1234',
        exponent: '1e5',
      },
      ...{
        sign: `+${code}`,
        decimal: `${code}.0`,
        underscore: `${code.slice(0, 3)}_${code.slice(3)}`,
      },
      ...{
        'Arabic-Indic': digits(0x660),
        'full width': digits(0xff10),
        Devanagari: digits(0x966),
        bold: digits(0x1d7ce),
      },
      mixed: code.slice(0, 5) + String.fromCodePoint(0xff10 + Number(code[5])),
      ...{ NUL: `${code}\u0000`, surrogate: `${code}\ud800`, long: '1'.repeat(10_000) },
      ...{ 'many spaces': ' '.repeat(100) + code, 'only dashes': '-–—‐--' },
    }
    for (const [name, value] of Object.entries(bad)) {
      const answer = await send({ code: value })
      t.ok(answer.status === 400 || answer.status === 413, `${name}: ${answer.status}`)
    }
    for (const body of [{}, [], null, code, 7, { code, admin: true }, { Code: code }, { code: code, cid: 'x' }]) {
      t.equal((await send(body)).status, 400, JSON.stringify(body))
    }
    t.equal(await attempts(), 0)
  })

  await t.test('whatever JSON it is', async (t) => {
    const value = fc.oneof(fc.jsonValue(), fc.record({ code: fc.jsonValue() }), fc.record({ code: anyText() }))
    await fc.assert(
      fc.asyncProperty(value, async (body) => {
        const { status } = await send(body)
        return status === 400 || status === 413
      }),
      { numRuns: 200 },
    )
    t.equal(await attempts(), 0, 'no try was charged')
  })

  await t.test('with a token that is no good either: the token is judged first', async (t) => {
    for (const bad of [`${token}x`, 'x.y.z', '']) {
      t.match(await call(doorstep, '/login/2fa', { method: 'POST', token: bad, body: { code: 7 } }), { status: 401 })
    }
  })

  await t.test('but pays with the requests of the address', async (t) => {
    const statuses: number[] = []
    for (let i = 0; i < 21; i++) {
      const body = { code: 'nonsense' }
      statuses.push((await call(doorstep, '/login/2fa', { token, from: '192.0.2.7', body })).status)
    }
    t.same(statuses, [...Array(20).fill(400), 429])
  })

  await t.test('while a person may write or paste the code with white space, hyphens and dashes', async (t) => {
    const [a, b, c, d, e, f] = code
    const halves = (between: string): string => `${a}${b}${c}${between}${d}${e}${f}`
    const written = [halves(' '), `${a}-${b}-${c}-${d}-${e}-${f}`, ` ${code} `, `- ${code} -`, `\t${code}\r\n`]
    const pasted = ['\u00a0', '\u2009', '\u202f', '\u3000', '\ufeff', '–', '—', '\u2011', '−', '\u200b', '\u2068'].map(
      halves,
    )
    for (const typed of [...written, ...pasted]) {
      const next = await login(doorstep, user)
      const again = codeFor(doorstep, user.phone)
      const form = [...typed].map((letter) => (/\d/.test(letter) ? '#' : letter)).join('')
      let at = 0
      const answer = await finish(
        doorstep,
        next.body.pending_token,
        form.replace(/#/g, () => again[at++] ?? ''),
      )
      t.equal(answer.status, 200, JSON.stringify(form))
    }
  })
})

/** A pending token as the service would sign it, for any user and challenge. */
function pendingToken(
  { app }: Pick<Doorstep, 'app'>,
  claims: Record<string, unknown>,
  userId: string,
  challengeId: string,
): string {
  const { pending } = app.jwt as unknown as { pending: { sign(claims: object): string } }
  return pending.sign({ ...claims, jti: randomUUID(), sub: userId, cid: challengeId })
}
