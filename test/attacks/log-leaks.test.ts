import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { LightMyRequestResponse } from 'fastify'
import t from 'tap'
import { fromBase32 } from '../../src/security/base32.ts'
import { createAuthenticator } from '../helpers/authenticator.ts'
import { type Canary, canariesIn, spellings } from '../helpers/canaries.ts'
import { dump } from '../helpers/credentials.ts'
import { createTestDatabase } from '../helpers/database.ts'
import { startDoorstep } from '../helpers/doorstep.ts'
import { createBareUser, mailedCode, totpCode, wrongTotpCode } from '../helpers/factors.ts'
import { passTime } from '../helpers/pass-time.ts'
import { codeOf, loader } from '../helpers/program.ts'
import { freePort, runService } from '../helpers/service-process.ts'
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
} from '../helpers/story.ts'
import { startTwilioStub } from '../helpers/twilio-stub.ts'
import { startWireTap } from '../helpers/wire-tap.ts'

t.setTimeout(300_000)

// Ten digits, so that a code is not found by chance in a time or an id.
const secretKeys = [randomBytes(32), randomBytes(32)]
const secrets = { SECRET_KEYS: secretKeys.map((key, at) => `leak${at}:${key.toString('base64')}`).join(',') }
const stub = await startTwilioStub()
const providerSettings = {
  SMS_PROVIDER: 'twilio',
  TWILIO_ACCOUNT_SID: stub.accountSid,
  TWILIO_AUTH_TOKEN: stub.authToken,
  TWILIO_FROM: '+15005550006',
  TWILIO_API_BASE_URL: stub.url,
  SMS_ALLOWED_COUNTRIES: '*',
}

const database = await createTestDatabase()
const tap = await startWireTap(database.url)
const doorstep = await startDoorstep(t, {
  database: { ...database, url: tap.url },
  env: { ...providerSettings, ...secrets, CODE_LENGTH: '10', METHODS: 'passkey,totp,sms,email' },
})
t.teardown(async () => {
  await tap.close()
  await database.close()
  await stub.close()
})
const { app, services, sql, logs } = doorstep

const codeTo = (user: TestUser): string => /#(\d+)$/.exec(stub.last(user.phone)?.body ?? '')?.[1] ?? ''
const passCooldown = () => passTime(doorstep, 61)

/** A password that is different in every spelling. */
const canaryPassword = (): string => `pw-${randomBytes(9).toString('hex')} "é\\/+&<😀`

type Told = [type: string, outcome: string]
type LogLine = Record<string, unknown> & { time: string; event?: string; outcome?: string }
const linesFrom = (mark: number): LogLine[] => logs.slice(mark).map((line) => JSON.parse(line))

t.test('what happens is told: the events of every story, in the log and in the audit table', async (t) => {
  /** The events that `work` causes: in the log, and as audit rows. */
  const listen = async (work: () => Promise<unknown>): Promise<{ log: Told[]; audit: Told[]; lines: LogLine[] }> => {
    const mark = logs.length
    const [{ count } = { count: 0 }] = await sql<{ count: number }>(
      'SELECT count(*)::integer AS count FROM audit_events',
    )
    await work()
    const lines = linesFrom(mark).filter(({ event }) => event !== undefined)
    const rows = await sql('SELECT type, outcome FROM audit_events ORDER BY at, id OFFSET $1', [count])
    return {
      lines,
      log: lines.map(({ event, outcome }): Told => [String(event), String(outcome)]),
      audit: rows.map(({ type, outcome }): Told => [type, outcome]),
    }
  }
  const tells = async (
    name: string,
    work: () => Promise<unknown>,
    log: Told[],
    unaudited: string[] = [],
  ): Promise<LogLine[]> => {
    const told = await listen(work)
    t.strictSame(told.log, log, `${name}: the log`)
    t.strictSame(
      told.audit,
      log.filter(([type]) => !unaudited.includes(type)),
      `${name}: the audit table`,
    )
    for (const line of told.lines) {
      t.match(line, {
        time: /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/,
        level: /^(info|warn)$/,
        requestId: /^[0-9a-f]{8}-[0-9a-f-]{27}$/,
        address: '127.0.0.1',
      })
    }
    return told.lines
  }

  const ada = await createUser(doorstep, { password: canaryPassword() })
  const bob = await createUser(doorstep)
  const off = await createUser(doorstep, { twoFactor: 'off' })
  const wrong = (user: { email: string }) => login(doorstep, { email: user.email, password: 'not it' })

  const again: Told = ['login.failed', 'invalid_credentials']
  const [failed] = await tells('a wrong password', () => wrong(ada), [again])
  t.match(failed, { userId: ada.id, factor: 'password' })
  const [row] = await sql('SELECT * FROM audit_events ORDER BY id DESC LIMIT 1')
  t.match(row, { user_id: ada.id, factor: 'password', address: '127.0.0.1', request_id: /^[0-9a-f-]{36}$/ })

  // What strangers can cause at will, without an account, leaves no row.
  const [unknown] = await tells(
    'an unknown e-mail',
    () => wrong({ email: 'nobody@example.com' }),
    [again],
    ['login.failed'],
  )
  t.notOk(unknown?.userId)
  t.match(await sql('SELECT sum(failures)::integer AS failures FROM unknown_logins'), [{ failures: 1 }], 'but a count')
  await tells(
    'five wrong passwords and one more',
    async () => {
      for (let guess = 0; guess < 6; guess += 1) await wrong({ email: 'locked@example.com' })
    },
    [again, again, again, again, again, ['login.locked', 'refused']],
    ['login.failed', 'login.locked'],
  )

  let token = ''
  await tells(
    'the right password',
    async () => {
      token = (await login(doorstep, ada)).body.pending_token
    },
    [
      ['login.challenged', 'opened'],
      ['sms.delivery', 'sent'],
    ],
    ['sms.delivery'],
  )
  await tells('once more', () => login(doorstep, ada), [['login.challenged', 'joined']])
  await tells('a wrong code', () => finish(doorstep, token, wrongCode(codeTo(ada))), [['code.failed', '4 left']])
  await tells('a resend too soon', () => resend(doorstep, token), [['sms.refused', 'resend_too_soon']])
  await passCooldown()
  await tells(
    'a resend',
    () => resend(doorstep, token),
    [
      ['code.resent', 'reserved'],
      ['sms.delivery', 'sent'],
    ],
    ['sms.delivery'],
  )
  let accessToken = ''
  const [succeeded] = await tells('the right code', async () => {
    accessToken = (await finish(doorstep, token, codeTo(ada))).body.access_token
  }, [
    ['session.started', 'aal2'],
    ['device.added', 'by sign-in'],
  ])
  t.match(succeeded, { userId: ada.id, factor: 'sms' })
  await tells('a replay', () => finish(doorstep, token, codeTo(ada)), [['code.refused', 'invalid']], ['code.refused'])
  await tells('no second factor', () => login(doorstep, off), [
    ['session.started', 'aal1'],
    ['device.added', 'by sign-in'],
  ])

  const bobs: string = (await login(doorstep, bob)).body.pending_token
  await tells(
    'six wrong codes',
    async () => {
      for (let guess = 0; guess < 6; guess += 1) await finish(doorstep, bobs, wrongCode(codeTo(bob)))
    },
    [...[4, 3, 2, 1, 0].map((left): Told => ['code.failed', `${left} left`]), ['code.refused', 'exhausted']],
    ['code.refused'],
  )
  await passCooldown()
  const more: string = (await login(doorstep, bob)).body.pending_token
  const wrongCodes = (pending: string) => async () => {
    for (let guess = 0; guess < 6; guess += 1) await finish(doorstep, pending, wrongCode(codeTo(bob)))
  }
  await tells(
    'the tenth in a row, and one more',
    wrongCodes(more),
    [
      ...[4, 3, 2, 1, 0].map((left): Told => ['code.failed', `${left} left`]),
      ['factor.locked', 'strangers'],
      ['code.refused', 'locked'],
    ],
    ['code.refused'],
  )
  await tells('a login while it is locked', () => login(doorstep, bob), [['sms.refused', 'locked']])

  const raising: string = (await call(doorstep, '/login/step-up', { token: accessToken, body: {} })).body.pending_token
  const ends = await tells('five failed proofs of a session', async () => {
    for (let guess = 0; guess < 5; guess += 1) await finish(doorstep, raising, wrongCode(codeTo(ada)))
  }, [
    ...[4, 3, 2, 1].map((left): Told => ['code.failed', `${left} left`]),
    ['session.ended', 'five failed proofs'],
    ['code.failed', '0 left'],
  ])
  t.match(ends.at(-2)?.detail, /^session [0-9a-f-]{36}$/)
  await passCooldown()
  const next = (await login(doorstep, ada)).body.pending_token
  accessToken = (await finish(doorstep, next, codeTo(ada))).body.access_token

  for (const [twilioCode, outcome, code] of [
    [21_610, 'phone', 'phone_unreachable'],
    [21_408, 'policy', 'sms_unavailable'],
    [21_606, 'ours', 'sms_unavailable'],
    [30_001, 'transient', 'sms_unavailable'],
  ] as const) {
    const user = await createUser(doorstep)
    stub.setMode({ error: { httpStatus: 400, twilioCode } })
    const [, delivery] = await tells(
      `the provider refuses (${twilioCode})`,
      () => login(doorstep, user),
      [
        ['login.challenged', 'opened'],
        ['sms.delivery', outcome],
        ['sms.refused', code],
      ],
      ['sms.delivery'],
    )
    t.equal(delivery?.detail, String(twilioCode))
  }
  const cut = await createUser(doorstep)
  stub.setMode('resetAfterAccept')
  await tells(
    'the provider hangs up',
    () => login(doorstep, cut),
    [
      ['login.challenged', 'opened'],
      ['sms.delivery', 'unknown'],
    ],
    ['sms.delivery'],
  )
  stub.setMode('ok')

  const [signature = ''] = accessToken.split('.').slice(-1)
  const me = (sent?: string) => call(doorstep, '/me', sent === undefined ? {} : { token: sent })
  const rejected: [string, () => Promise<unknown>][] = [
    ['missing', () => me()],
    ['malformed', () => me('x')],
    ['access', () => me(token)],
    [
      'access',
      () =>
        me(
          accessToken.replace(
            signature,
            signature.replace(/^./, (c) => (c === 'A' ? 'B' : 'A')),
          ),
        ),
    ],
    ['pending', () => finish(doorstep, accessToken, '0000000000')],
    [
      'ended',
      async () => {
        await sql('UPDATE sessions SET ended_at = now() WHERE user_id = $1', [ada.id])
        await me(accessToken)
      },
    ],
  ]
  for (const [outcome, work] of rejected)
    await tells(`a rejected token: ${outcome}`, work, [['token.rejected', outcome]], ['token.rejected'])

  const limited = await startDoorstep(t, { database, env: { ...secrets, RATE_DEFAULT_MINUTE: '1' } })
  await call(limited, '/health/live')
  await call(limited, '/health/live')
  const told = limited.logs.map((line) => JSON.parse(line)).filter(({ event }) => event !== undefined)
  t.match(told, [{ event: 'request.limited', outcome: 'default', address: '127.0.0.1', level: 'warn' }])

  const [made] = await sql("SELECT outcome, detail FROM audit_events WHERE type = 'key.created'")
  t.match(made, { outcome: 'published', detail: services.keyRing.active().kid })
})

t.test('whoever watches the log learns in time that the texts of the day run out', async (t) => {
  await sql('DELETE FROM sms_messages')
  const spending = await startDoorstep(t, {
    database: doorstep.database,
    env: { ...providerSettings, ...secrets, SMS_SPEND_DAY: '10' },
  })
  const user = await createUser(spending, { twoFactor: 'off' })
  const { body } = await login(spending, user)
  // A session is known, so all of the day's texts are there for it.
  const ask = async (): Promise<Answer> => {
    await passTime(spending, 61)
    await sql('UPDATE challenges SET superseded_at = now() WHERE user_id = $1', [user.id])
    await sql(`UPDATE sms_messages SET state = 'finished'`)
    return call(spending, '/login/step-up', { token: body.access_token, body: {} })
  }
  const statuses: number[] = []
  for (let text = 0; text < 11; text += 1) statuses.push((await ask()).status)
  t.strictSame(statuses, [...Array(10).fill(200), 503])
  const told: LogLine[] = spending.logs.map((line) => JSON.parse(line)).filter(({ event }) => event === 'sms.spend')
  const expected = ['50 %', '80 %', '100 %']
  t.strictSame(
    told.map(({ level, outcome }) => `${level} ${outcome}`),
    expected.map((percent) => `error ${percent}`),
  )
  const rows = await sql(`SELECT outcome FROM audit_events WHERE type = 'sms.spend' ORDER BY id`)
  t.strictSame(
    rows.map(({ outcome }) => outcome),
    expected,
    'and in the audit table',
  )
})

t.test('the search finds a canary in every spelling, and nothing where there is none', async (t) => {
  const canary: Canary = { name: 'password', value: canaryPassword() }
  const key: Canary = { name: 'key', value: randomBytes(32) }
  t.ok(spellings(canary).length >= 12)
  t.ok(spellings(key).length >= 5)
  const noise = randomBytes(3_000)
  for (const [one, text] of [
    [canary, String(canary.value)],
    [canary, JSON.stringify({ msg: JSON.stringify({ password: canary.value }) })],
    [canary, `x=${encodeURIComponent(String(canary.value))}`],
    ...[0, 1, 2].flatMap((before) =>
      ([canary, key] as const).flatMap((it) =>
        (['hex', 'base64', 'base64url'] as const).map(
          (encoding) =>
            [
              it,
              Buffer.concat([noise.subarray(0, before), Buffer.from(it.value as string), noise]).toString(encoding),
            ] as const,
        ),
      ),
    ),
  ] as const) {
    t.strictSame(canariesIn(`before${text}after`, [canary, key]), [one.name])
  }
  t.strictSame(canariesIn('', [key], Buffer.concat([noise, key.value as Buffer])), ['key'])
  t.strictSame(canariesIn(noise.toString('base64') + noise.toString('hex'), [canary, key], noise), [])
})

t.test('no secret gets into a log, an audit row, an error, a statement or a table, whatever goes wrong', async (t) => {
  const mark = logs.length
  const ada = await createUser(doorstep, { password: canaryPassword() })
  const off = await createUser(doorstep, { password: canaryPassword(), twoFactor: 'off' })
  const typo = canaryPassword()
  const errors: string[] = []
  const canaries: Canary[] = [
    { name: 'password', value: ada.password },
    { name: 'password of an account without a second factor', value: off.password },
    { name: 'wrong password', value: typo },
    { name: 'e-mail', value: ada.email },
    { name: 'phone', value: ada.phone },
    { name: 'phone without +', value: ada.phone.slice(1) },
    { name: 'provider auth token', value: stub.authToken },
    ...secretKeys.map((value, at) => ({ name: `master key ${at}`, value })),
    ...[
      ...(['pending-token', 'code', 'code-mac', 'identifier', 'signing-key', 'refresh-token'] as const),
      ...(['device-token', 'totp', 'recovery-code', 'webauthn'] as const),
    ].flatMap((purpose) => {
      const { key } = services.secrets.current(purpose)
      return [
        { name: `${purpose} key`, value: key },
        { name: `${purpose} key as text`, value: key.toString('base64url') },
      ]
    }),
    { name: 'private signing key', value: services.keyRing.active().privatePem.split('\n').slice(1, -2).join('') },
  ]
  const keep = (name: string, token: unknown): string => {
    const parts = String(token).split('.')
    t.equal(parts.length, 3, name)
    canaries.push(
      { name, value: String(token) },
      { name: `payload of the ${name}`, value: parts[1] ?? '' },
      { name: `signature of the ${name}`, value: parts[2] ?? '' },
    )
    return String(token)
  }
  const note = ({ status, body }: { status: number; body: unknown }) => {
    if (status >= 400) errors.push(JSON.stringify(body))
  }
  const inject = async (
    method: 'GET' | 'POST' | 'PUT',
    url: string,
    payload?: string,
    headers: Record<string, string> = {},
  ) => {
    const reply: LightMyRequestResponse = await app.inject({
      method,
      url,
      headers: { ...(payload !== undefined && { 'content-type': 'application/json' }), ...headers },
      ...(payload !== undefined && { payload }),
    })
    if (reply.statusCode >= 400) errors.push(`${JSON.stringify(reply.headers)}${reply.body}`)
    return reply
  }

  // Everything that can go wrong before the password is proven.
  note(await login(doorstep, { email: ada.email, password: typo }))
  note(await login(doorstep, { email: 'nobody@example.com', password: typo }))
  const form = JSON.stringify({ email: ada.email, password: ada.password })
  await inject('POST', '/login', form.slice(0, -1))
  await inject('POST', '/login', form, { 'content-type': 'text/plain' })
  await inject('POST', '/login', form, { 'content-encoding': 'gzip' })
  await inject('POST', '/login', form + ' '.repeat(5_000))
  await inject(
    'POST',
    '/login',
    JSON.stringify({ email: ada.email, password: ada.password, return_to: `//${ada.email}` }),
  )
  await inject('POST', '/login', JSON.stringify({ email: ada.email, password: [ada.password] }))
  await inject('POST', '/login', JSON.stringify({ email: `${ada.email} x`, password: ada.password }))
  await inject('POST', '/login', JSON.stringify({ email: ada.email, password: `${ada.password}\u0000` }))
  await inject('POST', '/login', `{"__proto__":{"x":${JSON.stringify(ada.password)}}}`)
  await inject('PUT', '/login', form)
  await inject('POST', '/nothing', form)
  await inject('GET', `/me?password=${encodeURIComponent(ada.password)}&phone=${encodeURIComponent(ada.phone)}`)
  await inject('GET', `/${encodeURIComponent(ada.password)}/${encodeURIComponent(ada.email)}`)
  await inject('GET', '/me', undefined, {
    authorization: `Basic ${Buffer.from(`${ada.email}:${ada.password}`).toString('base64')}`,
  })
  await inject('GET', '/health/live', undefined, {
    cookie: `session=${encodeURIComponent(ada.password)}`,
    'x-request-id': encodeURIComponent(ada.password),
  })

  // The login, with everything that can go wrong in it.
  for (const mode of [
    { error: { httpStatus: 400, twilioCode: 21_211 } },
    { error: { httpStatus: 500, twilioCode: null } },
    'brokenJson',
    'wrongSid',
    'resetAfterAccept',
  ] as const) {
    const victim = await createUser(doorstep, { password: ada.password })
    canaries.push({ name: 'phone of a failed text', value: victim.phone })
    stub.setMode(mode)
    const answer = await login(doorstep, victim)
    note(answer)
    if (answer.status === 200) keep('pending token of a failed text', answer.body.pending_token)
    canaries.push({ name: 'code of a failed text', value: codeTo(victim) })
  }
  stub.setMode('ok')
  const first = await login(doorstep, ada, { body: { return_to: '/orders/7', remember_me: true } })
  const pending = keep('pending token', first.body.pending_token)
  const code = codeTo(ada)
  t.match(code, /^\d{10}$/)
  canaries.push(
    { name: 'code', value: code },
    { name: 'code as it is read out', value: `${code.slice(0, 5)} ${code.slice(5)}` },
  )
  const tries = [wrongCode(code), `${code}1`, `x${code}`, `${code}\u0000`, code.replace(/./, '٣')]
  for (const tried of tries) note(await finish(doorstep, pending, tried))
  note(await call(doorstep, '/login/2fa', { token: `${pending}x`, body: { code } }))
  note(await call(doorstep, '/login/2fa', { token: 'x', body: { code } }))
  note(
    await call(doorstep, `/login/2fa?code=${code}&pending_token=${pending}`, {
      body: { code, pending_token: pending },
    }),
  )
  note(await resend(doorstep, pending))
  await passCooldown()
  note(await resend(doorstep, pending))
  const codeEnds = (seconds: number) =>
    sql(
      `UPDATE challenge_codes SET expires_at = now() + make_interval(secs => $2)
       WHERE challenge_id IN (SELECT id FROM challenges WHERE user_id = $1)`,
      [ada.id, seconds],
    )
  await codeEnds(-1)
  note(await finish(doorstep, pending, code))
  await codeEnds(60)
  const second = await finish(doorstep, pending, code)
  t.equal(second.status, 200)
  const access = keep('access token', second.body.access_token)
  keep('device token', second.body.device_token)
  keep('refresh token', second.body.refresh_token)
  note(await finish(doorstep, pending, code))
  note(await finish(doorstep, access, code))
  note(await call(doorstep, '/me', { token: pending }))
  note(await call(doorstep, `/me?access_token=${access}`))
  note(await call(doorstep, '/me', { token: access }))
  note(await call(doorstep, '/me', { token: access.slice(0, -3) }))
  keep('access token of a password', (await login(doorstep, off)).body.access_token)

  // Libraries that quote what they were given, and a database that fails.
  const { throttle } = services.store
  const { begin } = throttle
  for (const make of [
    () => new Error(`Invalid value ${ada.password} for ${ada.email}\n    at ${ada.phone} (${code})`),
    () =>
      Object.assign(new Error(`duplicate key (${ada.email})`), {
        name: 'PrismaClientKnownRequestError',
        code: 'P2002',
        meta: { target: ada.phone },
      }),
    () =>
      Object.assign(new Error(`timeout exceeded when trying to connect to ${ada.password}`), {
        cause: new Error(code),
      }),
    () => Object.assign(new SyntaxError(ada.password), { statusCode: 400 }),
  ]) {
    throttle.begin = async () => {
      throw make()
    }
    await inject('POST', '/login', form)
  }
  throttle.begin = begin
  app.log.error({ err: new Error(ada.password, { cause: new Error(code) }) })
  app.log.error(new Error(`${ada.password}\n    at ${ada.phone}`))
  app.log.warn({ err: new Error(ada.password) }, 'a library has a word to say')

  const logged = logs.slice(mark).join('')
  t.ok(logs.length - mark > 60, `${logs.length - mark} lines were logged`)
  t.match(logged, /"internal error"/)
  t.match(logged, /a library has a word to say/)
  t.strictSame(canariesIn(logged, canaries), [], 'in the log')

  t.ok(errors.length > 35, `${errors.length} errors were answered`)
  t.strictSame(canariesIn(errors.join('\n'), canaries), [], 'in an error')

  const tables = await sql(
    "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE'",
  )
  t.ok(tables.length >= 11)
  for (const { name } of tables) {
    const rows = (await sql(`SELECT to_jsonb(r)::text AS text FROM "${name}" r`)).map(({ text }) => JSON.parse(text))
    // The two places where a number stands on purpose, and the two for the e-mail.
    for (const stored of rows) {
      if (name === 'users') Object.assign(stored, { email: '' })
      if (name === 'factors') Object.assign(stored, { phone: '' })
      if (name === 'mails') Object.assign(stored, { address: '' })
      if (name === 'sms_messages') Object.assign(stored, { phone: '', prefix: '' })
    }
    t.strictSame(canariesIn(JSON.stringify(rows), canaries), [], `in ${rows.length} rows of ${name}`)
  }

  const statements = tap.heard()
  t.ok(statements.includes('answer_challenge') && statements.includes('open_challenge'), 'the statements were heard')
  const known = ['e-mail', 'phone', 'phone without +', 'phone of a failed text']
  t.strictSame(
    canariesIn(
      `${statements.toString('latin1')}${statements.toString('utf8')}`,
      canaries.filter(({ name }) => !known.includes(name)),
      statements,
    ),
    [],
    'in a statement or a parameter',
  )
})

t.test('nor does anything that makes a factor, from its first page to its end', async (t) => {
  const mark = logs.length
  const eve = await createBareUser(doorstep)
  const canaries: Canary[] = [{ name: 'e-mail', value: eve.email }]
  const errors: string[] = []
  const hide = (name: string, value: string | Buffer): void => void canaries.push({ name, value })
  const keep = ({ status, body }: Answer): Answer => {
    if (status >= 400) errors.push(JSON.stringify(body))
    for (const [name, token] of Object.entries(body)) {
      if (name.endsWith('_token')) for (const it of String(token).split('.').slice(1)) hide(name, it)
    }
    for (const code of (body.recovery_codes as string[] | undefined) ?? []) {
      hide('recovery code', code)
      hide('recovery code without hyphens', code.replaceAll('-', ''))
      hide('recovery code in small letters', code.replaceAll('-', '').toLowerCase())
    }
    return { status, body, headers: {} }
  }
  const ask = async (path: string, token: string | undefined, body?: object, method?: 'PATCH' | 'DELETE') => {
    const sent = {
      ...(token !== undefined && { token }),
      ...(body !== undefined && { body }),
      ...(method && { method }),
    }
    return keep(await call(doorstep, path, sent))
  }
  const answer = (begun: Answer, proof: object) => ask('/login/2fa', begun.body.pending_token, proof)
  const hideCode = (name: string, code: string): string => {
    t.match(code, /^\d{10}$/, name)
    hide(name, code)
    hide(`${name} as it is read out`, `${code.slice(0, 5)} ${code.slice(5)}`)
    return code
  }
  const wrongTries = async (begun: Answer, code: string, path = '/login/2fa') => {
    for (const body of [
      { code: `${code}1` },
      { code: `x${code}` },
      { code: [code] },
      { code, method: 'sms ' },
      { credential: { code } },
    ]) {
      await ask(path, begun.body.pending_token, body)
    }
    await ask(`${path}?code=${code}`, `${begun.body.pending_token}x`, { code })
    await ask(`${path}/${code}`, begun.body.pending_token, { code })
  }

  // The mailbox, and the first factor: an authenticator app.
  const first = keep(await login(doorstep, eve))
  const mailed = hideCode('mailed code', mailedCode(doorstep, eve.email))
  await wrongTries(first, mailed)
  await answer(first, { code: wrongCode(mailed) })
  const proven = await answer(first, { code: mailed })
  const begin = (token: string, body: object) => ask('/factors', token, body)
  const name = `app of ${randomBytes(6).toString('hex')}`
  hide('name of a factor', name)
  const app = await begin(proven.body.pending_token, { method: 'totp', name })
  const { secret, uri, qr } = app.body.challenge.setup
  hide('secret of an app', secret)
  hide('bytes of it', fromBase32(secret))
  hide('address of it', uri)
  hide('picture of it', qr.slice(qr.indexOf(',') + 1))
  await ask('/login/2fa', app.body.pending_token)
  await wrongTries(app, secret)
  await ask('/factors', proven.body.pending_token, { method: 'totp', name, secret })
  await ask(`/factors?secret=${secret}`, proven.body.pending_token, { method: secret })
  await answer(app, { code: wrongTotpCode(secret) })
  const signed = await answer(app, { code: totpCode(secret) })
  t.equal(signed.status, 200)
  const access: string = signed.body.access_token
  const codes: string[] = signed.body.recovery_codes
  t.equal(codes.length, 10)

  // A phone, and a passkey.
  const phone = freshPhone()
  hide('new phone', phone)
  hide('new phone without +', phone.slice(1))
  for (const wrong of [`${phone}x`, `00${phone.slice(1)}`, [phone], { phone }])
    await begin(access, { method: 'sms', phone: wrong })
  stub.setMode({ error: { httpStatus: 400, twilioCode: 21_211 } })
  await begin(access, { method: 'sms', phone })
  stub.setMode('ok')
  await passCooldown()
  const toPhone = await begin(access, { method: 'sms', phone })
  const texted = hideCode('code to a new phone', /#(\d+)$/.exec(stub.last(phone)?.body ?? '')?.[1] ?? '')
  await wrongTries(toPhone, texted)
  await answer(toPhone, { code: wrongCode(texted) })
  t.equal((await answer(toPhone, { code: texted })).status, 200)
  const device = createAuthenticator({ origin: doorstep.config.passkey.origins[0] ?? '' })
  const newKey = await begin(access, { method: 'passkey', name })
  const { public_key: options } = newKey.body.challenge.setup
  hide('challenge of a passkey', Buffer.from(options.challenge, 'base64url'))
  hide('user handle', Buffer.from(options.user.id, 'base64url'))
  const hideCredential = (credential: { id: string; response: object }) => {
    hide('credential id', Buffer.from(credential.id, 'base64url'))
    for (const [part, value] of Object.entries(credential.response)) {
      if (typeof value === 'string') hide(`${part} of a credential`, Buffer.from(value, 'base64url'))
    }
    return credential
  }
  await answer(newKey, { credential: hideCredential(device.register(options, { origin: 'https://evil.example' })) })
  const registered = hideCredential(device.register(options))
  await answer(newKey, { credential: { ...registered, id: options.challenge } })
  await answer(newKey, { credential: { ...registered, response: eve.email } })
  t.equal((await answer(newKey, { credential: registered })).status, 200)

  // Signing in with each of them, and what is done to them later.
  const start = await ask('/login/passkey', undefined, { return_to: '/orders/7' })
  hide('challenge of a start', Buffer.from(start.body.challenge.public_key.challenge, 'base64url'))
  await answer(start, { credential: hideCredential(device.assert(start.body.challenge.public_key, { flippedBit: 3 })) })
  const byKey = await answer(start, { credential: hideCredential(device.assert(start.body.challenge.public_key)) })
  t.equal(byKey.status, 200)
  const next = keep(await login(doorstep, eve))
  hide('challenge of a login', Buffer.from(next.body.challenge.public_key.challenge, 'base64url'))
  await ask('/login/2fa/method', next.body.pending_token, { method: 'email' })
  await ask('/login/2fa/method', next.body.pending_token, { method: 'email', code: mailed })
  const mailedAgain = hideCode('mailed code of a login', mailedCode(doorstep, eve.email))
  await ask('/login/2fa/resend', next.body.pending_token, { channel: 'email' })
  await answer(next, { code: wrongCode(mailedAgain), method: 'email' })
  await answer(next, { code: `${codes[0]}x`, method: 'recovery_code' })
  await answer(next, { code: codes[0]?.replace(/^./, (it) => (it === 'A' ? 'B' : 'A')), method: 'recovery_code' })
  t.equal((await answer(next, { code: codes[0], method: 'recovery_code' })).status, 200)
  await answer(next, { code: codes[1], method: 'recovery_code' })
  const { factors } = (await ask('/factors', access)).body
  for (const { id } of factors) {
    await ask(`/factors/${id}`, access, { name: `${name} ` }, 'PATCH')
    await ask(`/factors/${id}?name=${encodeURIComponent(name)}`, access, { name, secret }, 'PATCH')
  }
  await ask(`/factors/${encodeURIComponent(codes[2] ?? '')}`, access, undefined, 'DELETE')

  // Libraries and a database that quote what they were given.
  const { challenges, factors: verbs } = services.store
  const { answer: judge } = challenges
  const { enrol: begins } = verbs
  const last = keep(await login(doorstep, eve))
  const quoting = async (): Promise<never> => {
    throw Object.assign(
      new Error(`cannot store ${secret} of ${eve.email} (${codes[3]})\n    at ${phone} ${mailedAgain}`),
      {
        ...{ code: '23505', detail: `Key (mac)=(${codes[3]}) ${registered.id}`, parameters: [secret, texted] },
        cause: new Error(uri),
      },
    )
  }
  challenges.answer = quoting
  verbs.enrol = quoting
  t.equal((await answer(last, { code: codes[3], method: 'recovery_code' })).status, 500)
  t.equal((await begin(access, { method: 'totp', name })).status, 500)
  Object.assign(challenges, { answer: judge })
  Object.assign(verbs, { enrol: begins })
  t.equal((await begin(access, { method: 'recovery_code' })).body.recovery_codes.length, 10)
  for (const { id, method } of factors) {
    if (method !== 'recovery_code') await ask(`/factors/${id}`, access, undefined, 'DELETE')
  }

  const logged = logs.slice(mark).join('')
  for (const event of ['factor.added', 'factor.removed', 'mailbox.proven', 'recovery_code.used', 'login.failed']) {
    t.match(logged, `"${event}"`, 'it was told')
  }
  t.strictSame(canariesIn(logged, canaries), [], 'in the log')
  t.ok(errors.length > 40, `${errors.length} errors were answered`)
  t.strictSame(canariesIn(errors.join('\n'), canaries), [], 'in an error')
  const audited = await sql('SELECT string_agg(to_jsonb(a)::text, chr(10)) AS text FROM audit_events a')
  t.strictSame(canariesIn(String(audited[0]?.text), canaries), [], 'in an event')

  // The database is told who it is about, and keeps it where it belongs; what proves a factor it never hears.
  // A start with a passkey is told once it has succeeded, so that it succeeds once.
  const told = [
    ...['e-mail', 'new phone', 'new phone without +', 'name of a factor'],
    ...['credential id', 'user handle', 'userHandle of a credential', 'challenge of a start'],
  ]
  const unsaid = canaries.filter(({ name }) => !told.includes(name))
  const statements = tap.heard()
  const heard = `${statements.toString('latin1')}${statements.toString('utf8')}`
  t.strictSame(canariesIn(heard, unsaid, statements), [], 'in a statement or a parameter')
  t.strictSame(canariesIn(await dump(doorstep), unsaid), [], 'in a table')
})

t.test('nobody writes lines of their own into the log', async (t) => {
  const mark = logs.length
  const forged = [
    '\r\n{"level":"fatal","event":"session.started","msg":"forged"}',
    '\u001b[2J\u001b[31mred',
    '","event":"session.started","x":"',
    '\u2028forged\u2029',
    '\u0000forged',
  ]
  for (const text of forged) {
    const name = encodeURIComponent(text)
    await call(doorstep, '/login', { body: { email: `${text}@example.com`, password: 'x' } })
    await call(doorstep, '/login', {
      body: { email: `nobody${text.replaceAll(/[^ -~]/g, '')}@example.com`, password: text },
    })
    await call(doorstep, '/login', { body: { email: 'nobody@example.com', password: 'x', [text]: text } })
    const headers = {
      'user-agent': text,
      'x-request-id': text,
      'request-id': text,
      'x-forwarded-for': text,
      traceparent: text,
      host: text,
      authorization: text,
    }
    await call(doorstep, '/me', { headers })
    await call(doorstep, `/problems/${name}`)
    await call(doorstep, `/${name}?${name}=${name}`)
    await call(doorstep, '/login/2fa', { token: `${name}.${name}.${name}`, body: { code: text } })
  }
  const user = await createUser(doorstep, { twoFactor: 'off' })
  const answer = await call(doorstep, '/login', {
    body: { email: user.email, password: user.password },
    headers: { 'user-agent': forged[1] ?? '' },
  })
  t.equal(answer.status, 200)

  const chunks = logs.slice(mark)
  t.ok(chunks.length > 40)
  for (const chunk of chunks) {
    t.match(chunk, /^\{[ -~]*\}\n$/, 'one line of JSON, in plain characters')
    const { level, requestId, ...line } = JSON.parse(chunk)
    t.match(level, /^(trace|debug|info|warn|error)$/)
    if (line.msg === 'answered')
      t.match(requestId, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  }
  const succeeded = chunks.filter((chunk) => JSON.parse(chunk).event === 'session.started')
  t.equal(succeeded.length, 1, 'the one that happened')
})

/** The service as a process of its own, on the same database. */
const program = [...loader, codeOf('src/main.ts')]
const folder = mkdtempSync(join(tmpdir(), 'doorstep-leaks-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))
const processSettings = async (): Promise<Record<string, string>> => ({
  ...{ ...providerSettings, ...secrets, CODE_LENGTH: '10', NODE_ENV: 'test', LOG_LEVEL: 'trace', DATA_DIR: folder },
  // One connection: the embedded database has one backend for all the names of prepared statements.
  ...{ DATABASE_URL: database.url, DATABASE_POOL_SIZE: '1', PORT: String(await freePort()) },
  ...{
    ARGON2_MEMORY_KIB: '64',
    ARGON2_TIME: '1',
    RATE_LOGIN_MINUTE: '1000',
    RATE_VERIFY_MINUTE: '1000',
    SMS_PER_ADDRESS_HOUR: '1000',
    SMS_PER_ADDRESS_DAY: '1000',
  },
})

const over = async (address: string, path: string, sent: { token?: string; body?: unknown } = {}) => {
  const reply = await fetch(`${address}${path}`, {
    method: sent.body === undefined ? 'GET' : 'POST',
    headers: {
      'content-type': 'application/json',
      ...(sent.token !== undefined && { authorization: `Bearer ${sent.token}` }),
    },
    ...(sent.body !== undefined && { body: typeof sent.body === 'string' ? sent.body : JSON.stringify(sent.body) }),
  })
  return {
    status: reply.status,
    body: (await reply.json()) as Record<'pending_token' | 'access_token' | 'code', string>,
  }
}

t.test('nothing of it is printed by the running program either', async (t) => {
  const user = await createUser(doorstep, { password: canaryPassword() })
  const service = runService(t, program, { env: await processSettings(), cwd: folder })
  const address = await service.address()
  const form = { email: user.email, password: user.password }
  await over(address, '/login', { body: JSON.stringify(form).slice(0, -1) })
  await over(address, `/me?access_token=${encodeURIComponent(user.password)}`)
  const first = await over(address, '/login', { body: form })
  const pending: string = first.body.pending_token
  const code = codeTo(user)
  await over(address, '/login/2fa', { token: pending, body: { code: wrongCode(code) } })
  await over(address, '/login/2fa/resend', { token: pending, body: {} })
  const second = await over(address, '/login/2fa', { token: pending, body: { code } })
  t.equal(second.status, 200)
  const access: string = second.body.access_token
  await over(address, '/me', { token: access })
  await over(address, '/me', { token: pending })
  const failing = await createUser(doorstep, { password: user.password })
  stub.setMode({ error: { httpStatus: 400, twilioCode: 21_211 } })
  await over(address, '/login', { body: { email: failing.email, password: failing.password } })
  stub.setMode('ok')
  service.kill('SIGTERM')
  t.strictSame(await service.exit, { code: 0, signal: null })

  const canaries: Canary[] = [
    ...[
      ['password', user.password],
      ['e-mail', user.email],
      ['phone', user.phone.slice(1)],
      ['code', code],
    ].map(([name = '', value = '']) => ({ name, value })),
    ...[
      ['phone of a failed text', failing.phone.slice(1)],
      ['code of a failed text', codeTo(failing)],
    ].map(([name = '', value = '']) => ({ name, value })),
    ...[
      ['pending token', pending],
      ['access token', access],
    ].flatMap(([name = '', token = '']) =>
      token
        .split('.')
        .slice(1)
        .map((value) => ({ name, value })),
    ),
    { name: 'provider auth token', value: stub.authToken },
    ...secretKeys.map((value, at) => ({ name: `master key ${at}`, value })),
    {
      name: 'database',
      value:
        new URL(database.url).pathname.slice(1) === 'postgres' ? database.url : new URL(database.url).pathname.slice(1),
    },
  ]
  t.match(service.out(), /"listening"[\s\S]*session\.started[\s\S]*"stopped"/)
  t.strictSame(canariesIn(service.out(), canaries), [], 'standard output')
  t.strictSame(canariesIn(service.err(), canaries), [], 'standard error')
  t.ok(service.lines().length > 10, 'every line is JSON')
})

t.test('a log that cannot be written stops no login and crashes nothing', async (t) => {
  const user = await createUser(doorstep)
  // The embedded database would still know the names of the process before.
  await sql('DEALLOCATE ALL')
  // With the console sender every text is written to standard error as well.
  const env: Record<string, string> = { ...(await processSettings()), SMS_PROVIDER: 'console' }
  const child = spawn('/bin/sh', ['-c', 'exec "$0" "$@" >/dev/full 2>/dev/full', process.execPath, ...program], {
    cwd: folder,
    env: { PATH: process.env.PATH ?? '', HOME: process.env.HOME ?? '', ...env },
    stdio: 'ignore',
  })
  const exit = new Promise<{ code: number | null }>((resolve) => child.once('close', (code) => resolve({ code })))
  t.teardown(() => child.kill('SIGKILL'))
  const address = `http://127.0.0.1:${env.PORT}`
  const isUp = () =>
    fetch(`${address}/health/live`).then(
      ({ ok }) => ok,
      () => false,
    )
  for (let waited = 0; waited < 300 && child.exitCode === null && !(await isUp()); waited += 1) await sleep(200)
  t.ok(await isUp(), 'it starts')
  for (let count = 0; count < 20; count += 1) {
    t.equal((await over(address, '/login', { body: { email: user.email, password: user.password } })).status, 200)
    const refused = await over(address, '/login', { body: { email: 'nobody-full@example.com', password: 'x' } })
    t.ok(refused.status === 401 || refused.status === 429, 'wrong passwords too are answered')
  }
  t.equal(child.exitCode, null, 'and goes on')
  child.kill('SIGTERM')
  t.strictSame(await exit, { code: 0 }, 'until it is told to stop')
})
