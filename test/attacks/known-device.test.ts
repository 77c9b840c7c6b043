import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { changeAccount } from '../../src/features/accounts/change-account.ts'
import { systemRandom } from '../../src/system.ts'
import { age } from '../helpers/age.ts'
import { becomeKnown, codeOf, dump, tokensOf, trustDevice } from '../helpers/credentials.ts'
import { startDoorstep } from '../helpers/doorstep.ts'
import { part } from '../helpers/forge.ts'
import { meetAtRow } from '../helpers/hold-row.ts'
import {
  countedFor,
  countedUnder,
  deviceKey,
  evaluations,
  waitOutLock,
  watchHashing,
} from '../helpers/password-guesses.ts'
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

t.setTimeout(300_000)

const doorstep = await startDoorstep(t)
const second = await startDoorstep(t, { database: doorstep.database })
const eachOf = (index: number) => (index % 2 === 0 ? doorstep : second)
const { sql, services } = doorstep
const day = 86_400

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
const failuresOf = async ({ email }: TestUser): Promise<number> => (await countedFor(doorstep, email)).failures

/** Whether a login with this token is a known one: whose counter a wrong password goes to. */
async function isKnown(user: TestUser, device: string): Promise<boolean> {
  const before = await countedUnder(doorstep, deviceKey(device))
  await knock(user, device, 'wrong')
  return (await countedUnder(doorstep, deviceKey(device))).failures > before.failures
}

/** Tokens that look like one but were not made here, or not like this. */
function madeUpFrom(device: string): string[] {
  const [kid = '', random = '', mac = ''] = device.split('.')
  const other = () => systemRandom.bytes(32).toString('base64url')
  return [
    `dsd_${other()}`,
    `dsd_k1.${other()}.${other()}`,
    [kid, other(), mac].join('.'),
    [kid, random, other()].join('.'),
    [`${kid}x`, random, mac].join('.'),
    `${device}.`,
    device.slice(0, -1),
    device.toUpperCase(),
    'x',
  ]
}

t.test('a thief who has the trusted device but not the password cannot sign in; its owner needs no text', async (t) => {
  const ada = await createUser(doorstep)
  const { device } = await trustDevice(doorstep, ada)
  t.match(device, /^dsd_k1\.[\w-]{43}\.[\w-]{43}$/, '256 random bits and a MAC')
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
  t.match((await call(second, '/me', { token: access })).body, { amr: ['pwd'], acr: 'aal1', two_factor: 'required' })
  const [row] = await sql('SELECT amr, acr FROM sessions WHERE id = $1', [sid])
  t.strictSame(row, { amr: ['pwd'], acr: 'aal1' })
})

t.test('a thief of the database finds only the hash of a device token', async (t) => {
  const ada = await createUser(doorstep)
  const { device } = await trustDevice(doorstep, ada)
  const [row] = await sql<{ hash: string }>(
    `SELECT encode(token_hash, 'hex') AS hash FROM devices WHERE user_id = $1`,
    [ada.id],
  )
  t.equal(row?.hash, createHash('sha256').update(device).digest('hex'))
  const [, random = ''] = device.split('.')
  t.notOk((await dump(doorstep)).includes(random))
  t.notOk(
    [...doorstep.logs, ...second.logs].some((line) => line.includes(random)),
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
    for (const made of [...madeUpFrom(his.device), his.refresh]) {
      t.match(await knock(ada, made), asks, 'a made-up token is no device')
    }
    for (const made of madeUpFrom(his.device)) t.equal(services.deviceTokens.read(made), null, 'nor is it asked for')
    t.equal(await failuresOf(ada), 0)
    const others = [his.device, ...madeUpFrom(his.device).slice(0, 2)]
    for (const other of others) t.match(await knock(ada, other, 'wrong'), { status: 401 })
    t.equal(await failuresOf(ada), others.length, 'nor does one give guesses of its own: they count against the e-mail')
    t.same(await countedUnder(doorstep, deviceKey(his.device)), { failures: 0, lockSeconds: null })
  },
)

t.test('a thief with an old device is asked for the code: 30 days of trust are counted on the server', async (t) => {
  const ada = await createUser(doorstep)
  const first = await login(doorstep, ada)
  const answer = await finish(doorstep, first.body.pending_token, codeFor(doorstep, ada.phone), {
    body: { trust_device: true },
  })
  t.equal(answer.body.device_expires_in, 90 * day)
  t.ok(Math.abs(Date.parse(answer.body.trusted_until) - Date.now() - 30 * day * 1_000) < 60_000)
  const device: string = answer.body.device_token
  await age(doorstep, ada, 15 * day)
  t.match(await knock(ada, device), opens)
  await age(doorstep, ada, 15 * day - 60)
  t.match(await knock(ada, device), opens, 'a minute before the end it is trusted')
  await age(doorstep, ada, 61)
  t.match(await knock(ada, device), asks, 'a second after the end it is not: logins in between have not prolonged it')
  t.ok(await isKnown(ada, device), 'but known still: its failures are its own')
  t.equal(await failuresOf(ada), 0)
  const again = await knock(ada, device)
  const entered = await finish(doorstep, again.body.pending_token, codeOf(doorstep, again))
  t.notOk('device_token' in entered.body || 'trusted_until' in entered.body, 'it stays the one it was')
})

t.test('a device is known for 90 days after its last use, and then its holder is a stranger', async (t) => {
  const ada = await createUser(doorstep)
  const { device } = await becomeKnown(doorstep, ada)
  for (const days of [60, 89]) {
    await age(doorstep, ada, days * day)
    const first = await knock(ada, device)
    t.match(first, asks, 'known is not trusted')
    t.equal((await finish(doorstep, first.body.pending_token, codeOf(doorstep, first))).status, 200)
  }
  await age(doorstep, ada, 90 * day - 60)
  t.ok(await isKnown(ada, device))
  await age(doorstep, ada, 61)
  t.notOk(await isKnown(ada, device), 'failing is no use, and signing in at the first step alone is none')
  t.equal(await failuresOf(ada), 1)
  const { access } = await becomeKnown(doorstep, ada)
  t.equal((await call(doorstep, '/devices', { token: access })).body.devices.length, 1, 'nor is it listed')
})

const edit = (email: string, change: Parameters<typeof changeAccount>[1]['edit']) =>
  changeAccount(services, { email, edit: change, outcome: 'test' })
const newPassword = 'a quite different password'

const endings: Record<string, (user: TestUser, access: string) => Promise<unknown>> = {
  'its owner ended the trust': async (_user, access) => {
    const [one] = (await call(doorstep, '/devices', { token: access })).body.devices
    return call(second, `/devices/${one.id}`, { method: 'PATCH', token: access, body: { trusted: false } })
  },
  'disabling the user, and enabling again': async ({ email }) => {
    await edit(email, { disabled: true })
    await edit(email, { disabled: false })
  },
  'a password change': async (user) => {
    await edit(user.email, { password: newPassword })
    user.password = newPassword
  },
  'a phone change': async (user) => {
    user.phone = freshPhone()
    await edit(user.email, { phone: user.phone })
  },
  'a change of factors': async ({ email }) => {
    await edit(email, { twoFactor: 'off' })
    await edit(email, { twoFactor: 'required' })
  },
}

for (const [name, end] of Object.entries(endings)) {
  t.test(
    `a thief with a device that was trusted before ${name} is asked for the code; the device stays known`,
    async (t) => {
      const ada = await createUser(doorstep)
      const { device } = await trustDevice(doorstep, ada)
      const { access } = tokensOf(await knock(ada, device))
      await end(ada, access)
      t.match(await knock(ada, device), asks)
      t.ok(await isKnown(ada, device))
      const again = await knock(ada, device)
      const body = { trust_device: true }
      t.equal((await finish(doorstep, again.body.pending_token, codeOf(doorstep, again), { body })).status, 200)
      t.match(await knock(ada, device), opens, 'it can be trusted anew')
    },
  )
}

t.test('a thief with a device that its owner has forgotten is a stranger', async (t) => {
  const ada = await createUser(doorstep)
  const stolen = await trustDevice(doorstep, ada)
  const { access } = await becomeKnown(doorstep, ada)
  const { devices } = (await call(doorstep, '/devices', { token: access })).body
  const { id } = devices.find(({ current }: { current: boolean }) => !current)
  t.equal((await call(second, `/devices/${id}`, { method: 'DELETE', token: access })).status, 204)
  t.match(await knock(ada, stolen.device), asks)
  t.notOk(await isKnown(ada, stolen.device))
  t.match(await call(doorstep, '/me', { token: stolen.access }), { status: 401 }, 'and its sessions are over')
})

t.test('a disabled user does not get in with a trusted device, and is not told so', async (t) => {
  const ada = await createUser(doorstep)
  const { device } = await trustDevice(doorstep, ada)
  await edit(ada.email, { disabled: true })
  t.match(await knock(ada, device), { status: 401, body: { code: 'invalid_credentials' } })
})

t.test(
  'strangers who lock an e-mail do not lock out the devices of its owner; no other token opens the lock (SEC-101)',
  async (t) => {
    const [ada, bob] = [await createUser(doorstep), await createUser(doorstep)]
    const [mine, his] = [await trustDevice(doorstep, ada), await trustDevice(doorstep, bob)]
    const { device: plain } = await becomeKnown(doorstep, ada)
    await guess(t, ada, 5)
    t.match(await login(doorstep, ada), locked, 'the e-mail is locked, for the right password too')
    for (const made of madeUpFrom(mine.device)) t.match(await knock(ada, made), locked, 'with a made-up device as well')
    t.match(await knock(ada, his.device), locked, 'and with the device of somebody else')
    t.match(await knock(ada, mine.device, rightPassword, second), opens, 'its owner comes in')
    t.match(await knock(ada, plain), asks, 'from a device that is known and not trusted too')
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

/** Guesses from a device at the very end of each lock; how many were evaluated as the device's own. */
async function guessAsTold(user: TestUser, device: string, most: number): Promise<number> {
  let own = 0
  for (let n = 0; n < most && (await isKnown(user, device)); n++) {
    own += 1
    const { lockSeconds } = await countedUnder(doorstep, deviceKey(device))
    if (lockSeconds !== null) await waitOutLock(doorstep, deviceKey(device))
  }
  return own
}

t.test(
  'a thief of the device locks that device only, and with the 20th failure it is forgotten (SEC-104)',
  async (t) => {
    const ada = await createUser(doorstep)
    const [stolen, other] = [await trustDevice(doorstep, ada), await trustDevice(doorstep, ada, 'laptop')]
    await guess(t, ada, 5, stolen.device)
    const evaluated = evaluations(doorstep, second)
    const refused = await knock(ada, stolen.device)
    t.match(refused, locked, 'the right password waits too')
    t.ok(refused.body.retry_after <= 30 && refused.body.retry_after > 10)
    t.equal(evaluations(doorstep, second), evaluated, 'and nothing is evaluated')
    t.equal(await failuresOf(ada), 0, 'nothing of it was counted against the e-mail')
    t.match(await knock(ada, other.device), opens, 'the other device comes in')
    t.match(await login(doorstep, ada), asks, 'and so does a login without a device, with a code')

    await waitOutLock(doorstep, deviceKey(stolen.device))
    t.equal(await guessAsTold(ada, stolen.device, 100), 15, 'twenty in all')
    t.match(await knock(ada, stolen.device), asks, 'then it is asked for the code like anybody')
    t.match(await call(doorstep, '/devices', { token: tokensOf(await knock(ada, other.device)).access }), {
      body: { devices: { length: 1 } },
    })
    t.equal(await failuresOf(ada), 1, 'and guesses at the e-mail')
  },
)

t.test('a right password in between ends the failures of the device', async (t) => {
  const ada = await createUser(doorstep)
  const { device } = await trustDevice(doorstep, ada)
  for (let round = 1; round <= 6; round++) {
    await guess(t, ada, 4, device)
    t.match(await knock(ada, device), opens, `round ${round}`)
  }
})

t.test('a thief with a stolen device has 20 guesses in 30 days, however patient he is (SEC-104)', async (t) => {
  for (const pause of [0, 3_700, 2 * 3_600, day]) {
    const ada = await createUser(doorstep)
    const { device } = await becomeKnown(doorstep, ada)
    let own = 0
    for (let now = 0; now < 30 * day; ) {
      if (!(await isKnown(ada, device))) break
      own += 1
      const { lockSeconds } = await countedUnder(doorstep, deviceKey(device))
      const wait = Math.max(pause, lockSeconds ?? 0)
      await age(doorstep, ada, wait)
      now += wait
    }
    t.equal(own, 20, `one in ${pause} s: no success ends the row, and no hour does`)
    const removed = await sql(`SELECT outcome FROM audit_events WHERE type = 'device.removed' AND user_id = $1`, [
      ada.id,
    ])
    t.same(removed, [{ outcome: 'twenty failures' }])
  }
})

t.test('a thief of the device with 50 machines gets 5 passwords evaluated, not one more', async (t) => {
  await repeat(t, 1, async () => {
    const ada = await createUser(doorstep)
    const { device } = await trustDevice(doorstep, ada)
    const before = evaluations(doorstep, second)
    const answers = await together(50, (n) => knock(ada, device, `wrong ${n}`, eachOf(n)))
    const evaluated = evaluations(doorstep, second) - before
    t.ok(evaluated <= 5, `${evaluated} evaluations`)
    t.match(await knock(ada, device), evaluated === 5 ? locked : {}, 'then not even the right one')
    t.equal(await failuresOf(ada), 0)
    if (isOverloaded(answers)) return false
    t.equal(evaluated, 5)
    t.strictSame(tally(answers), { '401 invalid_credentials': 5, '429 login_locked': 45 })
    return true
  })
})

t.test('of two last guesses that meet at the very same moment one is looked at', async (t) => {
  // So slowly that the other has come before this one is found to be wrong.
  watchHashing(t, async (compute) => {
    await sleep(500)
    return compute()
  })
  await repeat(t, 1, async () => {
    const ada = await createUser(doorstep)
    const { device } = await trustDevice(doorstep, ada)
    await sql('UPDATE devices SET failures = 19 WHERE user_id = $1', [ada.id])
    const before = evaluations(doorstep, second)
    const row = { text: 'SELECT FROM devices WHERE user_id = $1 FOR UPDATE', values: [ada.id], waiters: 2 }
    const answers = await meetAtRow(doorstep, row, () => together(2, (n) => knock(ada, device, 'wrong', eachOf(n))))
    const evaluated = evaluations(doorstep, second) - before
    const own = evaluated - (await failuresOf(ada))
    t.ok(own <= 1, 'at most the twentieth')
    if (isOverloaded(answers)) return false
    t.equal(own, 1)
    t.strictSame(await sql('SELECT FROM devices WHERE user_id = $1', [ada.id]), [], 'the device is forgotten')
    return true
  })
})

t.test('a device becomes known and trusted by a right code only', async (t) => {
  const ada = await createUser(doorstep)
  const { pending_token: pending } = (await login(doorstep, ada)).body
  const right = codeFor(doorstep, ada.phone)
  const wrong = await finish(doorstep, pending, wrongCode(right), { body: { trust_device: true } })
  t.equal(wrong.status, 422)
  t.notOk('device_token' in wrong.body)
  t.strictSame(await sql('SELECT 1 FROM devices WHERE user_id = $1', [ada.id]), [])
  const plain = await finish(doorstep, pending, right)
  t.equal(plain.status, 200)
  t.match(plain.body.device_token, /^dsd_/)
  t.notOk('trusted_until' in plain.body, 'trusted only when it was asked for')
  t.match(await knock(ada, plain.body.device_token), asks)
})

t.test('an owner sees and ends their own devices, and nobody else’s', async (t) => {
  const [ada, bob] = [await createUser(doorstep), await createUser(doorstep)]
  const phone = await trustDevice(doorstep, ada, "Ada's phone")
  const laptop = await trustDevice(doorstep, ada, 'laptop')
  const his = await trustDevice(doorstep, bob)
  const list = async (of: string) => (await call(second, '/devices', { token: of })).body.devices
  const devices = await list(laptop.access)
  t.match(devices, [
    { name: 'laptop', current: true },
    { name: "Ada's phone", current: false },
  ])
  const [, mine] = devices
  const remove = (id: string, by: string) => call(doorstep, `/devices/${id}`, { method: 'DELETE', token: by })
  const change = (id: string, by: string) =>
    call(doorstep, `/devices/${id}`, { method: 'PATCH', token: by, body: { trusted: false } })
  for (const meddle of [remove, change]) {
    t.match(await meddle(mine.id, his.access), { status: 404, body: { code: 'not_found' } }, 'not by somebody else')
  }
  t.match(await remove(systemRandom.uuid(), laptop.access), { status: 404, body: { code: 'not_found' } })
  t.match(await remove('7', laptop.access), { status: 400, body: { code: 'invalid_request' } })
  const weak = tokensOf(await knock(ada, laptop.device))
  t.match(
    await remove(mine.id, weak.access),
    { status: 401, body: { code: 'insufficient_user_authentication' } },
    'not with a password alone',
  )
  t.match(await knock(ada, phone.device), opens, 'nothing has changed so far')
  t.equal((await remove(mine.id, laptop.access)).status, 204)
  t.match(await remove(mine.id, laptop.access), { status: 404 }, 'it is gone')
  t.match(await knock(ada, phone.device), asks)
  t.equal((await list(his.access)).length, 1)
  const audited = await sql(`SELECT user_id FROM audit_events WHERE type = 'device.removed' AND detail = $1`, [
    `device ${mine.id}`,
  ])
  t.strictSame(audited, [{ user_id: ada.id }])
})

const stepUp = (token: string) => call(doorstep, '/login/step-up', { token, body: {} })
const guardOf = async ({ id }: TestUser) =>
  await sql('SELECT known, streak, cardinality(failed_at) AS failures FROM factor_guards WHERE user_id = $1', [id])

t.test('a thief with a stolen session has five codes in 24 hours, over all its step-ups (SEC-104)', async (t) => {
  const ada = await createUser(doorstep)
  const { access, sid } = await becomeKnown(doorstep, ada)
  /** So many wrong codes at one step-up; each tells how many are left. */
  const fail = async (tries: number, left: number): Promise<string> => {
    const first = await stepUp(access)
    t.equal(first.body.challenge.attempts_remaining, left)
    for (let n = 1; n <= tries; n++) {
      const answer = await finish(eachOf(n), first.body.pending_token, wrongCode(codeOf(doorstep, first)))
      t.match(answer, { status: 422, body: { code: 'invalid_code', attempts_remaining: left - n } })
    }
    return first.body.pending_token
  }
  await fail(3, 5)
  await age(doorstep, ada, 310)
  await fail(1, 2)
  t.strictSame(await guardOf(ada), [{ known: true, streak: 0, failures: 4 }], 'counted for the day, not in the streak')
  t.equal((await call(doorstep, '/me', { token: access })).status, 200, 'four do not end the session')
  await age(doorstep, ada, 310)
  const pending = await fail(1, 1)
  t.match(await call(doorstep, '/me', { token: access }), { status: 401, body: { code: 'invalid_token' } }, 'five do')
  t.match(await stepUp(access), { status: 401 })
  t.match(await finish(doorstep, pending, '000000'), { status: 401 }, 'and what it began is over with it')
  t.strictSame(
    await sql(`SELECT outcome, detail FROM audit_events WHERE user_id = $1 AND type = 'session.ended'`, [ada.id]),
    [{ outcome: 'five failed proofs', detail: `session ${sid}` }],
  )
})

t.test('a session of 30 days gives no more than four codes a day (SEC-104)', async (t) => {
  const ada = await createUser(doorstep)
  const first = await login(doorstep, ada, { body: { remember_me: true } })
  const { access, refresh } = tokensOf(await finish(doorstep, first.body.pending_token, codeOf(doorstep, first)))
  let failures = 0
  for (let n = 1; n <= 25; n++) {
    const raised = await stepUp(access)
    for (let tries = 0; tries < 4; tries++) {
      const answer = await finish(doorstep, raised.body.pending_token, wrongCode(codeOf(doorstep, raised)))
      if (answer.status === 422) failures += 1
    }
    if (n < 25) await age(doorstep, ada, day)
    // What rests for half its time would be over by itself.
    if (n === 12) await sql(`UPDATE sessions SET idle_until = expires_at WHERE id = $1`, [part(access, 1).sid])
  }
  t.equal(failures, 100, 'four a day are forgotten every day')
  t.strictSame(await guardOf(ada), [{ known: true, streak: 0, failures: 100 }], 'but counted for 30 days')
  t.match(
    await stepUp(access),
    { status: 429, body: { code: 'second_factor_locked' } },
    'so that a hundred are the end',
  )
  t.equal(
    (await call(doorstep, '/token/refresh', { body: { refresh_token: refresh } })).status,
    200,
    'the session lives',
  )
  t.match(await login(doorstep, ada), asks, 'and its owner gets in, as a stranger')
})
