import { createHash } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import { systemRandom } from '../src/system.ts'
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

const phones = [freshPhone(), freshPhone()] as const
/** Where nobody is known; one after the other, so that there are more than can wait for their codes at once. */
const places = ['192.0.2.1', '192.0.2.2', '192.0.2.3', '192.0.2.4', '192.0.2.5'] as const
const passwords = ['correct horse battery staple', 'a quite different password'] as const
const hashes = new Map<string, string>()
for (const password of passwords) hashes.set(password, await services.passwordHash.hash(password))

/** One life at a time, each with a user that nobody has counted anything of. */
async function begin(): Promise<{ model: Model; real: Real }> {
  await sql('DELETE FROM users')
  await sql('DELETE FROM login_throttles')
  const user = await createUser(doorstep, { phone: phones[0] })
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
       ARRAY(SELECT concat_ws(' ', generation, acr, CASE WHEN ended_at IS NULL THEN 'not ended' ELSE 'ended' END,
           cardinality(proofs_failed_at))
         FROM sessions WHERE user_id = $1 ORDER BY array_position($2::uuid[], id)) AS sessions,
       ARRAY(SELECT concat_ws(' ', d.failures, coalesce(remembered_failures(l, clock_timestamp()), 0),
           CASE WHEN trusted_until > clock_timestamp() THEN 'trusted' ELSE 'not trusted' END)
         FROM devices d LEFT JOIN login_throttles l ON l.identifier = d.token_hash
         WHERE user_id = $1 ORDER BY d.created_at, d.id) AS devices,
       ARRAY(SELECT concat_ws(' ', coalesce(streak, 0), coalesce(cardinality(failed_at), 0))
         FROM (VALUES (true), (false)) class (of_known)
         LEFT JOIN factor_guards g ON g.user_id = $1 AND g.known = of_known ORDER BY of_known DESC) AS guards,
       coalesce((SELECT remembered_failures(l, clock_timestamp()) FROM login_throttles l WHERE identifier = $3), 0) AS throttle,
       ARRAY(SELECT (SELECT count(*)::integer FROM challenges WHERE user_id = $1 AND purpose = 'login' AND known = of_known
           AND superseded_at IS NULL AND consumed_at IS NULL AND ends_at > clock_timestamp())
         FROM (VALUES (true), (false)) class (of_known) ORDER BY of_known DESC) AS waiting,
       ARRAY(SELECT concat_ws(' ', CASE WHEN known THEN 'known' ELSE 'strangers' END, state) COLLATE "C" FROM sms_messages
         WHERE user_id = $1 AND reserved_at > clock_timestamp() - interval '24 hours' ORDER BY 1) AS texts`,
    [user.id, sessions.map(({ sid }) => sid), services.loginThrottle.identifyAll(user.email)[0]],
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

/** A client: at one of the places, perhaps with the token of a device. */
const knock = (isRight: boolean, remember: boolean, place: number, device: number | null, times: number): Step =>
  step(
    `${isRight ? 'login' : 'wrong password'} at ${places[place]}${device === null ? '' : ' from a device'}`,
    device === null ? always : hasDevice,
    async (model, real) => {
      const shown = device === null ? null : pick(model.devices, device)
      const sent = shown === null ? {} : { device_token: pick(real.devices, device ?? 0) }
      const { email, password } = real.user
      const body = { remember_me: remember, ...sent }
      const answer = await login(
        doorstep,
        { email, password: isRight ? password : wrong },
        { from: places[place] ?? '', body },
      )
      return { expected: rules.login(model, { place, device: shown }, isRight, remember), answer }
    },
    times,
  )

const tryCode = (at: number, isRight: boolean, trust: boolean, times: number): Step =>
  step(
    isRight ? 'right code' : 'wrong code',
    hasPending,
    async (model, real) => {
      const token = pick(real.pendings, at)
      const right = services.oneTimeCodes.again({ challengeId: String(part(token, 1).cid), method: 'sms' }, 'k1') ?? ''
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

const forget = (at: number, device: number, what: 'trust' | 'device'): Step =>
  step(
    what === 'trust' ? 'end the trust in a device' : 'forget a device',
    (model) => hasSession(model) && hasDevice(model),
    async (model, real) => {
      const hash = createHash('sha256').update(pick(real.devices, device)).digest()
      const [row] = await sql<{ id: string }>('SELECT id FROM devices WHERE token_hash = $1', [hash])
      const path = `/devices/${row?.id ?? systemRandom.uuid()}`
      const token = pick(real.sessions, at).access
      const sent =
        what === 'trust' ? { method: 'PATCH' as const, body: { trusted: false } } : { method: 'DELETE' as const }
      return {
        answer: await call(doorstep, path, { token, ...sent }),
        expected: rules.dropDevice(model, pick(model.sessions, at), pick(model.devices, device), what),
      }
    },
  )

/** What the provider would say of the newest text of a login. */
const report = (at: number, word: 'refused' | 'unsure' | 'lost'): Step =>
  step(`the text was ${word}`, hasPending, async (model, real) => {
    const state = word === 'lost' ? 'open' : word
    await sql(
      `UPDATE sms_messages SET delivery = 'failed', state = CASE state WHEN 'open' THEN $2 ELSE state END
       WHERE id = (SELECT max(id) FROM sms_messages WHERE challenge_id = $1) AND delivery = 'sent'`,
      [part(pick(real.pendings, at), 1).cid, state],
    )
    rules.report(model, pick(model.pendings, at), word)
    return null
  })

const event = { type: 'user.changed', outcome: 'test' } as const
const identifiers = ({ email }: TestUser): Buffer[] => services.loginThrottle.identifyAll(email)

const changePassword = step('change the password', always, async (model, { user }) => {
  user.password = passwords.find((password) => password !== user.password) ?? ''
  const changed = { password_hash: hashes.get(user.password) ?? '' }
  await services.store.accounts.change(user.email, identifiers(user), changed, event)
  rules.change(model, { password: true })
  return null
})

const changePhone = step('change the phone', always, async (model, { user }) => {
  const next = 1 - model.phone
  await services.store.accounts.change(user.email, identifiers(user), { phone: phones[next] ?? '' }, event)
  rules.change(model, { phone: next })
  return null
})

const unlock = (all: boolean): Step =>
  step(`unlock${all ? ' --all' : ''}`, always, async (model, { user }) => {
    await services.store.accounts.unlock(user.email, identifiers(user), { all }, { ...event, type: 'user.unlocked' })
    rules.unlock(model, all)
    return null
  })

const disable = (disabled: boolean): Step =>
  step(
    disabled ? 'disable' : 'enable',
    (model) => model.disabled !== disabled,
    async (model, { user }) => {
      await services.store.accounts.change(user.email, identifiers(user), { disabled }, event)
      rules.change(model, { disabled })
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
function signIn(remember: boolean, trust: boolean, place: number, device: boolean): Step {
  const next = tryCode(0, true, trust, 1)
  return {
    check: always,
    toString: () => `sign in${device ? ' from a device' : ''}`,
    run: async (model, real) => {
      await knock(true, remember, place, device && hasDevice(model) ? 0 : null, 1).run(model, real)
      if (next.check(model)) await next.run(model, real)
    },
  }
}

/** Logins one after the other whose codes are guessed at, or never answered. */
function burn(at: number, device: boolean, rounds: number, tries: number): Step {
  const [guess, rest] = [tryCode(0, false, false, tries), wait(310)]
  return {
    check: always,
    toString: () => `${rounds} logins${device ? ' from a device' : ''} with ${tries} wrong codes each`,
    run: async (model, real) => {
      for (let n = 0; n < rounds; n++) {
        await knock(true, false, at, device && hasDevice(model) ? 0 : null, 1).run(model, real)
        if (tries > 0 && guess.check(model)) await guess.run(model, real)
        await rest.run(model, real)
      }
    },
  }
}

/** Logins at one place after the other, none of which is finished. */
function crowd(count: number): Step {
  return {
    check: always,
    toString: () => `begin at ${count} places`,
    run: async (model, real) => {
      for (let n = 0; n < count; n++) {
        await knock(true, false, n, null, 1).run(model, real)
        await wait(62).run(model, real)
      }
    },
  }
}

const place = fc.oneof(
  { weight: 2, arbitrary: fc.constant(0) },
  { weight: 3, arbitrary: fc.nat({ max: places.length - 1 }) },
)
const flag = fc.boolean()
const signIns = fc.tuple(flag, flag, place, flag).map((given) => signIn(...given))
const logins = fc.tuple(flag, place).map(([remember, at]) => knock(true, remember, at, null, 1))
const knownLogins = fc.tuple(flag, place, back).map(([remember, at, device]) => knock(true, remember, at, device, 1))
const rightCodes = fc.tuple(back, flag).map(([at, trust]) => tryCode(at, true, trust, 1))
const wrongCodes = fc.tuple(back, often, flag).map(([at, times, trust]) => tryCode(at, false, trust, times))
const waits = fc.constantFrom(31, 62, 62, 310, 650, 1_000, 4_000, 7_300, 44_000, 90_000, 1_000_000, 2_600_000).map(wait)
const steps = [
  ...[signIns, signIns, signIns, logins, logins, knownLogins, knownLogins, rightCodes, rightCodes, waits, waits],
  fc.tuple(place, often).map(([at, times]) => knock(false, false, at, null, times)),
  fc.tuple(place, back, often).map(([at, device, times]) => knock(false, false, at, device, times)),
  ...[wrongCodes, wrongCodes],
  fc.tuple(place, flag, fc.integer({ min: 1, max: 6 }), fc.constantFrom(0, 0, 4, 5, 5)).map((given) => burn(...given)),
  fc.integer({ min: 3, max: places.length }).map(crowd),
  back.map(askAgain),
  fc.tuple(back, fc.constantFrom('refused', 'unsure', 'lost')).map(([at, what]) => report(at, what)),
  ...[1, 2, 3, 4].map(() => back.map((at) => renew(at, 0))),
  ...[1, 2].map(() => fc.tuple(back, fc.constantFrom(1, 1, 2, 3)).map(([at, age]) => renew(at, age))),
  fc.tuple(back, fc.constantFrom('local', 'others', 'all')).map(([at, scope]) => leave(at, scope)),
  fc.tuple(back, back, fc.constantFrom('trust', 'device')).map(([at, device, what]) => forget(at, device, what)),
  back.map(raise),
  back.map(raise),
  back.map(look),
  fc.constantFrom(changePassword, changePhone, unlock(false), unlock(true)),
  fc.constant(disable(true)),
  ...[1, 2, 3].map(() => fc.constant(disable(false))),
]

t.test(`${runs} lives of a user go as the model of the contract says`, async (t) => {
  const life = fc.asyncProperty(fc.commands(steps, { maxCommands: 45, size: 'max' }), (commands) =>
    fc.asyncModelRun(begin, commands),
  )
  await fc.assert(life, { numRuns: runs })
  for (const [outcome, count] of [...seen].sort()) t.comment(`${count} × ${outcome}`)
  const deeper = [
    ...['410 code_expired', '422 invalid_code 4', '429 code_attempts_exhausted', '429 login_locked'],
    ...['429 resend_too_soon', '429 second_factor_locked', '429 sms_limit_reached'],
  ]
  const common = [
    ...['200', '200 2fa_required', '200 authenticated', '204', '401 invalid_credentials', '401 invalid_token'],
    // In few lives these may be missing by chance.
    ...(runs < 150 ? [] : deeper),
  ]
  for (const outcome of common) t.ok((seen.get(outcome) ?? 0) > 0, `"${outcome}" was among the answers`)
})
