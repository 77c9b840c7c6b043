import { createHash, createHmac } from 'node:crypto'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { createRefreshTokens } from '../../src/security/refresh-token.ts'
import { createSecrets } from '../../src/security/secrets.ts'
import { systemRandom } from '../../src/system.ts'
import { age } from '../helpers/age.ts'
import { anyText } from '../helpers/any-text.ts'
import { dump, enter, refresh, type Signed, tokensOf, trustDevice } from '../helpers/credentials.ts'
import { startDoorstep, testKeys } from '../helpers/doorstep.ts'
import { part } from '../helpers/forge.ts'
import { meetAtRow } from '../helpers/hold-row.ts'
import { type Answer, call, createUser, rightPassword, signIn, type TestUser } from '../helpers/story.ts'
import { isOverloaded, repeat, tally, together } from '../helpers/together.ts'

t.setTimeout(300_000)

const doorstep = await startDoorstep(t)
const second = await startDoorstep(t, { database: doorstep.database })
const eachOf = (index: number) => (index % 2 === 0 ? doorstep : second)
const { sql, services } = doorstep
const changed = await services.passwordHash.hash('another password, quite new')

type SessionRow = { generation: number; ended: boolean }
const rowOf = async (sid: string): Promise<SessionRow | undefined> =>
  (await sql<SessionRow>('SELECT generation, ended_at IS NOT NULL AS ended FROM sessions WHERE id = $1', [sid]))[0]
const theftsOf = (sid: string): Promise<{ user_id: string; outcome: string }[]> =>
  sql(`SELECT user_id, outcome FROM audit_events WHERE type = 'refresh.reused' AND detail = $1`, [`session ${sid}`])

/** Makes the last rotation of a session `seconds` older. */
const ageRotation = (sid: string, seconds: number) =>
  sql(`UPDATE sessions SET rotated_at = rotated_at - $2::integer * interval '1 second' WHERE id = $1`, [sid, seconds])

const invalid = {
  status: 401,
  body: { code: 'invalid_token' },
  headers: { 'www-authenticate': 'Bearer error="invalid_token"' },
}
const reused = { status: 401, body: { code: 'refresh_token_reused' } }

/** Nothing of this session opens anything any more, on any replica. */
async function isDead(t: Test, sid: string, tokens: { access?: string[]; refresh?: string[] }): Promise<void> {
  t.equal((await rowOf(sid))?.ended, true, 'the session has ended')
  for (const [index, token] of (tokens.access ?? []).entries()) {
    t.match(await call(eachOf(index), '/me', { token }), invalid, 'its access token is refused')
  }
  for (const [index, token] of (tokens.refresh ?? []).entries()) {
    t.match(await refresh(eachOf(index), token), invalid, 'its refresh token is refused')
  }
}

t.test('50 tabs of one browser that refresh at once are one step, and no tab is thrown out', async (t) => {
  const user = await createUser(doorstep, { twoFactor: 'off' })
  await repeat(t, 1, async () => {
    const { refresh: token, sid } = await enter(doorstep, user)
    const answers = await together(50, (index) => refresh(eachOf(index), token))
    const given = answers.filter(({ status }) => status === 200)
    const successors = new Set<string>(given.map(({ body }) => body.refresh_token))
    t.equal(successors.size, 1, 'one and the same successor in every answer')
    t.equal((await rowOf(sid))?.generation, 1, 'one generation step')
    t.notOk(successors.has(token), 'and it is a new token')
    t.strictSame(await theftsOf(sid), [], 'nobody is taken for a thief')
    if (isOverloaded(answers)) return false
    t.strictSame(tally(answers), { '200': 50 }, 'all are answered')
    t.equal(new Set(given.map(({ body }) => body.access_token)).size, 50, 'each with an access token of its own')
    for (const successor of successors) t.equal((await refresh(second, successor)).status, 200, 'the successor works')
    return true
  })
})

t.test('refreshes that meet at the very same moment are one step', async (t) => {
  const user = await createUser(doorstep, { twoFactor: 'off' })
  await repeat(t, 3, async () => {
    const { refresh: token, sid } = await enter(doorstep, user)
    const row = { text: 'SELECT FROM sessions WHERE id = $1 FOR UPDATE', values: [sid], waiters: 2 }
    const answers = await meetAtRow(doorstep, row, () => together(4, (index) => refresh(eachOf(index), token)))
    if (isOverloaded(answers)) return false
    t.strictSame(tally(answers), { '200': 4 })
    t.equal(new Set(answers.map(({ body }) => body.refresh_token)).size, 1)
    t.match(await rowOf(sid), { generation: 1, ended: false })
    return true
  })
})

t.test('a thief with a spent token, later than 30 seconds, ends the session; sooner it is a lost reply', async (t) => {
  const user = await createUser(doorstep, { twoFactor: 'off' })
  const start = await enter(doorstep, user)
  const next = tokensOf(await refresh(doorstep, start.refresh))

  await ageRotation(start.sid, 20)
  t.equal(tokensOf(await refresh(second, start.refresh)).refresh, next.refresh, 'after 20 s: the same successor')
  t.equal((await rowOf(start.sid))?.generation, 1, 'which is no further step, and starts no new 30 seconds')
  await ageRotation(start.sid, 11)
  t.match(await refresh(second, start.refresh), reused, 'after 31 s: theft')
  await isDead(t, start.sid, { access: [start.access, next.access], refresh: [next.refresh, start.refresh] })
  t.strictSame(await theftsOf(start.sid), [{ user_id: user.id, outcome: 'session ended' }], 'one audit row')
})

t.test('a refresh that is repeated from another address gets the same successor, and is recorded', async (t) => {
  const user = await createUser(doorstep, { twoFactor: 'off' })
  const { refresh: token, sid } = await enter(doorstep, user)
  const from = (address: string) => call(second, '/token/refresh', { body: { refresh_token: token }, from: address })
  const repeats = () =>
    sql(`SELECT outcome, address, user_id FROM audit_events WHERE type = 'refresh.repeated' AND detail = $1`, [
      `session ${sid}`,
    ])
  const first = await from('198.51.100.1')
  t.equal((await from('198.51.100.1')).body.refresh_token, first.body.refresh_token, 'a second tab')
  t.same(await repeats(), [])
  t.equal((await from('203.0.113.9')).body.refresh_token, first.body.refresh_token)
  t.same(await repeats(), [{ outcome: 'from another address', address: '203.0.113.9', user_id: user.id }])
  t.ok(second.logs.some((line) => line.includes('"event":"refresh.repeated"')))
})

t.test('a thief whose token is two generations old is found out even within 30 seconds', async (t) => {
  const user = await createUser(doorstep, { twoFactor: 'off' })
  const start = await enter(doorstep, user)
  const other = await enter(doorstep, user)
  const next = tokensOf(await refresh(doorstep, start.refresh))
  const newest = tokensOf(await refresh(doorstep, next.refresh))
  t.match(await refresh(doorstep, start.refresh), reused)
  await isDead(t, start.sid, { access: [newest.access], refresh: [newest.refresh, next.refresh] })
  t.equal((await theftsOf(start.sid)).length, 1)
  t.equal((await refresh(doorstep, other.refresh)).status, 200, 'the other sessions of the user go on')
})

for (const [first, later] of [
  ['thief', 'owner'],
  ['owner', 'thief'],
] as const) {
  t.test(
    `a thief with a copy of the refresh token gains one step at most: ${first} first, ${later} later`,
    async (t) => {
      const user = await createUser(doorstep, { twoFactor: 'off' })
      const start = await enter(doorstep, user)
      const gained = tokensOf(await refresh(doorstep, start.refresh))
      await ageRotation(start.sid, 31)
      t.match(await refresh(second, start.refresh), reused, `the ${later} comes with the spent copy`)
      await isDead(t, start.sid, { access: [gained.access], refresh: [gained.refresh] })
    },
  )

  t.test(`a thief within the 30 seconds is found out at the next step: ${first} first, ${later} later`, async (t) => {
    const user = await createUser(doorstep, { twoFactor: 'off' })
    const start = await enter(doorstep, user)
    const mine = tokensOf(await refresh(doorstep, start.refresh))
    const theirs = tokensOf(await refresh(second, start.refresh))
    t.equal(mine.refresh, theirs.refresh, 'both hold the one successor')
    const ahead = tokensOf(await refresh(doorstep, mine.refresh))
    await ageRotation(start.sid, 31)
    t.match(await refresh(second, theirs.refresh), reused)
    await isDead(t, start.sid, { access: [mine.access, theirs.access, ahead.access], refresh: [ahead.refresh] })
  })
}

t.test('a refresh never makes a sign-in look fresher or stronger than it was', async (t) => {
  const plain = await createUser(doorstep, { twoFactor: 'off' })
  const full = await createUser(doorstep)
  for (const [user, signed, level] of [
    [plain, await enter(doorstep, plain), { amr: ['pwd'], acr: 'aal1' }],
    [full, tokensOf(await signIn(doorstep, full)), { amr: ['pwd', 'sms', 'mfa'], acr: 'aal2' }],
  ] as const) {
    await age(doorstep, user, 1_000)
    let tokens: Signed = signed
    for (const instance of [doorstep, second, doorstep]) {
      tokens = tokensOf(await refresh(instance, tokens.refresh))
      const { amr, acr, sub, sid, auth_time, iat } = part(tokens.access, 1)
      t.strictSame({ amr, acr, sub, sid }, { ...level, sub: user.id, sid: signed.sid })
      t.ok(Number(iat) - Number(auth_time) >= 1_000, 'auth_time is when the user signed in, 1000 s ago')
      t.ok(Math.abs(Number(auth_time) + 1_000 - Number(part(signed.access, 1).auth_time)) <= 1)
    }
  }
})

t.test(
  'a session that was not asked to be remembered ends after 12 hours, however often it is refreshed',
  async (t) => {
    const user = await createUser(doorstep, { twoFactor: 'off' })
    const answer = await call(doorstep, '/login', { body: { email: user.email, password: user.password } })
    t.equal(answer.body.refresh_expires_in, 43_200)
    let tokens = tokensOf(answer)
    for (const [passed, left] of [
      [6 * 3_600, 6 * 3_600],
      [5 * 3_600, 3_600],
      [3_600 - 60, 60],
    ] as const) {
      await age(doorstep, user, passed)
      const refreshed = await refresh(second, tokens.refresh)
      const { refresh_expires_in: found } = refreshed.body
      t.ok(found <= left && found > left - 50, `${left} s are left, not more: ${found}`)
      tokens = tokensOf(refreshed)
    }
    t.equal((await call(doorstep, '/me', { token: tokens.access })).status, 200, 'a minute before the end it lives')
    await age(doorstep, user, 61)
    t.match(await refresh(doorstep, tokens.refresh), invalid, 'a second after it: no more')
    t.match(await call(doorstep, '/me', { token: tokens.access }), invalid, 'and its access token is refused here')
    t.match(await rowOf(tokens.sid), { generation: 3, ended: false }, 'it ran out, nobody ended it')
    t.strictSame(await theftsOf(tokens.sid), [])
  },
)

t.test('a remembered session ends after 14 days of rest, and after 30 days in all', async (t) => {
  const day = 86_400
  const rested = await createUser(doorstep, { twoFactor: 'off' })
  const answer = await call(doorstep, '/login', {
    body: { email: rested.email, password: rested.password, remember_me: true },
  })
  t.equal(answer.body.refresh_expires_in, 14 * day)
  await age(doorstep, rested, 14 * day - 60)
  const awake = await refresh(doorstep, answer.body.refresh_token)
  t.match(awake, { status: 200, body: { refresh_expires_in: 14 * day } }, 'a refresh just in time: 14 days more')
  await age(doorstep, rested, 14 * day + 1)
  t.match(await refresh(doorstep, awake.body.refresh_token), invalid, '14 days and a second of rest')

  const busy = await createUser(doorstep, { twoFactor: 'off' })
  let tokens = await enter(doorstep, busy, { remember_me: true })
  for (const [passed, left] of [
    [13 * day, 14 * day],
    [13 * day, 4 * day],
    [4 * day - 60, 60],
  ] as const) {
    await age(doorstep, busy, passed)
    const refreshed = await refresh(doorstep, tokens.refresh)
    const { refresh_expires_in: found } = refreshed.body
    t.ok(found <= left && found > left - 50, `${left} s are left, not more: ${found}`)
    tokens = tokensOf(refreshed)
  }
  await age(doorstep, busy, 61)
  t.match(await refresh(doorstep, tokens.refresh), invalid, '30 days and a second in all, though it never rested')
})

const change = (email: string, to: { disabled?: boolean; password_hash?: string }) =>
  services.store.accounts.change(email, [], to, { type: 'user.changed', outcome: 'test' })

const endings: Record<string, (user: TestUser, signed: Signed) => Promise<unknown>> = {
  logout: (_user, { access }) => call(second, '/logout', { method: 'POST', token: access }),
  'logout of all': (_user, { access }) => call(second, '/logout', { token: access, body: { scope: 'all' } }),
  'disabling the user': ({ email }) => change(email, { disabled: true }),
  'a password change': ({ email }) => change(email, { password_hash: changed }),
}

for (const [name, end] of Object.entries(endings)) {
  t.test(`a refresh that races ${name} never revives the session`, async (t) => {
    const seen = { before: 0, after: 0 }
    for (let round = 0; round < 6; round++) {
      const user = await createUser(doorstep, { twoFactor: 'off' })
      const signed = await enter(doorstep, user)
      // As after a fresh second factor, which ending them all asks for.
      await sql(`UPDATE sessions SET acr = 'aal2' WHERE id = $1`, [signed.sid])
      // The end comes in the middle: when the first few are answered and the others are on their way.
      const refreshes = Array.from({ length: 12 }, (_, index) => refresh(eachOf(index), signed.refresh))
      const ending = Promise.all(refreshes.slice(0, round)).then(() => end(user, signed))
      const answers: Answer[] = await Promise.all(refreshes)
      await ending
      const given = answers.filter(({ status }) => status === 200).map(tokensOf)
      const failed = answers.filter(({ status, body }) => status !== 200 && body.code !== 'invalid_token')
      t.ok(failed.length === 0 || isOverloaded(failed), `won or lost, nothing else: ${JSON.stringify(tally(answers))}`)
      t.ok(new Set(given.map((one) => one.refresh)).size <= 1, 'one successor at most')
      await isDead(t, signed.sid, {
        access: [signed.access, ...given.slice(-3).map(({ access }) => access)],
        refresh: [signed.refresh, ...new Set(given.map((one) => one.refresh))],
      })
      seen.before += given.length
      seen.after += answers.length - given.length
    }
    t.ok(seen.before > 0, 'some refreshes came before the end')
    t.comment(`${seen.before} refreshes came before the end, ${seen.after} after it`)
  })
}

t.test('a forged, altered or foreign refresh token opens nothing and harms nobody', async (t) => {
  const ada = await createUser(doorstep, { twoFactor: 'off' })
  const bob = await createUser(doorstep, { twoFactor: 'off' })
  const [mine, other] = [await enter(doorstep, ada), await enter(doorstep, bob)]
  const [prefix = '', payload = '', mac = ''] = mine.refresh.split('.')
  const [, otherPayload = '', otherMac = ''] = other.refresh.split('.')
  const foreign = createRefreshTokens({ secrets: createSecrets([{ id: 'k1', key: systemRandom.bytes(32) }]) })
  const ours = createRefreshTokens(services)
  const nextPayload = Buffer.from(payload, 'base64url')
  nextPayload.writeUInt32BE(1, 16)

  const forged: Record<string, string> = {
    'a MAC of another key': foreign.make({ sessionId: mine.sid, generation: 0 }),
    'the session of one, the MAC of another': `${prefix}.${payload}.${otherMac}`,
    'the MAC of one, the session of another': `${prefix}.${otherPayload}.${mac}`,
    'the next generation under the old MAC': `${prefix}.${nextPayload.toString('base64url')}.${mac}`,
    'a MAC of zeros': `${prefix}.${payload}.${'A'.repeat(43)}`,
    'another key id': mine.refresh.replace('dsr_k1', 'dsr_k2'),
    'an id that objects have': mine.refresh.replace('dsr_k1', 'dsr_constructor'),
    'a line break after it': `${mine.refresh}\n`,
    'the generation to come': ours.make({ sessionId: mine.sid, generation: 1 }),
    'a session that never was': ours.make({ sessionId: systemRandom.uuid(), generation: 0 }),
    'a JWT': 'eyJhbGciOiJFUzI1NiJ9.e30.AAAA',
    'a device token': services.deviceTokens.make().token,
  }
  for (const [name, token] of Object.entries(forged)) t.match(await refresh(doorstep, token), invalid, name)

  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  const length = mine.refresh.length
  const replaced = (from: number, to: number, text: string) =>
    mine.refresh.slice(0, from) + text + mine.refresh.slice(to)
  const place = fc.nat(length - 1)
  const letter = fc.constantFrom(...alphabet)
  const bytes = anyText({ minLength: 1, maxLength: 4 })
  const altered = fc.oneof(
    fc.tuple(place, letter).map(([at, text]) => replaced(at, at + 1, text)),
    fc.tuple(place, letter).map(([at, text]) => replaced(at, at, text)),
    fc.tuple(place, place).map(([a, b]) => replaced(Math.min(a, b), Math.max(a, b) + 1, '')),
    fc.tuple(place, bytes).map(([at, text]) => replaced(at, at + text.length, text)),
    anyText({ maxLength: 300 }),
  )
  // The last letters of both halves have bits to spare in base64url: another spelling of the same bytes is refused too.
  const lastLetters = [prefix.length + 1 + payload.length, length].flatMap((end) =>
    [...alphabet].map((text): [string] => [replaced(end - 1, end, text)]),
  )
  await fc.assert(
    fc.asyncProperty(altered, async (token) => {
      if (token === mine.refresh) return
      const { status, body } = await refresh(doorstep, token)
      if (status === 401 && body.code === 'invalid_token') return
      const isNoText = token === '' || token.length > 256 || token.includes('\u0000') || !token.isWellFormed()
      if (status === 400 && body.code === 'invalid_request' && isNoText) return
      throw new Error(`${status} ${body.code}`)
    }),
    { numRuns: 400, examples: lastLetters },
  )
  t.match(await rowOf(mine.sid), { generation: 0, ended: false }, 'no forgery moved or ended the session')
  t.match(await rowOf(other.sid), { generation: 0, ended: false })
  t.equal((await refresh(doorstep, mine.refresh)).status, 200, 'the real one works')
})

t.test('a thief of the whole database has no refresh or device token, and cannot make one', async (t) => {
  const user = await createUser(doorstep)
  const trusted = await trustDevice(doorstep, user)
  const next = tokensOf(await refresh(doorstep, trusted.refresh))
  const stolen = await dump(doorstep)
  const deviceHash = createHash('sha256').update(trusted.device).digest('hex')
  t.ok(stolen.includes(trusted.sid), 'the dump holds the session')
  t.ok(stolen.includes(deviceHash), 'and the hash of the device token')

  const secretHalves = [trusted.refresh, next.refresh].map((token) => token.split('.')[2] ?? '')
  secretHalves.push(...trusted.device.split('.').slice(1))
  const folded = stolen.toLowerCase()
  for (const secret of secretHalves) {
    const bytes = Buffer.from(secret, 'base64url')
    t.equal(bytes.length, 32)
    for (const spelling of [secret, bytes.toString('hex'), bytes.toString('base64').replace(/=+$/, '')]) {
      t.notOk(folded.includes(spelling.toLowerCase()), 'no secret half of a token, in any spelling')
    }
  }

  // Every word and every run of bytes of the dump, tried as the secret half of a token and as the key behind it.
  const [, payload = '', mac = ''] = next.refresh.split('.')
  const words = new Set(stolen.split(/[\s(){},"]+/).filter((word) => word.length >= 8))
  const keys = [...words].flatMap((word) => [Buffer.from(word), Buffer.from(word.replace(/^\\+x/, ''), 'hex')])
  t.ok(keys.length > 100)
  const found = keys.filter((key) => {
    const text = key.toString('base64url')
    const made = createHmac('sha256', key).update(`refresh:v1|${payload}`).digest('base64url')
    return made === mac || text === mac || trusted.device.split('.').includes(text)
  })
  t.strictSame(found, [], 'none of them is')
  const realKey = services.secrets.current('refresh-token').key
  const made = createHmac('sha256', realKey).update(`refresh:v1|${payload}`).digest('base64url')
  t.equal(made, mac, 'with the key, which is outside, the same attempt would succeed')

  const hash = Buffer.from(deviceHash, 'hex').toString('base64url')
  for (const sent of [deviceHash, `dsd_${deviceHash}`, `dsd_k1.${hash}.${hash}`]) {
    const answer = await call(doorstep, '/login', {
      body: { email: user.email, password: rightPassword, device_token: sent },
    })
    t.match(answer.body, { status: '2fa_required' }, 'the stored hash is no device token')
  }
})

t.test('a new secret takes over without throwing anybody out, and a dropped one opens nothing', async (t) => {
  const user = await createUser(doorstep, { twoFactor: 'off' })
  const old = await enter(doorstep, user)
  const dropped = await enter(doorstep, user)
  const newKey = `k2:${systemRandom.bytes(32).toString('base64')}`
  const both = await startDoorstep(t, {
    database: doorstep.database,
    env: { SECRET_KEYS: `${newKey},${testKeys.SECRET_KEYS}` },
  })
  const renewed = tokensOf(await refresh(both, old.refresh))
  t.match(old.refresh, /^dsr_k1\./)
  t.match(renewed.refresh, /^dsr_k2\./, 'new tokens are made with the new secret')
  t.equal(tokensOf(await refresh(both, old.refresh)).refresh, renewed.refresh, 'a lost reply across the change')

  const newOnly = await startDoorstep(t, { database: doorstep.database, env: { SECRET_KEYS: newKey } })
  t.match(await refresh(newOnly, dropped.refresh), invalid, 'a token of the dropped secret')
  t.match(await rowOf(dropped.sid), { generation: 0, ended: false }, 'which is no theft')
  t.equal((await refresh(newOnly, renewed.refresh)).status, 200, 'a token of the new secret')
})
