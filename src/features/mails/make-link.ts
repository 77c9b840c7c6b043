import { linkTo } from '../../security/mail-link.ts'
import type { Services } from '../../services.ts'
import type { ClaimedMail } from '../../store/mails.ts'

/**
 * What a mail leads to: `topic` of what it says, null if it says nothing after all; `url` null without a link; seconds; the
 * language that it says it in.
 */
export type MailedLink = { topic: string | null; url: string | null; expiresIn: number; locale: string }

const pages = { set_password: 'set-password', confirm_email: 'confirm-email' } as const

/**
 * Makes the link of a mail as it goes out, anew for each try: its token is in no row, only its hash (SEC-115). A mail that anybody
 * can ask for learns here what it says, by whether there is an account; a notice gets the link by which its owner takes back what it
 * tells, but for one to a mailbox that has only just become the account's.
 */
export async function makeLink(
  { store, mailLinks, linkRules, config }: Pick<Services, 'store' | 'mailLinks' | 'linkRules' | 'config'>,
  mail: ClaimedMail,
): Promise<MailedLink> {
  const none = { topic: mail.topic, url: null, expiresIn: 0, locale: mail.locale }
  if (mail.kind === 'code') return none
  const { token, hash } = mailLinks.make()
  if (mail.kind === 'notice') {
    const isLinked = await store.links.ofNotice(mail.id, hash)
    return isLinked ? { ...none, url: linkTo(config.appUrl, 'not-me', token) } : none
  }
  const said = await store.links.prepare(mail.id, hash, linkRules.policy)
  const { topic, link, expires_in: expiresIn = 0, locale = mail.locale } = said
  return { topic, url: link ? linkTo(config.appUrl, pages[link], token) : null, expiresIn, locale }
}
