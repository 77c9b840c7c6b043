import { Problem } from '../../errors.ts'
import type { Caller } from '../../events.ts'
import { widestNetworkOf } from '../../security/client-address.ts'
import { canonicalEmail } from '../../security/email.ts'
import type { Services } from '../../services.ts'
import type { LinkRequest } from '../../store/links.ts'
import type { MailSent } from './schemas.ts'

/** Seconds that a link lives (contract, section 3). */
const lives: Record<LinkRequest, number> = { register: 86_400, forgot: 3_600 }

export type LinkAsked = { email: string; locale: string | undefined; deviceToken: string | undefined; caller: Caller }

/**
 * Has a link mailed to an address, whoever has it: one row of the outbox and one answer for every address. Whether there is an
 * account, and whether the address has had its share of mails, only the sender looks (SEC-115). Throws `invalid_request`,
 * `mail_unavailable`.
 */
export async function requestLink(
  services: Pick<Services, 'store' | 'mail' | 'mailBell' | 'linkRules' | 'deviceTokens' | 'config'>,
  topic: LinkRequest,
  asked: LinkAsked,
): Promise<MailSent> {
  const { store, mail, mailBell, linkRules, deviceTokens, config } = services
  const email = canonicalEmail(asked.email)
  if (!mail.isAvailable()) throw new Problem('mail_unavailable', { retryAfter: 30 })
  const device = deviceTokens.read(asked.deviceToken)
  const from = { network: widestNetworkOf(asked.caller.address), device: device?.toString('hex') ?? null }
  const queued = await store.links.request(topic, { email, locale: asked.locale ?? null }, from, linkRules.policy)
  if (queued.outcome !== 'queued') throw new Problem('mail_unavailable', { retryAfter: queued.retry_after })
  mailBell.ring()
  return { status: 'mail_sent', expires_in: lives[topic], resend_after: config.mail.cooldown }
}
