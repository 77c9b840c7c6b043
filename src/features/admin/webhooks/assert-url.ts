import { isIP } from 'node:net'
import type { Config } from '../../../config.ts'
import { invalidField } from '../../../errors.ts'
import { createAddressRule } from '../../../security/public-address.ts'

/**
 * The URL of an endpoint in its usual spelling. Throws `invalid_request` for one that nothing will ever be sent to: a name
 * is looked up only when something is (webhooks/poster.ts), so that nobody learns here which names there are.
 */
export function assertUrl(
  { config }: { config: Pick<Config, 'production' | 'webhookAllowedNetworks'> },
  text: string,
): string {
  const url = URL.canParse(text) ? new URL(text) : null
  const protocols = config.production ? ['https:'] : ['https:', 'http:']
  if (url === null || !protocols.includes(url.protocol)) {
    throw invalidField('/url', `must be an address that begins with ${protocols.map((it) => `${it}//`).join(' or ')}`)
  }
  if (url.username !== '' || url.password !== '' || text.includes('#')) {
    throw invalidField('/url', 'must have no credentials and no fragment')
  }
  // A name that never means any other machine (RFC 6761, 6.3) is as good as the address.
  const literal = /^(.+\.)?localhost\.?$/.test(url.hostname) ? '127.0.0.1' : url.hostname.replace(/^\[|\]$/g, '')
  if (isIP(literal) !== 0 && !createAddressRule(config.webhookAllowedNetworks)(literal)) {
    throw invalidField('/url', 'must not be an address of a private network, unless WEBHOOK_ALLOWED_NETWORKS has it')
  }
  return url.href
}
