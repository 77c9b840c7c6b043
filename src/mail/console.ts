import type { Clock } from '../system.ts'
import type { Mail, MailSender } from './index.ts'

const keptMails = 100

/** One mail that was "sent", as `GET /dev/mail` shows it; `sent_at` is RFC 3339. */
export type ConsoleMail = { to: string; subject: string; text: string; html: string; sent_at: string }

export type ConsoleMailbox = MailSender & {
  /** The last 100 mails, newest first. */
  sent(): ConsoleMail[]
}

/**
 * A sender that prints each mail on one line and keeps it in memory. For development only: it shows addresses and codes.
 * @param options.print writes one line, without a line break of its own
 */
export function createConsoleMailbox(options: { clock: Clock; print: (line: string) => void }): ConsoleMailbox {
  const { clock, print } = options
  const mails: ConsoleMail[] = []

  const send = async ({ to, subject, text, html }: Mail) => {
    mails.unshift({ to, subject, text, html, sent_at: new Date(clock.nowMs()).toISOString() })
    mails.length = Math.min(mails.length, keptMails)
    print(`Mail to ${to}: ${`${subject}\n${text}`.replace(/\p{Cc}+/gu, ' | ')}`)
    return { outcome: 'sent' as const }
  }

  return { send, isAvailable: () => true, close: () => {}, sent: () => [...mails] }
}
