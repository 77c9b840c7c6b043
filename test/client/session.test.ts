import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import {
  type Doorstep as Client,
  createDoorstep,
  type DoorstepError,
  type Locks,
  memoryStorage,
  type SessionEvent,
  type TokenStorage,
  webStorage,
} from '../../src/client/index.ts'
import { Problem, type ProblemCode, problemCatalogue } from '../../src/errors.ts'
import { problemBody } from '../../src/problem-body.ts'
import { startChaosProxy } from '../helpers/chaos-proxy.ts'
import { createClient, listen, wiretap } from '../helpers/client.ts'
import { refresh } from '../helpers/credentials.ts'
import { startDoorstep } from '../helpers/doorstep.ts'
import { createOwner } from '../helpers/equipped.ts'
import { createBareUser, totpCode } from '../helpers/factors.ts'
import { part } from '../helpers/forge.ts'
import type { TestUser } from '../helpers/story.ts'

// How the client keeps a session: one refresh for all who ask, an end only when the service says so, and no token where
// it does not belong.

t.setTimeout(300_000)

const doorstep = await startDoorstep(t)
const { sql } = doorstep
const baseUrl = await listen(doorstep)

const enter = async (client: Client, user: TestUser): Promise<void> => {
  const { status } = await client.signIn({ email: user.email, password: user.password })
  if (status !== 'authenticated') throw new Error(status)
}

/** Somebody who is signed in by a password alone. */
async function signedIn(options: Parameters<typeof createClient>[1] = {}, url = baseUrl) {
  const user = await createBareUser(doorstep, 'optional')
  const made = createClient(url, options)
  await enter(made.client, user)
  return { user, ...made }
}

/** How often the session of a client was refreshed, as the service counts it. */
async function refreshes({ kept }: { kept: () => Promise<{ access_token: string }> }): Promise<number> {
  const { sid } = part((await kept()).access_token, 1)
  const [row] = await sql('SELECT generation FROM sessions WHERE id = $1', [sid])
  return row?.generation
}

const problem = (call: Promise<unknown>): Promise<DoorstepError> =>
  call.then(
    () => Promise.reject(new Error('no problem')),
    (error) => error,
  )

const answer = (code: ProblemCode, extras = {}): Response => {
  const { status } = problemCatalogue[code]
  const body = problemBody('https://login.example.com', new Problem(code, extras), 'request-7')
  return new Response(JSON.stringify(body), { status, headers: { 'content-type': 'application/problem+json' } })
}

t.test('fifty callers at once refresh once, and all are answered', async (t) => {
  const tap = wiretap()
  const made = await signedIn({ fetch: tap.fetch })
  const before = await refreshes(made)
  t.match(await made.client.me(), { email: made.user.email })
  t.equal(await made.client.accessToken(), (await made.kept()).access_token)
  t.equal(await refreshes(made), before, 'a good token is not refreshed')
  await made.wear()
  const tokens = await Promise.all(Array.from({ length: 50 }, () => made.client.accessToken()))
  t.same([...new Set(tokens)], [(await made.kept()).access_token])
  t.match(await made.client.me(), { id: made.user.id })
  t.equal(await refreshes(made), before + 1)
  t.equal(tap.times('POST /token/refresh'), 1)

  await made.storage.set('doorstep.session', JSON.stringify({ ...(await made.kept()), access_token: 'eyJ.no.good' }))
  await Promise.all(Array.from({ length: 8 }, () => made.client.me()))
  t.equal(await refreshes(made), before + 2, 'nor more than once when the service refuses what looked good')
})

/** Locks as browsers have them: over all who ask here. `held`: in what order. */
function fakeLocks() {
  const waiting = new Map<string, Promise<unknown>>()
  const held: string[] = []
  const locks: Locks = {
    request: async (name, job) => {
      const before = waiting.get(name)
      const mine = (async () => {
        await before?.catch(() => {})
        held.push(name)
        return job()
      })()
      waiting.set(name, mine)
      return mine
    },
  }
  return { locks, held }
}

/** Two clients with the storage of one browser. */
async function twoTabs(t: Test, locks?: Locks) {
  const storage: TokenStorage = { ...memoryStorage(), isShared: true }
  const tap = wiretap()
  const one = await signedIn({ storage, fetch: tap.fetch, locks })
  const two = createClient(baseUrl, { storage, fetch: tap.fetch, locks })
  t.teardown(() => {
    one.client.close()
    two.client.close()
  })
  return { one, two, tap }
}

t.test('two tabs refresh once', async (t) => {
  const { locks, held } = fakeLocks()
  const kinds: [string, Locks | undefined][] = [['locks of a test', locks]]
  // Node has them from 24 on.
  if ((globalThis.navigator as { locks?: Locks } | undefined)?.locks)
    kinds.push(['the locks of the platform', undefined])
  for (const [name, given] of kinds) {
    const { one, two, tap } = await twoTabs(t, given)
    const before = await refreshes(one)
    await one.wear()
    await Promise.all([one, two, one, two].map(({ client }) => client.me()))
    t.equal(await refreshes(one), before + 1, name)
    t.equal(tap.times('POST /token/refresh'), 1)
  }
  t.same([...new Set(held)], ['doorstep'])
})

t.test('two tabs without locks between them keep their session all the same', async (t) => {
  const apart: Locks = { request: (_name, job) => job() }
  const { one, two } = await twoTabs(t, apart)
  const before = await refreshes(one)
  for (let times = 1; times <= 3; times += 1) {
    await one.wear()
    await Promise.all([one, two].map(({ client }) => client.me()))
    t.equal(await refreshes(one), before + times, 'both have the same successor')
  }
})

t.test('a tab that finds another was first takes what it left, even after a failure of its own', async (t) => {
  const apart: Locks = { request: (_name, job) => job() }
  const { one, two } = await twoTabs(t, apart)
  const slow = createClient(baseUrl, {
    storage: one.storage,
    locks: apart,
    fetch: async (request) => {
      if (!request.url.endsWith('/token/refresh')) return fetch(request)
      await two.client.me()
      return answer('refresh_token_reused')
    },
  })
  await one.wear()
  t.match(await slow.client.me(), { id: one.user.id })
  t.equal(await slow.client.isSignedIn(), true)
  slow.client.close()
})

t.test(
  'a tab that reads late what another has stored goes by what it was told: that one session is over',
  async (t) => {
    const shared = memoryStorage()
    const tap = wiretap()
    const one = await signedIn({ storage: { ...shared, isShared: true } })
    const [of, frozen] = ['doorstep.session', await shared.get('doorstep.session')]
    let isLate = true
    const late: TokenStorage = {
      ...{ ...shared, isShared: true },
      get: (key) => (isLate && key === of ? frozen : shared.get(key)),
    }
    const two = createClient(baseUrl, { storage: late, fetch: tap.fetch })
    t.teardown(() => {
      one.client.close()
      two.client.close()
    })
    t.equal(await two.client.isSignedIn(), true)
    const heard = new Promise((resolve) => two.client.onSession(({ isSignedIn }) => resolve(isSignedIn)))
    await one.client.signOut()
    t.equal(await heard, false)
    t.equal(await two.client.isSignedIn(), false)
    t.match(await problem(two.client.me()), { code: 'signed_out' })
    t.same(tap.sent, [], 'the service is asked nothing')

    // Somebody signs in, and is told late that the session before is over.
    isLate = false
    await enter(two.client, one.user)
    const channel = new BroadcastChannel('doorstep')
    t.teardown(() => channel.close())
    const toldAgain = new Promise((resolve) => two.client.onSession(resolve))
    channel.postMessage(part(JSON.parse(frozen ?? '').access_token, 1).sid)
    await toldAgain
    t.equal(await two.client.isSignedIn(), true, 'which says nothing of the new one')
    t.match(await two.client.me(), { id: one.user.id })
  },
)

t.test('the tokens of a step-up and of a refresh do not overtake each other', async (t) => {
  const tap = wiretap()
  const { locks } = fakeLocks()
  const storage: TokenStorage = { ...memoryStorage(), isShared: true }
  const order: string[] = []
  const other = createClient(baseUrl, { storage, locks, fetch: tap.fetch })
  let refreshing: Promise<unknown> | undefined
  const one = await signedIn({
    storage,
    locks,
    fetch: async (request) => {
      if (!request.url.endsWith('/login/step-up')) return fetch(request)
      await other.wear()
      refreshing = other.client.me().then(() => order.push('refreshed'))
      const reply = await fetch(request)
      await new Promise((resolve) => setTimeout(resolve, 50))
      order.push('stepped up')
      return reply
    },
  })
  await one.client.stepUp({ password: one.user.password })
  await refreshing
  t.same(order, ['stepped up', 'refreshed'])
  for (const { client } of [one, other]) client.close()
})

t.test('a lost reply of a refresh is asked for again, with the same token', async (t) => {
  const proxy = await startChaosProxy(baseUrl)
  t.teardown(() => proxy.close())
  const tap = wiretap()
  const made = await signedIn({ fetch: tap.fetch }, proxy.url)
  const before = await refreshes(made)
  await made.wear()
  proxy.setMode({ cutAfterBytes: 20 })
  t.match(await made.client.me(), { id: made.user.id })
  const sent = tap.sent.filter(({ what }) => what === 'POST /token/refresh').map(({ body }) => body)
  t.ok(sent.length >= 2)
  t.equal(new Set(sent).size, 1)
  t.equal(await refreshes(made), before + 1, 'the first was done, the second got what it had made')
  await made.wear()
  t.match(await made.client.me(), { id: made.user.id }, 'and it goes on from there')
})

t.test('offline, a captive portal, a limit and a broken service end no session', async (t) => {
  const proxy = await startChaosProxy(baseUrl)
  t.teardown(() => proxy.close())
  let instead: (() => Response) | undefined
  const tap = wiretap(({ what }) => (what === 'POST /token/refresh' ? instead?.() : undefined))
  const made = await signedIn({ fetch: tap.fetch, timeout: 30 }, proxy.url)
  const events: SessionEvent[] = []
  made.client.onSession((event) => events.push(event))
  await made.wear()
  const kept = await made.kept()
  const refused = async (): Promise<DoorstepError> => {
    tap.sent.length = 0
    const error = await problem(made.client.me())
    t.same(await made.kept(), kept, 'it is kept as it was')
    return error
  }

  proxy.setMode('reset')
  t.match(await refused(), { code: 'network', status: 0, cause: { name: 'TypeError' } })
  t.equal(tap.times('POST /token/refresh'), 3)
  t.ok((await Promise.allSettled(Array.from({ length: 20 }, refused))).every(({ status }) => status === 'fulfilled'))
  t.equal(tap.times('POST /token/refresh'), 3, 'many callers try no oftener than one')
  proxy.setMode('pass')
  instead = () => new Response('<h1>Welcome to our hotel</h1>', { headers: { 'content-type': 'text/html' } })
  t.match(await refused(), { code: 'network' })
  for (const foreign of ['{}', '', '[]', 'null', '{"status":"ok"}', '{"status":"authenticated"}']) {
    instead = () => new Response(foreign)
    t.match(await refused(), { name: 'DoorstepError', code: 'network', status: 200 }, foreign)
  }
  instead = () => new Response('<h1>Bad gateway</h1>', { status: 502 })
  t.match(await refused(), { code: 'network', status: 502, retryAfter: undefined })
  const busy = (after: string) => new Response('<h1>Busy</h1>', { status: 502, headers: { 'retry-after': after } })
  instead = () => busy('7')
  t.match(await refused(), { code: 'network', status: 502, retryAfter: 7 }, 'what is in front of the service says when')
  instead = () => busy('Wed, 21 Oct 2026 07:28:00 GMT')
  t.match(await refused(), { code: 'network', status: 502, retryAfter: undefined })
  instead = () => new Response('{}', { status: 401 })
  t.match(await refused(), { code: 'network', status: 401 })
  instead = () => answer('unavailable', { retryAfter: 5 })
  t.match(await refused(), { code: 'unavailable', status: 503, retryAfter: 5 })
  t.equal(tap.times('POST /token/refresh'), 3)
  instead = () => answer('rate_limited', { retryAfter: 17 })
  t.match(await refused(), { code: 'rate_limited', status: 429, retryAfter: 17 })
  t.equal(tap.times('POST /token/refresh'), 1, 'a limit is not run against')
  instead = undefined
  t.match(await made.client.me(), { id: made.user.id }, 'it goes on when that is over')
  t.same(events, [])
})

t.test('an answer that is not the service’s signs nobody in, and out of nothing', async (t) => {
  const user = await createBareUser(doorstep, 'optional')
  for (const foreign of ['{}', '', '[]', '{"status":"ok"}', '{"status":"authenticated","access_token":"x"}']) {
    let isForeign = false
    const tap = wiretap(() => (isForeign ? new Response(foreign) : undefined))
    const { client, kept } = createClient(baseUrl, { fetch: tap.fetch })
    await enter(client, user)
    const before = await kept()
    isForeign = true
    const wanted = { name: 'DoorstepError', code: 'network', status: 200 }
    t.match(await problem(client.signIn({ email: user.email, password: user.password })), wanted, foreign)
    t.match(await problem(client.stepUp({ password: user.password })), wanted, foreign)
    t.same(await kept(), before)
  }
  const broken = createClient(baseUrl, { fetch: async () => new Response('<h1>Bad gateway</h1>', { status: 502 }) })
  t.match(await problem(broken.client.register({ email: 'ada@example.com' })), { code: 'network', status: 502 })
})

t.test('a storage that is emptied during a refresh is not filled again', async (t) => {
  for (const instead of [undefined, () => answer('invalid_token'), () => answer('rate_limited')]) {
    const storage = memoryStorage()
    const emptying = async (request: Request): Promise<Response> => {
      if (!request.url.endsWith('/token/refresh')) return fetch(request)
      const reply = instead?.() ?? (await fetch(request))
      await storage.set('doorstep.session', null)
      return reply
    }
    const made = await signedIn({ storage, fetch: emptying })
    await made.wear()
    t.match(await problem(made.client.me()), { name: 'DoorstepError', code: 'signed_out' })
    t.equal(await made.client.isSignedIn(), false)
  }
})

t.test('a storage that fails is an error of the client, and what it holds stays', async (t) => {
  const inner = memoryStorage()
  let failing: 'get' | 'set' | undefined
  const full = new Error('the quota is exceeded')
  const storage: TokenStorage = {
    get: (key) => (failing === 'get' ? Promise.reject(full) : inner.get(key)),
    set: (key, value) => {
      if (failing === 'set') throw full
      return inner.set(key, value)
    },
  }
  const made = await signedIn({ storage })
  await made.wear()
  const before = await made.kept()
  const wanted = { name: 'DoorstepError', code: 'storage', status: 0, cause: full }
  for (const way of ['set', 'get'] as const) {
    failing = way
    t.match(await problem(made.client.me()), wanted, way)
    t.match(await problem(enter(made.client, made.user)), wanted, way)
    failing = undefined
    t.same(await made.kept(), before)
  }
  t.match(await made.client.me(), { id: made.user.id }, 'and goes on when that is over')
})

t.test('a storage that fails for the device token alone leaves nobody signed in by half', async (t) => {
  const inner = memoryStorage()
  const storage: TokenStorage = {
    ...inner,
    set: (key, value) => {
      if (key.endsWith('.device')) throw new Error('the quota is exceeded')
      return inner.set(key, value)
    },
  }
  const { client } = createClient(baseUrl, { storage })
  const events: SessionEvent[] = []
  client.onSession((event) => events.push(event))
  const owner = await createOwner(doorstep, ['totp'])
  const login = await client.signIn({ email: owner.email, password: owner.password })
  if (login.status !== '2fa_required') throw new Error(login.status)
  t.match(await problem(client.finish(login, { code: totpCode(owner.secret) })), { code: 'storage' })
  t.equal(await client.isSignedIn(), false)
  t.same(events, [])
})

t.test('a service that never answers is not waited for', async (t) => {
  const proxy = await startChaosProxy(baseUrl)
  t.teardown(() => proxy.close())
  const made = await signedIn({}, proxy.url)
  const hasty = createClient(proxy.url, { storage: made.storage, timeout: 0.3 })
  proxy.setMode('blackhole')
  t.match(await problem(hasty.client.me()), { code: 'network', cause: { name: 'AbortError' } })
  t.equal(await hasty.client.isSignedIn(), true)
  t.match(await problem(hasty.client.signOut()), { code: 'network' }, 'it says that nobody was told')
  t.equal(await hasty.client.isSignedIn(), false, 'but forgets')
})

t.test('a token that was used by somebody else ends the session, and says so', async (t) => {
  const made = await signedIn()
  const events: SessionEvent[] = []
  const stop = made.client.onSession((event) => events.push(event))
  const { refresh_token: stolen } = await made.kept()
  const thief = await refresh(doorstep, stolen)
  t.equal((await refresh(doorstep, thief.body.refresh_token)).status, 200)
  await made.wear()
  t.match(await problem(made.client.me()), { code: 'refresh_token_reused', status: 401 })
  t.equal(await made.client.isSignedIn(), false)
  t.match(events, [{ isSignedIn: false, error: { code: 'refresh_token_reused' } }])
  t.match(await problem(made.client.me()), { code: 'signed_out' })
  stop()
  await enter(made.client, made.user)
  t.equal(events.length, 1, 'who has stopped listening hears no more')
})

t.test('who is signed out already has signed out, but has ended no other session', async (t) => {
  for (const scope of ['others', 'all'] as const) {
    const { client, user } = await signedIn()
    await sql('UPDATE sessions SET ended_at = now() WHERE user_id = $1', [user.id])
    t.match(await problem(client.signOut(scope)), { code: 'invalid_token' }, scope)
    t.match(await problem(client.signOut(scope)), { code: 'signed_out' }, scope)
    t.equal(await client.signOut(), undefined)
  }
})

/** Two clients of one storage and two people; the second person signs in by the second client while `path` is called. */
async function switchDuring(path: string, answerInstead?: () => Response) {
  const storage = memoryStorage()
  const { locks } = fakeLocks()
  const second = await createBareUser(doorstep, 'optional')
  const other = createClient(baseUrl, { storage, locks })
  let isSwitched = false
  const tap = wiretap(async ({ what }) => {
    if (what !== path || isSwitched) return undefined
    isSwitched = true
    await enter(other.client, second)
    return answerInstead?.()
  })
  const first = await signedIn({ storage, locks, fetch: tap.fetch })
  return { first, second, other, tap }
}

t.test('signing out, or leaving, forgets no session that somebody begins meanwhile', async (t) => {
  const ways: [string, (client: Client) => Promise<unknown>][] = [
    ['POST /logout', (client) => client.signOut()],
    ['POST /logout', (client) => client.signOut('all')],
    ['DELETE /me', (client) => client.deleteAccount()],
  ]
  for (const [path, leave] of ways) {
    const { first, second } = await switchDuring(path)
    const events: SessionEvent[] = []
    first.client.onSession((event) => events.push(event))
    await leave(first.client)
    t.match(await first.client.me(), { id: second.id }, path)
    t.same(events, [])
  }
})

const bearerRefusal = (facts: string): Response =>
  new Response('{}', { status: 401, headers: { 'www-authenticate': `Bearer ${facts}` } })

t.test('what one person asked for is not repeated for another, who has signed in in another tab', async (t) => {
  const refused = () => bearerRefusal('error="invalid_token"')
  const reading = await switchDuring('GET /me', refused)
  t.match(await problem(reading.first.client.me()), { code: 'signed_out' })
  t.equal(reading.tap.times('GET /me'), 1)
  const leaving = await switchDuring('DELETE /me', refused)
  t.match(await problem(leaving.first.client.deleteAccount()), { code: 'signed_out' })
  t.match(await leaving.first.client.me(), { id: leaving.second.id })
  const stale = await switchDuring('DELETE /me', () =>
    bearerRefusal('error="insufficient_user_authentication", max_age="600"'),
  )
  t.match(await problem(stale.first.client.deleteAccount()), { code: 'signed_out' })
  t.equal(stale.tap.times('DELETE /me'), 1)
})

t.test('a new password of one person takes no session from another', async (t) => {
  const { locks } = fakeLocks()
  const storage = memoryStorage()
  const [first, second] = [await signedIn({ storage, locks }), await createBareUser(doorstep, 'optional')]
  const other = createClient(baseUrl, { storage, locks })
  // In the queue before the change, whose token was read before.
  const entering = enter(other.client, second)
  const password = 'a long sentence that only she knows'
  const change = problem(first.client.changePassword({ current_password: first.user.password, password }))
  await entering
  t.match(await change, { code: 'signed_out' })
  t.match(await first.client.me(), { id: second.id })
})

t.test('a session that goes on is no signing in', async (t) => {
  const made = await signedIn()
  const events: SessionEvent[] = []
  made.client.onSession((event) => events.push(event))
  await made.client.stepUp({ password: made.user.password })
  const password = 'a long sentence that only she knows'
  await made.client.changePassword({ current_password: made.user.password, password })
  await made.wear()
  await made.client.me()
  t.same(events, [])
  await enter(made.client, { ...made.user, password })
  t.same(events, [{ isSignedIn: true }], 'another one is')
})

t.test('a client that was closed works on, and only hears no more of other tabs', async (t) => {
  const { one, two } = await twoTabs(t)
  const here: SessionEvent[] = []
  const there: SessionEvent[] = []
  one.client.onSession((event) => here.push(event))
  const told = new Promise<SessionEvent>((resolve) => void two.client.onSession(resolve))
  one.client.close()
  await one.client.signOut()
  t.same(here.splice(0), [{ isSignedIn: false }], 'of itself it hears')
  t.same(await told, { isSignedIn: false }, 'and the others of it')
  two.client.onSession((event) => there.push(event))
  await enter(two.client, one.user)
  t.match(await one.client.me(), { id: one.user.id })
  await enter(one.client, one.user)
  t.same(here, [{ isSignedIn: true }], 'its own')
  t.ok(there.length > 0)
})

t.test('other tabs hear of signing in and out', async (t) => {
  const { one, two } = await twoTabs(t)
  const next = () =>
    new Promise<SessionEvent>((resolve) => {
      const stop = two.client.onSession((event) => {
        stop()
        resolve(event)
      })
    })
  let heard = next()
  await one.client.signOut()
  t.same(await heard, { isSignedIn: false })
  heard = next()
  await enter(one.client, one.user)
  t.same(await heard, { isSignedIn: true })
  t.match(await two.client.me(), { id: one.user.id })
})

t.test('the storage of a browser: one for all its tabs, one for each', async (t) => {
  const webOf = (items = new Map<string, string>()) => ({
    getItem: (key: string) => items.get(key) ?? null,
    setItem: (key: string, value: string) => void items.set(key, value),
    removeItem: (key: string) => void items.delete(key),
  })
  const [all, own] = [webOf(), webOf()]
  const before = Object.getOwnPropertyDescriptor(globalThis, 'sessionStorage')
  Object.defineProperty(globalThis, 'sessionStorage', { value: own, configurable: true })
  t.teardown(() => {
    Reflect.deleteProperty(globalThis, 'sessionStorage')
    if (before) Object.defineProperty(globalThis, 'sessionStorage', before)
  })
  t.equal(webStorage(all).isShared, true)
  t.equal(webStorage(own).isShared, false)
  for (const web of [all, own]) {
    const { client } = await signedIn({ storage: webStorage(web) })
    t.match(web.getItem('doorstep.session'), /refresh_token/)
    t.match(web.getItem('doorstep.device'), /^dsd_/)
    await client.signOut()
    t.equal(web.getItem('doorstep.session'), null)
    client.close()
  }
})

t.test('what another program has left in the storage is no session', async (t) => {
  for (const left of ['', 'x', '{}', '7', '{"refresh_token":7}']) {
    const { client, storage } = createClient(baseUrl)
    await storage.set('doorstep.session', left)
    t.equal(await client.isSignedIn(), false, left)
  }
})

/** A server that writes down the credential of every request; `answer` says where it sends the client. */
async function listener(t: Test, answer: (path: string) => { status: number; headers?: Record<string, string> }) {
  const seen: (string | undefined)[] = []
  const server = createServer((request, reply) => {
    seen.push(request.headers.authorization)
    const { status, headers } = answer(request.url ?? '')
    request.resume().on('end', () => reply.writeHead(status, headers).end('{}'))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => new Promise((resolve) => server.close(resolve).closeAllConnections()))
  const { port } = server.address() as AddressInfo
  return { seen, port, origin: `http://127.0.0.1:${port}` }
}

t.test('an access token goes to no origin that was not named', async (t) => {
  const foreign = await listener(t, () => ({ status: 200 }))
  const api = await listener(t, (path) =>
    path === '/away' ? { status: 307, headers: { location: `${foreign.origin}/caught` } } : { status: 200 },
  )
  const tap = wiretap()
  const { client, kept } = await signedIn({ origins: [api.origin, 'https://api.example.com'], fetch: tap.fetch })
  const bearer = `Bearer ${(await kept()).access_token}`
  const before = tap.sent.length

  const { host } = new URL(api.origin)
  const others = [
    `${foreign.origin}/`,
    `http://${host}@127.0.0.1:${foreign.port}/`,
    `http://127.0.0.1:${foreign.port}/?${api.origin}/`,
    `http://127.0.0.1:${foreign.port}/#${api.origin}`,
    `http://127.0.0.1:${foreign.port}\\@${host}/`,
    `http://${host}0/`,
    `http://${host}.localhost:${foreign.port}/`,
    `https://${host}/`,
    `http://localhost:${api.port}/`,
    `ftp://${host}/`,
    'data:text/plain,x',
    'https://api.example.com.evil.example/',
    'https://api.example.com:444/',
    'https://api.example.community/',
    'https://api.example.com@evil.example/',
  ]
  for (const url of others) {
    await t.rejects(client.authorizedFetch(url), { name: 'TypeError' }, url)
    await t.rejects(async () => client.authorizedFetch(new URL(url)), { name: 'TypeError' })
  }
  t.equal(tap.sent.length, before, 'nothing was sent')
  t.same(foreign.seen, [])

  t.equal((await client.authorizedFetch(`${api.origin}/orders?x=1`)).status, 200)
  t.equal((await client.authorizedFetch(`${api.origin}\\orders`)).status, 200, 'the platform makes a path of it')
  t.equal((await client.authorizedFetch(new Request(new URL(api.origin), { method: 'POST', body: 'x' }))).status, 200)
  t.same(api.seen, [bearer, bearer, bearer])
  t.equal((await client.authorizedFetch(`${api.origin}/away`)).status, 200)
  t.same(foreign.seen, [undefined], 'nor does a redirect take it along')

  for (const wrong of [
    '*',
    'null',
    api.origin.slice(7),
    `${api.origin}/`,
    'https://a@b',
    'https://a/b',
    'https:// a',
  ]) {
    t.throws(() => createDoorstep({ baseUrl, origins: [wrong] }), { name: 'TypeError' }, wrong)
  }
  const unnamed = createClient(baseUrl)
  await t.rejects(unnamed.client.authorizedFetch(`${api.origin}/`), { name: 'TypeError' })
})

t.test('what an API refuses is repeated where that helps, with its body', async (t) => {
  const replies = [
    [401, 'Bearer realm="api", error="invalid_token", error_description="expired"'],
    [401, 'Bearer error="insufficient_user_authentication", acr_values="aal2", max_age="60"'],
    [200],
    [401, 'Bearer'],
    [403],
  ] as [number, string?][]
  const bodies: string[] = []
  const asked: unknown[] = []
  const tokens: (string | null)[] = []
  const made = await signedIn({
    origins: ['https://api.example.com'],
    onStepUp: async (challenge) => asked.push(challenge) > 0,
    fetch: async (request) => {
      if (!request.url.startsWith('https://api.')) return fetch(request)
      bodies.push(await request.text())
      tokens.push(request.headers.get('authorization'))
      const [status, header] = replies.shift() ?? [500]
      return new Response('{}', { status, headers: header === undefined ? {} : { 'www-authenticate': header } })
    },
  })
  const order = { method: 'POST', body: 'one order' }
  const call = async () => (await made.client.authorizedFetch('https://api.example.com/orders', order)).status
  t.equal(await call(), 200)
  t.same(bodies, ['one order', 'one order', 'one order'])
  t.same(asked, [{ acrValues: 'aal2', maxAge: 60 }])
  t.not(tokens[0], tokens[1], 'a new token after the old one was refused')
  t.equal(await call(), 401, 'an API may have reasons of its own')
  t.equal(await call(), 403)
  t.equal(bodies.length, 5)
})

t.test('every problem of the service is an error with its code', async (t) => {
  const codes = Object.keys(problemCatalogue) as ProblemCode[]
  t.ok(codes.length > 30)
  for (const code of codes) {
    const errors = [{ pointer: '/email', message: 'is not an address' }]
    const extras = { detail: 'A detail.', retryAfter: 7, attemptsRemaining: 3, errors }
    const { client } = createClient(baseUrl, { fetch: async () => answer(code, extras) })
    const error = await problem(client.register({ email: 'ada@example.com' }))
    const { status } = problemCatalogue[code]
    const facts = { code, status, retryAfter: 7, attemptsRemaining: 3, requestId: 'request-7', message: 'A detail.' }
    t.match(error, { ...facts, name: 'DoorstepError', errors })
    t.ok(error instanceof Error)
  }
  // Neither knows a code that the other does not: this does not compile otherwise.
  const same: [ProblemCode] extends [Known] ? ([Known] extends [ProblemCode] ? true : never) : never = true
  t.ok(same)
})
type Known = Exclude<DoorstepError['code'], 'network' | 'signed_out' | 'storage'>
