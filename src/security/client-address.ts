import ipaddr from 'ipaddr.js'

/**
 * The form of a client address that everything counts by: IPv4 as it is, also when it is written inside IPv6 (mapped, or
 * by a NAT64 in front of us, RFC 6052, behind which all IPv4 clients would share one /64); an IPv6 address as its /64,
 * since whoever has one address of it has them all (SEC-20).
 */
export function addressKey(ip: string): string {
  if (!ipaddr.isValid(ip)) return 'unknown'
  const address = ipaddr.process(ip)
  if (address.kind() === 'ipv4') return address.toString()
  if (address.range() === 'rfc6052') return address.toByteArray().slice(-4).join('.')
  const network = ipaddr.IPv6.networkAddressFromCIDR(`${address.toString()}/64`)
  return `${network.toString()}/64`
}
