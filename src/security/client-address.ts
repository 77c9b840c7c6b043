import ipaddr from 'ipaddr.js'

/**
 * The form of a client address that everything counts by: IPv4 as it is, also when it is written inside IPv6; an IPv6
 * address as its /64, since whoever has one address of it has them all (SEC-20).
 */
export function addressKey(ip: string): string {
  if (!ipaddr.isValid(ip)) return 'unknown'
  const address = ipaddr.process(ip)
  if (address.kind() === 'ipv4') return address.toString()
  const network = ipaddr.IPv6.networkAddressFromCIDR(`${address.toString()}/64`)
  return `${network.toString()}/64`
}
