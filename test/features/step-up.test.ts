import t, { type Test } from 'tap'
import { newDevice } from '../../src/features/devices/new-device.ts'
import { policyOf, traits } from '../../src/features/factors/index.ts'
import { newSession } from '../../src/features/sessions/start-session.ts'
import { registerGuards } from '../../src/http/guards.ts'
import { registerProblems } from '../../src/http/problems.ts'
import { createRequestLimits } from '../../src/http/request-limits.ts'
import { createServer } from '../../src/http/server.ts'
import { registerTokens } from '../../src/http/tokens.ts'
import { passwordLevel } from '../../src/security/assurance.ts'
import { age } from '../helpers/age.ts'
import { enter, refresh, tokensOf, trustDevice } from '../helpers/credentials.ts'
import { startDoorstep } from '../helpers/doorstep.ts'
import { part } from '../helpers/forge.ts'
import { call, codeFor, createUser, finish, login, resend, signIn, type TestUser, wrongCode } from '../helpers/story.ts'

t.setTimeout(300_000)

const doorstep = await startDoorstep(t)
const { sql, services } = doorstep

const stepUp = (token: string) => call(doorstep, '/login/step-up', { token, body: {} })
const invalid = { status: 401, body: { code: 'invalid_token' } }

/** A user with a trusted device, signed in by it: a session at aal1. */
async function weakSession() {
  const user = await createUser(doorstep)
  const { device } = await trustDevice(doorstep, user)
  return { user, device, ...tokensOf(await login(doorstep, user, { body: { device_token: device } })) }
}

/** The code of the challenge that a pending token is for, though no text shows which of several it is. */
function codeOf(pending: string): string {
  const code = services.oneTimeCodes.again({ challengeId: String(part(pending, 1).cid), method: 'sms' }, 'k1')
  if (code === null) throw new Error('no such key')
  return code
}

const sessionsOf = (user: TestUser): Promise<{ id: string; acr: string }[]> =>
  sql('SELECT id, acr FROM sessions WHERE user_id = $1 ORDER BY created_at', [user.id])

t.test('a step-up raises the session that asked for it, and starts no other', async (t) => {
  const { user, access, sid, refresh: token } = await weakSession()
  await age(doorstep, user, 1_000)
  const before = await sessionsOf(user)
  const pending = await stepUp(access)
  t.match(pending, {
    status: 200,
    body: {
      status: '2fa_required',
      pending_token: /^eyJ/,
      expires_in: 600,
      challenge: { channel: 'sms', attempts_remaining: 5, delivery: 'sent' },
      methods: ['sms'],
    },
  })
  t.notOk('access_token' in pending.body)
  t.match((await call(doorstep, '/me', { token: access })).body, { acr: 'aal1' }, 'asking alone raises nothing')

  const raised = await finish(doorstep, pending.body.pending_token, codeFor(doorstep, user.phone))
  t.match(raised, { status: 200, body: { status: 'authenticated', token_type: 'Bearer', expires_in: 600 } })
  const claims = part(raised.body.access_token, 1)
  t.strictSame([claims.sid, claims.amr, claims.acr], [sid, ['pwd', 'sms', 'mfa'], 'aal2'])
  t.ok(Math.abs(Number(claims.auth_time) - Number(claims.iat)) <= 30, 'auth_time is the moment of the code')
  t.ok(Number(part(access, 1).auth_time) - 1_000 < Number(claims.auth_time))

  const after = await sessionsOf(user)
  t.equal(after.length, before.length, 'no session was started')
  t.strictSame(
    after,
    before.map((session) => (session.id === sid ? { ...session, acr: 'aal2' } : session)),
    'and no other raised',
  )
  t.match((await call(doorstep, '/me', { token: access })).body, { acr: 'aal2', amr: ['pwd', 'sms', 'mfa'] })
  const refreshed = await refresh(doorstep, token)
  t.match(part(refreshed.body.access_token, 1), { sid, acr: 'aal2', auth_time: claims.auth_time }, 'a refresh keeps it')
  t.match(await finish(doorstep, pending.body.pending_token, codeFor(doorstep, user.phone)), invalid, 'it works once')
})

t.test('a code or pending token of one purpose is worth nothing for the other (SEC-46)', async (t) => {
  const { user, access, sid } = await weakSession()
  const raising = (await stepUp(access)).body.pending_token
  await age(doorstep, user, 61)
  const starting = (await login(doorstep, user)).body.pending_token
  t.not(part(raising, 1).cid, part(starting, 1).cid, 'two challenges live beside each other')
  t.equal(part(raising, 1).sid, sid)
  t.notOk('sid' in part(starting, 1))
  t.not(codeOf(raising), codeOf(starting))

  t.match(await finish(doorstep, raising, codeOf(starting)), { status: 422, body: { attempts_remaining: 4 } })
  t.match(await finish(doorstep, starting, codeOf(raising)), { status: 422, body: { attempts_remaining: 4 } })
  t.strictSame(
    (await sessionsOf(user)).filter(({ id }) => id === sid),
    [{ id: sid, acr: 'aal1' }],
  )

  const count = (await sessionsOf(user)).length
  const started = tokensOf(await finish(doorstep, starting, codeOf(starting)))
  t.not(started.sid, sid, 'a login starts a session of its own')
  t.equal((await sessionsOf(user)).length, count + 1)
  t.match(
    (await sessionsOf(user)).find(({ id }) => id === sid),
    { acr: 'aal1' },
    'and raises no other',
  )
  t.equal(tokensOf(await finish(doorstep, raising, codeOf(raising))).sid, sid)
  t.equal((await sessionsOf(user)).length, count + 1, 'a step-up starts none')
})

t.test('a stored challenge of one purpose cannot be finished as the other, even with its right code', async (t) => {
  const { user, access, sid } = await weakSession()
  const { store, oneTimeCodes } = services
  const raising = part((await stepUp(access)).body.pending_token, 1)
  await age(doorstep, user, 61)
  const starting = part((await login(doorstep, user)).body.pending_token, 1)
  const caller = { requestId: 'r', address: '192.0.2.1', userAgent: null }
  const { device } = newDevice(services, { name: undefined, trust: true, caller })
  const started = newSession(services, { level: passwordLevel, remember: false, caller })
  const event = { type: 'session.raised', outcome: 'test' } as const
  /** The right code of a challenge, sent for what it was not made for. */
  const misuse = (cid: unknown, pur: 'login' | 'step_up') => {
    const challengeId = String(cid)
    const binding = { challengeId, userId: user.id, purpose: pur, method: 'sms' as const }
    const code = oneTimeCodes.again(binding, 'k1') ?? ''
    const none = { method: null, recovery: [], credential: false, fresh_recovery: [], next_id: services.random.uuid() }
    const proof = { ...none, traits, codes: { sms: oneTimeCodes.macs(binding, code) } }
    const session = pur === 'login' ? started : { id: sid }
    const pending = { cid: challengeId, sub: user.id, pur }
    return store.challenges.answer(pending, proof, policyOf(services), session, device, event)
  }
  const before = await sessionsOf(user)
  t.match(await misuse(raising.cid, 'login'), { outcome: 'invalid' }, 'a step-up starts no session')
  t.match(await misuse(starting.cid, 'step_up'), { outcome: 'invalid' }, 'a login raises none')
  t.strictSame(await sessionsOf(user), before)
  t.match(await misuse(raising.cid, 'step_up'), { outcome: 'completed', id: sid }, 'each is right for its own purpose')
  t.match(await misuse(starting.cid, 'login'), { outcome: 'completed', id: started.id })
})

t.test('a session that has ended cannot be raised', async (t) => {
  const ends: Record<string, (weak: Awaited<ReturnType<typeof weakSession>>) => Promise<unknown>> = {
    logout: ({ access }) => call(doorstep, '/logout', { token: access, body: {} }),
    'running out': ({ user }) => sql('UPDATE sessions SET expires_at = now() WHERE user_id = $1', [user.id]),
    'disabling the user': ({ user }) =>
      services.store.accounts.change(user.email, [], { disabled: true }, { type: 'user.changed', outcome: 'test' }),
    theft: async ({ refresh: token }) => {
      const next = tokensOf(await refresh(doorstep, token))
      await refresh(doorstep, next.refresh)
      t.equal((await refresh(doorstep, token)).body.code, 'refresh_token_reused')
    },
  }
  for (const [name, end] of Object.entries(ends)) {
    const weak = await weakSession()
    const pending = (await stepUp(weak.access)).body.pending_token
    await end(weak)
    t.match(await finish(doorstep, pending, codeOf(pending)), invalid, name)
    t.match(
      (await sessionsOf(weak.user)).find(({ id }) => id === weak.sid),
      { acr: 'aal1' },
    )
    t.match(await stepUp(weak.access), invalid)
  }
})

const wrongAt = async (pending: string) => finish(doorstep, pending, wrongCode(codeOf(pending)))

t.test('a thief with a stolen access token gets five tries, and then has lost the session', async (t) => {
  const { user, access, device } = await weakSession()
  const first = await stepUp(access)
  const again = await stepUp(access)
  t.equal(part(again.body.pending_token, 1).cid, part(first.body.pending_token, 1).cid, 'one live challenge')
  const tooSoon = { status: 429, body: { code: 'resend_too_soon' } }
  t.match(await resend(doorstep, first.body.pending_token), tooSoon)
  await sql('UPDATE devices SET trusted_until = NULL WHERE user_id = $1', [user.id])
  const fromDevice = () => login(doorstep, user, { body: { device_token: device } })
  t.match(await fromDevice(), tooSoon, 'one cooldown for all that is known')

  for (let left = 4; left >= 0; left--) {
    t.equal((await call(doorstep, '/me', { token: access })).status, 200, 'the session goes on until then')
    t.match(await wrongAt(first.body.pending_token), { status: 422, body: { attempts_remaining: left } })
  }
  t.match(await finish(doorstep, again.body.pending_token, codeOf(first.body.pending_token)), invalid)
  t.match(await call(doorstep, '/me', { token: access }), invalid, 'the fifth has ended the session')
  t.match(await stepUp(access), invalid)
  t.match(await sql(`SELECT outcome FROM audit_events WHERE user_id = $1 AND type = 'session.ended'`, [user.id]), [
    { outcome: 'five failed proofs' },
  ])
  await age(doorstep, user, 61)
  const owner = await fromDevice()
  t.match(owner, { status: 200, body: { challenge: { attempts_remaining: 5 } } }, 'the owner is locked out of nothing')
  t.equal((await finish(doorstep, owner.body.pending_token, codeFor(doorstep, user.phone))).status, 200)
})

t.test(
  'a thief who shares a session with its owner gains no tries by what the owner proves: four in 24 hours, whatever comes between',
  async (t) => {
    const { user, access } = await weakSession()
    const fail = async (times: number) => {
      await age(doorstep, user, 601)
      const pending = (await stepUp(access)).body.pending_token
      for (let n = 0; n < times; n += 1) t.equal((await wrongAt(pending)).status, 422)
      return pending
    }
    await sql(`UPDATE sessions SET expires_at = now() + interval '30 days', idle_until = now() + interval '30 days'`)
    await fail(4)
    await age(doorstep, user, 86_401)
    const pending = await fail(4)
    t.equal((await finish(doorstep, pending, codeOf(pending))).status, 200)
    t.equal((await call(doorstep, '/me', { token: access })).status, 200)
    await age(doorstep, user, 86_401)
    await fail(4)
    t.equal((await call(doorstep, '/me', { token: access })).status, 200, 'those of another day do not count')
    const last = await fail(0)
    t.equal((await finish(doorstep, last, codeOf(last))).status, 200)
    await fail(1)
    t.match(await call(doorstep, '/me', { token: access }), invalid)
  },
)

t.test(
  'a thief with many stolen sessions has 20 tries in 24 hours, and strangers are locked out by none',
  async (t) => {
    const user = await createUser(doorstep)
    const { device } = await trustDevice(doorstep, user)
    const locked = { status: 429, body: { code: 'second_factor_locked' } }
    for (let session = 0; session < 4; session += 1) {
      const { access } = tokensOf(await login(doorstep, user, { body: { device_token: device } }))
      await age(doorstep, user, 3_601)
      const pending = (await stepUp(access)).body.pending_token
      for (let n = 0; n < 5; n += 1) t.equal((await wrongAt(pending)).status, 422, `try ${5 * session + n + 1}`)
    }
    const { access } = tokensOf(await login(doorstep, user, { body: { device_token: device } }))
    t.match(await stepUp(access), locked)
    await sql('UPDATE devices SET trusted_until = NULL WHERE user_id = $1', [user.id])
    t.match(await login(doorstep, user, { body: { device_token: device } }), locked, 'the known devices with it')
    t.match(await login(doorstep, user), { status: 200, body: { challenge: { attempts_remaining: 5 } } })
    await age(doorstep, user, 86_400)
    t.equal((await login(doorstep, user, { body: { device_token: device } })).status, 200, 'until 24 hours are over')
  },
)

/** A resource that asks for a code not older than five minutes, behind the same guards as every route. */
async function vault(t: Test) {
  const { config } = doorstep
  const app = createServer(services)
  registerProblems(app, { ...config, ...services })
  await registerTokens(app, services)
  registerGuards(app, { ...services, requestLimits: await createRequestLimits(app, services) })
  app.get('/vault', { config: { access: 'access', assurance: { acr: 'aal2', maxAgeSeconds: 300 } } }, async () => ({
    gold: true,
  }))
  await app.ready()
  t.teardown(() => app.close())
  return (token: string) => call({ app }, '/vault', { token })
}

t.test('a resource that asks for more says so as RFC 9470 has it, and a step-up satisfies it', async (t) => {
  const open = await vault(t)
  const wanted = {
    status: 401,
    body: { code: 'insufficient_user_authentication', status: 401 },
    headers: {
      'www-authenticate':
        'Bearer error="insufficient_user_authentication", error_description="A fresher or stronger sign-in is needed", ' +
        'acr_values="aal2", max_age="300"',
    },
  }
  const raise = async (access: string): Promise<string> => {
    const pending = (await stepUp(access)).body.pending_token
    return tokensOf(await finish(doorstep, pending, codeOf(pending))).access
  }

  const weak = await weakSession()
  t.match(await open(weak.access), wanted, 'too weak')
  t.match(await open(await raise(weak.access)), { status: 200, body: { gold: true } }, 'after the step-up')

  const user = await createUser(doorstep)
  const strong = tokensOf(await signIn(doorstep, user))
  t.match(await open(strong.access), { status: 200, body: { gold: true } }, 'a fresh login with a code')
  await age(doorstep, user, 240)
  t.equal((await open(strong.access)).status, 200, 'after 240 s')
  await age(doorstep, user, 61)
  t.match(await open(strong.access), wanted, 'too old after 301 s')
  const renewed = tokensOf(await refresh(doorstep, strong.refresh))
  t.match(await open(renewed.access), wanted, 'a refresh makes it no fresher')
  t.equal((await open(await raise(renewed.access))).status, 200, 'a step-up does')

  const plain = await enter(doorstep, await createUser(doorstep, { twoFactor: 'off' }))
  t.match(await open(plain.access), wanted, 'a password alone')
  await call(doorstep, '/logout', { token: weak.access, body: {} })
  t.match(await open(weak.access), invalid, 'and an ended session is no question of strength')
  t.match(await open('x.y.z'), invalid)
})
