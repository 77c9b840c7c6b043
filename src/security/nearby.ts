import { matcherOf } from './client-address.ts'

/** What is known of a request before anything in it is believed. `peer`: who holds the connection, whatever headers say. */
export type Approach = { peer: string | undefined; headers: Record<string, string | string[] | undefined> }

/** What a proxy adds. It may run on this machine and let the whole world in. */
const forwarding = /^(forwarded|via|x-forwarded-.+|x-real-ip|x-client-ip|true-client-ip|cf-.+)$/

const isLoopbackAddress = matcherOf(['127.0.0.0/8', '::1'])

/** True for an address or host name, with or without a port, that can only be this machine (RFC 6761). */
export const isLoopback = (host: string): boolean =>
  /^([^.:]+\.)*localhost(:\d*)?$/i.test(host) || isLoopbackAddress(host)

/**
 * True for whoever may see what development shows, such as the codes that were "sent" (SEC-110): a program on this machine
 * that asks for this machine, by itself and not for others, or a peer in one of `networks`. The Host keeps out pages that
 * a browser here was led to under another name (DNS rebinding).
 */
export function isNearby({ peer = '', headers }: Approach, networks: readonly string[]): boolean {
  if (matcherOf(networks)(peer)) return true
  const isForwarded = Object.keys(headers).some((name) => forwarding.test(name))
  return isLoopback(peer) && isLoopback(String(headers.host)) && !isForwarded
}
