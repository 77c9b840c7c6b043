import fc from 'fast-check'
import t from 'tap'
import { addressKey, isReadable, matcherOf, networksOf, widestNetworkOf } from '../../src/security/client-address.ts'

const keysOf = (address: string): [string, number][] =>
  networksOf(addressKey([address])).map(({ key, times }) => [key, times])

t.test('every address is counted in the networks that one party can have (SEC-109)', async (t) => {
  t.strictSame(keysOf('198.51.100.7'), [
    ['198.51.100.7', 1],
    ['198.51.100.0/24', 16],
  ])
  t.strictSame(keysOf('2001:db8:aaaa:bbcc:1:2:3:4'), [
    ['2001:db8:aaaa:bbcc::/64', 1],
    ['2001:db8:aaaa:bb00::/56', 4],
    ['2001:db8:aaaa::/48', 8],
  ])
  t.equal(widestNetworkOf(addressKey(['198.51.100.7'])), '198.51.100.0/24')
  t.equal(widestNetworkOf(addressKey(['2001:db8:aaaa:bbcc::1'])), '2001:db8:aaaa::/48')
})

t.test('an address is the same with a port, in brackets, inside IPv6 and behind a NAT64', async (t) => {
  const spellings: Record<string, string[]> = {
    '198.51.100.7': [
      ...['198.51.100.7', '198.51.100.7:50001', '198.51.100.7:0', '::ffff:198.51.100.7', '::ffff:c633:6407'],
      ...['[::ffff:198.51.100.7]', '[::ffff:198.51.100.7]:443', '64:ff9b::198.51.100.7', '[64:ff9b::c633:6407]:1'],
    ],
    '2001:db8::/64': [
      ...['2001:db8::1', '[2001:db8::1]', '[2001:db8::1]:443', '2001:DB8:0:0::9', '[2001:db8::1%eth0]:443'],
      ...['2001:db8::1:443'],
    ],
  }
  for (const [key, list] of Object.entries(spellings)) for (const it of list) t.equal(addressKey([it]), key, it)
})

t.test(
  'what is no address is counted under the proxy that sent it, apart from the proxy itself (SEC-110)',
  async (t) => {
    const garbage = [
      ...[
        '',
        'unknown',
        '_hidden',
        'localhost',
        '198.51.100',
        '1',
        '0x7f.1',
        '0300.1.1.1',
        '198.51.100.256',
        '1.2.3.4.5',
      ],
      ...[
        '198.51.100.7:',
        '198.51.100.7:x',
        '198.51.100.7:123456',
        '[198.51.100.7]:80',
        '[2001:db8::1',
        '2001:db8::1]',
      ],
      ...[
        '[]',
        '[]:1',
        ':',
        '::g',
        '198.51.100.7/24',
        '2001:db8::/64',
        'via 10.0.0.1',
        '"198.51.100.7"',
        '\u0661.2.3.4',
      ],
    ]
    for (const text of garbage) {
      const key = addressKey(['10.1.2.3', text])
      t.equal(key, 'via 10.1.2.3', JSON.stringify(text))
      t.strictSame(networksOf(key), [{ key, times: 10 }])
      t.notOk(isReadable(key))
    }
    t.equal(addressKey(['10.1.2.3', '10.9.9.9:40000', 'unknown']), 'via 10.9.9.9', 'the nearest to the client')
    t.equal(addressKey(['', 'unknown']), 'via unknown', 'over a socket that has no address')
    t.ok(isReadable(addressKey(['10.1.2.3'])))
  },
)

t.test('proxies are known with a port, and in either protocol', async (t) => {
  const isProxy = matcherOf(['10.0.0.0/8', '192.0.2.9', '::ffff:172.16.0.0/108', 'fd00::/8'])
  const trusted = ['10.1.2.3', '10.1.2.3:5555', '::ffff:10.1.2.3', '[::ffff:10.1.2.3]:80', '192.0.2.9', '172.16.200.1']
  for (const it of [...trusted, 'fd12::1', '[fd12::1]:443']) t.ok(isProxy(it), it)
  for (const it of ['11.0.0.1', '192.0.2.8', '172.32.0.1', 'fe80::1', '::1', '', 'unknown', '10.1.2', 'via 10.1.2.3'])
    t.notOk(isProxy(it), it)
})

t.test('any text gives a key, and every key gives its networks', async (t) => {
  const property = fc.property(
    fc.oneof(
      fc.string(),
      fc.ipV4(),
      fc.ipV6(),
      fc.ipV6().map((it) => `[${it}]:1`),
    ),
    (text) => {
      const key = addressKey(['10.0.0.1', text])
      const networks = networksOf(key)
      return (
        networks[0].key === key && networks.every(({ times }, at) => at === 0 || times > (networks[at - 1]?.times ?? 0))
      )
    },
  )
  t.doesNotThrow(() => fc.assert(property, { numRuns: 5_000 }))
})
