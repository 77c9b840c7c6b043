import { createHmac } from 'node:crypto'
import t from 'tap'
import { createSecrets, generateSecretKeys, type Purpose } from '../../src/security/secrets.ts'
import { systemRandom } from '../../src/system.ts'

const purposes: Purpose[] = [
  'pending-token',
  'code',
  'code-mac',
  'identifier',
  'signing-key',
  'refresh-token',
  'device-token',
  'webauthn',
]
const counting = Buffer.from(Array.from({ length: 32 }, (_, at) => at))
const keys = [
  { id: 'new', key: counting },
  { id: 'old', key: Buffer.alloc(32, 7) },
]

/** RFC 5869 written out with HMAC alone: extract without a salt, then the first block of expand. */
function hkdfByHand(master: Buffer, info: string): Buffer {
  const extracted = createHmac('sha256', Buffer.alloc(32)).update(master).digest()
  return createHmac('sha256', extracted)
    .update(info)
    .update(Buffer.from([1]))
    .digest()
}

t.test('a purpose key is HKDF-SHA-256 of the master key', (t) => {
  const secrets = createSecrets(keys)
  for (const purpose of purposes) {
    t.same(secrets.current(purpose), { id: 'new', key: hkdfByHand(counting, `doorstep/v1/${purpose}`) })
  }
  // Made with another language's standard library, so that what is stored stays readable for ever.
  t.equal(
    secrets.current('code-mac').key.toString('hex'),
    '1e26e790a04d19160652b49e788d7b2be6831e3d8d3c1cc8db1368827add1bc0',
  )
  t.end()
})

t.test('no two purposes and no two master keys share a key', (t) => {
  const secrets = createSecrets(keys)
  const all = purposes.flatMap((purpose) => secrets.ids.map((id) => secrets.find(purpose, id)?.toString('hex')))
  t.equal(new Set(all).size, purposes.length * 2)
  t.notOk(all.includes(undefined))
  t.notOk(all.includes(counting.toString('hex')), 'the master key itself is never handed out')
  t.end()
})

t.test('after a rotation the new key makes, and both are found by their ids', (t) => {
  const [fresh, old] = keys as [(typeof keys)[0], (typeof keys)[0]]
  const before = createSecrets([old])
  const made = before.current('identifier')
  const after = createSecrets([fresh, old])
  t.same(after.ids, ['new', 'old'])
  t.equal(after.current('identifier').id, 'new')
  t.same(after.find('identifier', made.id), made.key, 'what the old key made is still recognised')
  t.equal(createSecrets([fresh]).find('identifier', made.id), undefined, 'a key taken out recognises nothing')
  for (const id of ['', '__proto__', 'NEW', 'new/x']) t.equal(after.find('code', id), undefined, id)
  t.end()
})

t.test('a purpose key is derived once', (t) => {
  const secrets = createSecrets(keys)
  t.equal(secrets.current('code').key, secrets.find('code', 'new'))
  t.end()
})

t.test('without a key there are no secrets', (t) => {
  t.throws(() => createSecrets([]), { message: /at least one key/ })
  t.end()
})

t.test('a generated line is one key of 32 random bytes', (t) => {
  const [first, second] = [generateSecretKeys(systemRandom), generateSecretKeys(systemRandom)]
  t.match(first, /^k[0-9a-f]{8}:[A-Za-z0-9+/]{43}=$/)
  t.not(first, second)
  t.end()
})
