import t from 'tap'
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
  t.match(list.body, { sessions: [{ current: true, address: '127.0.0.1' }] })

  t.equal((await call(doorstep, '/logout', { method: 'POST', token })).status, 204)
  t.match(await call(doorstep, '/me', { token }), { status: 401, body: { code: 'invalid_token' } })
  t.strictSame((await introspect()).body, { active: false })
  const dead = await call(doorstep, '/token/refresh', { body: { refresh_token: refreshed.body.refresh_token } })
  t.match(dead, { status: 401, body: { code: 'invalid_token' } })
})

t.test('a trusted device skips the text and steps up', async (t) => {
  const doorstep = await startDoorstep(t)
  const ada = await createUser(doorstep)
  const first = await login(doorstep, ada)
  const trusted = await finish(doorstep, first.body.pending_token, codeFor(doorstep, ada.phone), {
    body: { trust_device: true, device_name: 'phone' },
  })
  t.match(trusted, { status: 200, body: { device_token: /^dsd_/, device_expires_in: 2_592_000 } })

  const second = await login(doorstep, ada, { body: { device_token: trusted.body.device_token } })
  t.match(second, { status: 200, body: { status: 'authenticated' } })
  const token = second.body.access_token
  t.match((await call(doorstep, '/me', { token })).body, { amr: ['pwd'], acr: 'aal1' })

  const stepUp = await call(doorstep, '/login/step-up', { token, body: {} })
  t.match(stepUp, { status: 200, body: { status: '2fa_required' } })
  const raised = await finish(doorstep, stepUp.body.pending_token, codeFor(doorstep, ada.phone))
  t.equal(raised.status, 200)
  t.match((await call(doorstep, '/me', { token })).body, { amr: ['pwd', 'sms', 'mfa'], acr: 'aal2' })

  const devices = await call(doorstep, '/trusted-devices', { token })
  t.match(devices.body, { trusted_devices: [{ name: 'phone' }] })
  const id = devices.body.trusted_devices[0].id
  t.equal((await call(doorstep, `/trusted-devices/${id}`, { method: 'DELETE', token })).status, 204)
  t.match((await login(doorstep, ada, { body: { device_token: trusted.body.device_token } })).body, {
    status: '2fa_required',
  })
})
