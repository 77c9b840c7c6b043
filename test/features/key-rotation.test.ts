import { createPrivateKey } from 'node:crypto'
import { createRemoteJWKSet, importPKCS8, jwtVerify, SignJWT } from 'jose'
import t from 'tap'
import { createKeyRing, replaceKeys } from '../../src/security/key-ring.ts'
import { createSecrets } from '../../src/security/secrets.ts'
import { generateKey } from '../../src/security/signing-key.ts'
import { systemRandom } from '../../src/system.ts'
import { dump, enter, refresh, type Signed, tokensOf } from '../helpers/credentials.ts'
import { createTestDatabase } from '../helpers/database.ts'
import { startDoorstep, testKeys } from '../helpers/doorstep.ts'
import { part } from '../helpers/forge.ts'
import { meetAtRow } from '../helpers/hold-row.ts'
import { call, codeFor, createUser, finish, login } from '../helpers/story.ts'
import { together } from '../helpers/together.ts'

t.setTimeout(300_000)

const client = { INTROSPECTION_CLIENTS: 'billing:a-secret-of-the-billing-team-0123' }
const doorstep = await startDoorstep(t, { env: client })
const second = await startDoorstep(t, { database: doorstep.database })
const rings = [doorstep.services.keyRing, second.services.keyRing] as const
const { sql, services, config } = doorstep

/** Lets `seconds` go by for the signing keys; a replica sees it when it reads its ring again. */
const pass = (seconds: number) =>
  sql(
    `UPDATE signing_keys SET active_at = active_at - $1::double precision * interval '1 second',
    created_at = created_at - $1::double precision * interval '1 second'`,
    [seconds],
  )
const readAll = () => Promise.all(rings.map((ring) => ring.refresh()))
const keyIds = async (): Promise<string[]> =>
  (await sql<{ id: string }>('SELECT id FROM signing_keys ORDER BY active_at')).map(({ id }) => id)
const published = async (instance = doorstep): Promise<string[]> =>
  (await call(instance, '/.well-known/jwks.json')).body.keys.map(({ kid }: { kid: string }) => kid)
const kidOf = (token: string): unknown => part(token, 0).kid

/** A day passes: whatever was on its way signs, and the rings have seen it. */
async function settle(): Promise<void> {
  await pass(86_400)
  await readAll()
}

t.test('replicas that start together on an empty database make one key', async (t) => {
  const database = await createTestDatabase()
  t.teardown(() => database.close())
  const started = await together(3, () => startDoorstep(t, { database }))
  const [first] = started
  const kids = await first?.sql<{ id: string }>('SELECT id FROM signing_keys')
  t.equal(kids?.length, 1, 'one key')
  for (const { services } of started) t.equal(services.keyRing.active().kid, kids?.[0]?.id, 'which all of them use')
})

t.test('a new key is shown for one cache life, one look of every replica and one leeway before it signs', async (t) => {
  const before = rings[0].active().kid
  const fresh = await rings[0].rotate(0)
  t.type(fresh, 'string')
  const [row] = await sql<{ wait: number }>(
    'SELECT extract(epoch FROM active_at - created_at)::integer AS wait FROM signing_keys WHERE id = $1',
    [fresh],
  )
  t.equal(row?.wait, 300 + 60 + 30)
  t.ok((await published()).includes(String(fresh)), 'published at once')
  await rings[1].refresh()
  t.ok((await published(second)).includes(String(fresh)), 'and by the others when they look')
  const answer = await call(doorstep, '/.well-known/jwks.json')
  t.equal(answer.headers['cache-control'], 'public, max-age=300')

  await pass(300)
  await readAll()
  t.strictSame(
    rings.map((ring) => ring.active().kid),
    [before, before],
    'it does not sign after 300 s',
  )
  await pass(60)
  await readAll()
  t.strictSame(
    rings.map((ring) => ring.active().kid),
    [before, before],
    'nor after 360',
  )
  await pass(31)
  await readAll()
  t.strictSame(
    rings.map((ring) => ring.active().kid),
    [fresh, fresh],
    'it signs after 391',
  )
})

t.test('of many replicas that rotate at once exactly one adds a key', async (t) => {
  const madeBy = async (work: () => Promise<unknown>): Promise<number> => {
    await settle()
    const before = await keyIds()
    const [events] = await sql<{ n: string }>(`SELECT count(*) AS n FROM audit_events WHERE type = 'key.created'`)
    await work()
    const after = await keyIds()
    const [now] = await sql<{ n: string }>(`SELECT count(*) AS n FROM audit_events WHERE type = 'key.created'`)
    const made = after.filter((id) => !before.includes(id)).length
    t.equal(Number(now?.n) - Number(events?.n), made, 'each key has its audit row')
    return made
  }
  const given: (string | null)[] = []
  const rotations = () => together(10, async (n) => given.push((await rings[n % 2]?.rotate(0)) ?? null))
  // Where each would write its key, if more than one came that far.
  const writing = { text: 'LOCK TABLE signing_keys IN EXCLUSIVE MODE', values: [], waiters: rings.length }
  t.equal(await madeBy(() => meetAtRow(doorstep, writing, rotations)), 1, 'asked to')
  t.equal(given.filter((id) => id !== null).length, 1, 'and one was told that it did')
  t.equal(await rings[0].rotate(0), null, 'nor is another made while one is on its way')

  await settle()
  const maintenance = () => together(10, async (n) => rings[n % 2]?.maintain())
  t.equal(await madeBy(maintenance), 0, 'by itself: not while the key is young')
  await pass(config.signingKeyDays * 86_400)
  t.equal(await madeBy(maintenance), 1, 'by itself, of an old key')
})

t.test('a key is replaced by itself when it is 30 days old', async (t) => {
  t.equal(config.signingKeyDays, 30)
  await settle()
  await sql(`UPDATE signing_keys SET active_at = active_at - (SELECT max(active_at) FROM signing_keys) + now()
    - interval '30 days' + interval '1 minute'`)
  const before = await keyIds()
  await rings[1].maintain()
  t.strictSame((await keyIds()).at(-1), before.at(-1), 'not a minute before')
  await pass(61)
  await rings[1].maintain()
  t.not((await keyIds()).at(-1), before.at(-1))
})

t.test('whoever verifies with the JWKS sees no failure through two rotations under load', async (t) => {
  await settle()
  await doorstep.app.listen({ host: '127.0.0.1', port: 0 })
  const address = await second.app.listen({ host: '127.0.0.1', port: 0 })
  const jwks = new URL(`${address}/.well-known/jwks.json`)
  // Two clients that keep what they have for as long as they may, and never ask because of a key they do not know.
  const patient = { cacheMaxAge: Number.POSITIVE_INFINITY, cooldownDuration: Number.POSITIVE_INFINITY }
  const [late, early] = [createRemoteJWKSet(jwks, patient), createRemoteJWKSet(jwks, patient)]
  await Promise.all([late.reload(), early.reload()])

  const users = await together(4, () => createUser(doorstep, { twoFactor: 'off' }))
  const signed: { tokens: Signed; at: number }[] = []
  const failures: string[] = []
  let now = 0
  let verified = 0
  const check = async (token: string): Promise<void> => {
    for (const [name, set] of Object.entries({ late, early })) {
      try {
        await jwtVerify(token, set, {
          issuer: config.issuer,
          audience: config.tokens.audience,
          typ: 'at+jwt',
          algorithms: ['ES256'],
        })
        verified += 1
      } catch (error) {
        failures.push(`${now} s, ${name}: ${(error as Error).name}`)
      }
    }
    for (const instance of [doorstep, second]) {
      const { status } = await call(instance, '/me', { token })
      if (status !== 200) failures.push(`${now} s, GET /me: ${status}`)
    }
  }
  const load = (index: number) => async (): Promise<void> => {
    const user = users[index]
    const instance = index % 2 === 0 ? doorstep : second
    if (user === undefined) return
    const entered = await enter(instance, user)
    const answer = await refresh(instance, entered.refresh)
    if (answer.status !== 200) failures.push(`${now} s, refresh: ${answer.status}`)
    else signed.push({ tokens: tokensOf(answer), at: now })
    await check(entered.access)
    if (answer.status === 200) await check(answer.body.access_token)
  }

  const step = 30
  const reloads = { late: [30, 330, 510, 810], early: [150, 450, 660, 930] }
  const kids = new Set<unknown>()
  for (; now <= 960; now += step) {
    // The second replica, which serves the JWKS, looks once a minute and just before each rotation; the first, which
    // rotates and signs, all the time.
    if (now % 60 === 0) await rings[1].refresh()
    const rotation = now === 0 || now === 480 ? rings[0].rotate(0) : rings[0].refresh()
    const loads = users.map((_, index) => load(index)())
    t.not(await rotation, null)
    await Promise.all(loads)
    if (reloads.late.includes(now)) await late.reload()
    if (reloads.early.includes(now)) await early.reload()
    kids.add(rings[0].active().kid)
    // Tokens live for 600 s: the oldest ones that are still alive, signed with a retired key, verify as well.
    const alive = signed.filter(({ at }) => now - at < 600)
    for (const { tokens } of alive.slice(0, 2)) await check(tokens.access)
    await pass(step)
  }
  t.strictSame(failures, [], '0 failures')
  t.equal(kids.size, 3, 'three keys have signed')
  t.equal(new Set(signed.map(({ tokens }) => kidOf(tokens.access))).size, 3)
  t.ok(verified > 400, `${verified} verifications`)
})

t.test('a retired key verifies until the last token signed with it is dead, and is forgotten then', async (t) => {
  await settle()
  const user = await createUser(doorstep, { twoFactor: 'off' })
  const { access } = await enter(doorstep, user)
  const old = String(kidOf(access))
  await rings[0].rotate(0)
  const activeSince = async (seconds: number): Promise<void> => {
    await sql(
      `UPDATE signing_keys SET active_at = now() - $1::integer * interval '1 second'
       WHERE id = (SELECT id FROM signing_keys ORDER BY active_at DESC LIMIT 1)`,
      [seconds],
    )
    await Promise.all(rings.map((ring) => ring.maintain()))
  }
  await activeSince(640)
  t.not(rings[0].active().kid, old)
  for (const instance of [doorstep, second]) {
    t.ok((await published(instance)).includes(old), 'for 640 s: a token lives for 600, and clocks differ by 30')
    t.equal((await call(instance, '/me', { token: access })).status, 200)
  }
  await activeSince(661)
  t.strictSame(await keyIds(), [rings[0].active().kid], 'after 661 s only the key that signs is kept')
  for (const instance of [doorstep, second]) {
    t.strictSame(await published(instance), [rings[0].active().kid])
    t.match(await call(instance, '/me', { token: access }), { status: 401, body: { code: 'invalid_token' } })
  }
})

t.test('a key that leaves the ring is refused at once, however often it was used before', async (t) => {
  await settle()
  const user = await createUser(doorstep, { twoFactor: 'off' })
  const { access } = await enter(doorstep, user)
  const gone = String(kidOf(access))
  const introspect = () =>
    call(doorstep, '/token/introspect', {
      method: 'POST',
      headers: {
        authorization: `Basic ${Buffer.from(client.INTROSPECTION_CLIENTS).toString('base64')}`,
        'content-type': 'application/x-www-form-urlencoded',
      },
      body: new URLSearchParams({ token: access }).toString(),
    })
  const isTaken = async (): Promise<[number, boolean]> => [
    (await call(doorstep, '/me', { token: access })).status,
    (await introspect()).body.active,
  ]
  t.strictSame([await isTaken(), await isTaken()], Array(2).fill([200, true]))
  await rings[0].rotate(0)
  await settle()
  t.strictSame(await isTaken(), [200, true], 'it no longer signs')

  const [row] = await sql('DELETE FROM signing_keys WHERE id = $1 RETURNING *', [gone])
  t.strictSame(await isTaken(), [200, true], 'it is gone where this replica has not looked')
  await rings[0].refresh()
  t.strictSame(await isTaken(), [401, false], 'and refused when it has')
  t.not(kidOf((await enter(doorstep, user)).access), gone)

  await sql('INSERT INTO signing_keys SELECT * FROM jsonb_populate_record(null::signing_keys, $1)', [row])
  await readAll()
  t.strictSame(await isTaken(), [200, true], 'it was the key that was missed')
  await sql('DELETE FROM signing_keys WHERE id = $1', [gone])
  await readAll()
})

t.test('a thief of the database, or of the JWKS, has no private key', async (t) => {
  await rings[0].rotate(0)
  const stolen = (await dump(doorstep)).toLowerCase()
  const shown = (await call(doorstep, '/.well-known/jwks.json')).body.keys
  t.equal(shown.length, 2)
  for (const jwk of shown) {
    t.strictSame(Object.keys(jwk).sort(), ['alg', 'crv', 'kid', 'kty', 'use', 'x', 'y'], 'public members only')
    t.match(jwk, { kty: 'EC', crv: 'P-256', alg: 'ES256', use: 'sig' })
  }
  const key = createPrivateKey(rings[0].active().privatePem)
  const d = Buffer.from(key.export({ format: 'jwk' }).d ?? '', 'base64url')
  const der = key.export({ format: 'der', type: 'pkcs8' })
  t.equal(d.length, 32)
  for (const secret of [d, der]) {
    for (const encoding of ['hex', 'base64', 'base64url'] as const) {
      t.notOk(stolen.includes(secret.toString(encoding).toLowerCase()), `not in the dump as ${encoding}`)
    }
  }
  t.ok(stolen.includes(rings[0].active().kid.toLowerCase()), 'which holds the key by its id')
})

const parts = (secretKeys: string) => {
  const keys = secretKeys.split(',').map((pair) => {
    const [id = '', value = ''] = pair.split(':')
    return { id, key: Buffer.from(value, 'base64') }
  })
  return { ...services, secrets: createSecrets(keys) }
}

t.test('a key that was changed or moved in the database is refused, not used', async (t) => {
  const rows = await sql<{ id: string; seal: string }>(
    `SELECT id, seals->>'k1' AS seal FROM signing_keys ORDER BY active_at`,
  )
  const [one, other] = rows
  if (one === undefined || other === undefined) throw new Error('two keys are needed')
  const put = (id: string, seal: string) =>
    sql('UPDATE signing_keys SET seals = $2 WHERE id = $1', [id, JSON.stringify({ k1: seal })])
  await put(one.id, other.seal)
  await t.rejects(
    rings[1].refresh(),
    { message: /^The signing key cannot be decrypted/ },
    'the ciphertext of another id',
  )
  const altered = Buffer.from(one.seal, 'hex')
  altered[40] = (altered[40] ?? 0) ^ 1
  await put(one.id, altered.toString('hex'))
  await t.rejects(rings[1].refresh(), { message: /^The signing key cannot be decrypted/ }, 'one bit')
  t.equal(rings[1].active().kid, one.id, 'the ring stays as it was')
  await put(one.id, one.seal)
  await rings[1].refresh()
})

const sealedWith = async (): Promise<string[][]> =>
  (
    await sql<{ ids: string[] }>('SELECT ARRAY(SELECT jsonb_object_keys(seals) ORDER BY 1) AS ids FROM signing_keys')
  ).map(({ ids }) => ids)

t.test('SECRET_KEYS change in three steps, replica by replica, and nothing breaks', async (t) => {
  await settle()
  await rings[0].maintain()
  const k1 = testKeys.SECRET_KEYS
  const k2 = `k2:${systemRandom.bytes(32).toString('base64')}`
  const start = (SECRET_KEYS: string) => startDoorstep(t, { database: doorstep.database, env: { SECRET_KEYS } })
  const user = await createUser(doorstep)
  const plain = await createUser(doorstep, { twoFactor: 'off' })
  const old = await enter(doorstep, plain)
  const pending = (await login(doorstep, user)).body.pending_token
  const kid = rings[0].active().kid

  const known = await start(`${k1},${k2}`)
  t.same(await sealedWith(), [['k1', 'k2']], 'first step: the new secret is known, and opens the key too')
  const used = await start(`${k2},${k1}`)
  t.same(await sealedWith(), [['k1', 'k2']], 'second step: it is used, and the old one still opens the key')
  await Promise.all([known, used].map(({ services }) => services.keyRing.maintain()))
  for (const replica of [doorstep, known, used]) {
    t.equal(replica.services.keyRing.active().kid, kid, 'the signing key is the same')
    t.strictSame(await published(replica), [kid], 'and no second one')
  }

  // Old and new replicas side by side: what one made the other takes.
  const fresh = await enter(used, plain)
  for (const instance of [known, used]) {
    for (const { access } of [old, fresh]) t.equal((await call(instance, '/me', { token: access })).status, 200)
  }
  t.match(fresh.refresh, /^dsr_k2\./)
  const viaOld = tokensOf(await refresh(known, fresh.refresh))
  t.match(viaOld.refresh, /^dsr_k1\./)
  t.match(await finish(used, pending, codeFor(doorstep, user.phone)), { status: 200 }, 'a login that began before')

  await t.test('a process with the old list starts, whatever the others have done meanwhile', async (t) => {
    t.equal((await start(k1)).services.keyRing.active().kid, kid)
    t.same(Object.keys(generateKey(parts(`${k2},${k1}`)).seals), ['k2', 'k1'], 'a key is never there without a seal')
    const made = await used.services.keyRing.rotate(0)
    await settle()
    t.equal((await start(k1)).services.keyRing.active().kid, made, 'also the key that one with the new list made')
    await sql('DELETE FROM signing_keys WHERE id = $1', [made])
    await Promise.all([readAll(), known.services.keyRing.refresh(), used.services.keyRing.refresh()])
  })

  const after = await start(k2)
  t.equal(after.services.keyRing.active().kid, kid, 'third step: the old secret is gone')
  t.equal((await call(after, '/me', { token: old.access })).status, 200, 'access tokens live on')
  t.equal((await refresh(after, viaOld.refresh)).status, 401, 'what was made with the old secret does not')
  t.equal((await refresh(after, fresh.refresh)).status, 200, 'what was made with the new one does')
})

t.test('secrets that open no key are named, with the way out', async (t) => {
  const [k2, k3] = ['k2', 'k3'].map((id) => `${id}:${systemRandom.bytes(32).toString('base64')}`) as [string, string]
  await t.rejects(createKeyRing(parts(k3)), {
    message:
      'The signing key is encrypted with the secret "k1" or "k2", which SECRET_KEYS does not list. ' +
      'Put that secret back behind the others, or give all signing keys up: keys rotate --now',
  })
  await t.rejects(createKeyRing(parts(k2)), {
    message:
      /^The signing key cannot be decrypted: the secret "k2" in SECRET_KEYS has changed\. Put .* keys rotate --now$/,
  })
  t.same(await sealedWith(), [['k1', 'k2']], 'nothing was changed by either')
})

t.test('a thief of a signing key: keys rotate --now makes what it signs worthless', async (t) => {
  await settle()
  const user = await createUser(doorstep, { twoFactor: 'off' })
  const held = await enter(doorstep, user)
  const stolen = rings[0].active()
  const header = { alg: 'ES256', typ: 'at+jwt', kid: stolen.kid }
  const forge = async (claims: object = {}): Promise<string> => {
    const own = part(held.access, 1)
    const key = await importPKCS8(stolen.privatePem, 'ES256')
    return await new SignJWT({ ...own, ...claims }).setProtectedHeader(header).sign(key)
  }
  t.equal((await call(doorstep, '/me', { token: await forge({ acr: 'aal2' }) })).status, 200, 'it passes for ours')
  await rings[1].rotate(0)
  t.equal((await published(second)).length, 2, 'one more is on its way, which may have leaked as well')

  // What the operator's command does, in a process of its own (cli.test.ts).
  const id = await replaceKeys(services)
  t.strictSame(await keyIds(), [id], 'the database has the new one only')
  t.equal((await call(second, '/me', { token: await forge() })).status, 200, 'a replica that has not looked takes it')

  await rings[0].maintain()
  t.strictSame(await published(), [id], 'here it is gone from the JWKS')
  t.match(await call(doorstep, '/me', { token: await forge() }), { status: 401, body: { code: 'invalid_token' } })
  t.match(await call(doorstep, '/me', { token: held.access }), { status: 401 }, 'what the owner had as well')
  await rings[1].maintain()
  t.strictSame(await published(second), [id], 'and within the minute there')
  t.match(await call(second, '/me', { token: await forge() }), { status: 401, body: { code: 'invalid_token' } })
  // The thief's next move: the header names the key that is good.
  header.kid = id
  t.match(await call(doorstep, '/me', { token: await forge() }), { status: 401, body: { code: 'invalid_token' } })

  const again = tokensOf(await refresh(doorstep, held.refresh))
  t.equal(kidOf(again.access), id, 'the owner refreshes, and was never signed out')
  t.equal((await call(second, '/me', { token: again.access })).status, 200)
  t.match(await sql(`SELECT outcome, detail FROM audit_events WHERE type = 'key.created' ORDER BY id DESC LIMIT 1`), [
    { outcome: 'replaced', detail: id },
  ])
})

t.test('the metadata says only what is true', async (t) => {
  const { status, body } = await call(doorstep, '/.well-known/oauth-authorization-server')
  t.equal(status, 200)
  t.strictSame(body, {
    issuer: config.publicUrl,
    jwks_uri: `${config.publicUrl}/.well-known/jwks.json`,
    response_types_supported: [],
    grant_types_supported: [],
    acr_values_supported: ['aal1', 'aal2'],
    introspection_endpoint: `${config.publicUrl}/token/introspect`,
    introspection_endpoint_auth_methods_supported: ['client_secret_basic'],
    service_documentation: `${config.publicUrl}/docs`,
  })
  const pathOf = (url: string): string => new URL(url).pathname
  t.match((await call(doorstep, pathOf(body.jwks_uri))).body, { keys: [{ kty: 'EC' }] })
  t.equal((await doorstep.app.inject(pathOf(body.service_documentation))).statusCode, 200)
  t.equal((await call(doorstep, pathOf(body.introspection_endpoint), { method: 'POST' })).status, 401)

  const without = await call(second, '/.well-known/oauth-authorization-server')
  t.strictSame(without.body, body, 'without INTROSPECTION_CLIENTS too: clients may ask')
  const [plain, full] = [await createUser(doorstep, { twoFactor: 'off' }), await createUser(doorstep)]
  const weak = part((await enter(doorstep, plain)).access, 1)
  const pending = (await login(doorstep, full)).body.pending_token
  const strong = part((await finish(doorstep, pending, codeFor(doorstep, full.phone))).body.access_token, 1)
  t.strictSame([weak.acr, strong.acr], body.acr_values_supported)
  t.strictSame([weak.iss, strong.iss], [body.issuer, body.issuer])
})
