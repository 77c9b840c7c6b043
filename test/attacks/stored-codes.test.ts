import { createHash, createHmac } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import t from 'tap'
import { type CodeBinding, createOneTimeCodes } from '../../src/security/one-time-code.ts'
import { createSecrets } from '../../src/security/secrets.ts'
import { createTestDatabase } from '../helpers/database.ts'
import { startDoorstep } from '../helpers/doorstep.ts'
import { passTime } from '../helpers/pass-time.ts'
import { codeFor, createUser, finish, login, resend, textsTo } from '../helpers/story.ts'
import { startWireTap } from '../helpers/wire-tap.ts'

t.setTimeout(180_000)

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
      `SELECT id, encode(code_mac, 'hex') AS mac FROM challenges WHERE user_id = $1`,
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
  const tables = await sql<{ name: string }>(
    `SELECT quote_ident(tablename) AS name FROM pg_tables WHERE schemaname = 'public' ORDER BY 1`,
  )
  let dump = ''
  for (const { name } of tables) {
    const rows = await sql<{ row: string }>(`SELECT row_to_json(it)::text AS row FROM ${name} it`)
    dump += rows.map(({ row }) => row).join('\n')
  }
  t.ok(tables.length >= 10 && known.every(({ mac }) => mac.length === 64 && dump.includes(mac)), 'the dump is whole')

  const found: string[] = []
  for (const { code, phone, userId, challengeId } of known) {
    if (dump.includes(code)) found.push(`the code ${code}`)
    for (const before of [
      '',
      challengeId,
      userId,
      phone,
      phone.slice(1),
      `otp:v2|${challengeId}|${userId}|login|sms`,
    ]) {
      for (const between of before === '' ? [''] : ['', ':', '|', '.', '-', ' ', '\0']) {
        for (const text of [before + between + code, code + between + before]) {
          for (const algorithm of ['md5', 'sha1', 'sha224', 'sha256', 'sha384', 'sha512']) {
            const hashes = [
              createHash(algorithm).update(text).digest(),
              createHmac(algorithm, '').update(text).digest(),
            ]
            for (const hash of hashes) {
              const spellings = [
                hash.toString('hex'),
                hash.toString('base64').replace(/=+$/, ''),
                hash.toString('base64url'),
              ]
              if (spellings.some((it) => dump.includes(it))) found.push(`${algorithm} of ${JSON.stringify(text)}`)
            }
          }
        }
      }
    }
  }
  t.same(found, [], 'no code and no hash that can be made without the key')
  const texts = users.flatMap(({ phone }) => textsTo(doorstep, phone))
  t.equal(texts.length, 4)
  t.notOk(
    texts.some((text) => dump.includes(text)),
    'no text either',
  )
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
