/** One mail to send. All of it is text of one line, but `text` and `html`. */
export type Mail = {
  /** The same for every try of one mail, so that a repeated one is recognised: `<…@…>`, without the brackets. */
  messageId: string
  /** One address, in the canonical form (security/email.ts). */
  to: string
  subject: string
  text: string
  html: string
}

/**
 * What the provider answered.
 * - `sent`: accepted.
 * - `refused`: not accepted, because of this mail (`mail`) or whatever the mail (`provider`: it cannot be reached, offers no
 *   TLS, does not know us or our sender). `isCertain`: this one would be refused again (5xx); otherwise another try may go
 *   well.
 * - `unknown`: no answer to the whole mail; it may have gone.
 * `error` is the reply's number (`smtp_550`) or a word such as `timeout`; never an address or a code.
 */
export type MailResult =
  | { outcome: 'sent' }
  | { outcome: 'refused'; reason: 'mail' | 'provider'; isCertain: boolean; error: string }
  | { outcome: 'unknown'; error: string }

/** What of the settings the senders need; `from` is an address, or `Name <address>`. */
export type MailSettings = { provider: 'smtp' | 'console' | 'none'; smtpUrl?: string | undefined; from: string }

/** A way to send mails. It has three users: `smtp`, `console` and `none`. */
export type MailSender = {
  /** Never throws and never retries; ends within `timeoutMs` milliseconds. */
  send(mail: Mail, limits: { timeoutMs: number }): Promise<MailResult>
  /** False while the circuit breaker is open, or mail is off: a mail would certainly fail. */
  isAvailable(): boolean
  /** Frees sockets. */
  close(): void
}

/** Sends nothing: `MAIL_PROVIDER=none`. */
export const noMail: MailSender = {
  send: async () => ({ outcome: 'refused', reason: 'provider', isCertain: true, error: 'mail_is_off' }),
  isAvailable: () => false,
  close: () => {},
}
