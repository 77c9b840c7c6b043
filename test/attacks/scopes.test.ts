import Fastify from 'fastify'
import t from 'tap'
import { registerGuards } from '../../src/http/guards.ts'
import { type Scope, scopes } from '../../src/scopes.ts'
import { ask, type Backend, basicOf, makeBackend } from '../helpers/clients.ts'
import { enter } from '../helpers/credentials.ts'
import { startDoorstep } from '../helpers/doorstep.ts'
import { registeredRoutes } from '../helpers/registered-routes.ts'
import { call, createUser, login } from '../helpers/story.ts'

// A backend's key that leaks, or a team that tries what its key was not made for, gains what the key may do: with a scope that
// opens more than it says, whoever has read the key that sends newsletters erases users (SEC-118).

t.setTimeout(300_000)

const introspection = { INTROSPECTION_CLIENTS: 'billing:a-secret-of-the-billing-team-0123' }
const doorstep = await startDoorstep(t, { env: introspection })
const { app, sql } = doorstep
const form = { 'content-type': 'application/x-www-form-urlencoded' }

/** What each call of clients wants, as it was reviewed: the contract's table. */
const wanted: Record<string, Scope> = {
  'POST /token/introspect': 'introspect',
  'POST /admin/users/search': 'users:read',
  'POST /admin/users': 'users:write',
  'GET /admin/users/:id': 'users:read',
  'PATCH /admin/users/:id': 'users:write',
  'DELETE /admin/users/:id': 'users:delete',
  'POST /admin/users/:id/password-reset': 'users:security',
  'POST /admin/users/:id/unlock': 'users:security',
  'DELETE /admin/users/:id/factors': 'users:security',
  'DELETE /admin/users/:id/factors/:part': 'users:security',
  'DELETE /admin/users/:id/sessions': 'users:security',
  'DELETE /admin/users/:id/sessions/:part': 'users:security',
  'DELETE /admin/users/:id/devices': 'users:security',
  'DELETE /admin/users/:id/devices/:part': 'users:security',
  'GET /admin/events': 'events:read',
  'GET /admin/webhooks': 'webhooks:write',
  'POST /admin/webhooks': 'webhooks:write',
  'PATCH /admin/webhooks/:id': 'webhooks:write',
  'DELETE /admin/webhooks/:id': 'webhooks:write',
  'POST /admin/webhooks/:id/rotate-secret': 'webhooks:write',
  'POST /admin/webhooks/:id/redeliver': 'webhooks:write',
}
const nobody = '6f1c1f5e-7a52-4d3a-9a39-0a1f2b3c4d5e'
const bodies: Record<string, unknown> = {
  'POST /token/introspect': 'token=x',
  'POST /admin/users/search': { email: 'nobody@example.com' },
  'POST /admin/users': { email: 'nobody' },
  'PATCH /admin/users/:id': {},
}
const routes = registeredRoutes(app)
  .filter(({ url }) => url.startsWith('/admin/') || url === '/token/introspect')
  .map(({ method, url }) => `${method} ${url}`)
const isOfClients = async (route: string): Promise<boolean> => {
  const answer = await ask(doorstep, { basic: 'Basic x' }, route.replace(/:\w+/g, nobody))
  return answer.status === 401
}
const called: string[] = []
for (const route of routes) if (await isOfClients(route)) called.push(route)

/** One call of a kind, by a backend, with nothing in it that could succeed by chance. */
const send = (backend: Pick<Backend, 'basic'>, route: string) =>
  ask(
    doorstep,
    backend,
    route.replace(/:\w+/g, nobody),
    bodies[route],
    route.includes('/token/') ? { headers: form } : {},
  )

t.test('every call of clients has been reviewed', (t) => {
  t.same(called.sort(), Object.keys(wanted).sort())
  t.end()
})

t.test('each call is open to its scope and closed to every other, alone and all together', async (t) => {
  const alone = new Map<Scope, Backend>()
  const without = new Map<Scope, Backend>()
  for (const scope of scopes) {
    alone.set(scope, await makeBackend(doorstep, { scopes: [scope] }))
    without.set(scope, await makeBackend(doorstep, { scopes: scopes.filter((it) => it !== scope) }))
  }
  let closed = 0
  for (const [route, scope] of Object.entries(wanted)) {
    for (const [has, backend] of alone) {
      const answer = await send(backend, route)
      if (has === scope) t.ok([200, 400, 404].includes(answer.status), `${route} with ${has}: ${answer.status}`)
      else closed += Number(refuses(answer, scope))
    }
    const answer = await send(without.get(scope) as Backend, route)
    t.ok(refuses(answer, scope), `${route} with all but ${scope}: ${answer.status}`)
  }
  t.equal(closed, Object.keys(wanted).length * (scopes.length - 1))
})

function refuses({ status, body, headers }: Awaited<ReturnType<typeof send>>, scope: Scope): boolean {
  const challenge = `Basic realm="clients", error="insufficient_scope", scope="${scope}"`
  return (
    status === 403 &&
    body.code === 'insufficient_scope' &&
    body.scope === scope &&
    headers['www-authenticate'] === challenge
  )
}

t.test('what decides who gets in wants users:security besides users:write', async (t) => {
  const writer = await makeBackend(doorstep, { scopes: ['users:write', 'users:read', 'users:delete', 'users:contact'] })
  const guard = await makeBackend(doorstep, { scopes: ['users:write', 'users:security'] })
  const user = await createUser(doorstep)
  const path = `PATCH /admin/users/${user.id}`
  const before = await sql('SELECT * FROM users WHERE id = $1', [user.id])
  const changes = [{ email: 'thief@example.com' }, { two_factor: 'off' }, { disabled: false }, { disabled: true }]
  for (const change of changes) {
    const answer = await ask(doorstep, writer, path, { ...change, locale: 'de' })
    t.ok(refuses(answer, 'users:security'), JSON.stringify(change))
    t.match(await ask(doorstep, writer, `PATCH /admin/users/${nobody}`, change), { status: 403 }, 'whoever it is')
  }
  t.same(await sql('SELECT * FROM users WHERE id = $1', [user.id]), before, 'nor is the rest changed')
  t.equal((await ask(doorstep, writer, path, { locale: 'de' })).status, 200)
  for (const change of changes) t.equal((await ask(doorstep, guard, path, change)).status, 200)
})

t.test('no other credential opens what clients call, and theirs opens nothing else', async (t) => {
  const user = await createUser(doorstep, { twoFactor: 'off' })
  const { access, refresh } = await enter(doorstep, user)
  const pending = (await login(doorstep, await createUser(doorstep))).body.pending_token
  const backend = await makeBackend(doorstep)
  const { id, secret } = backend
  const others = [
    ...[access, refresh, pending, secret].flatMap((token) => [
      `Bearer ${token}`,
      `Basic ${token}`,
      basicOf(id, token).slice(0, -4),
    ]),
    ...[basicOf(secret, id), basicOf('', secret), basicOf(id, ''), secret, `Basic ${id}:${secret}`],
  ]
  for (const route of Object.keys(wanted).filter((it) => it !== 'POST /token/introspect')) {
    for (const basic of others) t.equal((await send({ basic }, route)).status, 401, route)
    const billing = await send({ basic: basicOf('billing', 'a-secret-of-the-billing-team-0123') }, route)
    t.ok(refuses(billing, wanted[route] as Scope), 'one of INTROSPECTION_CLIENTS may only introspect')
  }
  for (const path of ['/me', '/sessions', '/factors', '/devices', '/me/export']) {
    t.equal((await call(doorstep, path, { headers: { authorization: backend.basic } })).status, 401, path)
  }
})

t.test('a client with the scope introspects, as those of INTROSPECTION_CLIENTS do', async (t) => {
  const { access } = await enter(doorstep, await createUser(doorstep, { twoFactor: 'off' }))
  const backend = await makeBackend(doorstep, { scopes: ['introspect'] })
  for (const basic of [backend.basic, basicOf('billing', 'a-secret-of-the-billing-team-0123')]) {
    const answer = await ask(doorstep, { basic }, 'POST /token/introspect', `token=${access}`, { headers: form })
    t.match(answer, { status: 200, body: { active: true } })
  }
})

t.test('nobody makes, changes, lists or reads a client over HTTP', async (t) => {
  const backend = await makeBackend(doorstep)
  const paths = new Set(registeredRoutes(app).map(({ url }) => url))
  t.same(
    [...paths].filter((url) => /client|secret|credential/.test(url)),
    ['/admin/webhooks/:id/rotate-secret'],
    'of an endpoint, not of a client',
  )
  for (const path of ['/admin/clients', '/admin/client', `/admin/clients/${backend.id}`, '/clients', '/admin']) {
    for (const method of ['GET', 'POST', 'PUT', 'DELETE']) {
      t.equal((await ask(doorstep, backend, `${method} ${path}`, method === 'GET' ? undefined : {})).status, 404)
    }
  }
  const seen = JSON.stringify(await sql('SELECT * FROM clients, client_secrets'))
  t.notMatch(seen, backend.secret)
  t.notMatch(seen, Buffer.from(backend.secret).toString('hex'))
  t.notMatch(doorstep.logs.join(''), new RegExp(backend.secret), 'nor is one in the log')
})

t.test(
  'a route of clients that does not say its scope, or any that does not say who may call it, stops the start',
  async (t) => {
    const problems: [object, RegExp][] = [
      [{ access: 'client' }, /does not say what a client must be allowed/],
      [{}, /does not say who may call it/],
    ]
    for (const [config, message] of problems) await t.rejects(startWith(config), message)
    await t.resolves(startWith({ access: 'client', scope: 'users:read' }))
  },
)

/** An application with one more route. */
async function startWith(config: object): Promise<void> {
  const bare = Fastify()
  registerGuards(bare as never, { ...doorstep.services, requestLimits: {} as never })
  bare.get('/careless', { config } as never, async () => 'done')
  await bare.ready()
}

t.test('what is refused to a client is recorded, what strangers send is not', async (t) => {
  const reader = await makeBackend(doorstep, { scopes: ['users:read'] })
  const count = async () => Number((await sql('SELECT count(*) FROM audit_events'))[0]?.count)
  const before = await count()
  await ask(doorstep, reader, `DELETE /admin/users/${nobody}`)
  const [last] = await sql('SELECT * FROM audit_events ORDER BY id DESC LIMIT 1')
  t.match(last, {
    ...{ type: 'client.refused', outcome: 'insufficient_scope', detail: 'DELETE /admin/users/:id' },
    ...{ actor_type: 'client', actor_id: reader.id, user_id: null, address: '127.0.0.1' },
  })
  await ask(doorstep, { basic: basicOf(reader.id, 'dss_'.padEnd(47, 'x')) }, `DELETE /admin/users/${nobody}`)
  t.equal(await count(), before + 1)
})
