import ipaddr from 'ipaddr.js'
import { matcherOf } from './client-address.ts'

/** What the registries call special, and ipaddr.js does not or not under every release (RFC 6890, IANA's registries). */
const special = [
  ...['0.0.0.0/8', '100.64.0.0/10', '192.0.0.0/24', '192.0.2.0/24', '192.88.99.0/24', '198.18.0.0/15'],
  ...['198.51.100.0/24', '203.0.113.0/24', '224.0.0.0/3'],
].map((range) => ipaddr.IPv4.parseCIDR(range))

/** All that is handed out of IPv6 to the public. Outside it: loopback, local, multicast, mapped, and NAT64 (RFC 6052, 8215). */
const handedOut = ipaddr.IPv6.parseCIDR('2000::/3')

/** Within it, but ways to IPv4 or to nobody: Teredo, ORCHID and the rest of 2001::/23, documentation, 6to4. */
const detours = ['2001::/23', '2001:db8::/32', '2002::/16', '3fff::/20'].map((range) => ipaddr.IPv6.parseCIDR(range))

/**
 * Whether an address is anybody's on the internet, not one of this machine or network that a stranger's name may lead to
 * (SSRF). An IPv4 address inside an IPv6 one, in whatever way, is not.
 */
export function isPublicAddress(text: string): boolean {
  if (ipaddr.IPv4.isValidFourPartDecimal(text)) {
    const address = ipaddr.IPv4.parse(text)
    return address.range() === 'unicast' && !special.some((range) => address.match(range))
  }
  if (!ipaddr.IPv6.isValid(text) || text.includes('%')) return false
  const address = ipaddr.IPv6.parse(text)
  return address.range() === 'unicast' && address.match(handedOut) && !detours.some((range) => address.match(range))
}

/** Where webhooks may go: to public addresses, and into `networks`. */
export function createAddressRule(networks: readonly string[]): (address: string) => boolean {
  const isAllowed = matcherOf(networks)
  return (address) => isPublicAddress(address) || (!/^::ffff:|%/i.test(address) && isAllowed(address))
}
