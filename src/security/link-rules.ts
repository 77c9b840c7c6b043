import type { Config } from '../config.ts'
import type { LinkPolicy } from '../store/links.ts'

/** Mails that one network (/24, /48) may ask for in a day, to one address (contract, section 6). */
const perNetworkDay = 3

export type LinkRules = ReturnType<typeof createLinkRules>

/** How many mails with links there may be, as the database decides by it. */
export function createLinkRules({ mail, registration }: Pick<Config, 'mail' | 'registration'>) {
  const policy: LinkPolicy = {
    link_hour: mail.globalHour,
    link_day: mail.globalDay,
    cooldown: mail.cooldown,
    address_hour: mail.perAddressHour,
    address_day: mail.perAddressDay,
    network_day: perNetworkDay,
    registration,
  }
  return { policy }
}
