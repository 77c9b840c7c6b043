import { createHash } from 'node:crypto'
import { Secret, TOTP, URI } from 'otpauth'
import t from 'tap'
import { fromBase32, toBase32 } from '../../src/security/base32.ts'
import { hotp, matchingStep, newSecret, totpLength, uri } from '../../src/security/totp.ts'
import { systemRandom } from '../../src/system.ts'
import { thorough } from '../helpers/effort.ts'

t.setTimeout(600_000)

const rfcKey = Buffer.from('12345678901234567890')
const secret = toBase32(rfcKey)
/** The first millisecond of a step far from 0, and the codes around it. */
const step = 58_000_000
const start = step * 30_000
const codeAt = (at: number): string => hotp(rfcKey, at)

t.test('RFC 4226 appendix D', async (t) => {
  const codes = '755224 287082 359152 969429 338314 254676 287922 162583 399871 520489'.split(' ')
  t.same(
    codes.map((_, counter) => hotp(rfcKey, counter)),
    codes,
  )
})

t.test('RFC 6238 appendix B, SHA-1', async (t) => {
  const vectors: [seconds: number, code: string][] = [
    [59, '94287082'],
    [1_111_111_109, '07081804'],
    [1_111_111_111, '14050471'],
    [1_234_567_890, '89005924'],
    [2_000_000_000, '69279037'],
    [20_000_000_000, '65353130'],
  ]
  for (const [seconds, code] of vectors) {
    const at = Math.floor(seconds / 30)
    t.equal(hotp(rfcKey, at, 8), code)
    t.equal(matchingStep(secret, code.slice(-totpLength), seconds * 1000, 0), at, `six digits of it at ${seconds} s`)
  }
})

t.test('base 32', async (t) => {
  // RFC 4648 section 10, without the padding.
  const vectors = {
    '': '',
    f: 'MY',
    fo: 'MZXQ',
    foo: 'MZXW6',
    foob: 'MZXW6YQ',
    fooba: 'MZXW6YTB',
    foobar: 'MZXW6YTBOI',
  }
  for (const [text, written] of Object.entries(vectors)) {
    t.equal(toBase32(Buffer.from(text)), written)
    t.equal(fromBase32(written).toString(), text)
  }
  for (const text of ['MZXW6===', 'mzxw6', 'MZXW1', 'MZ W6', 'ＭZXW6']) t.throws(() => fromBase32(text), /not base 32/)
})

t.test('a new secret is 160 bits of chance', async (t) => {
  const bytes = Buffer.from(Array.from({ length: 20 }, (_, at) => 11 * at))
  const asked: number[] = []
  const random = { ...systemRandom, bytes: (count: number) => bytes.subarray(0, asked.push(count) && count) }
  t.same(fromBase32(newSecret(random)), bytes, 'all of it is used')
  t.same(asked, [20])
  t.match(newSecret(systemRandom), /^[A-Z2-7]{32}$/)
  t.not(newSecret(systemRandom), newSecret(systemRandom))
})

t.test('a code counts while it is shown and for one step more, to the millisecond', async (t) => {
  const code = codeAt(step)
  const times: [after: number, accepted: boolean, name: string][] = [
    [-30_000, false, 'the first millisecond of the step before: it is not shown yet'],
    [-1, false, 'the last one before it is shown: no step ahead is taken'],
    [0, true, 'its first'],
    [29_999, true, 'its last'],
    [30_000, true, 'the first of the next step'],
    [59_999, true, 'the last of the next step'],
    [60_000, false, 'two steps on'],
    [90_000, false, 'three steps on'],
  ]
  for (const [after, accepted, name] of times) {
    t.equal(matchingStep(secret, code, start + after, 0), accepted ? step : null, name)
  }
  t.equal(matchingStep(secret, codeAt(step + 1), start + 29_999.9, 0), null, 'parts of a millisecond do not round up')
  t.equal(matchingStep(secret, codeAt(0), 0, -1), 0, 'a machine that thinks it is 1970')
})

t.test('somebody who looked over a shoulder and types the same code', async (t) => {
  const code = codeAt(step)
  t.equal(matchingStep(secret, code, start, step - 1), step, 'it is right')
  t.equal(matchingStep(secret, code, start, step), null, 'and used once')
  t.equal(matchingStep(secret, code, start + 30_000, step), null, 'in the next step too')
  t.equal(matchingStep(secret, codeAt(step - 1), start, step), null, 'nor does one from before the last that was used')
  t.equal(matchingStep(secret, codeAt(step + 1), start + 30_000, step), step + 1, 'while the next one is good')
})

t.test('somebody who turns the clock back to use a code again', async (t) => {
  for (const back of [1, 2, 100]) {
    const nowMs = start - back * 30_000
    t.equal(matchingStep(secret, codeAt(step - back), nowMs, step), null, `${back} steps`)
    t.equal(matchingStep(secret, codeAt(step), nowMs, step), null)
  }
})

t.test('a code that two steps share by chance is used up for both', async (t) => {
  const twin = 910_737
  t.equal(codeAt(twin), codeAt(twin + 1))
  const nowMs = (twin + 1) * 30_000
  t.equal(matchingStep(secret, codeAt(twin), nowMs, 0), twin + 1)
  t.equal(matchingStep(secret, codeAt(twin), nowMs, twin + 1), null)
  t.equal(matchingStep(secret, codeAt(twin), nowMs, twin), twin + 1, 'and counts where only the older was used')
})

t.test('what is not six ASCII digits is no code, and no error either', async (t) => {
  const code = codeAt(step)
  t.equal(matchingStep(secret, code, start, 0), step)
  const inScript = (zero: number): string => String.fromCodePoint(...Array.from(code, (digit) => zero + Number(digit)))
  const others = [
    inScript(0xff10),
    inScript(0x660),
    inScript(0x6f0),
    inScript(0x966),
    inScript(0x1d7ce),
    `${code.slice(0, 5)}é`,
    code.slice(1),
    code.slice(0, 5),
    `0${code}`,
    `${code}0`,
    `${code}\n`,
    ` ${code}`,
    `${code.slice(0, 3)} ${code.slice(3)}`,
    `-${code.slice(1)}`,
    '0x1234',
    '1e0000',
    '',
    '\0'.repeat(6),
  ]
  for (const other of others) t.equal(matchingStep(secret, other, start, 0), null, JSON.stringify(other))
})

t.test('all that a guesser can type: no other code is right', async (t) => {
  const right = [codeAt(step), codeAt(step - 1)]
  const found: string[] = []
  const count = thorough(1_000_000, 20_000)
  // Around the right one, where an error of the comparison would show first.
  const first = count === 1_000_000 ? 0 : Math.max(0, Number(right[0]) - count / 2)
  for (let n = first; n < first + count; n++) {
    const guess = (n % 1_000_000).toString().padStart(6, '0')
    if (matchingStep(secret, guess, start, 0) !== null) found.push(guess)
  }
  t.ok(found.includes(right[0] ?? ''))
  t.same(
    found.filter((it) => !right.includes(it)),
    [],
  )
})

t.test('secrets and times of all kinds, judged by another implementation', async (t) => {
  const wrong: string[] = []
  const count = thorough(1_000_000, 20_000)
  for (let n = 0; n < count; n++) {
    const chance = createHash('sha256').update(`secret ${n}`).digest()
    const text = toBase32(chance.subarray(0, 20))
    const timestamp = chance.readUIntBE(20, 6) % 4e12
    const judge = Secret.fromBase32(text)
    const theirs = TOTP.generate({ secret: judge, algorithm: 'SHA1', digits: 6, period: 30, timestamp })
    const accepted = matchingStep(text, theirs, timestamp, -1)
    if (accepted !== Math.floor(timestamp / 30_000)) wrong.push(`${text} ${timestamp} ${theirs} ${accepted}`)
  }
  t.same(wrong, [])
})

t.test('what an authenticator app is given', async (t) => {
  const parts = { secret, issuer: 'Doorstep', account: 'ada@example.com' }
  t.equal(
    uri(parts),
    `otpauth://totp/Doorstep:ada%40example.com?secret=${secret}&issuer=Doorstep&algorithm=SHA1&digits=6&period=30`,
  )
  const names = ['Ada & Co. Ltd', 'Ünïversity', '100% ＋?#/\\', 'a+b', '日本 銀行', "O'Neil (=)"]
  for (const name of names) {
    const read = URI.parse(uri({ ...parts, issuer: name, account: `${name}@example.com` }))
    t.match(read, { issuer: name, label: `${name}@example.com`, algorithm: 'SHA1', digits: 6, period: 30 }, name)
    t.equal(read.secret.base32, secret)
    t.notMatch(uri({ ...parts, issuer: name }), /[^!-~]|\+/, 'ASCII, and no plus sign that some read as a space')
  }
})

t.test('somebody whose address pretends to be another issuer or another secret', async (t) => {
  const account = '"bank:x&secret=aaaaaaaa&issuer=bank#"@example.com'
  const read = URI.parse(uri({ secret, issuer: 'Door:step', account }))
  t.equal(read.issuer, 'Doorstep')
  t.equal(read.label, account.replace(':', ''))
  t.equal(read.secret.base32, secret)
})
