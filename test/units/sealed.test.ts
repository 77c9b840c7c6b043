import { createDecipheriv } from 'node:crypto'
import t from 'tap'
import { createSealer, decrypt, encrypt } from '../../src/security/sealed.ts'
import { createSecrets } from '../../src/security/secrets.ts'
import { systemRandom } from '../../src/system.ts'

const old = { id: 'old', key: Buffer.alloc(32, 7) }
const fresh = { id: 'fresh-1', key: Buffer.from(Array.from({ length: 32 }, (_, at) => at)) }
const sealerOf = (...keys: (typeof old)[]) => createSealer({ secrets: createSecrets(keys), random: systemRandom })
const sealer = sealerOf(old)
const value = { secret: 'GEZDGNBVGY3TQOJQ', name: 'Adas Gerät' }
const boundTo = 'user-1|factor-1'

t.test('what was sealed opens again, and says nothing meanwhile', async (t) => {
  for (const it of [value, {}, [], 'text', '', { deep: [{ a: null }] }]) {
    t.same(sealer.open('totp', sealer.seal('totp', it, boundTo), boundTo), it)
  }
  const sealed = sealer.seal('totp', value, boundTo)
  t.match(sealed, /^[\w-]+$/)
  t.notOk(Buffer.from(sealed, 'base64url').includes('GEZDGN'))
  t.not(sealer.seal('totp', value, boundTo), sealed, 'the same value never looks the same')
})

t.test('the form in which it is stored is AES-256-GCM, and stays', async (t) => {
  const asked: number[] = []
  const bytes = (count: number): Buffer => Buffer.alloc(count, 0xa0 + asked.push(count))
  const secrets = createSecrets([fresh])
  const counted = createSealer({ secrets, random: { ...systemRandom, bytes } })
  const sealed = counted.seal('totp', value, boundTo)
  t.same(asked, [12], 'a nonce of 12 random bytes')
  const stored = Buffer.from(sealed, 'base64url')
  t.equal(stored.toString('latin1', 0, 8), '\x07fresh-1')
  t.same(stored.subarray(8, 20), Buffer.alloc(12, 0xa1))
  const cipher = createDecipheriv('aes-256-gcm', secrets.find('totp', 'fresh-1') ?? '', stored.subarray(8, 20))
  cipher.setAAD(Buffer.from(`sealed:v1|fresh-1|${boundTo}`)).setAuthTag(stored.subarray(20, 36))
  t.same(JSON.parse(Buffer.concat([cipher.update(stored.subarray(36)), cipher.final()]).toString()), value)
  // Made by another language's library.
  t.equal(
    sealed,
    'B2ZyZXNoLTGhoaGhoaGhoaGhoaFwz1IlHRNXYntR-WIVgKnLDLKniBFyTeZy3Dl1-eaS2J9Np8xpCKAaxNgKeA2z8LrULsYZQXvEVxzcXANYjk7V0UQ',
  )
})

t.test('somebody who can write to the database and alters what is sealed', async (t) => {
  const sealed = sealer.seal('totp', value, boundTo)
  const stored = Buffer.from(sealed, 'base64url')
  const opened: string[] = []
  const attempt = (text: string, what: string): void => {
    if (sealer.open('totp', text, boundTo) !== null) opened.push(what)
  }
  for (const [at, byte] of stored.entries()) {
    for (let mask = 1; mask < 256; mask++) {
      const altered = Buffer.from(stored)
      altered[at] = byte ^ mask
      attempt(altered.toString('base64url'), `byte ${at} with ${mask}`)
    }
    attempt(stored.subarray(0, at).toString('base64url'), `the first ${at} bytes`)
    attempt(stored.subarray(at + 1).toString('base64url'), `without the first ${at + 1} bytes`)
    const missing = Buffer.concat([stored.subarray(0, at), stored.subarray(at + 1)])
    attempt(missing.toString('base64url'), `without byte ${at}`)
  }
  attempt(Buffer.concat([stored, Buffer.alloc(1)]).toString('base64url'), 'a byte more')
  attempt(`${sealed}=`, 'padding')
  attempt(` ${sealed}`, 'a space')
  attempt(`${sealed}.`, 'a point')
  attempt(stored.toString('hex'), 'another encoding')
  t.same(opened, [])
  t.same(sealer.open('totp', sealed, boundTo), value, 'while it is good as it was')
})

t.test('sealed values have one spelling: spare bits of base64url are no way to a second one', async (t) => {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  for (const text of ['a', 'ab', 'abc']) {
    const sealed = sealer.seal('totp', text, boundTo)
    const good = Array.from(alphabet, (last) => sealed.slice(0, -1) + last).filter(
      (it) => sealer.open('totp', it, boundTo) !== null,
    )
    t.same(good, [sealed])
  }
})

t.test(
  'somebody who can write to the database and puts the value of one user or factor in the place of another',
  async (t) => {
    const sealed = sealer.seal('totp', value, boundTo)
    for (const other of [
      'user-2|factor-1',
      'user-1|factor-2',
      'user-1',
      '',
      `${boundTo} `,
      `${boundTo}|`,
      `|${boundTo}`,
    ]) {
      t.equal(sealer.open('totp', sealed, other), null, other)
    }
    t.equal(sealer.open('recovery-code', sealed, boundTo), null, 'or of one purpose')
  },
)

t.test('a key that is new, old, gone or renamed', async (t) => {
  const before = sealer.seal('totp', value, boundTo)
  const both = sealerOf(fresh, old)
  t.same(both.open('totp', before, boundTo), value, 'what the old key sealed opens while that key is listed')
  const after = both.seal('totp', value, boundTo)
  t.equal(sealer.open('totp', after, boundTo), null, 'what is sealed now is under the new one')
  t.same(sealerOf(old, fresh).open('totp', after, boundTo), value)
  t.equal(sealerOf(fresh).open('totp', before, boundTo), null, 'the key is gone')
  t.equal(sealerOf({ ...old, key: fresh.key }).open('totp', before, boundTo), null, 'another key of that name')
  const alike = sealerOf(old, { ...old, id: 'odd' })
  const renamed = Buffer.from(before, 'base64url')
  renamed.write('odd', 1)
  t.equal(alike.open('totp', renamed.toString('base64url'), boundTo), null, 'its name is sealed too')
})

t.test('nothing that can stand in a column is an error', async (t) => {
  for (const text of ['', 'A', '!', 'null', '\0', '/w', 'A29sZA', 'é', '{"a":1}', 'x'.repeat(10_000)]) {
    t.equal(sealer.open('totp', text, boundTo), null, JSON.stringify(text.slice(0, 20)))
  }
})

t.test('bytes', async (t) => {
  const key = Buffer.alloc(32, 9)
  const sealed = encrypt(key, Buffer.alloc(0), 'x', systemRandom)
  t.same(decrypt(key, sealed, 'x'), Buffer.alloc(0), 'none at all')
  for (let length = 0; length < sealed.length; length++) t.equal(decrypt(key, sealed.subarray(0, length), 'x'), null)
})
