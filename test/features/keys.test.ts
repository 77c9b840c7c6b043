import { calculateJwkThumbprint, createLocalJWKSet, jwtVerify } from 'jose'
import t from 'tap'
import { startDoorstep } from '../helpers/doorstep.ts'
import { call, createUser, signIn } from '../helpers/story.ts'

t.setTimeout(300_000)
const doorstep = await startDoorstep(t)

t.test('the JWKS shows public members only, may be cached, and verifies what we sign', async (t) => {
  const { status, body, headers } = await call(doorstep, '/.well-known/jwks.json')
  t.equal(status, 200)
  t.equal(headers['cache-control'], 'public, max-age=300')
  t.equal(headers['content-type'], 'application/json; charset=utf-8')
  t.strictSame(Object.keys(body), ['keys'])
  t.ok(body.keys.length >= 1)
  for (const key of body.keys) {
    t.strictSame(Object.keys(key).sort(), ['alg', 'crv', 'kid', 'kty', 'use', 'x', 'y'])
    t.match(key, { kty: 'EC', crv: 'P-256', alg: 'ES256', use: 'sig' })
    t.equal(key.kid, await calculateJwkThumbprint(key), 'RFC 7638')
  }
  const token = (await signIn(doorstep, await createUser(doorstep))).body.access_token
  const { protectedHeader } = await jwtVerify(token, createLocalJWKSet(body as { keys: [] }))
  t.equal(protectedHeader.kid, doorstep.services.keyRing.active().kid)
})

t.test('replicas on one database share the key, and its private half is not readable there', async (t) => {
  const replica = await startDoorstep(t, { database: doorstep.database })
  const [one, two] = await Promise.all([doorstep, replica].map((it) => call(it, '/.well-known/jwks.json')))
  t.strictSame(one?.body, two?.body)
  const { access_token: token } = (await signIn(doorstep, await createUser(doorstep))).body
  t.equal((await call(replica, '/me', { token })).status, 200, 'a token of one is good at the other')

  const [row] = await doorstep.sql('SELECT seals, public_jwk FROM signing_keys')
  const der = Buffer.from(doorstep.services.keyRing.active().privatePem.split('\n').slice(1, -2).join(''), 'base64')
  const [secretId] = doorstep.services.secrets.ids
  t.strictSame(Object.keys(row?.seals), [secretId])
  t.notOk(
    row?.seals[`${secretId}`].includes(der.subarray(36, 68).toString('hex')),
    'not the 32 bytes of the private key',
  )
  t.strictSame(Object.keys(row?.public_jwk).sort(), ['crv', 'kty', 'x', 'y'])
})
