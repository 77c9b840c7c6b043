import t, { type Test } from 'tap'
import { parsed } from '../helpers/count-key-parsing.ts'
import { enter, refresh, tokensOf } from '../helpers/credentials.ts'
import { startDoorstep } from '../helpers/doorstep.ts'
import { part } from '../helpers/forge.ts'
import { call, createUser, login } from '../helpers/story.ts'

// To parse a key takes longer than to verify with it, and ten times as long as to sign: it is done once for each key.

t.setTimeout(300_000)

const client = 'billing:a-secret-of-the-billing-team-0123'
const doorstep = await startDoorstep(t, { env: { INTROSPECTION_CLIENTS: client } })
const { sql, services } = doorstep
const ada = await createUser(doorstep)
const plain = await createUser(doorstep, { twoFactor: 'off' })

const introspect = (token: string) =>
  call(doorstep, '/token/introspect', {
    method: 'POST',
    headers: {
      authorization: `Basic ${Buffer.from(client).toString('base64')}`,
      'content-type': 'application/x-www-form-urlencoded',
    },
    body: new URLSearchParams({ token }).toString(),
  })
const pending: string = (await login(doorstep, ada)).body.pending_token
let signed = await enter(doorstep, plain)

/** Verifies `access` at the guard and at introspection, and a pending token; signs a new access token. */
async function useKeys(t: Test, access: string): Promise<void> {
  t.equal((await call(doorstep, '/me', { token: access })).status, 200)
  t.match(await introspect(access), { status: 200, body: { active: true } })
  t.equal((await call(doorstep, '/login/2fa', { token: pending })).status, 200)
  signed = tokensOf(await refresh(doorstep, signed.refresh))
  t.equal(part(signed.access, 0).kid, services.keyRing.active().kid)
}

/** The names of what was parsed during `work`. */
async function parsedBy(work: () => Promise<unknown>): Promise<string[]> {
  parsed.length = 0
  await work()
  return [...parsed].sort()
}

async function useOften(t: Test, access: string): Promise<void> {
  for (let round = 0; round < 5; round += 1) {
    await useKeys(t, access)
    await services.keyRing.refresh()
  }
}

t.test('a key is parsed when it is first used, and no request or look at the ring parses it again', async (t) => {
  await useKeys(t, signed.access)
  t.strictSame(await parsedBy(() => useOften(t, signed.access)), [], 'the key of the first start')

  const old = signed.access
  await services.keyRing.rotate(0)
  await sql(
    `UPDATE signing_keys SET active_at = active_at - interval '1 hour', created_at = created_at - interval '1 hour'`,
  )
  await services.keyRing.refresh()
  t.not(services.keyRing.active().kid, part(old, 0).kid, 'another key signs')
  const atFirst = await parsedBy(async () => {
    await useKeys(t, old)
    await useKeys(t, signed.access)
  })
  // The plugin for signing and introspection, and its verifier at the guard.
  t.strictSame(atFirst, ['createPrivateKey', 'createPublicKey', 'createPublicKey'], 'at its first use')
  t.strictSame(await parsedBy(() => useOften(t, signed.access)), [], 'the new key')
  t.strictSame(await parsedBy(() => useOften(t, old)), [], 'the retired one')
})
