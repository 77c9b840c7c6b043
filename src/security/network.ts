import ipaddr from 'ipaddr.js'

type Address = ipaddr.IPv4 | ipaddr.IPv6
type Network = { base: Address; bits: number }

/** RFC 1918, RFC 3927, RFC 4193, and the link-local addresses of RFC 4291. */
const privateNetworks = ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '169.254.0.0/16', 'fc00::/7', 'fe80::/10']

/** True for an address or host name, also as URLs have it (`[::1]`), that can only be this machine (RFC 6761). */
export function isLoopback(host: string): boolean {
  return /^([^.]+\.)*localhost$/i.test(host) || addressOf(host)?.range() === 'loopback'
}

/** True for an address in one of `networks`, each an address or a CIDR range; false for a name. */
export function isInNetworks(host: string, networks: readonly string[]): boolean {
  const address = addressOf(host)
  return address !== undefined && networks.some((network) => covers(networkOf(network), address))
}

/** True for an address or CIDR range of which every address is private. */
export function isPrivateNetwork(text: string): boolean {
  const network = networkOf(text)
  return network !== undefined && privateNetworks.map(networkOf).some((it) => isPartOf(network, it))
}

/** An address as it is usually written, an IPv4 one also inside IPv6; nothing for any other text. */
function addressOf(host: string): Address | undefined {
  const text = host.replace(/^\[(.*)\]$/, '$1')
  const isUsual = ipaddr.IPv4.isValidFourPartDecimal(text) || (text.includes(':') && ipaddr.IPv6.isValid(text))
  return isUsual ? ipaddr.process(text) : undefined
}

function networkOf(text: string): Network | undefined {
  const [start = '', length, ...rest] = text.split('/')
  const base = addressOf(start)
  if (base === undefined || rest.length > 0) return undefined
  const most = 8 * base.toByteArray().length
  if (length === undefined) return { base, bits: most }
  const bits = /^(0|[1-9]\d{0,2})$/.test(length) ? Number(length) : Number.NaN
  return bits <= most ? { base, bits } : undefined
}

const covers = (network: Network | undefined, address: Address): boolean =>
  network !== undefined && network.base.kind() === address.kind() && address.match(network.base, network.bits)

const isPartOf = (network: Network, other: Network | undefined): boolean =>
  other !== undefined && network.bits >= other.bits && covers(other, network.base)
