import type { TwoFactor } from './accounts.ts'
import type { Database } from './client.ts'

/** What anybody can ask for, for any address. */
export type LinkRequest = 'register' | 'forgot'

/**
 * Mails with a link in an hour, a day: of the service, of one address, of one network at one address; seconds between two;
 * whether people may register.
 */
export type LinkPolicy = {
  link_hour: number
  link_day: number
  cooldown: number
  address_hour: number
  address_day: number
  network_day: number
  registration: 'open' | 'closed'
}

/**
 * What a mail says: `topic` null, if it is not sent after all. `link`: what its link is good for; `expires_in`: seconds;
 * `locale`: as it was asked for, else the account's.
 */
export type LinkMail = {
  topic: string | null
  link?: 'set_password' | 'confirm_email'
  expires_in?: number
  locale?: string
}

export function createLinks(db: Database) {
  return {
    /** Puts one row into the outbox, the same for every address. `data`: where it was asked for from. */
    request: async (
      topic: LinkRequest,
      { email, locale }: { email: string; locale: string | null },
      data: { network: string; device: string | null },
      policy: LinkPolicy,
    ): Promise<{ outcome: 'queued' } | { outcome: 'mail_unavailable'; retry_after: number }> => {
      return await db.decide('request_link', topic, email, locale, JSON.stringify(data), JSON.stringify(policy))
    },

    /** By whoever sends it: what the mail says, by what there is at its address now. The link's token is kept by its hash. */
    prepare: async (mailId: number, tokenHash: Uint8Array, policy: LinkPolicy): Promise<LinkMail> => {
      return await db.decide('prepare_link', mailId, tokenHash, JSON.stringify(policy))
    },

    /** Keeps the link by which an owner takes back what a notice tells; false where that mailbox is to have none. */
    ofNotice: async (mailId: number, tokenHash: Uint8Array): Promise<boolean> => {
      return await db.decide('link_notice', mailId, tokenHash)
    },

    /** Whose password a link sets; `two_factor` is null where it makes the account. */
    read: async (
      tokenHash: Uint8Array,
    ): Promise<{ outcome: 'found'; email: string; two_factor: TwoFactor | null } | { outcome: 'expired' }> => {
      return await db.decide('read_link', tokenHash)
    },
  }
}
