import { createHash } from 'node:crypto'
import t, { type Test } from 'tap'
import { systemRandom } from '../../src/system.ts'
import { age } from '../helpers/age.ts'
import { dump, tokensOf, trustDevice } from '../helpers/credentials.ts'
import { startDoorstep } from '../helpers/doorstep.ts'
import { part } from '../helpers/forge.ts'
import { meetAtRow } from '../helpers/hold-row.ts'
import {
  type Answer,
  call,
  codeFor,
  createUser,
  finish,
  freshPhone,
  login,
  rightPassword,
  type TestUser,
  textsTo,
  wrongCode,
} from '../helpers/story.ts'
import { isOverloaded, repeat, tally, together } from '../helpers/together.ts'

t.setTimeout(120_000)

const doorstep = await startDoorstep(t)
const second = await startDoorstep(t, { database: doorstep.database })
const eachOf = (index: number) => (index % 2 === 0 ? doorstep : second)
const { sql, services } = doorstep

/** A login with a device token. */
const knock = (user: TestUser, device: string, password = user.password, instance = doorstep): Promise<Answer> =>
  login(instance, { email: user.email, password }, { body: { device_token: device } })

/** `count` wrong passwords one after another; every answer is checked. */
async function guess(t: Test, user: TestUser, count: number, device?: string): Promise<void> {
  for (let n = 0; n < count; n++) {
    const body = device === undefined ? {} : { device_token: device }
    const answer = await login(eachOf(n), { email: user.email, password: `wrong ${n}` }, { body })
    t.match(answer, { status: 401, body: { code: 'invalid_credentials' } }, `wrong password ${n + 1}`)
  }
}

const asks = { status: 200, body: { status: '2fa_required' } }
const opens = { status: 200, body: { status: 'authenticated' } }
const locked = { status: 429, body: { code: 'login_locked' } }

/** Failed passwords that are counted against the e-mail. */
async function failuresOf({ email }: TestUser): Promise<number> {
  const [row] = await sql<{ failures: number }>('SELECT failures FROM login_throttles WHERE identifier = $1', [
    services.loginThrottle.identify(email),
  ])
  return row?.failures ?? 0
}

t.test('a thief who has the trusted device but not the password cannot sign in; its owner needs no text', async (t) => {
  const ada = await createUser(doorstep)
  const { device } = await trustDevice(doorstep, ada)
  t.match(device, /^dsd_[\w-]{43}$/, '256 random bits')
  const texts = textsTo(doorstep, ada.phone).length

  t.match(await knock(ada, device, 'wrong'), { status: 401, body: { code: 'invalid_credentials' } })
  t.match(await call(doorstep, '/login', { body: { email: ada.email, device_token: device } }), {
    status: 400,
    body: { code: 'invalid_request' },
  })
  const answer = await knock(ada, device)
  t.match(answer, opens)
  t.equal(textsTo(doorstep, ada.phone).length, texts, 'no further text')
  t.notOk('device_token' in answer.body, 'the token stays the one it was')

  const { access, sid } = tokensOf(answer)
  const { amr, acr, scope } = part(access, 1)
  t.strictSame({ amr, acr, scope }, { amr: ['pwd'], acr: 'aal1', scope: 'account' }, 'and no claim of a text')
  t.match((await call(second, '/me', { token: access })).body, { amr: ['pwd'], acr: 'aal1', two_factor_enabled: true })
  const [row] = await sql('SELECT amr, acr FROM sessions WHERE id = $1', [sid])
  t.strictSame(row, { amr: ['pwd'], acr: 'aal1' })
})

t.test('a thief of the database finds only the hash of a device token', async (t) => {
  const ada = await createUser(doorstep)
  const { device } = await trustDevice(doorstep, ada)
  const [row] = await sql<{ hash: string }>(
    `SELECT encode(token_hash, 'hex') AS hash FROM trusted_devices WHERE user_id = $1`,
    [ada.id],
  )
  t.equal(row?.hash, createHash('sha256').update(device).digest('hex'))
  t.notOk((await dump(doorstep)).includes(device.slice(4)))
  t.notOk(
    [...doorstep.logs, ...second.logs].some((line) => line.includes(device.slice(4))),
    'nor is it in the log',
  )
})

t.test(
  'a thief who knows the password and has a trusted device of his own account is asked for the code',
  async (t) => {
    const [ada, bob] = [await createUser(doorstep), await createUser(doorstep)]
    const [, his] = [await trustDevice(doorstep, ada), await trustDevice(doorstep, bob)]
    t.match(await knock(ada, his.device), asks)
    t.match(await knock(bob, his.device), opens, 'where it belongs it works')
    for (const made of [
      `dsd_${systemRandom.bytes(32).toString('base64url')}`,
      his.device.slice(0, -1),
      his.device.toUpperCase(),
      'x',
      his.refresh,
    ]) {
      t.match(await knock(bob, made), asks, 'a made-up token is no device')
    }
  },
)

t.test('a thief with an old device is asked for the code: 30 days are counted on the server', async (t) => {
  const ada = await createUser(doorstep)
  const first = await login(doorstep, ada)
  const answer = await finish(doorstep, first.body.pending_token, codeFor(doorstep, ada.phone), {
    body: { trust_device: true },
  })
  t.equal(answer.body.device_expires_in, 30 * 86_400)
  const device: string = answer.body.device_token
  await age(doorstep, ada, 15 * 86_400)
  t.match(await knock(ada, device), opens)
  await age(doorstep, ada, 15 * 86_400 - 60)
  const late = tokensOf(await knock(ada, device))
  const list = () => call(doorstep, '/trusted-devices', { token: late.access })
  t.equal((await list()).body.trusted_devices.length, 1, 'a minute before the end it is trusted, and listed')
  await age(doorstep, ada, 61)
  t.match(await knock(ada, device), asks, 'a second after the end it is not: logins in between have not prolonged it')
  t.strictSame((await list()).body, { trusted_devices: [] })
  t.match(await knock(ada, device, 'wrong'), { status: 401 })
  t.equal(await failuresOf(ada), 1, 'nor does it give guesses of its own: they count against the e-mail')
})

const change = (email: string, changed: Parameters<typeof services.store.accounts.change>[1]) =>
  services.store.accounts.change(email, changed, { type: 'user.changed', outcome: 'test' })
const newPassword = 'a quite different password'

const endings: Record<string, (user: TestUser, access: string) => Promise<unknown>> = {
  'its removal': async (_user, access) => {
    const { body } = await call(doorstep, '/trusted-devices', { token: access })
    const [one] = body.trusted_devices
    return call(second, `/trusted-devices/${one.id}`, { method: 'DELETE', token: access })
  },
  'disabling the user, and enabling again': async ({ email }) => {
    await change(email, { disabled: true })
    await change(email, { disabled: false })
  },
  'a password change': async (user) => {
    await change(user.email, { password_hash: await services.passwordHash.hash(newPassword) })
    user.password = newPassword
  },
  'a phone change': async (user) => {
    user.phone = freshPhone()
    await change(user.email, { phone: user.phone })
  },
  'a change of factors': async ({ email }) => {
    await change(email, { two_factor: 'off' })
    await change(email, { two_factor: 'sms' })
  },
}

for (const [name, end] of Object.entries(endings)) {
  t.test(`a thief with a device that was trusted before ${name} is asked for the code`, async (t) => {
    const ada = await createUser(doorstep)
    const { device } = await trustDevice(doorstep, ada)
    const { access } = tokensOf(await knock(ada, device))
    await end(ada, access)
    t.match(await knock(ada, device), asks)
    t.strictSame(await sql('SELECT 1 FROM trusted_devices WHERE user_id = $1', [ada.id]), [], 'the row is gone')
    t.match(await trustDevice(doorstep, ada).then((again) => knock(ada, again.device)), opens, 'it can be trusted anew')
  })
}

t.test('a disabled user does not get in with a trusted device, and is not told so', async (t) => {
  const ada = await createUser(doorstep)
  const { device } = await trustDevice(doorstep, ada)
  await change(ada.email, { disabled: true })
  t.match(await knock(ada, device), { status: 401, body: { code: 'invalid_credentials' } })
})

t.test(
  'strangers who lock an e-mail do not lock out the device of its owner; no other token opens the lock',
  async (t) => {
    const [ada, bob] = [await createUser(doorstep), await createUser(doorstep)]
    const [mine, his] = [await trustDevice(doorstep, ada), await trustDevice(doorstep, bob)]
    await guess(t, ada, 5)
    t.match(await login(doorstep, ada), locked, 'the e-mail is locked, for the right password too')
    const made = `dsd_${systemRandom.bytes(32).toString('base64url')}`
    t.match(await knock(ada, made), locked, 'with a made-up device as well')
    t.match(await knock(ada, his.device), locked, 'and with the device of somebody else')
    t.match(await knock(ada, mine.device, rightPassword, second), opens, 'its owner comes in')
    t.match(await login(doorstep, ada), locked, 'which does not open the lock for strangers')
    t.match(await knock(bob, his.device), opens, 'nor was the other device charged for anything')
  },
)

t.test('a stranger gets no further guesses at the e-mail from its owner signing in with a device', async (t) => {
  const ada = await createUser(doorstep)
  const { device } = await trustDevice(doorstep, ada)
  await guess(t, ada, 4)
  t.match(await knock(ada, device), opens)
  t.equal(await failuresOf(ada), 4, 'the four failures stay')
  await guess(t, ada, 1)
  t.match(await login(doorstep, ada), locked, 'the fifth locks')
})

t.test('a thief of the device gets 10 passwords in 15 minutes, and locks that device only', async (t) => {
  const ada = await createUser(doorstep)
  const [stolen, other] = [await trustDevice(doorstep, ada), await trustDevice(doorstep, ada, 'laptop')]
  await guess(t, ada, 4, stolen.device)
  await age(doorstep, ada, 500)
  await guess(t, ada, 6, stolen.device)

  const evaluated = services.passwordHash.load().started
  for (const password of ['wrong 11', rightPassword]) {
    const answer = await knock(ada, stolen.device, password)
    const [row] = await sql<{ wait: number }>(
      `SELECT seconds_until(failed_at[1] + interval '15 minutes', clock_timestamp()) AS wait
       FROM trusted_devices WHERE token_hash = $1`,
      [createHash('sha256').update(stolen.device).digest()],
    )
    const wait = row?.wait ?? 0
    t.match(answer, locked)
    t.ok(
      answer.body.retry_after === wait || answer.body.retry_after === wait + 1,
      'until the oldest failure is 15 min old',
    )
    t.ok(wait <= 400 && wait > 340)
    t.equal(answer.headers['retry-after'], String(answer.body.retry_after))
  }
  t.equal(services.passwordHash.load().started, evaluated, 'nothing is evaluated any more')

  t.equal(await failuresOf(ada), 0, 'nothing of it was counted against the e-mail')
  t.match(await knock(ada, other.device), opens, 'the other device comes in')
  t.match(await login(doorstep, ada), asks, 'and so does a login without a device, with a code')
  await age(doorstep, ada, 405)
  t.match(await knock(ada, stolen.device), opens, 'when the oldest failures are 15 minutes old')
})

t.test('a right password in between ends the failures of the device', async (t) => {
  const ada = await createUser(doorstep)
  const { device } = await trustDevice(doorstep, ada)
  for (const round of [1, 2]) {
    await guess(t, ada, 9, device)
    t.match(await knock(ada, device), opens, `round ${round}`)
  }
})

t.test('a thief of the device with 50 machines gets 10 passwords evaluated, not one more', async (t) => {
  const evaluations = () => services.passwordHash.load().started + second.services.passwordHash.load().started
  await repeat(t, 1, async () => {
    const ada = await createUser(doorstep)
    const { device } = await trustDevice(doorstep, ada)
    const before = evaluations()
    const answers = await together(50, (n) => knock(ada, device, `wrong ${n}`, eachOf(n)))
    const evaluated = evaluations() - before
    t.ok(evaluated <= 10, `${evaluated} evaluations`)
    t.match(await knock(ada, device), evaluated === 10 ? locked : {}, 'then not even the right one')
    t.equal(await failuresOf(ada), 0)
    if (isOverloaded(answers)) return false
    t.equal(evaluated, 10)
    t.strictSame(tally(answers), { '401 invalid_credentials': 10, '429 login_locked': 40 })
    return true
  })
})

t.test('wrong passwords that meet at the very same moment are all counted', async (t) => {
  await repeat(t, 1, async () => {
    const ada = await createUser(doorstep)
    const { device } = await trustDevice(doorstep, ada)
    const row = { text: 'SELECT FROM trusted_devices WHERE user_id = $1 FOR UPDATE', values: [ada.id], waiters: 2 }
    const answers = await meetAtRow(doorstep, row, () =>
      together(6, (n) => knock(ada, device, `wrong ${n}`, eachOf(n))),
    )
    if (isOverloaded(answers)) return false
    const [counted] = await sql('SELECT cardinality(failed_at) AS n FROM trusted_devices WHERE user_id = $1', [ada.id])
    t.strictSame(counted, { n: 6 })
    return true
  })
})

t.test('a device is trusted by a right code only', async (t) => {
  const ada = await createUser(doorstep)
  const { pending_token: pending } = (await login(doorstep, ada)).body
  const right = codeFor(doorstep, ada.phone)
  const wrong = await finish(doorstep, pending, wrongCode(right), { body: { trust_device: true } })
  t.equal(wrong.status, 422)
  t.notOk('device_token' in wrong.body)
  const plain = await finish(doorstep, pending, right)
  t.equal(plain.status, 200)
  t.notOk('device_token' in plain.body, 'and only when it was asked for')
  t.strictSame(await sql('SELECT 1 FROM trusted_devices WHERE user_id = $1', [ada.id]), [])
})

t.test('an owner sees and ends their own devices, and nobody else’s', async (t) => {
  const [ada, bob] = [await createUser(doorstep), await createUser(doorstep)]
  const phone = await trustDevice(doorstep, ada, "Ada's phone")
  await trustDevice(doorstep, ada, 'laptop')
  const his = await trustDevice(doorstep, bob)
  const token = tokensOf(await login(doorstep, ada, { from: '192.0.2.7', body: { device_token: phone.device } })).access

  const list = async (of: string) => (await call(second, '/trusted-devices', { token: of })).body.trusted_devices
  const devices = await list(token)
  const time = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/
  const shown = { id: /^[0-9a-f-]{36}$/, created_at: time, last_used_at: time, expires_at: time }
  t.match(devices, [
    { ...shown, name: "Ada's phone", address: '192.0.2.7' },
    { ...shown, name: 'laptop', address: '127.0.0.1' },
  ])
  t.equal(devices.length, 2)
  for (const device of devices) {
    t.strictSame(Object.keys(device).sort(), ['address', 'created_at', 'expires_at', 'id', 'last_used_at', 'name'])
  }

  const remove = (id: string, by: string) => call(doorstep, `/trusted-devices/${id}`, { method: 'DELETE', token: by })
  const [mine] = devices
  t.match(await remove(mine.id, his.access), { status: 404, body: { code: 'not_found' } }, 'not by somebody else')
  t.match(await remove(systemRandom.uuid(), token), { status: 404, body: { code: 'not_found' } }, 'not one that is not')
  t.match(await remove('7', token), { status: 400, body: { code: 'invalid_request' } })
  t.match(await knock(ada, phone.device), opens, 'nothing has changed so far')
  t.equal((await remove(mine.id, token)).status, 204)
  t.match(await remove(mine.id, token), { status: 404 }, 'it is gone')
  t.match(
    (await list(token)).map(({ name }: { name: string }) => name),
    ['laptop'],
  )
  t.match(await knock(ada, phone.device), asks)
  t.equal((await call(doorstep, '/me', { token })).status, 200, 'the session that it made stays')
  t.equal((await list(his.access)).length, 1)
  const audited = await sql(`SELECT user_id FROM audit_events WHERE type = 'device.removed' AND detail = $1`, [
    `device ${mine.id}`,
  ])
  t.strictSame(audited, [{ user_id: ada.id }])
})
