import { randomBytes } from 'node:crypto'
import type { TwoFactor } from '../../src/store/accounts.ts'
import type { Doorstep } from './doorstep.ts'

/** What a client does, in the words of a client. Every call returns `{ status, body, headers }`. */
// biome-ignore lint/suspicious/noExplicitAny: a body is whatever the service answers; what it is, tests assert.
export type Answer = { status: number; body: Record<string, any>; headers: Record<string, unknown> }

export type TestUser = { id: string; email: string; phone: string; password: string }

export const rightPassword = 'correct horse battery staple'

/** A new user with a phone of its own. */
export async function createUser(
  { services }: Pick<Doorstep, 'services'>,
  given: { email?: string; phone?: string; password?: string; twoFactor?: TwoFactor } = {},
): Promise<TestUser> {
  const user = {
    email: given.email ?? `user-${randomBytes(6).toString('hex')}@example.com`,
    phone: given.phone ?? freshPhone(),
    password: given.password ?? rightPassword,
  }
  const created = await services.store.accounts.create(
    {
      ...{ ...user, passwordHash: await services.passwordHash.hash(user.password) },
      ...{ twoFactor: given.twoFactor ?? 'required', locale: 'en' },
    },
    { type: 'user.created', outcome: 'test' },
  )
  if (created.outcome !== 'created') throw new Error(created.outcome)
  return { id: created.id, ...user }
}

const areaCodes = [202, 212, 213, 305, 312, 404, 415, 503, 512, 602, 617, 702, 713, 801, 816, 901, 919]
let phonesGiven = 0

/** A number from the ranges that are kept free for fiction (North America, 555-0100 to 555-0199), new at each call. */
export function freshPhone(): string {
  const area = areaCodes[phonesGiven % areaCodes.length]
  const line = Math.floor(phonesGiven / areaCodes.length)
  phonesGiven += 1
  if (line >= 100) throw new Error('this test uses up all fictional numbers')
  return `+1${area}55501${String(line).padStart(2, '0')}`
}

type Sent = {
  method?: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  token?: string
  body?: unknown
  from?: string
  headers?: Record<string, string>
}

/** One request, `from` an address. */
export async function call({ app }: Pick<Doorstep, 'app'>, path: string, sent: Sent = {}): Promise<Answer> {
  const reply = await app.inject({
    method: sent.method ?? (sent.body === undefined ? 'GET' : 'POST'),
    url: path,
    remoteAddress: sent.from ?? '127.0.0.1',
    headers: { ...(sent.token !== undefined && { authorization: `Bearer ${sent.token}` }), ...sent.headers },
    ...(sent.body !== undefined && { payload: sent.body as object }),
  })
  return { status: reply.statusCode, body: reply.body === '' ? {} : reply.json(), headers: reply.headers }
}

/** The first step. */
export const login = (
  doorstep: Pick<Doorstep, 'app'>,
  user: { email: string; password: string },
  more: Pick<Sent, 'from' | 'headers'> & { body?: object } = {},
): Promise<Answer> =>
  call(doorstep, '/login', {
    body: { email: user.email, password: user.password, ...more.body },
    ...(more.from !== undefined && { from: more.from }),
    ...(more.headers !== undefined && { headers: more.headers }),
  })

/** The second step. */
export const finish = (
  doorstep: Pick<Doorstep, 'app'>,
  pendingToken: string,
  code: string,
  more: { from?: string; body?: object } = {},
): Promise<Answer> =>
  call(doorstep, '/login/2fa', {
    token: pendingToken,
    body: { code, ...more.body },
    ...(more.from !== undefined && { from: more.from }),
  })

export const resend = (
  doorstep: Pick<Doorstep, 'app'>,
  pendingToken: string,
  more: { from?: string } = {},
): Promise<Answer> => call(doorstep, '/login/2fa/resend', { token: pendingToken, body: {}, ...more })

/** The texts that went to a phone, newest first (console sender; all instances of one process have their own). */
export const textsTo = ({ services }: Pick<Doorstep, 'services'>, phone: string): string[] =>
  (services.inbox?.sent() ?? []).filter((text) => text.to === phone).map((text) => text.body)

/** The code in the newest text to a phone. */
export function codeFor(doorstep: Pick<Doorstep, 'services'>, phone: string): string {
  const code = /#(\d+)$/.exec(textsTo(doorstep, phone)[0] ?? '')?.[1]
  if (code === undefined) throw new Error(`no text went to ${phone}`)
  return code
}

/** A code that is certainly wrong. */
export const wrongCode = (right: string): string =>
  String((Number(right) + 1) % 10 ** right.length).padStart(right.length, '0')

/** Both steps; the answer of the second. */
export async function signIn(
  doorstep: Pick<Doorstep, 'app' | 'services'>,
  user: TestUser,
  more: Pick<Sent, 'from'> = {},
): Promise<Answer> {
  const first = await login(doorstep, user, more)
  if (first.status !== 200) throw new Error(`login: ${first.status} ${first.body.code}`)
  return finish(doorstep, first.body.pending_token, codeFor(doorstep, user.phone), more)
}
