import t from 'tap'
import { age } from '../helpers/age.ts'
import { enter, tokensOf, trustDevice } from '../helpers/credentials.ts'
import { startDoorstep } from '../helpers/doorstep.ts'
import { type Answer, call, codeFor, createUser, finish, login, signIn, type TestUser } from '../helpers/story.ts'

t.setTimeout(300_000)

const doorstep = await startDoorstep(t)
const { sql } = doorstep
const day = 86_400
const notFound = { status: 404, body: { code: 'not_found' } }
const tooWeak = {
  status: 401,
  body: { code: 'insufficient_user_authentication' },
  headers: { 'www-authenticate': /acr_values="aal2", max_age="600"$/ },
}

type Device = {
  id: string
  name: string | null
  created_at: string
  last_used_at: string
  trusted_until: string | null
  current: boolean
}

const devicesOf = async (token: string): Promise<Device[]> => (await call(doorstep, '/devices', { token })).body.devices
const forget = (token: string, id: string): Promise<Answer> =>
  call(doorstep, `/devices/${id}`, { method: 'DELETE', token })
const change = (token: string, id: string, body: object): Promise<Answer> =>
  call(doorstep, `/devices/${id}`, { method: 'PATCH', token, body })
const isAlive = async (token: string): Promise<boolean> => (await call(doorstep, '/me', { token })).status === 200

/** Both steps from a device; the answer of the second. */
async function signInFrom(user: TestUser, device: string | undefined, more: object = {}): Promise<Answer> {
  const body = device === undefined ? {} : { device_token: device }
  const first = await login(doorstep, user, { body })
  if (first.body.status !== '2fa_required') throw new Error(`not asked: ${first.body.code ?? first.body.status}`)
  return finish(doorstep, first.body.pending_token, codeFor(doorstep, user.phone), { body: more })
}

/** Whether a login with this token comes from a device that is known: then it gets no new one. */
async function isKnown(user: TestUser, device: string): Promise<boolean> {
  const first = await login(doorstep, user, { body: { device_token: device } })
  if (first.body.status === 'authenticated') return !('device_token' in first.body)
  const code = codeFor(doorstep, user.phone)
  return !('device_token' in (await finish(doorstep, first.body.pending_token, code)).body)
}

t.test('a finished login makes its device known, unless it comes from one that is', async (t) => {
  const made = { status: 200, body: { device_token: /^dsd_k1\.[\w-]{43}\.[\w-]{43}$/, device_expires_in: 90 * day } }
  const user = await createUser(doorstep)
  const first = await signInFrom(user, undefined)
  t.match(first, made)
  t.notOk('trusted_until' in first.body, 'known is not trusted')
  const device = first.body.device_token

  const again = await signInFrom(user, device)
  t.strictSame(
    Object.keys(again.body).filter((name) => /device|trusted/.test(name)),
    [],
    'the token stays',
  )
  t.equal((await devicesOf(again.body.access_token)).length, 1)

  const plain = await createUser(doorstep, { twoFactor: 'off' })
  const entered = await login(doorstep, plain)
  t.match(entered, made, 'where no second factor is asked too')
  t.notOk('device_token' in (await login(doorstep, plain, { body: { device_token: entered.body.device_token } })).body)

  const refreshed = await call(doorstep, '/token/refresh', { body: { refresh_token: again.body.refresh_token } })
  t.equal(refreshed.status, 200)
  t.notOk('device_token' in refreshed.body, 'a refresh is no login')
})

t.test('what is no token of a known device of this account gets a new one, and is told nothing else', async (t) => {
  const user = await createUser(doorstep)
  const token: string = (await signInFrom(user, undefined)).body.device_token
  const other: string = (await signIn(doorstep, await createUser(doorstep))).body.device_token
  const [head = '', text = '', mac = ''] = token.split('.')
  const altered = (part: string): string => part.slice(0, -2) + (part.endsWith('AA') ? 'BA' : 'AA')
  const strangers: Record<string, string> = {
    garbage: 'garbage',
    'that of another account': other,
    'another MAC': `${head}.${text}.${altered(mac)}`,
    'another text': `${head}.${altered(text)}.${mac}`,
    'another key': `dsd_k2.${text}.${mac}`,
    'no MAC': `${head}.${text}`,
  }
  for (const [name, device] of Object.entries(strangers)) {
    await age(doorstep, user, 61)
    t.match(await signInFrom(user, device), { status: 200, body: { device_token: /^dsd_/ } }, name)
  }
  t.ok(await isKnown(user, token), 'the real one is still known')
})

t.test('a user sees the devices, the one used last first, and which one asks', async (t) => {
  const user = await createUser(doorstep)
  const phone = await trustDevice(doorstep, user, "Ada's phone")
  await age(doorstep, user, 100)
  const second = await signInFrom(user, undefined, { device_name: 'laptop' })
  const laptop = tokensOf(second)

  const seen = await call(doorstep, '/devices', { token: phone.access })
  t.equal(seen.status, 200)
  t.match(seen.body.devices, [
    { name: 'laptop', trusted_until: null, current: false, address: '127.0.0.1', user_agent: 'lightMyRequest' },
    { name: "Ada's phone", trusted_until: /^20.*Z$/, current: true, created_at: /^20.*Z$/, last_used_at: /^20.*Z$/ },
  ])
  t.strictSame(
    Object.keys(seen.body.devices[0]),
    ['id', 'name', 'created_at', 'last_used_at', 'address', 'user_agent', 'trusted_until', 'current'],
    'and no token or hash of one',
  )
  t.match(await devicesOf(laptop.access), [{ current: true }, { current: false }], 'the other asks')

  const [, ofPhone] = await devicesOf(laptop.access)
  await login(doorstep, user, { body: { device_token: phone.device } })
  t.match(await devicesOf(laptop.access), [{ id: ofPhone?.id }, { name: 'laptop' }], 'used again, it stands first')

  const { sessions } = (await call(doorstep, '/sessions', { token: laptop.access })).body
  const ids = (await devicesOf(laptop.access)).map(({ id }) => id)
  t.strictSame(
    sessions.map((session: { device_id: string }) => session.device_id),
    [ids[0], ids[1], ids[0]],
    'sessions say which device they belong to',
  )
  const stranger = await enter(doorstep, await createUser(doorstep, { twoFactor: 'off' }))
  t.equal((await devicesOf(stranger.access)).length, 1, 'nobody sees those of others')
})

t.test('a device is named anew, and its trust ended; trust cannot be given that way', async (t) => {
  const user = await createUser(doorstep)
  const { access, device } = await trustDevice(doorstep, user)
  const [{ id } = { id: '' }] = await devicesOf(access)

  t.match(await change(access, id, { name: 'Küche 🏠' }), {
    status: 200,
    body: { id, name: 'Küche 🏠', trusted_until: /^20/, current: true },
  })
  t.match((await login(doorstep, user, { body: { device_token: device } })).body, { status: 'authenticated' })
  t.match(await change(access, id, { trusted: false }), {
    status: 200,
    body: { id, name: 'Küche 🏠', trusted_until: null },
  })
  t.ok(await isAlive(access), 'its sessions go on')
  const asked = await signInFrom(user, device)
  t.equal(asked.status, 200, 'from now on it is asked again')
  t.notOk('device_token' in asked.body, 'and is still known')

  const invalid = { status: 400, body: { code: 'invalid_request' } }
  for (const body of [
    { trusted: true },
    { name: '' },
    { name: 'x'.repeat(65) },
    { name: null },
    { trusted_until: '' },
  ]) {
    t.match(await change(access, id, body), invalid, JSON.stringify(body))
  }
  t.match(await devicesOf(access), [{ name: 'Küche 🏠', trusted_until: null }])

  const other = await enter(doorstep, await createUser(doorstep, { twoFactor: 'off' }))
  t.match(await change(other.access, id, { name: 'mine' }), notFound, "another user's device")
  t.match(await devicesOf(access), [{ name: 'Küche 🏠' }], 'which stays as it is')
  t.match(await change(access, '00000000-0000-4000-8000-000000000000', { name: 'x' }), notFound)
  t.match(await change(access, 'no-uuid', { name: 'x' }), invalid)
  for (const body of [{}, { name: 'Küche 🏠' }, { trusted: false }]) {
    t.match(await change(access, id, body), { status: 200, body: { id, name: 'Küche 🏠' } })
  }
  t.equal((await change(access, id, { name: 'Bad', trusted: false })).status, 200)
  t.strictSame(
    await sql(`SELECT outcome FROM audit_events WHERE user_id = $1 AND type = 'device.changed' ORDER BY id`, [user.id]),
    [{ outcome: 'named' }, { outcome: 'trust ended' }, { outcome: 'named' }],
    'what has changed, and nothing else',
  )
})

t.test("one's own device is forgotten without asking for more, and its sessions end with it", async (t) => {
  const user = await createUser(doorstep)
  const { device, access } = await trustDevice(doorstep, user)
  await age(doorstep, user, 61)
  const elsewhere = tokensOf(await signInFrom(user, undefined))
  const weak = tokensOf(await login(doorstep, user, { body: { device_token: device } }))
  const own = (await devicesOf(weak.access)).find(({ current }) => current)

  t.match((await call(doorstep, '/me', { token: weak.access })).body, { acr: 'aal1' })
  t.strictSame((await forget(weak.access, own?.id ?? '')).status, 204)
  t.notOk(await isAlive(weak.access), 'its own session is over')
  t.notOk(await isAlive(access), 'and so is the other of that device')
  t.ok(await isAlive(elsewhere.access), 'that of another device is not')
  await age(doorstep, user, 61)
  t.match(await signInFrom(user, device), { status: 200, body: { device_token: /^dsd_/ } }, "a stranger's from now on")
  t.match(await forget(elsewhere.access, own?.id ?? ''), notFound, 'it is gone')
})

t.test('a thief with a weak or an old session forgets no device of the owner', async (t) => {
  const user = await createUser(doorstep)
  const owner = tokensOf(await signInFrom(user, undefined))
  const [{ id } = { id: '' }] = await devicesOf(owner.access)
  await age(doorstep, user, 61)
  const thief = await trustDevice(doorstep, user)
  const weak = tokensOf(await login(doorstep, user, { body: { device_token: thief.device } }))

  t.match(await forget(weak.access, id), tooWeak, 'a session without a second factor')
  await age(doorstep, user, 601)
  t.match(await forget(thief.access, id), tooWeak, 'one whose second factor is ten minutes old')
  t.ok(await isAlive(owner.access))
  const stranger = await createUser(doorstep)
  t.match(await forget(tokensOf(await signIn(doorstep, stranger)).access, id), notFound, "a fresh one of another's")

  const fresh = tokensOf(await signInFrom(user, undefined))
  t.equal((await forget(fresh.access, id)).status, 204, 'a fresh one does')
  t.notOk(await isAlive(owner.access), 'and the sessions of that device end')
  t.ok(await isAlive(thief.access), 'those of others go on')
  t.match(
    await sql(`SELECT outcome, detail FROM audit_events WHERE user_id = $1 AND type = 'device.removed'`, [user.id]),
    [{ outcome: 'by its owner', detail: `device ${id}` }],
  )
})

t.test('a device is known for 90 days after its last use, and trusted for 30 days after it was', async (t) => {
  const user = await createUser(doorstep)
  const { device } = await trustDevice(doorstep, user)
  const skips = async () => (await login(doorstep, user, { body: { device_token: device } })).body.status
  await age(doorstep, user, 30 * day - 60)
  t.equal(await skips(), 'authenticated')
  await age(doorstep, user, 120)
  t.equal(await skips(), '2fa_required', 'its use does not make the trust longer')

  const again = await signInFrom(user, device, { trust_device: true })
  const trusted = Date.parse(again.body.trusted_until) - Date.now()
  t.ok(Math.abs(trusted - 30 * day * 1_000) < 60_000, 'a known device is trusted anew')
  t.notOk('device_token' in again.body)

  await age(doorstep, user, 90 * day - 60)
  t.ok(await isKnown(user, device), 'almost 90 days later it is known')
  await age(doorstep, user, 90 * day - 60)
  t.ok(await isKnown(user, device), 'and 90 days after that')
  await age(doorstep, user, 90 * day + 60)
  const stranger = await signInFrom(user, device)
  t.match(stranger.body, { device_token: /^dsd_/ }, 'not later')
  t.equal((await devicesOf(stranger.body.access_token)).length, 1, 'nor is it listed')
})

t.test('of more than twenty devices those go first that were never used again', async (t) => {
  const user = await createUser(doorstep, { twoFactor: 'off' })
  const made = async (): Promise<string> => {
    await age(doorstep, user, 10)
    return (await login(doorstep, user)).body.device_token
  }
  const use = async (device: string | undefined) => {
    await age(doorstep, user, 10)
    return 'device_token' in (await login(doorstep, user, { body: { device_token: device } })).body
  }
  const known = async () => {
    const rows = await sql<{ token_hash: Buffer }>('SELECT token_hash FROM devices WHERE user_id = $1', [user.id])
    return rows.map(({ token_hash: hash }) => hash.toString('hex'))
  }
  const has = async (device: string | undefined): Promise<boolean> =>
    (await known()).includes(doorstep.services.deviceTokens.read(device)?.toString('hex') ?? '')

  const devices: string[] = []
  for (let n = 0; n < 20; n += 1) devices.push(await made())
  const [first, second, third] = devices
  await use(second)
  await use(first)
  t.equal((await known()).length, 20)

  // Whoever has the password and no token of the owner makes a new one with every login.
  for (let n = 0; n < 25; n += 1) await made()
  t.equal((await known()).length, 20)
  const removed = await sql(`SELECT outcome FROM audit_events WHERE type = 'device.removed' AND user_id = $1`, [
    user.id,
  ])
  t.same(removed, Array(25).fill({ outcome: 'more than twenty' }))
  t.ok((await has(first)) && (await has(second)), 'what the owner uses is not pushed out')
  t.notOk(await has(third), 'what was used once is, the oldest first')

  await sql(`UPDATE devices SET last_used_at = created_at + interval '1 second' WHERE user_id = $1`, [user.id])
  await use(second)
  t.ok(await has(first))
  await made()
  t.notOk(await has(first), 'of those that are used, the one not used longest goes')
  t.ok(await has(second))
})

t.test('trust at a step-up is trust in the device of the session', async (t) => {
  const user = await createUser(doorstep)
  const { body } = await signInFrom(user, undefined)
  const [{ id } = { id: '' }] = await devicesOf(body.access_token)
  await age(doorstep, user, 61)
  const pending = (await call(doorstep, '/login/step-up', { token: body.access_token, body: {} })).body.pending_token
  const raised = await finish(doorstep, pending, codeFor(doorstep, user.phone), {
    body: { trust_device: true, device_name: 'tablet' },
  })
  t.match(raised, { status: 200, body: { trusted_until: /^20.*Z$/ } })
  t.notOk('device_token' in raised.body, 'no other device is made')
  const until = new RegExp(`^${raised.body.trusted_until.slice(0, 19)}`)
  t.match(await devicesOf(body.access_token), [{ id, name: 'tablet', trusted_until: until }])
  t.match((await login(doorstep, user, { body: { device_token: body.device_token } })).body, {
    status: 'authenticated',
  })

  await sql('DELETE FROM devices WHERE user_id = $1', [user.id])
  await age(doorstep, user, 61)
  const alone = (await call(doorstep, '/login/step-up', { token: body.access_token, body: {} })).body.pending_token
  const none = await finish(doorstep, alone, codeFor(doorstep, user.phone), { body: { trust_device: true } })
  t.equal(none.status, 200, 'a session whose device is gone')
  t.notOk('trusted_until' in none.body || 'device_token' in none.body, 'has none to trust')
  t.equal((await devicesOf(body.access_token)).length, 0)
})

t.test('a device that was forgotten while its login was under way is made anew', async (t) => {
  const user = await createUser(doorstep)
  const { body } = await signInFrom(user, undefined)
  const begun = await login(doorstep, user, { body: { device_token: body.device_token } })
  const [{ id } = { id: '' }] = await devicesOf(body.access_token)
  t.equal((await forget(body.access_token, id)).status, 204)
  const ended = await finish(doorstep, begun.body.pending_token, codeFor(doorstep, user.phone))
  t.match(ended, { status: 200, body: { device_token: /^dsd_/ } })
  const [now] = await devicesOf(ended.body.access_token)
  t.not(now?.id, id)
})
