import { sign } from 'node:crypto'
import type { AuthenticationResponseJSON } from '@simplewebauthn/server'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import type Type from 'typebox'
import { Check } from 'typebox/value'
import {
  CreationOptionsSchema,
  CredentialSchema,
  RequestOptionsSchema,
} from '../../src/features/factors/passkey/credential.ts'
import { createPasskeys, type NewPasskey, type StoredPasskey } from '../../src/security/passkey.ts'
import { createSecrets } from '../../src/security/secrets.ts'
import { type Algorithm, createAuthenticator, type Overrides } from '../helpers/authenticator.ts'
import { makersCertificate } from '../helpers/certificate.ts'
import { thorough } from '../helpers/effort.ts'
import { coseAlgorithms, keyPair } from '../helpers/passkey-keys.ts'

// What an attacker gains where a passkey is judged in parts only: the account, with a proof that was made for another
// page, challenge, person or purpose (SEC-97, SEC-117).

const origin = 'https://app.example.com'
const config = { rpId: 'example.com', rpName: 'Example', origins: [origin, 'android:apk-key-hash:AAAA'] }
const [oldKey, newKey] = [1, 2].map((byte) => ({ id: `k${byte}`, key: Buffer.alloc(32, byte) })) as [Key, Key]
const passkeys = createPasskeys({ config, secrets: createSecrets([newKey, oldKey]) })
const cid = '0d9a7a70-3c1f-4f1e-8a55-6c5e0d2b7f10'
const handle = Buffer.alloc(32, 9).toString('base64url')
const ada = { handle, name: 'ada@example.com', displayName: 'ada@example.com' }
const algorithms = Object.keys(coseAlgorithms) as Algorithm[]

type Key = { id: string; key: Buffer }
type Device = Partial<Parameters<typeof createAuthenticator>[0]>

const stored = ({ credential_id, data, counter }: NewPasskey): StoredPasskey => ({
  credential_id: credential_id.toString('base64url'),
  data,
  counter,
})

/** An authenticator with one passkey of Ada's, and what is stored of it. */
async function enrolled(device: Device = {}, user = ada) {
  const authenticator = createAuthenticator({ origin, ...device })
  const response = authenticator.register(passkeys.creationOptions({ cid, user, exclude: [] }))
  const made = await passkeys.verifyRegistration({ cid, response })
  if (!made) throw new Error('the registration was refused')
  const credential = stored(made)
  const challenge = passkeys.challengeOf(cid)

  /** What the authenticator answers, right but for `wrong`. */
  const answer = (wrong?: Overrides) =>
    authenticator.assert(
      passkeys.requestOptions({ challenge, allow: [credential], userVerification: 'preferred' }),
      wrong,
    )
  type Question = Omit<Parameters<typeof passkeys.verifyAssertion>[0], 'response'>
  const judge = (response: unknown, question: Partial<Question> = {}) =>
    passkeys.verifyAssertion({
      challenges: passkeys.challengesOf(cid),
      credential,
      userHandle: handle,
      requireVerification: true,
      ...question,
      response,
    })
  return { authenticator, made, credential, answer, judge }
}

const register = (wrong: Overrides = {}, device: Device = {}) =>
  createAuthenticator({ origin, ...device }).register(passkeys.creationOptions({ cid, user: ada, exclude: [] }), wrong)

t.test('a passkey of each algorithm is registered and used', async (t) => {
  for (const algorithm of algorithms) {
    const { made, answer, judge, authenticator } = await enrolled({ algorithm })
    t.match(made, {
      data: {
        algorithm: coseAlgorithms[algorithm],
        backup_eligible: false,
        backed_up: false,
        transports: ['internal'],
      },
      counter: 0,
      amr: 'hwk',
    })
    t.strictSame([made.credential_id.toString('base64url')], authenticator.ids())
    t.strictSame(await judge(answer()), { counter: 1, backedUp: false, userVerified: true, amr: 'hwk' }, algorithm)
  }
})

t.test('what can be backed up is a key in software, and the backup may begin later', async (t) => {
  const { made, answer, judge } = await enrolled({ backupEligible: true })
  t.match(made, { amr: 'swk', data: { backup_eligible: true, backed_up: false } })
  t.match(await judge(answer({ backedUp: true })), { amr: 'swk', backedUp: true })
})

t.test('behind a password a passkey need not verify its user nor name them', async (t) => {
  const { answer, judge } = await enrolled({ verifiesUser: false })
  const response = answer({ userHandle: null })
  t.match(await judge(response, { requireVerification: false }), { userVerified: false })
  t.equal(await judge(response), null, 'alone it must')
  t.equal(await judge(answer({ userHandle: null, verified: true })), null, 'alone it must name them too')
  t.equal(await judge(answer()), null, 'alone it must verify them too')
  const withNull = { ...response, response: { ...response.response, userHandle: null } }
  t.ok(await judge(withNull, { requireVerification: false }), 'null is no name')
})

t.test('an app of the same owner is an origin like any other', async (t) => {
  const { answer, judge } = await enrolled()
  t.ok(await judge(answer({ origin: 'android:apk-key-hash:AAAA' })))
  t.equal(await judge(answer({ origin: 'android:apk-key-hash:AAAB' })), null)
})

t.test('a challenge is derived from its id, and outlives a new key', async (t) => {
  const before = createPasskeys({ config, secrets: createSecrets([oldKey]) })
  t.equal(before.challengeOf(cid).length, 32)
  t.same(before.challengeOf(cid), before.challengeOf(cid))
  t.notSame(before.challengeOf(cid), before.challengeOf(cid.replace('0', '1')))
  t.notSame(before.challengeOf(cid), passkeys.challengeOf(cid))
  t.same(passkeys.challengesOf(cid), [passkeys.challengeOf(cid), before.challengeOf(cid)])

  const authenticator = createAuthenticator({ origin })
  const response = authenticator.register(before.creationOptions({ cid, user: ada, exclude: [] }))
  t.ok(await passkeys.verifyRegistration({ cid, response }), 'registered across the change')
  const { judge, answer } = await enrolled()
  const challenge = before.challengeOf(cid).toString('base64url')
  t.ok(await judge(answer({ challenge })), 'used across the change')
  const after = createPasskeys({ config, secrets: createSecrets([newKey]) })
  t.equal(await after.verifyRegistration({ cid, response }), null, 'a key taken out is gone')
})

t.test('the options are plain JSON, as their schemas say', async (t) => {
  const { credential } = await enrolled()
  const asked: Type.Static<typeof CreationOptionsSchema> = passkeys.creationOptions({
    cid,
    user: ada,
    exclude: [credential],
  })
  const challenge = passkeys.challengeOf(cid)
  t.strictSame(JSON.parse(JSON.stringify(asked)), asked)
  t.ok(Check(CreationOptionsSchema, asked))
  const descriptors = [{ type: 'public-key', id: credential.credential_id, transports: ['internal'] }]
  t.strictSame(asked, {
    rp: { id: 'example.com', name: 'Example' },
    user: { id: handle, name: 'ada@example.com', displayName: 'ada@example.com' },
    challenge: challenge.toString('base64url'),
    pubKeyCredParams: [-8, -7, -257].map((alg) => ({ type: 'public-key', alg })),
    timeout: 300_000,
    excludeCredentials: descriptors,
    authenticatorSelection: { residentKey: 'preferred', requireResidentKey: false, userVerification: 'preferred' },
    attestation: 'none',
    extensions: { credProps: true },
  })

  const wanted: Type.Static<typeof RequestOptionsSchema> = passkeys.requestOptions({
    challenge,
    allow: [{ ...credential, data: { ...credential.data, transports: [] } }],
    userVerification: 'required',
  })
  t.strictSame(JSON.parse(JSON.stringify(wanted)), wanted)
  t.ok(Check(RequestOptionsSchema, wanted))
  t.strictSame(wanted, {
    rpId: 'example.com',
    challenge: challenge.toString('base64url'),
    timeout: 300_000,
    allowCredentials: [{ type: 'public-key', id: credential.credential_id }],
    userVerification: 'required',
  })
})

t.test('what the software authenticator sends has the form of the schema, and is not made twice', async (t) => {
  const { authenticator, answer, credential } = await enrolled()
  t.ok(Check(CredentialSchema, answer()))
  t.ok(Check(CredentialSchema, register()))
  t.notOk(Check(CredentialSchema, { ...answer(), response: {} }))
  t.throws(
    () => authenticator.register(passkeys.creationOptions({ cid, user: ada, exclude: [credential] })),
    /InvalidStateError/,
  )
})

const someone = Buffer.alloc(32, 5).toString('base64url')

const wrongForBoth: Record<string, Overrides> = {
  'another challenge': { challenge: someone },
  'no challenge': { challenge: undefined },
  'an empty challenge': { challenge: '' },
  'a page of somebody else': { origin: 'https://app.example.com.evil.example' },
  'a page of the same host without TLS': { origin: 'http://app.example.com' },
  'a page at another port': { origin: `${origin}:8443` },
  'a sister page that is not listed': { origin: 'https://example.com' },
  'the origin with a slash': { origin: `${origin}/` },
  'another RP id': { rpId: 'app.example.com' },
  'a frame of another site': { crossOrigin: true },
  'a frame of another site that is named': { crossOrigin: true, topOrigin: 'https://evil.example' },
  'a frame that denies itself': { topOrigin: 'https://evil.example' },
  'nobody present': { present: false },
  'a backup of what cannot be backed up': { backupEligible: false, backedUp: true },
  'another id': { id: someone },
}

const wrongInUse: Record<string, Overrides> = {
  'a registration in place of a use': { type: 'webauthn.create' },
  'a payment in place of a use': { type: 'payment.get' },
  'another person': { userHandle: someone },
  'an unnamed person': { userHandle: null },
  'nobody verified': { verified: false },
  'backup eligibility that came': { backupEligible: true },
  'a key of nobody': { otherKey: true },
  'one bit of the signature': { flippedBit: 77 },
  'another algorithm': { algorithm: 'EdDSA' },
  'an algorithm that is dearer': { algorithm: 'RS256' },
}

const wrongInRegistration: Record<string, Overrides> = {
  'a use in place of a registration': { type: 'webauthn.get' },
  'a key of one algorithm under the name of another': { algorithm: 'RS256' },
  'an algorithm that nobody asked for': { keyMembers: [[3, -35]] },
  'a curve that nobody asked for': { keyMembers: [[-1, 2]] },
  'a point that is on no curve': { keyMembers: [[-2, Buffer.alloc(32, 1)]] },
  'a key without a member': { keyMembers: [[-3, '']] },
  'an id that is too long': { idBytes: 1024 },
  'an unknown attestation': { attest: () => ({ format: 'doorstep', statement: [] }) },
  'a statement where there is none': { attest: () => ({ format: 'none', statement: [['sig', Buffer.alloc(8)]] }) },
  'a wrong signature of the key by itself': {
    attest: () => ({
      format: 'packed',
      statement: [
        ['alg', -7],
        ['sig', sign('sha256', Buffer.alloc(1), keyPair('ES256').privateKey)],
      ],
    }),
  },
}

t.test('an attacker uses a passkey of which one thing is wrong', async (t) => {
  const { answer, judge } = await enrolled()
  for (const [name, wrong] of Object.entries({ ...wrongForBoth, ...wrongInUse })) {
    t.equal(await judge(answer(wrong)), null, name)
  }
  t.ok(await judge(answer()), 'with nothing wrong it is right')
})

t.test('an attacker registers a passkey of which one thing is wrong', async (t) => {
  for (const [name, wrong] of Object.entries({ ...wrongForBoth, ...wrongInRegistration })) {
    t.equal(await passkeys.verifyRegistration({ cid, response: register(wrong) }), null, name)
  }
  t.ok(await passkeys.verifyRegistration({ cid, response: register() }), 'with nothing wrong it is right')
  t.ok(await passkeys.verifyRegistration({ cid, response: register({ idBytes: 1023 }) }), 'the longest id')
  const [e, n] = [Buffer.from([3]), Buffer.alloc(128, 255)]
  for (const keyMembers of [[[-2, e]], [[-1, n]], [[-1, 1]]] as [number, Buffer][][]) {
    const response = register({ keyMembers }, { algorithm: 'RS256' })
    t.equal(await passkeys.verifyRegistration({ cid, response }), null, 'an RSA key that is weak, or none')
  }
})

t.test('a new key may sign for itself; certificates are not looked at, for they name servers to ask', async (t) => {
  const self = (_: Buffer, signed: Buffer): ReturnType<NonNullable<Overrides['attest']>> => ({
    format: 'packed',
    statement: [
      ['alg', -7],
      ['sig', signed],
    ],
  })
  t.ok(await passkeys.verifyRegistration({ cid, response: register({ attest: self }) }))
  const maker = keyPair('ES256')
  const certified = (data: Buffer): ReturnType<typeof self> => ({
    format: 'packed',
    statement: [
      ['alg', -7],
      ['sig', sign('sha256', data, maker.privateKey)],
      ['x5c', [makersCertificate(maker)]],
    ],
  })
  t.equal(await passkeys.verifyRegistration({ cid, response: register({ attest: certified }) }), null)
})

t.test('an attacker shows a passkey of their own for another account', async (t) => {
  const [mine, hers] = [await enrolled({}, { ...ada, handle: someone }), await enrolled()]
  t.equal(await hers.judge(mine.answer()), null)
  t.equal(await hers.judge(mine.answer({ id: hers.credential.credential_id, userHandle: handle })), null)
  t.equal(await mine.judge(mine.answer(), { userHandle: handle }), null, 'right for the key, and of another user')
  t.ok(await mine.judge(mine.answer(), { userHandle: someone }))
})

t.test('an attacker uses the proof of one challenge for another', async (t) => {
  const { answer, judge } = await enrolled()
  const response = answer()
  t.equal(await judge(response, { challenges: passkeys.challengesOf('another') }), null)
  t.equal(await judge(response, { challenges: [] }), null)
  t.equal(await judge(answer({ challenge: undefined }), { challenges: [] }), null, 'nothing asked, nothing answered')
  t.equal(
    await judge(answer({ challenge: '' }), { challenges: [Buffer.alloc(0), ...passkeys.challengesOf(cid)] }),
    null,
  )
  t.equal(await passkeys.verifyRegistration({ cid: 'another', response: register() }), null)
})

t.test('a stored passkey of another kind is never right', async (t) => {
  const { answer, judge, credential } = await enrolled()
  const other = (data: Partial<StoredPasskey['data']>): StoredPasskey => ({
    ...credential,
    data: { ...credential.data, ...data },
  })
  t.equal(await judge(answer(), { credential: other({ algorithm: -257 }) }), null)
  t.equal(await judge(answer(), { credential: other({ algorithm: -35 }) }), null)
  t.equal(await judge(answer(), { credential: other({ public_key: '' }) }), null)
  t.equal(await judge(answer(), { credential: other({ backup_eligible: true }) }), null, 'it cannot lose a backup')
  t.ok(await judge(answer(), { credential: other({}) }))
})

t.test(
  'the counter is what a right proof says, whatever is stored; whether it rose shows where it is stored',
  async (t) => {
    const { answer, judge, credential } = await enrolled()
    for (const counter of [0, 6, 7, 8]) {
      t.strictSame(await judge(answer({ counter }), { credential: { ...credential, counter: 7 } }), {
        ...{ counter, backedUp: false, userVerified: true, amr: 'hwk' },
      })
    }
    t.equal(
      await judge(answer({ counter: 0xffffffff, otherKey: true })),
      null,
      'the counter of a wrong proof is nobody’s',
    )
  },
)

t.test('a passkey that is too large is not looked at', async (t) => {
  const { answer, judge } = await enrolled()
  const sized = (bytes: number) => {
    const response = { ...answer(), padding: '' }
    return { ...response, padding: 'x'.repeat(bytes - JSON.stringify(response).length) }
  }
  t.equal(JSON.stringify(sized(16_384)).length, 16_384)
  t.ok(await judge(sized(16_384)), 'what browsers may add is not heard')
  t.equal(await judge(sized(16_385)), null)
})

/** Each member that is heard, by its path. */
const heard = [
  ['id'],
  ['rawId'],
  ['type'],
  ['response'],
  ['response', 'clientDataJSON'],
  ['response', 'authenticatorData'],
  ['response', 'signature'],
  ['response', 'userHandle'],
]

type Json = Record<string, unknown>

function replaced(response: unknown, [name = '', ...rest]: string[], value: (old: unknown) => unknown): Json {
  const members = response as Json
  return { ...members, [name]: rest.length > 0 ? replaced(members[name], rest, value) : value(members[name]) }
}

const changes = fc.oneof(
  fc.jsonValue().map((value) => () => value),
  fc.uint8Array({ maxLength: 200 }).map((bytes) => () => Buffer.from(bytes).toString('base64url')),
  fc.constantFrom('=', 'A', '\n', ' ').map((end) => (old: unknown) => `${old}${end}`),
  fc.tuple(fc.nat(), fc.integer({ min: 1, max: 255 })).map(([place, bits]) => (old: unknown) => {
    const bytes = Buffer.from(String(old), 'base64url')
    const at = place % Math.max(bytes.length, 1)
    bytes[at] = (bytes[at] ?? 0) ^ bits
    return bytes.toString('base64url')
  }),
)

async function nothingPasses(t: Test, algorithm: Algorithm, runs: number): Promise<void> {
  const { answer, judge } = await enrolled({ algorithm })
  const response = answer()
  const judged = async (path: string[], change: (old: unknown) => unknown): Promise<boolean> => {
    const changed = replaced(response, path, change)
    const isSame = JSON.stringify(changed) === JSON.stringify(response)
    return isSame || (await judge(changed)) === null
  }
  await fc.assert(fc.asyncProperty(fc.constantFrom(...heard), changes, judged), { numRuns: runs })
  t.ok(await judge(response), `${algorithm}: unchanged it is right`)
}

t.test('whatever is changed in a proof, it is wrong, and nothing is thrown', async (t) => {
  await nothingPasses(t, 'ES256', thorough(3_000, 300))
  await nothingPasses(t, 'EdDSA', thorough(3_000, 300))
  await nothingPasses(t, 'RS256', thorough(1_000, 100))
})

t.test('a signature of ES256 has one spelling', async (t) => {
  const { answer, judge } = await enrolled()
  type Parts = { r: Buffer; s: Buffer }
  /** The next signature whose numbers are as `wanted`, spelt another way. */
  const respelt = async (spell: (parts: Parts) => Uint8Array[], wanted: (parts: Parts) => boolean = () => true) => {
    for (;;) {
      const response = answer()
      const bytes = Buffer.from(response.response.signature, 'base64url')
      const r = bytes.subarray(4, 4 + (bytes[3] ?? 0))
      const parts = { r, s: bytes.subarray(6 + r.length) }
      if (!wanted(parts)) continue
      const signature = Buffer.concat(spell(parts)).toString('base64url')
      return judge(replaced(response, ['response', 'signature'], () => signature))
    }
  }
  const number = (bytes: Uint8Array, tag = 0x02) => Buffer.concat([Buffer.from([tag, bytes.length]), bytes])
  const pair = (first: Uint8Array, second: Uint8Array, tag = 0x30) => number(Buffer.concat([first, second]), tag)
  const zero = Buffer.alloc(1)
  /** With a zero before it, since its first bit is set. */
  const isHigh = (it: Buffer) => it.length === 33
  /** So short that a zero more is no longer than what the library expects. */
  const isLow = (it: Buffer) => it.length < 32

  t.ok(await respelt(({ r, s }) => [pair(number(r), number(s))]))
  t.ok(
    await respelt(
      ({ r, s }) => [pair(number(r), number(s))],
      ({ r }) => isHigh(r),
    ),
  )
  t.ok(
    await respelt(
      ({ r, s }) => [pair(number(r), number(s))],
      ({ s }) => isLow(s),
    ),
  )
  t.equal(await respelt(({ r, s }) => [pair(number(r), number(s)), zero]), null, 'nothing behind it')
  t.equal(
    await respelt(({ r, s }) => [pair(number(r), number(s)), Buffer.alloc(256)]),
    null,
    'nor as much as a length wraps at',
  )
  t.equal(await respelt(({ r, s }) => [pair(number(r), Buffer.concat([number(s), zero]))]), null, 'nor inside')
  t.equal(
    await respelt(({ r, s }) => [Buffer.from([0x30, 0x81]), pair(number(r), number(s)).subarray(1)]),
    null,
    'no longer length',
  )
  t.equal(await respelt(({ r, s }) => [pair(number(r), number(s)).subarray(0, 3)]), null, 'and no shorter one')
  for (const low of [({ r }: Parts) => isLow(r), ({ s }: Parts) => isLow(s)]) {
    const padded = (it: Buffer) => number(isLow(it) ? Buffer.concat([zero, it]) : it)
    t.equal(await respelt(({ r, s }) => [pair(padded(r), padded(s))], low), null, 'no zeros before a number')
  }
  for (const high of [({ r }: Parts) => isHigh(r), ({ s }: Parts) => isHigh(s)]) {
    const negative = (it: Buffer) => number(isHigh(it) ? it.subarray(1) : it)
    t.equal(await respelt(({ r, s }) => [pair(negative(r), negative(s))], high), null, 'no number below zero')
  }
  const passed: string[] = []
  for (let tag = 0; tag < 256; tag += 1) {
    if (tag !== 0x30 && (await respelt(({ r, s }) => [pair(number(r), number(s), tag)]))) passed.push(`pair ${tag}`)
    if (tag === 0x02) continue
    if (await respelt(({ r, s }) => [pair(number(r, tag), number(s))])) passed.push(`first ${tag}`)
    if (await respelt(({ r, s }) => [pair(number(r), number(s, tag))])) passed.push(`second ${tag}`)
  }
  t.strictSame(passed, [], 'no other tags')
})

t.test('every bit of what is signed counts', async (t) => {
  const { answer, judge } = await enrolled({ algorithm: 'EdDSA' })
  const response = answer()
  const flipped = (name: keyof AuthenticationResponseJSON['response'], bit: number) =>
    replaced(response, ['response', name], (old) => {
      const bytes = Buffer.from(String(old), 'base64url')
      bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      return bytes.toString('base64url')
    })
  for (const [name, bits] of [
    ['authenticatorData', 37 * 8],
    ['signature', 64 * 8],
  ] as const) {
    const passed: number[] = []
    for (let bit = 0; bit < bits; bit += 1) if (await judge(flipped(name, bit))) passed.push(bit)
    t.strictSame(passed, [], name)
  }
})

t.test('whatever is sent as a registration, nothing is thrown', async (t) => {
  const response = register()
  const never = async (sent: unknown): Promise<void> => {
    const made = await passkeys.verifyRegistration({ cid, response: sent })
    t.ok(made === null || made.credential_id.length > 0)
  }
  const paths = [
    ['id'],
    ['rawId'],
    ['type'],
    ['response'],
    ['response', 'clientDataJSON'],
    ['response', 'attestationObject'],
  ]
  const anyPath = fc.constantFrom(...paths, ['response', 'transports'])
  await fc.assert(
    fc.asyncProperty(anyPath, changes, (path, change) => never(replaced(response, path, change))),
    { numRuns: thorough(3_000, 300) },
  )
  await fc.assert(
    fc.asyncProperty(fc.jsonValue(), async (sent) => {
      const { judge } = await once
      return (await passkeys.verifyRegistration({ cid, response: sent })) === null && (await judge(sent)) === null
    }),
    { numRuns: thorough(1_000, 200) },
  )
  const attested = (bytes: Buffer) =>
    replaced(response, ['response', 'attestationObject'], () => bytes.toString('base64url'))
  const nested = attested(Buffer.alloc(11_000, 0x81))
  t.equal(await passkeys.verifyRegistration({ cid, response: nested }), null, 'ten thousand arrays in each other')
  const endless = attested(Buffer.from('9affffffff00', 'hex'))
  t.equal(await passkeys.verifyRegistration({ cid, response: endless }), null, 'four thousand million members')
  const cyclic: Json = { ...response }
  cyclic.self = cyclic
  t.equal(await passkeys.verifyRegistration({ cid, response: cyclic }), null, 'what is no JSON')
})

const once = enrolled()

t.test('transports are words, and few', async (t) => {
  const response = register()
  const judged = (transports: unknown) =>
    passkeys.verifyRegistration({ cid, response: replaced(response, ['response', 'transports'], () => transports) })
  t.strictSame((await judged(['usb', 'nfc', 'usb', 'smart-card']))?.data.transports, ['usb', 'nfc', 'smart-card'])
  t.strictSame((await judged(undefined))?.data.transports, [])
  for (const wrong of ['usb', [1], ['USB'], ['x'.repeat(33)], Array(17).fill('usb'), null, {}]) {
    t.equal(await judged(wrong), null, JSON.stringify(wrong))
  }
})
