import { sendDueMails } from '../../src/features/mails/mail-sender.ts'
import type { Doorstep } from './doorstep.ts'

type Sent = { to: string; subject: string; text: string }

/** Sends what is due, as the service does while it runs, and returns what an address has got, the newest first. */
export async function mailsTo({ services }: Pick<Doorstep, 'services'>, email: string): Promise<Sent[]> {
  await sendDueMails(services)
  return (services.mailbox?.sent() ?? []).filter(({ to }) => to === email)
}

/** The token in the newest mail to an address that leads to that page. */
export async function mailedToken(
  doorstep: Pick<Doorstep, 'services'>,
  email: string,
  page: 'set-password' | 'confirm-email' | 'not-me' = 'set-password',
): Promise<string> {
  for (const { text } of await mailsTo(doorstep, email)) {
    const [, token] = new RegExp(`/${page}#token=(dsm_[\\w-]{43})$`, 'm').exec(text) ?? []
    if (token !== undefined) return token
  }
  throw new Error(`no link to ${page} was mailed to ${email}`)
}
