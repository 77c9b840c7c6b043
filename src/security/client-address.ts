import ipaddr from 'ipaddr.js'

/** What requests are counted by, and how many times the numbers of one client it gets. */
export type Network = { key: string; times: number }

/** The networks that an address is in: whoever has one address of them often has more, so each is limited (SEC-109). */
const ipv4Networks = [{ bits: 24, times: 16 }]
const ipv6Networks = [
  { bits: 56, times: 4 },
  { bits: 48, times: 8 },
]

/** What clients get together whose proxy does not say who they are. */
const unreadableTimes = 10
const unreadable = 'via '

/**
 * The form of a client address that everything counts by: IPv4 as it is, also when it is written inside IPv6 (mapped, or
 * by a NAT64 in front of us, RFC 6052, behind which all IPv4 clients would share one /64); an IPv6 address as its /64,
 * since whoever has one address of it has them all (SEC-20). `chain`: the addresses that a request came by, the client's
 * last. Where that one cannot be read, it is the proxy which sent it: `via 192.0.2.1`.
 */
export function addressKey(chain: readonly string[]): string {
  const client = readAddress(chain.at(-1) ?? '')
  if (client === null) return `${unreadable}${chain.map(readAddress).findLast((it) => it !== null) ?? 'unknown'}`
  return client.kind() === 'ipv4' ? client.toString() : inNetwork(client, 64)
}

/** The client's address of the same chain, in full; null where it cannot be read. */
export function fullAddress(chain: readonly string[]): string | null {
  const client = readAddress(chain.at(-1) ?? '')
  return client && ipaddr.fromByteArray(client.toByteArray()).toString()
}

/** False for what addressKey makes of an address that cannot be read. */
export const isReadable = (address: string): boolean => !address.startsWith(unreadable)

/** Every key that an address (as addressKey gives it) is counted by, the narrowest first. */
export function networksOf(address: string): [Network, ...Network[]] {
  if (!isReadable(address)) return [{ key: address, times: unreadableTimes }]
  const parsed = ipaddr.parse(address.replace(/\/64$/, ''))
  const wider = parsed.kind() === 'ipv4' ? ipv4Networks : ipv6Networks
  return [{ key: address, times: 1 }, ...wider.map(({ bits, times }) => ({ key: inNetwork(parsed, bits), times }))]
}

/** The widest network that an address counts in. */
export const widestNetworkOf = (address: string): string => networksOf(address).at(-1)?.key ?? address

/** Whether an address, with or without a port, belongs to one of these addresses and CIDR ranges. */
export function matcherOf(ranges: readonly string[]): (address: string) => boolean {
  const parsed = ranges.map(rangeOf)
  return (text) => {
    const address = readAddress(text)
    return address !== null && parsed.some((range) => address.kind() === range[0].kind() && address.match(range))
  }
}

/** IPv4 addresses inside IPv6 (RFC 6052). */
const nat64 = ipaddr.IPv6.parseCIDR('64:ff9b::/96')

type Address = ipaddr.IPv4 | ipaddr.IPv6

/** An address as it is found in X-Forwarded-For: bare, as `198.51.100.7:50001`, `[2001:db8::1]` or `[2001:db8::1]:443`. */
function readAddress(text: string): Address | null {
  const [, inBrackets, bare] = /^(?:\[([^\]]+)\]|([^:]+))(?::\d{1,5})?$/.exec(text) ?? []
  const address = inBrackets ?? bare ?? text
  const isIpv4 = inBrackets === undefined && ipaddr.IPv4.isValidFourPartDecimal(address)
  if (!isIpv4 && !(address.includes(':') && ipaddr.IPv6.isValid(address))) return null
  const parsed = ipaddr.process(address)
  return parsed instanceof ipaddr.IPv6 && parsed.match(nat64)
    ? ipaddr.IPv4.parse(parsed.toByteArray().slice(-4).join('.'))
    : parsed
}

/** The network that is the first `bits` of an address: whole bytes. */
function inNetwork(address: Address, bits: number): string {
  const bytes = address.toByteArray().fill(0, bits / 8)
  return `${ipaddr.fromByteArray(bytes).toString()}/${bits}`
}

/** An address or CIDR range that is well written; in IPv4 also when it is written inside IPv6. */
export function rangeOf(text: string): [Address, number] {
  const [address = '', prefix] = text.split('/')
  const parsed = ipaddr.parse(address)
  const bits = Number(prefix ?? parsed.toByteArray().length * 8)
  if (!(parsed instanceof ipaddr.IPv6) || !parsed.isIPv4MappedAddress()) return [parsed, bits]
  return [parsed.toIPv4Address(), Math.max(bits - 96, 0)]
}
