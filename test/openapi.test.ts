import { createHmac } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import t from 'tap'
import type { TSchema } from 'typebox'
import Value from 'typebox/value'
import { parse } from 'yaml'
import { Problem, problemCatalogue } from '../src/errors.ts'
import { age as ageRows } from './helpers/age.ts'
import { createAuthenticator } from './helpers/authenticator.ts'
import { makeBackend } from './helpers/clients.ts'
import { startDoorstep } from './helpers/doorstep.ts'
import { createOwner, sessionOf } from './helpers/equipped.ts'
import { createBareUser, mailedCode, totpCode } from './helpers/factors.ts'
import { part } from './helpers/forge.ts'
import { mailedToken } from './helpers/links.ts'
import { registeredRoutes } from './helpers/registered-routes.ts'
import { type Answer, codeFor, createUser, freshPhone, login, type TestUser, wrongCode } from './helpers/story.ts'
import { setWrongCodes } from './helpers/wrong-codes.ts'

t.setTimeout(300_000)

type Schema = { $ref?: string; [key: string]: unknown }
type Media = { schema: Schema; example?: unknown; examples?: Record<string, { value: unknown }> }
type Operation = {
  operationId?: string
  tags?: string[]
  summary?: string
  description?: string
  security?: Record<string, string[]>[]
  requestBody?: { required: boolean; content: Record<string, Media> }
  parameters?: { name: string; example?: unknown; schema: Schema }[]
  responses: Record<string, { description: string; content?: Record<string, Media>; headers?: Record<string, object> }>
}
type Document = {
  openapi: string
  info: { version: string }
  tags: { name: string }[]
  servers: { url: string }[]
  paths: Record<string, Record<string, Operation>>
  components: { securitySchemes: Record<string, object>; schemas: Record<string, Schema> }
}

const formType = 'application/x-www-form-urlencoded'
/** What takes a form; everything else takes JSON. */
const forms = ['POST /token/introspect', 'POST /webhooks/twilio/status']

const doorstep = await startDoorstep(t, {
  env: { INTROSPECTION_CLIENTS: 'billing:a-secret-of-the-billing-team-0123', METHODS: 'passkey,totp,sms,email' },
})
const { app, services, sql } = doorstep
const document = JSON.parse(JSON.stringify(app.swagger())) as Document
const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => ({ name: `${method.toUpperCase()} ${path}`, operation })),
)
const operationOf = (name: string): Operation | undefined => operations.find((it) => it.name === name)?.operation

/** The schema with every reference in it replaced by what it refers to. */
function whole(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(whole)
  if (typeof schema !== 'object' || schema === null) return schema
  const { $ref, ...rest } = schema as Schema
  if ($ref !== undefined) return whole(document.components.schemas[$ref.replace('#/components/schemas/', '')])
  return Object.fromEntries(Object.entries(rest).map(([name, member]) => [name, whole(member)]))
}

/** Nothing more than the schema says, in any object of it. */
const closed = (schema: unknown): unknown => {
  if (Array.isArray(schema)) return schema.map(closed)
  if (typeof schema !== 'object' || schema === null) return schema
  const copy = Object.fromEntries(Object.entries(schema).map(([name, member]) => [name, closed(member)]))
  return 'properties' in copy ? { ...copy, additionalProperties: false } : copy
}
const fits = (schema: Schema, value: unknown): boolean => Value.Check(closed(whole(schema)) as TSchema, value)
const examplesIn = ({ example, examples }: Media): unknown[] => [
  ...(example === undefined ? [] : [example]),
  ...Object.values(examples ?? {}).map(({ value }) => value),
]

t.test('every operation says what it is, with an example of everything that goes in and comes out', async (t) => {
  t.equal(document.openapi, '3.1.0')
  t.ok(operations.length >= 10)
  const ids = operations.map(({ operation }) => operation.operationId)
  t.equal(new Set(ids).size, ids.length, 'operation ids are unique')
  const tags = document.tags.map(({ name }) => name)

  for (const { name, operation } of operations) {
    t.match(operation, { operationId: /^[a-z][a-zA-Z]+$/, summary: /\w{3}/, description: /\w{3}.*\.$/s }, name)
    t.equal(operation.tags?.length, 1)
    t.ok(tags.includes(operation.tags?.[0] ?? ''), 'its tag is explained')
    for (const parameter of operation.parameters ?? []) {
      t.ok(fits(parameter.schema, parameter.example), `${name}: example of a parameter`)
    }
    for (const [type, media] of Object.entries(operation.requestBody?.content ?? {})) {
      t.equal(type, forms.includes(name) ? formType : 'application/json')
      t.ok(
        examplesIn(media).length > 0 && examplesIn(media).every((it) => fits(media.schema, it)),
        `${name}: examples of the body`,
      )
    }
    t.ok(
      ['200', '201', '202', '204'].some((status) => status in operation.responses),
      `${name}: what success looks like`,
    )
    for (const [status, { description, content }] of Object.entries(operation.responses)) {
      t.ok(description.length > 3)
      t.equal(content === undefined, status === '204', `${name} ${status}: nothing, or what`)
      for (const [type, media] of Object.entries(content ?? {})) {
        t.equal(type.startsWith('application/problem'), !status.startsWith('2') && type !== 'application/json')
        const examples = examplesIn(media)
        t.ok(
          examples.length > 0 && examples.every((it) => fits(media.schema, it)),
          `${name}: examples of ${status} ${type}`,
        )
      }
    }
  }
})

/** The names of the fields that a call takes, in its body or in its path and query. */
function namesTaken({ requestBody, parameters = [] }: Operation): string[] {
  const bodies = Object.values(requestBody?.content ?? {}).map(({ schema }) => whole(schema) as Schema)
  const fields = bodies.flatMap((body) => [body, ...((body.anyOf ?? []) as Schema[])])
  return [...fields.flatMap(({ properties }) => Object.keys(properties ?? {})), ...parameters.map(({ name }) => name)]
}

t.test('the example of a problem is one that this very call can answer with', async (t) => {
  for (const { name, operation } of operations) {
    for (const [status, { content, headers = {} }] of Object.entries(operation.responses)) {
      const problems = Object.entries(content?.['application/problem+json']?.examples ?? {})
      for (const [code, { value }] of problems) {
        const body = value as Record<string, unknown>
        t.match(
          body,
          { code, status: Number(status), title: problemCatalogue[code as 'busy'].title },
          `${name} ${code}`,
        )
        t.equal('retry_after' in body, 'Retry-After' in headers, `${name} ${code}: as the header says`)
        if (code === 'invalid_request') {
          const [{ pointer }] = body.errors as [{ pointer: string }]
          // A receipt is a form whose fields are the provider's.
          const taken = name === 'POST /webhooks/twilio/status' ? [''] : namesTaken(operation)
          t.ok(taken.includes(pointer.slice(1)), `${name}: ${pointer} is a field of it`)
        }
      }
      t.equal(status === '401', 'WWW-Authenticate' in headers, `${name} ${status}: what is asked for`)
    }
  }
})

/** What asks for an access token. */
const signedIn = [
  ...['GET /me', 'POST /login/step-up', 'POST /logout', 'GET /sessions', 'DELETE /sessions/{id}'],
  ...['GET /devices', 'PATCH /devices/{id}', 'DELETE /devices/{id}'],
  ...['GET /factors', 'PATCH /factors/{id}', 'DELETE /factors/{id}'],
  ...['PUT /me/password', 'PUT /me/email', 'POST /me/email/confirm', 'PATCH /me', 'GET /me/export', 'DELETE /me'],
]

/** What asks for a client, and what it must be allowed. */
const ofBackends = {
  'POST /admin/users/search': 'users:read',
  'POST /admin/users': 'users:write',
  'GET /admin/users/{id}': 'users:read',
  'PATCH /admin/users/{id}': 'users:write',
  'DELETE /admin/users/{id}': 'users:delete',
  'POST /admin/users/{id}/password-reset': 'users:security',
  'POST /admin/users/{id}/unlock': 'users:security',
  'DELETE /admin/users/{id}/factors': 'users:security',
  'DELETE /admin/users/{id}/factors/{part}': 'users:security',
  'DELETE /admin/users/{id}/sessions': 'users:security',
  'DELETE /admin/users/{id}/sessions/{part}': 'users:security',
  'DELETE /admin/users/{id}/devices': 'users:security',
  'DELETE /admin/users/{id}/devices/{part}': 'users:security',
  'GET /admin/events': 'events:read',
  'GET /admin/webhooks': 'webhooks:write',
  'POST /admin/webhooks': 'webhooks:write',
  'PATCH /admin/webhooks/{id}': 'webhooks:write',
  'DELETE /admin/webhooks/{id}': 'webhooks:write',
  'POST /admin/webhooks/{id}/rotate-secret': 'webhooks:write',
  'POST /admin/webhooks/{id}/redeliver': 'webhooks:write',
}

t.test('every route is in the document, and who may call it', async (t) => {
  t.match(document.components.securitySchemes, {
    pending: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT' },
    access: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT' },
    client: { type: 'http', scheme: 'basic' },
  })
  t.equal(Object.keys(document.components.securitySchemes).length, 3)
  const undocumented = ['/openapi.json', '/docs', '/page/']
  // What a developer opens in a browser.
  const pages = ['/', '/set-password', '/confirm-email', '/not-me']
  const served: string[] = []
  for (const { method, url } of registeredRoutes(app)) {
    const path = url.replace(/:(\w+)/g, '{$1}')
    // What comes along with others: HEAD wherever there is GET, and the answer to preflights.
    if (method === 'HEAD' || url === '*' || undocumented.some((prefix) => path.startsWith(prefix))) continue
    if (pages.includes(path)) continue
    const { statusCode } = await app.inject({ method: method as 'GET', url: url.replace(':code', 'busy') })
    if (statusCode !== 405) served.push(`${method} ${path}`)
  }
  t.strictSame(operations.map(({ name }) => name).sort(), served.sort())

  const secured = Object.fromEntries(operations.map(({ name, operation }) => [name, operation.security]))
  const open = Object.fromEntries(Object.keys(secured).map((name) => [name, []]))
  t.strictSame(secured, {
    ...open,
    'GET /login/2fa': [{ pending: [] }],
    'POST /login/2fa': [{ pending: [] }],
    'POST /login/2fa/resend': [{ pending: [] }],
    'POST /login/2fa/method': [{ pending: [] }],
    'POST /factors': [{ pending: [] }, { access: [] }],
    ...Object.fromEntries(signedIn.map((name) => [name, [{ access: [] }]])),
    'POST /token/introspect': [{ client: ['introspect'] }],
    ...Object.fromEntries(Object.entries(ofBackends).map(([name, scope]) => [name, [{ client: [scope] }]])),
  })
})

t.test('the answers of a login are told apart by status', async (t) => {
  const media = operationOf('POST /login')?.responses['200']?.content?.['application/json']
  t.strictSame(media?.schema, {
    oneOf: [
      { $ref: '#/components/schemas/TwoFactorRequired' },
      { $ref: '#/components/schemas/Authenticated' },
      { $ref: '#/components/schemas/EnrolmentRequired' },
    ],
    discriminator: {
      propertyName: 'status',
      mapping: {
        '2fa_required': '#/components/schemas/TwoFactorRequired',
        authenticated: '#/components/schemas/Authenticated',
        '2fa_enrolment_required': '#/components/schemas/EnrolmentRequired',
      },
    },
  })
  t.strictSame(Object.keys(media?.examples ?? {}), [
    ...['passkey', 'totp', 'sms', 'email', 'recovery_code'].map((it) => `2fa_required_${it}`),
    ...['authenticated', '2fa_enrolment_required'],
  ])
  const { TwoFactorRequired, Authenticated } = document.components.schemas
  t.match(TwoFactorRequired, { properties: { status: { enum: ['2fa_required'] } } })
  t.match(Authenticated, { properties: { status: { enum: ['authenticated'] } } })
  t.match(operationOf('POST /login/2fa')?.responses['200']?.content?.['application/json']?.schema, {
    oneOf: [{ $ref: '#/components/schemas/Authenticated' }, { $ref: '#/components/schemas/EnrolmentRequired' }],
  })
  t.match(TwoFactorRequired, { properties: { challenge: { discriminator: { propertyName: 'method' } } } })
})

/** Codes that any operation may answer with; each is provoked on one of them elsewhere. */
const anywhere = ['rate_limited', 'internal_error', 'unavailable']

t.test('each operation lists exactly the problems that it can be brought to answer with', async (t) => {
  const driven = new Map<string, Set<string>>(operations.map(({ name }) => [name, new Set()]))
  const send = async (
    name: string,
    sent: {
      token?: string
      basic?: string
      signature?: string
      body?: unknown
      text?: string
      type?: string
      path?: string
      headers?: Record<string, string>
      to?: typeof app
    } = {},
  ): Promise<Answer['body']> => {
    const [method = '', path = ''] = name.split(' ')
    const payload = sent.text ?? (sent.body === undefined ? undefined : JSON.stringify(sent.body))
    const reply = await (sent.to ?? app).inject({
      method: method as 'GET',
      url: sent.path ?? path,
      headers: {
        ...(payload !== undefined && { 'content-type': sent.type ?? 'application/json' }),
        ...(sent.token !== undefined && { authorization: `Bearer ${sent.token}` }),
        ...(sent.basic !== undefined && { authorization: `Basic ${Buffer.from(sent.basic).toString('base64')}` }),
        ...(sent.signature !== undefined && { 'x-twilio-signature': sent.signature }),
        ...sent.headers,
      },
      ...(payload !== undefined && { payload }),
    })
    if (reply.statusCode === 204) {
      t.ok(operationOf(name)?.responses['204'] && reply.body === '', `${name} 204: nothing, as documented`)
      return {}
    }
    const body = reply.json()
    const media = operationOf(name)?.responses[reply.statusCode]?.content
    const type = String(reply.headers['content-type']).replace('; charset=utf-8', '')
    const schema = media?.[type]?.schema
    t.ok(schema && fits(schema, body), `${name} ${reply.statusCode} ${body.code ?? ''}: the answer is as documented`)
    if (type === 'application/problem+json') driven.get(name)?.add(body.code)
    return body
  }
  const form = (user: TestUser) => ({ email: user.email, password: user.password })
  const lock = (user: TestUser, known = false) =>
    setWrongCodes(doorstep, user, { known, streak: 10, lockedFor: '1 hour' })
  const age = (user: TestUser) => ageRows(doorstep, user, 120)
  const clearBudgets = () => sql('DELETE FROM sms_messages')
  const fillBudgets = () =>
    sql(
      `INSERT INTO sms_messages (user_id, challenge_id, known, phone, prefix, address, reserved_at)
       SELECT user_id, gen_random_uuid(), known, phone, left(phone, -4), '', now() - interval '10 minutes'
       FROM factors, unnest('{true,false}'::boolean[]) known, generate_series(1, 10) WHERE phone IS NOT NULL`,
    )
  /** As after a fresh second factor. */
  const freshen = (sent: string) =>
    sql(`UPDATE sessions SET acr = 'aal2', authenticated_at = now() WHERE id = $1`, [part(sent, 1).sid])
  /** A pending token of a user of its own. */
  const begin = async (): Promise<{ user: TestUser; token: string; code: string }> => {
    const user = await createUser(doorstep)
    const { pending_token: token } = await send('POST /login', { body: form(user) })
    return { user, token, code: codeFor(doorstep, user.phone) }
  }
  const refusals = { phone: 'phone_unreachable', ours: 'sms_unavailable' } as const
  const { sms } = services
  const refusing = async (reason: keyof typeof refusals, work: () => Promise<unknown>) => {
    const { send: sendText } = sms
    sms.send = async () => ({ outcome: 'refused', reason, isCertain: true, error: 'test' })
    await work()
    sms.send = sendText
  }
  const landline = async (user: TestUser) =>
    sql("UPDATE factors SET phone = '+442079460000' WHERE user_id = $1", [user.id])

  // Bodies.
  const { token: alive } = await begin()
  const opened = ['POST /login/2fa', 'POST /login/2fa/resend', 'POST /login/2fa/method']
  for (const name of ['POST /login', 'POST /login/passkey', ...opened]) {
    await send(name, { token: alive, body: { unknown: 1 } })
    await send(name, { token: alive, text: '{' })
    await send(name, { token: alive, text: ' '.repeat(20_000) })
    await send(name, { token: alive, text: '{}', type: 'text/plain' })
  }
  for (const name of ['GET /login/2fa', ...opened, 'POST /factors', ...signedIn]) {
    await send(name)
    await send(name, { token: 'x' })
  }
  await send('GET /problems/{code}', { path: '/problems/nothing' })
  await send('GET /problems/{code}', { path: `/problems/${'x'.repeat(65)}` })

  // The first step.
  const ghost = { email: 'nobody@example.com', password: 'x' }
  for (let guess = 0; guess < 6; guess += 1) await send('POST /login', { body: ghost })
  const spent = await begin()
  for (let guess = 0; guess < 6; guess += 1)
    await send('POST /login/2fa', { token: spent.token, body: { code: wrongCode(spent.code) } })
  await send('POST /login', { body: form(spent.user) })
  await send('POST /login/2fa/resend', { token: spent.token, body: {} })
  await age(spent.user)
  await fillBudgets()
  await send('POST /login', { body: form(spent.user) })
  await clearBudgets()
  await lock(spent.user)
  await send('POST /login', { body: form(spent.user) })
  for (const reason of ['phone', 'ours'] as const) {
    const user = await createUser(doorstep)
    await refusing(reason, () => send('POST /login', { body: form(user) }))
  }
  const unreachable = await createUser(doorstep)
  await landline(unreachable)
  await send('POST /login', { body: form(unreachable) })
  const { verify } = services.passwordHash
  services.passwordHash.verify = async () => {
    throw new Problem('busy', { retryAfter: 1 })
  }
  await send('POST /login', { body: { ...ghost, email: 'other@example.com' } })
  services.passwordHash.verify = verify
  const off = await createUser(doorstep, { twoFactor: 'off', phone: freshPhone() })
  const { access_token: accessToken } = await send('POST /login', { body: { ...form(off), return_to: '/a' } })

  // The second step.
  const late = await begin()
  await sql(
    `UPDATE challenge_codes SET expires_at = now() - interval '1 second'
     WHERE challenge_id IN (SELECT id FROM challenges WHERE user_id = $1)`,
    [late.user.id],
  )
  await send('POST /login/2fa', { token: late.token, body: { code: late.code } })
  await lock(late.user)
  await send('POST /login/2fa', { token: late.token, body: { code: late.code } })
  await send('POST /login/2fa/resend', { token: late.token, body: {} })

  // The code once more.
  const again = await begin()
  await send('POST /login/2fa/resend', { token: again.token, body: {} })
  await age(again.user)
  await fillBudgets()
  await send('POST /login/2fa/resend', { token: again.token, body: {} })
  for (const reason of ['phone', 'ours'] as const) {
    const { user, token } = await begin()
    await age(user)
    await clearBudgets()
    await refusing(reason, () => send('POST /login/2fa/resend', { token, body: { channel: 'sms' } }))
  }
  await clearBudgets()
  const moved = await begin()
  await age(moved.user)
  await landline(moved.user)
  await send('POST /login/2fa/resend', { token: moved.token, body: {} })

  // By mail, in place of a text: to somebody who has no factor yet.
  const { mail } = services
  const unmailed = async (work: () => Promise<unknown>) => {
    const { isAvailable } = mail
    mail.isAvailable = () => false
    await work()
    mail.isAvailable = isAvailable
  }
  const fillMails = (user: TestUser) =>
    sql(
      `INSERT INTO mails (user_id, challenge_id, kind, topic, address, locale, known, created_at, next_try_at)
       SELECT $1, gen_random_uuid(), 'code', 'code', '', 'en', known, now() - interval '10 minutes', now() + interval '1 day'
       FROM unnest('{true,false}'::boolean[]) known, generate_series(1, 10)`,
      [user.id],
    )
  const bare = await createBareUser(doorstep)
  await unmailed(() => send('POST /login', { body: form(bare) }))
  await fillMails(bare)
  await send('POST /login', { body: form(bare) })
  const mailed = await createBareUser(doorstep)
  const byMail = await send('POST /login', { body: form(mailed) })
  await age(mailed)
  await unmailed(() => send('POST /login/2fa/resend', { token: byMail.pending_token, body: {} }))
  await send('POST /login/2fa/resend', { token: byMail.pending_token, body: { channel: 'email' } })
  await age(mailed)
  await fillMails(mailed)
  await send('POST /login/2fa/resend', { token: byMail.pending_token, body: {} })
  const proof = { code: mailedCode(doorstep, mailed.email) }
  const { pending_token: mustEnrol } = await send('POST /login/2fa', { token: byMail.pending_token, body: proof })
  await send('GET /login/2fa', { token: mustEnrol })

  // Factors.
  await send('POST /factors', { token: mustEnrol, text: ' '.repeat(20_000) })
  await send('POST /factors', { token: mustEnrol, text: '{}', type: 'text/plain' })
  await send('POST /factors', { token: mustEnrol, body: { unknown: 1 } })
  await send('POST /factors', { token: mustEnrol, body: { method: 'recovery_code' } })
  await send('POST /factors', { token: mustEnrol, body: { method: 'sms', phone: '+442079460000' } })
  for (const reason of ['phone', 'ours'] as const) {
    const body = { method: 'sms', phone: freshPhone() }
    await refusing(reason, () => send('POST /factors', { token: mustEnrol, body }))
    await clearBudgets()
  }
  const newPhone = freshPhone()
  const texted = { token: mustEnrol, body: { method: 'sms', phone: newPhone } }
  const { pending_token: enrolling } = await send('POST /factors', texted)
  await send('POST /factors', texted)
  await fillBudgets()
  await sql(`UPDATE sms_messages SET user_id = $1, known = false WHERE user_id <> $1`, [mailed.id])
  await send('POST /factors', texted)
  await clearBudgets()
  for (let n = 0; n < 3; n += 1) await createUser(doorstep, { phone: newPhone })
  await send('POST /login/2fa', { token: enrolling, body: { code: codeFor(doorstep, newPhone) } })
  const byApp = await send('POST /factors', { token: mustEnrol, body: { method: 'totp' } })
  await send('GET /login/2fa', { token: byApp.pending_token })
  const shown = { code: totpCode(byApp.challenge.setup.secret) }
  const enrolled = await send('POST /login/2fa', { token: byApp.pending_token, body: shown })
  const fresh: string = enrolled.access_token
  for (const method of ['passkey', 'recovery_code']) await send('POST /factors', { token: fresh, body: { method } })
  const { factors } = await send('GET /factors', { token: fresh })
  const factor = { token: fresh, path: `/factors/${factors[0].id}` }
  await send('PATCH /factors/{id}', { ...factor, body: { name: 'phone' } })
  await send('PATCH /factors/{id}', { ...factor, body: { name: 1 } })
  await send('PATCH /factors/{id}', { ...factor, text: '{}', type: 'text/plain' })
  await send('PATCH /factors/{id}', { ...factor, text: ' '.repeat(20_000) })
  const unknown = '/factors/6f1c1f5e-7a52-4d3a-9a39-0a1f2b3c4d5e'
  await send('PATCH /factors/{id}', { token: fresh, path: unknown, body: { name: 'phone' } })
  await send('DELETE /factors/{id}', factor)
  await send('DELETE /factors/{id}', { token: fresh, path: unknown })
  await send('DELETE /factors/{id}', { token: fresh, path: '/factors/x' })
  const optional = await createBareUser(doorstep, 'optional')
  const { access_token: weak } = await send('POST /login', { body: form(optional) })
  await unmailed(() => send('POST /factors', { token: weak, body: { method: 'totp' } }))
  await fillMails(optional)
  await send('POST /factors', { token: weak, body: { method: 'totp' } })
  await lock(optional, true)
  await send('POST /factors', { token: weak, body: { method: 'totp' } })
  await send('POST /login/step-up', { token: weak, body: { password: 'wrong' } })
  services.passwordHash.verify = async () => {
    throw new Problem('busy', { retryAfter: 1 })
  }
  await send('POST /login/step-up', { token: weak, body: { password: optional.password } })
  services.passwordHash.verify = verify
  await send('POST /login/step-up', { token: weak, body: { password: optional.password } })
  await ageRows(doorstep, optional, 601)
  await send('POST /factors', { token: weak, body: { method: 'totp' } })
  await send('DELETE /factors/{id}', { token: weak, path: unknown })

  // Another method.
  const chosen = async (): Promise<{ user: TestUser; token: string }> => {
    const user = await createUser(doorstep)
    await sql('UPDATE users SET email_confirmed_at = now() WHERE id = $1', [user.id])
    await sql(`INSERT INTO factors (id, user_id, method) VALUES (gen_random_uuid(), $1, 'totp')`, [user.id])
    return { user, token: (await send('POST /login', { body: form(user) })).pending_token }
  }
  const go = (token: string, method: string) => send('POST /login/2fa/method', { token, body: { method } })
  const choosing = await chosen()
  for (const method of ['email', 'sms', 'sms', 'totp']) await go(choosing.token, method)
  await lock(choosing.user)
  await go(choosing.token, 'sms')
  const unsent = await chosen()
  await unmailed(() => go(unsent.token, 'email'))
  await fillMails(unsent.user)
  await go(unsent.token, 'email')
  await fillBudgets()
  await go(unsent.token, 'sms')
  await clearBudgets()
  for (const reason of ['phone', 'ours'] as const) {
    const { token } = await chosen()
    await refusing(reason, () => go(token, 'sms'))
  }
  const last = await chosen()
  await landline(last.user)
  await go(last.token, 'sms')
  await sql('UPDATE challenges SET attempts = 5 WHERE user_id = $1', [last.user.id])
  await go(last.token, 'totp')

  // A passkey alone.
  const start = await send('POST /login/passkey', { body: { return_to: '/a' } })
  const { public_key: asked } = start.challenge
  const device = createAuthenticator({ origin: doorstep.config.passkey.origins[0] ?? '' })
  const made = { handle: asked.challenge, name: 'x', displayName: 'x' }
  device.register(services.passkeys.creationOptions({ cid: 'x', user: made, exclude: [] }))
  await send('POST /login/2fa', { token: start.pending_token, body: { credential: device.assert(asked) } })
  await send('GET /login/2fa', { token: start.pending_token })

  // Sessions and devices.
  const session = await send('POST /login', { body: form(await createUser(doorstep, { twoFactor: 'off' })) })
  const token: string = session.access_token
  const nobody = '6f1c1f5e-7a52-4d3a-9a39-0a1f2b3c4d5e'
  const backend = 'billing:a-secret-of-the-billing-team-0123'
  for (const [name, type] of [
    ['POST /token/refresh', 'application/json'],
    ['POST /logout', 'application/json'],
    ['POST /login/step-up', 'application/json'],
    ['POST /token/introspect', formType],
  ] as const) {
    const credential = name === 'POST /token/introspect' ? { basic: backend } : { token }
    await send(name, { ...credential, text: type === 'application/json' ? '{"unknown":1}' : 'unknown=1', type })
    await send(name, { ...credential, text: ' '.repeat(20_000), type })
    await send(name, { ...credential, text: '{}', type: 'text/plain' })
  }
  await send('POST /token/introspect', { basic: 'billing:wrong', text: 'token=x', type: formType })
  for (const sent of ['x', token]) {
    const text = `token=${sent}`
    await send('POST /token/introspect', { basic: backend, text, type: formType })
  }
  for (const thing of ['sessions', 'devices']) {
    await send(`GET /${thing}`, { token })
    await send(`DELETE /${thing}/{id}`, { token, path: `/${thing}/x` })
    await send(`DELETE /${thing}/{id}`, { token, path: `/${thing}/${nobody}` })
  }
  await freshen(token)
  for (const thing of ['sessions', 'devices']) {
    await send(`DELETE /${thing}/{id}`, { token, path: `/${thing}/${nobody}` })
  }
  const { devices } = await send('GET /devices', { token })
  const own = { token, path: `/devices/${devices[0].id}` }
  await send('PATCH /devices/{id}', { ...own, body: { name: 'phone', trusted: false } })
  await send('PATCH /devices/{id}', { ...own, body: { trusted: true } })
  await send('PATCH /devices/{id}', { ...own, text: '{}', type: 'text/plain' })
  await send('PATCH /devices/{id}', { ...own, text: ' '.repeat(20_000) })
  await send('PATCH /devices/{id}', { token, path: `/devices/${nobody}`, body: { name: 'phone' } })
  await send('POST /token/refresh', { body: { refresh_token: 'x' } })
  const refreshed = await send('POST /token/refresh', { body: { refresh_token: session.refresh_token } })
  await send('POST /token/refresh', { body: { refresh_token: refreshed.refresh_token } })
  await send('POST /token/refresh', { body: { refresh_token: session.refresh_token } })

  // The step up.
  const raised = async (prepare: (user: TestUser) => Promise<unknown>) => {
    const user = await createUser(doorstep, { twoFactor: 'off' })
    const { access_token: own } = await send('POST /login', { body: form(user) })
    await prepare(user)
    await send('POST /login/step-up', { token: own, body: {} })
    return { user, own }
  }
  await raised((user) => lock(user, true))
  await raised(landline)
  const stepping = await raised(async () => {})
  await sql('UPDATE challenges SET attempts = 5 WHERE user_id = $1', [stepping.user.id])
  await send('POST /login/step-up', { token: stepping.own, body: {} })
  await age(stepping.user)
  await fillBudgets()
  await send('POST /login/step-up', { token: stepping.own, body: {} })
  await clearBudgets()
  for (const reason of ['phone', 'ours'] as const) {
    const user = await createUser(doorstep, { twoFactor: 'off' })
    const { access_token: own } = await send('POST /login', { body: form(user) })
    await refusing(reason, () => send('POST /login/step-up', { token: own, body: {} }))
  }
  await clearBudgets()
  const leaving = await send('POST /login', { body: form(stepping.user) })
  await send('POST /logout', { token: leaving.access_token, body: { scope: 'others' } })
  await freshen(leaving.access_token)
  await send('POST /logout', { token: leaving.access_token, body: { scope: 'others' } })
  await send('POST /logout', { token: leaving.access_token })

  // By links in mails.
  const spoil = async (name: string, more: { token?: string } = {}) => {
    await send(name, { ...more, body: { unknown: 1 } })
    await send(name, { ...more, text: '{' })
    await send(name, { ...more, text: ' '.repeat(20_000) })
    await send(name, { ...more, text: '{}', type: 'text/plain' })
  }
  const byLink = ['POST /password/set', 'POST /account/secure']
  for (const name of ['POST /register', 'POST /password/forgot', ...byLink]) await spoil(name)
  const grace = { email: 'grace@example.com', password: 'a long sentence of her own' }
  for (const name of ['POST /register', 'POST /password/forgot'])
    await unmailed(() => send(name, { body: { email: grace.email } }))
  await send('POST /register', { body: { email: grace.email, locale: 'de' } })
  const link = await mailedToken(doorstep, grace.email)
  await send('POST /password/forgot', { body: { email: grace.email } })
  for (const name of byLink) await send(name, { body: { token: 'x', ...(name === byLink[0] && { password: 'x' }) } })
  const { hash } = services.passwordHash
  services.passwordHash.hash = async () => {
    throw new Problem('busy', { retryAfter: 1 })
  }
  const chosenPassword = { body: { token: link, password: grace.password } }
  await send('POST /password/set', chosenPassword)
  services.passwordHash.hash = hash
  const registered = await send('POST /password/set', chosenPassword)
  const herApp = await send('POST /factors', { token: registered.pending_token, body: { method: 'totp' } })
  const { access_token: hers } = await send('POST /login/2fa', {
    ...{ token: herApp.pending_token, body: { code: totpCode(herApp.challenge.setup.secret) } },
  })
  const [herId] = (await sql('SELECT id FROM users WHERE email = $1', [grace.email])).map(({ id }) => id)

  // What users do with their account.
  for (const name of ['PUT /me/password', 'PUT /me/email', 'POST /me/email/confirm', 'PATCH /me'])
    await spoil(name, { token: hers })
  await send('PATCH /me', { token: hers, body: { locale: 'de' } })
  for (const n of [1, 2, 3, 4]) await send('PUT /me/email', { token: hers, body: { email: `grace${n}@example.org` } })
  await send('POST /me/email/confirm', { token: hers, body: { token: link } })
  const confirming = await mailedToken(doorstep, 'grace3@example.org', 'confirm-email')
  await send('POST /me/email/confirm', { token: hers, body: { token: confirming } })
  await send('GET /me/export', { token: hers })
  const change = { token: hers, body: { current_password: grace.password, password: 'another sentence of hers' } }
  await send('PUT /me/password', { token: hers, body: { ...change.body, current_password: 'wrong' } })
  services.passwordHash.verify = async () => {
    throw new Problem('busy', { retryAfter: 1 })
  }
  await send('PUT /me/password', change)
  services.passwordHash.verify = verify
  services.passwordHash.hash = async (...given) => {
    await sql("UPDATE users SET password_hash = password_hash || '$' WHERE id = $1", [herId])
    return hash(...given)
  }
  await send('PUT /me/password', change)
  services.passwordHash.hash = hash
  await sql(
    "UPDATE users SET password_hash = rtrim(password_hash, '$'), password_state = 'reset_required' WHERE id = $1",
    [herId],
  )
  await send('PUT /me/password', change)
  await send('POST /login', { body: { ...grace, email: 'grace3@example.org' } })
  await sql("UPDATE users SET password_state = 'set' WHERE id = $1", [herId])
  const { access_token: newest } = await send('PUT /me/password', change)
  const leaver = { id: String(herId), ...grace, phone: '' }
  await ageRows(doorstep, leaver, 601)
  for (const name of ['PUT /me/password', 'PUT /me/email'])
    await send(name, { token: newest, body: name.endsWith('email') ? { email: grace.email } : change.body })
  for (const name of ['GET /me/export', 'DELETE /me']) await send(name, { token: newest })
  await freshen(newest)
  await send('DELETE /me', { token: newest })
  const notMe = await mailedToken(doorstep, 'grace3@example.org', 'not-me')
  await send('POST /account/secure', { body: { token: notMe } })

  // By backends.
  const { id: clientId, secret } = await makeBackend(doorstep)
  const able = { basic: `${clientId}:${secret}` }
  const unable = await makeBackend(doorstep, { scopes: ['users:contact'] })
  const known = await createOwner(doorstep)
  const there = await createUser(doorstep)
  const bodied = ['POST /admin/users/search', 'POST /admin/users', 'PATCH /admin/users/{id}']
  bodied.push('POST /admin/users/{id}/password-reset', 'POST /admin/users/{id}/unlock')
  bodied.push('POST /admin/webhooks', 'PATCH /admin/webhooks/{id}')
  bodied.push('POST /admin/webhooks/{id}/rotate-secret', 'POST /admin/webhooks/{id}/redeliver')
  const at = (name: string, id: string, part = nobody) => ({
    path: name
      .replace(/^[A-Z]+ /, '')
      .replace('{id}', id)
      .replace('{part}', part),
  })
  for (const name of [...Object.keys(ofBackends), 'POST /token/introspect']) {
    const form = name === 'POST /token/introspect' ? { text: 'token=x', type: formType } : {}
    await send(name, { ...at(name, nobody), ...form, basic: 'dsc_x:dss_x' })
    await send(name, { ...at(name, nobody), ...form, basic: `${unable.id}:${unable.secret}` })
  }
  for (const name of Object.keys(ofBackends).filter((it) => it.includes('{id}'))) {
    const body = bodied.includes(name)
      ? { body: name.endsWith('redeliver') ? { after: 'evt_0000000000000000001' } : {} }
      : {}
    await send(name, { ...able, ...at(name, 'x'), ...body })
    await send(name, { ...able, ...at(name, nobody), ...body })
  }
  for (const name of bodied) {
    await send(name, { ...able, ...at(name, known.id), body: { unknown: 1 } })
    await send(name, { ...able, ...at(name, known.id), text: ' '.repeat(20_000) })
    await send(name, { ...able, ...at(name, known.id), text: '{}', type: 'text/plain' })
  }
  await send('POST /admin/users', { ...able, body: { email: known.email } })
  await send('POST /admin/users', {
    ...able,
    body: { email: 'new@example.com', phone: '+442079460000', phone_confirmed: true },
  })
  await send('POST /admin/users', { ...able, body: { email: 'new@example.com', external_id: 'customer-1' } })
  await send('POST /admin/users/search', { ...able, body: { limit: 1 } })
  const patch = 'PATCH /admin/users/{id}'
  await send(patch, { ...able, ...at(patch, known.id), body: { email: there.email } })
  await send(patch, { ...able, ...at(patch, known.id), body: { external_id: 'customer-2' } })
  await send('POST /login', { body: form(known) })
  await sessionOf(doorstep, known)
  const whole = await send('GET /admin/users/{id}', { ...able, ...at('GET /admin/users/{id}', known.id) })
  for (const thing of ['sessions', 'devices', 'factors']) {
    const one = `DELETE /admin/users/{id}/${thing}/{part}`
    await send(one, { ...able, ...at(one, known.id, whole[thing][0].id) })
    await send(one.replace('/{part}', ''), { ...able, ...at(one.replace('/{part}', ''), known.id) })
  }
  for (const call of ['password-reset', 'unlock']) {
    const name = `POST /admin/users/{id}/${call}`
    await send(name, { ...able, ...at(name, known.id), body: {} })
  }
  await send('DELETE /admin/users/{id}', { ...able, ...at('DELETE /admin/users/{id}', known.id) })
  const endpoint = { url: 'https://hooks.example.com/', events: ['user.*'] }
  await send('GET /admin/events', { ...able, path: '/admin/events?limit=0' })
  await send('GET /admin/webhooks', able)
  const webhook = await send('POST /admin/webhooks', { ...able, body: endpoint })
  for (let n = 0; n < 10; n += 1) await send('POST /admin/webhooks', { ...able, body: endpoint })
  const ofWebhook = (name: string, body: object) => send(name, { ...able, ...at(name, String(webhook.id)), body })
  await ofWebhook('PATCH /admin/webhooks/{id}', { status: 'disabled' })
  await ofWebhook('POST /admin/webhooks/{id}/redeliver', { after: 'evt_8000000000000000000' })
  await ofWebhook('POST /admin/webhooks/{id}/rotate-secret', {})

  // Receipts. A signature can hold only with Twilio.
  const authToken = 'not-a-real-token'
  const { app: withTwilio } = await startDoorstep(t, {
    database: doorstep.database,
    env: {
      SMS_PROVIDER: 'twilio',
      TWILIO_ACCOUNT_SID: `AC${'0'.repeat(32)}`,
      TWILIO_AUTH_TOKEN: authToken,
      TWILIO_FROM: '+15005550006',
      TWILIO_API_BASE_URL: 'http://127.0.0.1:1',
    },
  })
  const receive = (MessageStatus: string, type = formType) =>
    send('POST /webhooks/twilio/status', {
      to: withTwilio,
      signature: createHmac('sha1', authToken)
        .update(`http://localhost:3000/webhooks/twilio/statusMessageStatus${MessageStatus}`)
        .digest('base64'),
      text: new URLSearchParams({ MessageStatus }).toString(),
      type,
    })
  await send('POST /webhooks/twilio/status')
  for (const status of ['queued', '\0', 'x'.repeat(9_000)]) await receive(status)
  await receive('queued', `${formType}; charset=latin1`)

  // And what goes well.
  const good = await begin()
  await send('GET /login/2fa', { token: good.token })
  await age(good.user)
  await clearBudgets()
  await send('POST /login/2fa/resend', { token: good.token, body: {} })
  await send('POST /login/2fa', { token: good.token, body: { code: good.code } })
  await send('GET /me', { token: String(accessToken) })
  for (const name of ['GET /.well-known/jwks.json', 'GET /health/live', 'GET /health/ready']) await send(name)
  for (const name of ['GET /dev/sms', 'GET /dev/mail']) {
    await send(name)
    await send(name, { headers: { 'x-forwarded-for': '192.0.2.1' } })
  }
  await send('GET /.well-known/oauth-authorization-server')
  await send('GET /problems/{code}', { path: '/problems/busy' })

  for (const { name, operation } of operations) {
    const listed = Object.values(operation.responses).flatMap(({ content }) =>
      Object.keys(content?.['application/problem+json']?.examples ?? {}),
    )
    const expected = new Set([...(driven.get(name) ?? []), ...anywhere])
    t.strictSame(listed.sort(), [...expected].sort(), name)
  }
})

t.test('the codes that any operation may answer with, in their documented form', async (t) => {
  const { begin } = services.store.throttle
  const failing = async (message: string) => {
    services.store.throttle.begin = async () => {
      throw new Error(message)
    }
    const reply = await app.inject({
      method: 'POST',
      url: '/login',
      payload: { email: 'third@example.com', password: 'x' },
    })
    services.store.throttle.begin = begin
    return reply
  }
  const limited = await startDoorstep(t, { database: doorstep.database, env: { RATE_DEFAULT_MINUTE: '1' } })
  await limited.app.inject('/health/live')
  const problem = document.components.schemas.Problem ?? {}
  for (const [code, reply] of [
    ['internal_error', await failing('x')],
    ['unavailable', await failing('timeout exceeded when trying to connect')],
    ['rate_limited', await limited.app.inject('/health/live')],
  ] as const) {
    t.equal(reply.json().code, code)
    t.ok(fits(problem, reply.json()))
  }
  t.match(problem, { properties: { code: { enum: Object.keys(problemCatalogue) } } })
})

t.test('what is served, what is committed and what the code says are the same', async (t) => {
  t.strictSame((await app.inject('/openapi.json')).json(), document)
  const file = new URL('../openapi.yaml', import.meta.url)
  const committed = existsSync(file) ? parse(readFileSync(file, 'utf8')) : document
  t.strictSame(committed, document, 'openapi.yaml: run `npm run openapi`')
  const { statusCode, body, headers } = await app.inject('/docs/')
  t.equal(statusCode, 200)
  t.match(body, /swagger-ui/)
  t.notMatch(body, /<script>|<style|\sstyle=|\son\w+=/, 'nothing of the page stands in it')
  const policy = String(headers['content-security-policy'])
  t.match(policy, /^default-src 'none';script-src 'self';style-src 'self';.*frame-ancestors 'none'$/)
  t.notMatch(policy, /unsafe|\*|https:/, 'so that nothing else can run')
  t.match((await login(doorstep, await createUser(doorstep, { twoFactor: 'off' }))).body, { status: 'authenticated' })
})
