import ipaddr from 'ipaddr.js'
import { isProxyRange } from '../../../config/values.ts'
import { Problem } from '../../../errors.ts'
import type { Event } from '../../../events.ts'
import type { Scope } from '../../../scopes.ts'
import { rangeOf } from '../../../security/client-address.ts'
import { newClientId, newClientSecret } from '../../../security/client-credentials.ts'
import type { Services } from '../../../services.ts'
import { readMoment } from '../../iso-time.ts'

/** `expires`: a moment (RFC 3339), null: never; `networks`: addresses and CIDRs, none: from everywhere. */
export type GivenClient = { name: string; scopes: Scope[]; expires: string | null; networks: string[] }

/**
 * Makes a client, at a command line only. Its secret is shown this once: what is kept is a hash. Throws `invalid_request` (what is
 * no moment to come, or no network).
 */
export async function createClient(
  { store, events, random, clock }: Pick<Services, 'store' | 'events' | 'random' | 'clock'>,
  { name, scopes, expires, networks }: GivenClient,
): Promise<{
  id: string
  secret: string
  name: string
  scopes: Scope[]
  networks: string[]
  expires_at: string | null
}> {
  const expiresMs = expires === null ? null : momentOf(expires, clock.nowMs())
  const made = { id: newClientId(random), name, scopes, networks: networks.map(networkOf) }
  const { secret, hash } = newClientSecret(random)
  const event: Event = { type: 'client.created', outcome: 'created', detail: made.id, byOperator: true }
  await store.clients.create({ ...made, expires_at: expiresMs === null ? null : expiresMs / 1_000 }, hash, event)
  events.announce(event)
  const { id, ...rest } = made
  return { id, secret, ...rest, expires_at: expiresMs === null ? null : new Date(expiresMs).toISOString() }
}

/** A day alone is its beginning, and seconds may be left out. */
function momentOf(text: string, nowMs: number): number {
  const whole = text.replace(/^.{10}$/, '$&T00:00Z').replace(/^(.{10}[Tt]\d\d:\d\d)(?=[Zz+-])/, '$1:00')
  const ms = readMoment(whole)
  if (ms === null) throw refuse('/expires', 'must be a moment, such as 2030-01-31 or 2030-01-31T12:00:00Z')
  if (ms <= nowMs) throw refuse('/expires', 'must be in the future')
  return ms
}

/** The whole network that a text means, as Postgres takes it. */
function networkOf(text: string): string {
  const message = 'must be an address or a CIDR, such as 192.0.2.0/24'
  // Strictly: 192.0.2 would be read as 192.0.0.2, and what is wider than /8 is a slip.
  if (!isProxyRange(text)) throw refuse('/network', message)
  const [address, bits] = rangeOf(text)
  const parsed = `${address.toString()}/${bits}`
  const kind = address.kind() === 'ipv4' ? ipaddr.IPv4 : ipaddr.IPv6
  return `${kind.networkAddressFromCIDR(parsed).toString()}/${bits}`
}

const refuse = (pointer: string, message: string) => new Problem('invalid_request', { errors: [{ pointer, message }] })
