import fc from 'fast-check'
import t from 'tap'
import { age } from './helpers/age.ts'
import { refresh } from './helpers/credentials.ts'
import { startDoorstep } from './helpers/doorstep.ts'
import { thorough } from './helpers/effort.ts'
import { part } from './helpers/forge.ts'
import * as rules from './helpers/login-model.ts'
import {
  type Answer,
  call,
  createUser,
  finish,
  freshPhone,
  login,
  resend,
  type TestUser,
  wrongCode,
} from './helpers/story.ts'

t.setTimeout(0)

const doorstep = await startDoorstep(t)
const { sql, services } = doorstep

/** Lives that are played: as many as MODEL_RUNS says; the same again with the seed and path that a failure prints. */
const runs = Number(process.env.MODEL_RUNS ?? thorough(300, 40))

type Model = rules.Model

/** The service as one user meets it. Tokens are kept in the order of the model's pendings, sessions and devices. */
type Real = {
  user: TestUser
  startedMs: number
  waited: number
  pendings: string[]
  sessions: { sid: string; access: string; refresh: string[] }[]
  devices: string[]
}

const phone = freshPhone()
const passwords = ['correct horse battery staple', 'a quite different password'] as const
const hashes = new Map<string, string>()
for (const password of passwords) hashes.set(password, await services.passwordHash.hash(password))

/** One life at a time, each with a user that nobody has counted anything of. */
async function begin(): Promise<{ model: Model; real: Real }> {
  await sql('DELETE FROM users')
  await sql('DELETE FROM sms_budgets')
  const user = await createUser(doorstep, { phone })
  const real = { user, startedMs: performance.now(), waited: 0, pendings: [], sessions: [], devices: [] }
  return { model: rules.newModel(), real }
}

/** Keeps what an answer gives, as a client would. */
function keep(real: Real, { status, body }: Answer): void {
  if (status !== 200) return
  if (body.pending_token) real.pendings.push(body.pending_token)
  if (body.device_token) real.devices.push(body.device_token)
  if (body.status !== 'authenticated') return
  const sid = String(part(body.access_token, 1).sid)
  let session = real.sessions.find((one) => one.sid === sid)
  if (session === undefined) {
    session = { sid, access: '', refresh: [] }
    real.sessions.push(session)
  }
  session.access = body.access_token
  if (!session.refresh.includes(body.refresh_token)) session.refresh.push(body.refresh_token)
}

async function stored({ user, sessions }: Real): Promise<object | undefined> {
  const [row] = await sql(
    `SELECT
       ARRAY(SELECT concat_ws(' ', generation, acr, CASE WHEN ended_at IS NULL THEN 'not ended' ELSE 'ended' END)
         FROM sessions WHERE user_id = $1 ORDER BY array_position($2::uuid[], id)) AS sessions,
       ARRAY(SELECT cardinality(failed_at) FROM trusted_devices WHERE user_id = $1 ORDER BY created_at, id) AS devices,
       streak, cardinality(failed_at) AS failed,
       coalesce((SELECT failures FROM login_throttles WHERE identifier = $3), 0) AS throttle,
       (SELECT count(*)::integer FROM sms_budgets b, unnest(counted_texts(b)) AS sent
         WHERE key = 'user:' || $4 AND sent > clock_timestamp() - interval '24 hours') AS texts
     FROM factor_guards WHERE user_id = $1`,
    [user.id, sessions.map(({ sid }) => sid), services.loginThrottle.identify(user.email), user.id],
  )
  return row
}

/** An answer in the model's words. */
function told({ status, body }: Answer): string {
  const left = body.code === 'invalid_code' ? ` ${body.attempts_remaining}` : ''
  return `${status} ${body.code ?? body.status ?? ''}${left}`.trim()
}

const seen = new Map<string, number>()

type Played = { expected: string; answer: Answer } | null
type Step = fc.AsyncCommand<Model, Real>

/** One kind of step: `play` takes it on both sides, `times` times over; answer and store are compared after each. */
const step = (
  name: string,
  may: (model: Model) => boolean,
  play: (model: Model, real: Real) => Promise<Played>,
  times = 1,
): Step => ({
  check: may,
  toString: () => (times > 1 ? `${name} ${times} times` : name),
  run: async (model, real) => {
    for (let n = 0; n < times; n++) {
      model.now = real.waited + (performance.now() - real.startedMs) / 1_000
      const played = await play(model, real)
      if (played !== null) {
        const { expected, answer } = played
        keep(real, answer)
        seen.set(expected, (seen.get(expected) ?? 0) + 1)
        if (told(answer) !== expected)
          throw new Error(`${name}: "${expected}" was expected, "${told(answer)}" was told`)
      }
      const [wanted, found] = [JSON.stringify(rules.storedOf(model)), JSON.stringify(await stored(real))]
      if (wanted !== found) throw new Error(`${name}: ${wanted} was expected, ${found} is stored`)
    }
  },
})

/** One of a list, `back` from its end. */
function pick<T>(list: readonly T[], back: number): T {
  const item = list.at(-1 - (back % list.length))
  if (item === undefined) throw new Error('nothing to pick from')
  return item
}
const hasPending = ({ pendings }: Model) => pendings.length > 0
const hasSession = ({ sessions }: Model) => sessions.length > 0
const hasDevice = ({ devices }: Model) => devices.length > 0
const always = () => true

const back = fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.nat({ max: 5 }) })
const often = fc.oneof(
  { weight: 2, arbitrary: fc.constant(1) },
  { weight: 1, arbitrary: fc.integer({ min: 2, max: 6 }) },
)
const wrong = 'not the password'

const knock = (isRight: boolean, remember: boolean, device: number | null, times: number): Step =>
  step(
    `${isRight ? 'login' : 'wrong password'}${device === null ? '' : ' from a device'}`,
    device === null ? always : hasDevice,
    async (model, real) => {
      const known = device === null ? null : pick(model.devices, device)
      const sent = known === null ? {} : { device_token: pick(real.devices, device ?? 0) }
      const { email, password } = real.user
      const body = { remember_me: remember, ...sent }
      const answer = await login(doorstep, { email, password: isRight ? password : wrong }, { body })
      return { expected: rules.login(model, isRight, remember, known), answer }
    },
    times,
  )

const tryCode = (at: number, isRight: boolean, trust: boolean, times: number): Step =>
  step(
    isRight ? 'right code' : 'wrong code',
    hasPending,
    async (model, real) => {
      const token = pick(real.pendings, at)
      const right = services.oneTimeCodes.again(String(part(token, 1).cid), 'k1') ?? ''
      const body = { trust_device: trust }
      const answer = await finish(doorstep, token, isRight ? right : wrongCode(right), { body })
      return { expected: rules.code(model, pick(model.pendings, at), isRight, trust), answer }
    },
    times,
  )

const askAgain = (at: number): Step =>
  step('resend', hasPending, async (model, real) => ({
    answer: await resend(doorstep, pick(real.pendings, at)),
    expected: rules.resend(model, pick(model.pendings, at)),
  }))

/** `age` 0: the newest refresh token, 1: the one before it, … */
const renew = (at: number, age: number): Step =>
  step(
    age === 0 ? 'refresh' : `refresh with a token used ${age} times back`,
    (model) => hasSession(model) && pick(model.sessions, at).generation >= age,
    async (model, real) => {
      const session = pick(model.sessions, at)
      const generation = session.generation - age
      const answer = await refresh(doorstep, pick(real.sessions, at).refresh[generation] ?? '')
      return { expected: rules.refresh(model, session, generation), answer }
    },
  )

const leave = (at: number, scope: 'local' | 'others' | 'all'): Step =>
  step(`logout ${scope}`, hasSession, async (model, real) => ({
    answer: await call(doorstep, '/logout', { token: pick(real.sessions, at).access, body: { scope } }),
    expected: rules.logout(model, pick(model.sessions, at), scope),
  }))

const raise = (at: number): Step =>
  step('step-up', hasSession, async (model, real) => ({
    answer: await call(doorstep, '/login/step-up', { token: pick(real.sessions, at).access, body: {} }),
    expected: rules.stepUp(model, pick(model.sessions, at)),
  }))

const look = (at: number): Step =>
  step('GET /me', hasSession, async (model, real) => ({
    answer: await call(doorstep, '/me', { token: pick(real.sessions, at).access }),
    expected: rules.isLive(model, pick(model.sessions, at)) ? '200' : '401 invalid_token',
  }))

const event = { type: 'user.changed', outcome: 'test' } as const

const changePassword = step('change the password', always, async (model, { user }) => {
  user.password = passwords.find((password) => password !== user.password) ?? ''
  await services.store.accounts.change(user.email, { password_hash: hashes.get(user.password) ?? '' }, event)
  rules.change(model)
  return null
})

const disable = (disabled: boolean): Step =>
  step(
    disabled ? 'disable' : 'enable',
    (model) => model.disabled !== disabled,
    async (model, { user }) => {
      await services.store.accounts.change(user.email, { disabled }, event)
      rules.change(model, disabled)
      return null
    },
  )

const wait = (seconds: number): Step =>
  step(`wait ${seconds} s`, always, async (model, real) => {
    await age(doorstep, real.user, seconds)
    real.waited += seconds
    model.now += seconds
    return null
  })

/** Both steps of a login, whatever the first is answered with. */
function signIn(remember: boolean, trust: boolean): Step {
  const [first, next] = [knock(true, remember, null, 1), tryCode(0, true, trust, 1)]
  return {
    check: always,
    toString: () => 'sign in',
    run: async (model, real) => {
      await first.run(model, real)
      if (next.check(model)) await next.run(model, real)
    },
  }
}

const signIns = fc.tuple(fc.boolean(), fc.boolean()).map(([remember, trust]) => signIn(remember, trust))
const logins = fc.boolean().map((remember) => knock(true, remember, null, 1))
const rightCodes = fc.tuple(back, fc.boolean()).map(([at, trust]) => tryCode(at, true, trust, 1))
const waits = fc.constantFrom(31, 62, 62, 310, 650, 1_000, 4_000, 44_000, 90_000, 1_000_000).map(wait)
const steps = [
  ...[signIns, signIns, signIns, logins, rightCodes, rightCodes, waits, waits],
  often.map((times) => knock(false, false, null, times)),
  fc.tuple(fc.boolean(), back).map(([remember, device]) => knock(true, remember, device, 1)),
  fc.tuple(back, often).map(([device, times]) => knock(false, false, device, times)),
  fc.tuple(back, often).map(([at, times]) => tryCode(at, false, true, times)),
  fc.tuple(back, often).map(([at, times]) => tryCode(at, false, false, times)),
  back.map(askAgain),
  back.map((at) => renew(at, 0)),
  back.map((at) => renew(at, 0)),
  fc.tuple(back, fc.constantFrom(1, 1, 2, 3)).map(([at, age]) => renew(at, age)),
  fc.tuple(back, fc.constantFrom('local', 'others', 'all')).map(([at, scope]) => leave(at, scope)),
  back.map(raise),
  back.map(look),
  fc.constant(changePassword),
  fc.constant(disable(true)),
  ...[1, 2, 3].map(() => fc.constant(disable(false))),
]

t.test(`${runs} lives of a user go as the model of the contract says`, async (t) => {
  const life = fc.asyncProperty(fc.commands(steps, { maxCommands: 30, size: 'max' }), (commands) =>
    fc.asyncModelRun(begin, commands),
  )
  await fc.assert(life, { numRuns: runs })
  for (const [outcome, count] of [...seen].sort()) t.comment(`${count} × ${outcome}`)
  const common = [
    ...['200', '200 2fa_required', '200 authenticated', '204', '401 invalid_credentials', '401 invalid_token'],
    // In few lives these may be missing by chance.
    ...(runs < 300 ? [] : ['422 invalid_code 4', '429 login_locked', '429 resend_too_soon']),
  ]
  for (const outcome of common) t.ok((seen.get(outcome) ?? 0) > 0, `"${outcome}" was among the answers`)
})
