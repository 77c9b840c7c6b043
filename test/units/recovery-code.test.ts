import { createHash, createHmac } from 'node:crypto'
import t from 'tap'
import { createRecoveryCodes } from '../../src/security/recovery-code.ts'
import { createSecrets } from '../../src/security/secrets.ts'
import { systemRandom } from '../../src/system.ts'

const k1 = { id: 'k1', key: Buffer.alloc(32, 1) }
const k2 = { id: 'k2', key: Buffer.alloc(32, 2) }
const secrets = createSecrets([k1])
const codes = createRecoveryCodes({ secrets, random: systemRandom })
const [ada, bob] = ['8d5ad3f5-0000-4000-8000-000000000001', '8d5ad3f5-0000-4000-8000-000000000002'] as const
const alphabet = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'

/** Chance that is the same in every run. */
function replayed(): typeof systemRandom {
  let calls = 0
  return { ...systemRandom, bytes: (n) => createHash('sha256').update(`chance ${calls++}`).digest().subarray(0, n) }
}

t.test('a set is ten codes of 120 bits', async (t) => {
  const { codes: made, macs } = codes.make(ada)
  t.equal(made.length, 10)
  t.equal(new Set(made).size, 10)
  for (const code of made) t.match(code, new RegExp(`^[${alphabet}]{6}(-[${alphabet}]{6}){3}$`))
  t.same(
    made.map((code) => codes.macs(ada, codes.read(code) ?? '')),
    macs.map((mac) => [mac]),
    'what is stored of each is found by what is typed',
  )
  t.notOk(codes.make(ada).codes.some((code) => made.includes(code)))

  // Written out by another language.
  const counting = { ...systemRandom, bytes: (n: number) => Buffer.from(Array.from({ length: n }, (_, at) => 17 * at)) }
  const [first] = createRecoveryCodes({ secrets, random: counting }).make(ada).codes
  t.equal(first, '008J4C-T4ANK7-F24SNA-XWSQFE', 'every bit of chance is in it, in order')
})

t.test('a guesser who hopes that some codes come more often than others', async (t) => {
  const one = createRecoveryCodes({ secrets, random: replayed() })
  const made = Array.from({ length: 320 }, () => one.make(ada).codes)
    .flat()
    .map((code) => code.replaceAll('-', ''))
  for (let place = 0; place < 24; place++) {
    const counts = Array.from(alphabet, (letter) => made.filter((code) => code[place] === letter).length)
    const chiSquare = counts.reduce((sum, count) => sum + (count - 100) ** 2 / 100, 0)
    t.ok(chiSquare < 66, `place ${place + 1}: ${chiSquare.toFixed(1)}, p > 0.0002 with 31 degrees of freedom`)
  }
  t.equal(new Set(made).size, 3200)
})

t.test('a code is read as people write it', async (t) => {
  const code = '0123456789ABCDEFGHJKMNPQ'
  const spellings = [
    code,
    '012345-6789AB-CDEFGH-JKMNPQ',
    code.toLowerCase(),
    '  012345 6789ab cdefgh jkmnpq\r\n',
    '012345–6789AB—CDEFGH−JKMNPQ',
    '012345\u00ad6789AB\u200bCDEFGH\ufeffJKMNPQ\u2029',
    '\u202a012345-6789AB-CDEFGH-JKMNPQ\u202c',
    'o123456789abcdefghjkmnpq',
    'OI23456789ABCDEFGHJKMNPQ',
    'Oi23456789ABCDEFGHJKMNPQ',
    'OL23456789ABCDEFGHJKMNPQ',
    '0l23456789ABCDEFGHJKMNPQ',
  ]
  t.same(spellings.map(codes.read), Array(spellings.length).fill(code))
  t.equal(codes.read('OoIiLl'.repeat(4)), '001111'.repeat(4))
  for (const letter of `${alphabet}abcdefghjkmnpqrstvwxyz`) {
    t.equal(codes.read(letter.repeat(24)), letter.toUpperCase().repeat(24))
  }
})

t.test('what cannot be a code is none', async (t) => {
  const code = '0123456789ABCDEFGHJKMNPQ'
  const others = [
    '',
    '-',
    code.slice(1),
    `${code}0`,
    code + code,
    `U${code.slice(1)}`,
    `u${code.slice(1)}`,
    `.${code.slice(1)}`,
    `_${code.slice(1)}`,
    `*${code.slice(1)}`,
    `\0${code.slice(1)}`,
    `ß${code.slice(2)}`,
    `０${code.slice(1)}`,
    `Ａ${code.slice(1)}`,
    `ı${code.slice(1)}`,
    `ſ${code.slice(1)}`,
    `\u212a${code.slice(1)}`,
    `О${code.slice(1)}`,
    `٠${code.slice(1)}`,
    '123456',
  ]
  t.same(others.map(codes.read), Array(others.length).fill(null))
})

t.test('a thief of the database, and somebody with the code of another user', async (t) => {
  const code = '0123456789ABCDEFGHJKMNPQ'
  const stored = codes.mac(ada, code)
  t.equal(
    stored,
    createHmac('sha256', secrets.find('recovery-code', 'k1') ?? '')
      .update(`recovery-code:v1|${ada}|${code}`)
      .digest('hex'),
  )
  t.notOk(codes.macs(bob, code).includes(stored), 'the code of one user is wrong for every other')
  t.notOk(codes.macs(ada, `1${code.slice(1)}`).includes(stored))
  const other = createRecoveryCodes({ secrets: createSecrets([{ ...k2, id: 'k1' }]), random: systemRandom })
  t.notOk(other.macs(ada, code).includes(stored), 'nothing is to be found without the key')
})

t.test('a code outlives a change of keys', async (t) => {
  const code = '0123456789ABCDEFGHJKMNPQ'
  const later = createRecoveryCodes({ secrets: createSecrets([k2, k1]), random: systemRandom })
  const [fresh, old, ...rest] = later.macs(ada, code)
  t.same([old, rest], [codes.mac(ada, code), []])
  t.equal(fresh, later.mac(ada, code), 'what is stored now is under the new key')
  t.not(fresh, old)
  t.same(createRecoveryCodes({ secrets: createSecrets([k2]), random: systemRandom }).macs(ada, code), [fresh])
})
