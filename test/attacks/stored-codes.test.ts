import { createHash, createHmac } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import t from 'tap'
import { fromBase32 } from '../../src/security/base32.ts'
import { type CodeBinding, createOneTimeCodes } from '../../src/security/one-time-code.ts'
import { createSealer } from '../../src/security/sealed.ts'
import { createSecrets } from '../../src/security/secrets.ts'
import { systemRandom } from '../../src/system.ts'
import { createAuthenticator } from '../helpers/authenticator.ts'
import { type Canary, canariesIn } from '../helpers/canaries.ts'
import { dump } from '../helpers/credentials.ts'
import { createTestDatabase } from '../helpers/database.ts'
import { startDoorstep } from '../helpers/doorstep.ts'
import { createBareUser, enrol, enrolTotp, mailedCode, prove, proveMailbox, totpCode } from '../helpers/factors.ts'
import { part } from '../helpers/forge.ts'
import { passTime } from '../helpers/pass-time.ts'
import { type Answer, call, codeFor, createUser, finish, freshPhone, login, resend, textsTo } from '../helpers/story.ts'
import { startWireTap } from '../helpers/wire-tap.ts'

t.setTimeout(300_000)

const secrets = createSecrets([{ id: 'k1', key: createHash('sha256').update('a key of this test').digest() }])
const codes = createOneTimeCodes({ secrets, length: 6 })

/** The same ids in every run, so that what holds for the codes made of them holds in every run. */
const idOf = (n: number): string => {
  const hex = createHash('sha256').update(`challenge ${n}`).digest('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`
}
const bindingOf = (n: number): CodeBinding => ({
  challengeId: idOf(n),
  userId: idOf(-1 - n),
  purpose: 'login',
  method: 'sms',
})

t.test('a guesser who hopes that some codes come more often than others (SEC-27)', async (t) => {
  const issued = Array.from({ length: 3_000 }, (_, n) => codes.issue(bindingOf(n)).code)
  t.same(
    issued.filter((code) => !/^[0-9]{6}$/.test(code)),
    [],
    'six digits, as text',
  )
  const share = issued.filter((code) => code.startsWith('0')).length / issued.length
  t.ok(share > 0.083 && share < 0.117, `leading zeros are kept: ${(100 * share).toFixed(1)} %`)
  for (let place = 0; place < 6; place++) {
    const counts = Array.from(
      { length: 10 },
      (_, digit) => issued.filter((code) => Number(code[place]) === digit).length,
    )
    const chiSquare = counts.reduce((sum, count) => sum + (count - 300) ** 2 / 300, 0)
    t.ok(
      chiSquare < 27.88,
      `digit ${place + 1}: chi-square ${chiSquare.toFixed(1)}, p > 0.001 with 9 degrees of freedom`,
    )
  }
  t.ok(new Set(issued).size > 2_980, 'and hardly any comes twice (4.5 pairs are to be expected)')
  for (const length of [6, 7, 8, 9, 10]) {
    const { code } = createOneTimeCodes({ secrets, length }).issue(bindingOf(1))
    t.match(code, new RegExp(`^[0-9]{${length}}$`))
  }
  const source = new URL('../../src/', import.meta.url)
  const files = readdirSync(source, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'))
  t.same(
    files.filter((name) => /\bMath\.random\b/.test(readFileSync(new URL(name, source), 'utf8'))),
    [],
    'nothing in the service uses the generator that can be foretold',
  )
  t.ok(files.length > 40)
})

/** How a secret stands in a dump, alone or beside what is known: as it is, or under a hash that needs no key of ours. */
function searchFor(dumped: string, secret: string, beside: string[]): string[] {
  const found = dumped.includes(secret) ? ['as it is'] : []
  for (const before of ['', ...beside]) {
    for (const between of before === '' ? [''] : ['', ':', '|', '.', '-', ' ', '\0']) {
      for (const text of [before + between + secret, secret + between + before]) {
        for (const algorithm of ['md5', 'sha1', 'sha224', 'sha256', 'sha384', 'sha512']) {
          const hashes = [createHash(algorithm).update(text).digest(), createHmac(algorithm, '').update(text).digest()]
          for (const hash of hashes) {
            const spellings = [
              hash.toString('hex'),
              hash.toString('base64').replace(/=+$/, ''),
              hash.toString('base64url'),
            ]
            if (spellings.some((it) => dumped.includes(it))) found.push(`${algorithm} of ${JSON.stringify(text)}`)
          }
        }
      }
    }
  }
  return found
}

t.test('a thief of the database finds nothing that he can search for a code (SEC-28)', async (t) => {
  // Ten digits, so that no other number in the dump looks like one of them.
  const doorstep = await startDoorstep(t, { env: { CODE_LENGTH: '10' } })
  const { sql } = doorstep
  const users = [await createUser(doorstep), await createUser(doorstep), await createUser(doorstep)]
  const known: { code: string; phone: string; userId: string; challengeId: string; mac: string }[] = []
  for (const [i, user] of users.entries()) {
    const first = await login(doorstep, user)
    const code = codeFor(doorstep, user.phone)
    const [row] = await sql<{ id: string; mac: string }>(
      `SELECT id, encode(code_mac, 'hex') AS mac FROM challenges JOIN challenge_codes ON challenge_id = id WHERE user_id = $1`,
      [user.id],
    )
    known.push({ code, phone: user.phone, userId: user.id, challengeId: row?.id ?? '', mac: row?.mac ?? '' })
    // One stays open, one is tried wrongly and sent again, one is used.
    if (i === 1) {
      await finish(doorstep, first.body.pending_token, '0000000000')
      await passTime(doorstep, 61)
      t.equal((await resend(doorstep, first.body.pending_token)).status, 200)
    }
    if (i === 2) t.equal((await finish(doorstep, first.body.pending_token, code)).status, 200)
  }
  const dumped = await dump(doorstep)
  t.ok(
    known.every(({ mac }) => mac.length === 64 && dumped.includes(mac)),
    'the dump is whole',
  )

  const found: string[] = []
  for (const { code, phone, userId, challengeId } of known) {
    const bound = `otp:v2|${challengeId}|${userId}|login|sms`
    found.push(...searchFor(dumped, code, [challengeId, userId, phone, phone.slice(1), bound]))
  }
  t.same(found, [], 'no code and no hash that can be made without the key')
  const texts = users.flatMap(({ phone }) => textsTo(doorstep, phone))
  t.equal(texts.length, 4)
  t.notOk(
    texts.some((text) => dumped.includes(text)),
    'no text either',
  )
})

// He would finish every login with an authenticator app, on paper or by mail, and answer for every new factor.
t.test('a thief of the database finds nothing to make a factor of (SEC-28, SEC-32)', async (t) => {
  const doorstep = await startDoorstep(t, { env: { CODE_LENGTH: '10', METHODS: 'passkey,totp,sms,email' } })
  const { services, sql, config } = doorstep
  const canaries: Canary[] = []
  const searched: { name: string; secret: string; beside: string[] }[] = []
  const sealed: Buffer[] = []
  /** The challenge of an answer, and whose it is: what a thief would combine a guess with. */
  const ids = ({ body }: Answer): { cid: string; sub: string } =>
    part(body.pending_token, 1) as { cid: string; sub: string }
  const hide = (name: string, secret: string, beside: string[]): void => {
    canaries.push({ name, value: secret })
    searched.push({ name, secret, beside })
  }
  const hideCode = (name: string, answer: Answer, code: string, method: string): void => {
    const { cid, sub } = ids(answer)
    const { pur } = part(answer.body.pending_token, 1)
    t.match(code, /^\d{10}$/, name)
    hide(name, code, [cid, sub, `otp:v2|${cid}|${sub}|${pur}|${method}`])
  }
  const hideSecret = (name: string, answer: Answer, secret: string): void => {
    t.match(secret, /^[A-Z2-7]{32}$/)
    hide(name, secret, [ids(answer).cid, ids(answer).sub])
    canaries.push({ name: `bytes of the ${name}`, value: fromBase32(secret) })
    canaries.push({ name: `${name} in small letters`, value: secret.toLowerCase() })
  }
  const hideChallenge = (name: string, answer: Answer, challenge: string): void => {
    const bytes = Buffer.from(challenge, 'base64url')
    t.equal(bytes.length, 32)
    canaries.push({ name, value: bytes })
    const { cid, sub } = ids(answer)
    const made = [cid, sub, `webauthn:v1|${cid}`, Buffer.from(cid.replaceAll('-', ''), 'hex')].flatMap((text) => [
      createHash('sha256').update(text).digest(),
      ...['', cid, sub, 'webauthn'].map((key) => createHmac('sha256', key).update(text).digest()),
    ])
    t.notOk(
      made.some((it) => it.equals(bytes)),
      `${name}: made of more than its ids`,
    )
  }

  // Everything waits: a mailed code, three set-ups, a login with a passkey, one by mail, a step-up.
  const ada = await createBareUser(doorstep)
  const first = await login(doorstep, ada)
  hideCode('code that proves a mailbox', first, mailedCode(doorstep, ada.email), 'email')
  const proven = await prove(doorstep, first, { code: mailedCode(doorstep, ada.email) })
  const app = await enrol(doorstep, proven.body.pending_token, { method: 'totp', name: 'an app' })
  const { secret } = app.body.challenge.setup
  hideSecret('secret of an app that is set up', app, secret)

  const bob = await createBareUser(doorstep)
  const phone = freshPhone()
  const newPhone = await enrol(doorstep, (await proveMailbox(doorstep, bob)).body.pending_token, {
    method: 'sms',
    phone,
  })
  hideCode('code to a new number', newPhone, codeFor(doorstep, phone), 'sms')

  const eve = await createBareUser(doorstep)
  const device = createAuthenticator({ origin: config.passkey.origins[0] ?? '' })
  const newKey = await enrol(doorstep, (await proveMailbox(doorstep, eve)).body.pending_token, { method: 'passkey' })
  const { public_key: options } = newKey.body.challenge.setup
  hideChallenge('challenge of a new passkey', newKey, options.challenge)
  t.equal((await prove(doorstep, newKey, { credential: device.register(options) })).status, 200)
  const byKey = await login(doorstep, eve)
  hideChallenge('challenge of a login with a passkey', byKey, byKey.body.challenge.public_key.challenge)
  const byMail = await call(doorstep, '/login/2fa/method', {
    ...{ token: byKey.body.pending_token, body: { method: 'email' } },
  })
  t.equal(byMail.status, 200)
  hideCode('mailed code of a login', byKey, mailedCode(doorstep, eve.email), 'email')
  const open = await dump(doorstep)
  const setUps = await sql<{ setup: Buffer }>('SELECT setup FROM challenges WHERE setup IS NOT NULL')
  t.equal(setUps.length, 3)

  // And then it is done, renewed and replaced: what was there before is kept for a while.
  const signed = await prove(doorstep, app, { code: totpCode(secret) })
  const { access_token: access } = signed.body
  const [stored] = await sql("SELECT id, data FROM factors WHERE method = 'totp'")
  const renewed = await enrol(doorstep, access, { method: 'recovery_code' })
  const codes: string[] = [...signed.body.recovery_codes, ...renewed.body.recovery_codes]
  t.equal(codes.length, 20)
  for (const [at, code] of codes.entries()) {
    const plain = code.replaceAll('-', '')
    canaries.push(
      { name: `recovery code ${at}`, value: code },
      { name: `recovery code ${at} without hyphens`, value: plain },
    )
    canaries.push({ name: `recovery code ${at} in small letters`, value: plain.toLowerCase() })
    if (at % 10 === 0) {
      searched.push({ name: `recovery code ${at}`, secret: plain, beside: [ada.id, `recovery-code:v1|${ada.id}`] })
      searched.push({ name: `recovery code ${at} as shown`, secret: code, beside: [ada.id] })
    }
  }
  const nextApp = await enrolTotp(doorstep, access)
  hideSecret('secret of the app in its place', app, nextApp.secret)
  t.equal(nextApp.answer.status, 200)
  t.ok((await sql('SELECT FROM account_changes WHERE user_id = $1', [ada.id])).length >= 2, 'the old ones are there')
  const done = await dump(doorstep)

  for (const [when, dumped] of Object.entries({ open, done })) {
    t.ok(dumped.length > 2_000 && dumped.includes(ada.email), 'the dump is whole')
    t.strictSame(canariesIn(dumped, canaries), [], `${when}: nothing as it is`)
    const found = searched.flatMap(({ name, secret: it, beside }) =>
      searchFor(dumped, it, beside).map((how) => `${name}: ${how}`),
    )
    t.same(found, [], `${when}: and no hash that can be made without the key`)
  }

  // What is sealed opens with the key only, and for whom it was made.
  const text = String(stored?.data.secret)
  const boundTo = `totp|${ada.id}|${stored?.id}`
  t.equal(services.sealer.open('totp', text, boundTo), secret, 'the search knows what is right')
  t.equal(services.sealer.open('totp', text, boundTo.replace(ada.id, bob.id)), null, 'nor for another user')
  sealed.push(Buffer.from(text, 'base64url'), ...setUps.map(({ setup }) => setup))
  const keys = ['', 'totp', ada.id, secret].map((key) => createHash('sha256').update(key).digest())
  for (const key of [...keys, Buffer.alloc(32)]) {
    const thiefs = createSealer({ secrets: createSecrets([{ id: 'k1', key }]), random: systemRandom })
    for (const bytes of sealed) {
      for (const bound of [boundTo, `set-up|${ids(app).sub}|${ids(app).cid}`]) {
        t.equal(thiefs.open('totp', bytes.toString('base64url'), bound), null)
      }
    }
  }
})

t.test('a thief of the database who tries every code (SEC-28)', async (t) => {
  const binding = bindingOf(7)
  const { code, mac, keyId } = codes.issue(binding)
  /** The first code whose MAC under `key` is the stored one. */
  const search = (key: Buffer | string): string | null => {
    const prefix = `otp:v2|${binding.challengeId}|${binding.userId}|${binding.purpose}|sms|`
    for (let n = 0; n < 1_000_000; n++) {
      const guess = n.toString().padStart(6, '0')
      if (
        createHmac('sha256', key)
          .update(prefix + guess)
          .digest()
          .equals(mac)
      )
        return guess
    }
    return null
  }
  t.equal(search(''), null, 'not with an empty key')
  t.equal(search(secrets.find('code-mac', keyId) ?? ''), code, 'while the search itself is right')
  t.not(secrets.find('code', keyId)?.equals(secrets.find('code-mac', keyId) ?? Buffer.alloc(0)), true)
})

t.test('a thief who has seen one code of another login (SEC-28, SEC-46)', async (t) => {
  // Two challenges of one user that happen to have the same code.
  const byCode = new Map<string, CodeBinding>()
  let pair: [CodeBinding, CodeBinding] | undefined
  for (let n = 0; pair === undefined && n < 100_000; n++) {
    const binding = { ...bindingOf(n), userId: idOf(-1) }
    const { code } = codes.issue(binding)
    const twin = byCode.get(code)
    if (twin) pair = [twin, binding]
    byCode.set(code, binding)
  }
  if (!pair) throw new Error('no two of them have the same code')
  const [one, two] = pair.map((binding) => codes.issue(binding))
  t.equal(one?.code, two?.code)
  t.not(one?.mac.toString('hex'), two?.mac.toString('hex'), 'the same code, and different MACs')

  const binding = bindingOf(1)
  const { code, mac, keyId } = codes.issue(binding)
  const stored = mac.toString('hex')
  t.equal(codes.macs(binding, code)[keyId], stored)
  t.equal(codes.again(binding, keyId), code, 'sent again, it is the same')
  const changes: Partial<CodeBinding>[] = [
    { challengeId: idOf(2) },
    { userId: idOf(3) },
    { purpose: 'step_up' },
    { purpose: 'login|' },
    { method: 'email' },
  ]
  for (const other of changes) {
    t.not(codes.macs({ ...binding, ...other }, code)[keyId], stored, `another ${Object.keys(other)[0]}`)
  }
  t.same(Object.keys(codes.macs(binding, code)), [keyId], 'nor is there one under a key that is not there')
  const keyOf = (text: string) => createHash('sha256').update(text).digest()
  const others = createOneTimeCodes({ secrets: createSecrets([{ id: 'k1', key: keyOf('another key') }]), length: 6 })
  t.not(others.macs(binding, code)[keyId], stored, 'nor under another key of that name')
  t.not(others.again(binding, keyId), code)
  const newer = createSecrets([
    { id: 'k2', key: keyOf('a newer key') },
    { id: 'k1', key: keyOf('a key of this test') },
  ])
  const later = createOneTimeCodes({ secrets: newer, length: 6 })
  t.equal(later.macs(binding, code)[keyId], stored, 'while one from before a new key is still right')
  t.equal(later.issue(binding).keyId, 'k2')
})

// He gains the digits one by one, if what is compared is the code, or a hash of it that he can make himself.
t.test('somebody who measures how long a comparison takes (SEC-45)', async (t) => {
  const database = await createTestDatabase()
  t.teardown(() => database.close())
  const tap = await startWireTap(database.url)
  t.teardown(tap.close)
  const doorstep = await startDoorstep(t, { database: { ...database, url: tap.url }, env: { CODE_LENGTH: '10' } })
  const user = await createUser(doorstep)
  const { pending_token: pending } = (await login(doorstep, user)).body
  const code = codeFor(doorstep, user.phone)
  const guesses = [
    `${code.slice(0, 9)}${(Number(code[9]) + 1) % 10}`,
    `${(Number(code[0]) + 1) % 10}${code.slice(1)}`,
    code,
  ]
  for (const guess of guesses) {
    const before = tap.heard().length
    t.equal((await finish(doorstep, pending, guess)).status, guess === code ? 200 : 422)
    const heard = tap.heard().subarray(before).toString('latin1')
    t.notOk(heard.includes(guess), 'what was typed is not even sent to where it is judged')
    const [, mac = ''] = /"k1":"([0-9a-f]+)"/.exec(heard) ?? []
    t.equal(mac.length, 64, 'but its hash under a key that is not there')
  }
})
