import t from 'tap'
import { age } from '../helpers/age.ts'
import { tokensOf, trustDevice } from '../helpers/credentials.ts'
import { startDoorstep } from '../helpers/doorstep.ts'
import { call, codeFor, createUser, finish, login, signIn } from '../helpers/story.ts'

const client = { id: 'billing', secret: 'a-secret-of-the-billing-team-0123' }
const basic = { authorization: `Basic ${Buffer.from(`${client.id}:${client.secret}`).toString('base64')}` }
const form = { 'content-type': 'application/x-www-form-urlencoded' }

t.test('a session is refreshed, listed and ended', async (t) => {
  const doorstep = await startDoorstep(t, { env: { INTROSPECTION_CLIENTS: `${client.id}:${client.secret}` } })
  const ada = await createUser(doorstep)
  const signedIn = await signIn(doorstep, ada)
  t.match(signedIn.body, { status: 'authenticated', refresh_token: /^dsr_k1\./, refresh_expires_in: 43_200 })

  const refreshed = await call(doorstep, '/token/refresh', { body: { refresh_token: signedIn.body.refresh_token } })
  t.match(refreshed, { status: 200, body: { status: 'authenticated', access_token: /^eyJ/ } })
  t.not(refreshed.body.refresh_token, signedIn.body.refresh_token)

  const again = await call(doorstep, '/token/refresh', { body: { refresh_token: signedIn.body.refresh_token } })
  t.equal(again.body.refresh_token, refreshed.body.refresh_token, 'a lost reply is answered with the same successor')

  const token = refreshed.body.access_token
  const introspect = () =>
    call(doorstep, '/token/introspect', { method: 'POST', headers: { ...basic, ...form }, body: `token=${token}` })
  t.match(await introspect(), { status: 200, body: { active: true, sub: ada.id, acr: 'aal2' } })

  const list = await call(doorstep, '/sessions', { token })
  t.match(list.body, { sessions: [{ current: true, address: '127.0.0.1', device_id: /^[0-9a-f-]{36}$/ }] })

  t.equal((await call(doorstep, '/logout', { method: 'POST', token })).status, 204)
  t.match(await call(doorstep, '/me', { token }), { status: 401, body: { code: 'invalid_token' } })
  t.strictSame((await introspect()).body, { active: false })
  const dead = await call(doorstep, '/token/refresh', { body: { refresh_token: refreshed.body.refresh_token } })
  t.match(dead, { status: 401, body: { code: 'invalid_token' } })
})

t.test('a trusted device skips the text and steps up', async (t) => {
  const doorstep = await startDoorstep(t)
  const ada = await createUser(doorstep)
  const { device } = await trustDevice(doorstep, ada)

  const second = await login(doorstep, ada, { body: { device_token: device } })
  t.match(second, { status: 200, body: { status: 'authenticated', trusted_until: /^20/ } })
  const token = second.body.access_token
  t.match((await call(doorstep, '/me', { token })).body, { amr: ['pwd'], acr: 'aal1' })

  const stepUp = await call(doorstep, '/login/step-up', { token, body: {} })
  t.match(stepUp, { status: 200, body: { status: '2fa_required' } })
  const raised = await finish(doorstep, stepUp.body.pending_token, codeFor(doorstep, ada.phone))
  t.equal(raised.status, 200)
  t.match((await call(doorstep, '/me', { token })).body, { amr: ['pwd', 'sms', 'mfa'], acr: 'aal2' })
})

t.test('whoever finds a session open ends no other with it, without a fresh second factor (ASVS 7.5.2)', async (t) => {
  const doorstep = await startDoorstep(t)
  const ada = await createUser(doorstep)
  const owner = await trustDevice(doorstep, ada)
  const found = tokensOf(await login(doorstep, ada, { body: { device_token: owner.device } }))
  const end = (token: string, id: string) => call(doorstep, `/sessions/${id}`, { method: 'DELETE', token })
  const logout = (token: string, scope: string) => call(doorstep, '/logout', { token, body: { scope } })
  const isAlive = async (token: string) => (await call(doorstep, '/me', { token })).status === 200
  const tooWeak = {
    status: 401,
    body: { code: 'insufficient_user_authentication' },
    headers: { 'www-authenticate': /acr_values="aal2", max_age="600"$/ },
  }

  t.match(await end(found.access, owner.sid), tooWeak, 'too weak')
  for (const scope of ['others', 'all']) t.match(await logout(found.access, scope), tooWeak, scope)
  await age(doorstep, ada, 601)
  t.match(await end(owner.access, found.sid), tooWeak, 'too old')
  for (const scope of ['others', 'all']) t.match(await logout(owner.access, scope), tooWeak, scope)
  t.ok((await isAlive(owner.access)) && (await isAlive(found.access)), 'both go on')

  const pending = (await call(doorstep, '/login/step-up', { token: owner.access, body: {} })).body.pending_token
  await finish(doorstep, pending, codeFor(doorstep, ada.phone))
  t.equal((await logout(owner.access, 'others')).status, 204, 'with a fresh code it does')
  t.ok(await isAlive(owner.access))
  t.notOk(await isAlive(found.access))

  const third = tokensOf(await login(doorstep, ada, { body: { device_token: owner.device } }))
  t.equal((await end(third.access, third.sid)).status, 204, 'its own a session always ends')
  t.match(await end(owner.access, third.sid), { status: 404, body: { code: 'not_found' } }, 'which is over')
  t.equal((await logout(owner.access, 'all')).status, 204)
  t.notOk(await isAlive(owner.access))
})
