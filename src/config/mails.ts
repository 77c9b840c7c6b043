import Type from 'typebox'
import { optional, secret, setting } from './kinds.ts'
import { isMailbox, isSmtpUrl } from './values.ts'

/** Who sends mails, and in whose name. */
export const mails = {
  MAIL_PROVIDER: setting(Type.Optional(Type.Enum(['console', 'smtp', 'none'])), {
    unset: 'console in development',
    description:
      'Who sends mails: `smtp`, `console` (keeps them to read at /dev/mail), or `none`: no links, codes or notices; required in production',
    wanted: 'one of console, smtp, none',
  }),
  SMTP_URL: secret(
    '',
    'Mail server, `smtps://user:password@host:465` or `smtp://…:587`',
    'an smtp:// or smtps:// address without a path, query or fragment',
    isSmtpUrl,
  ),
  MAIL_FROM: optional(
    '',
    'Sender of mails, `Doorstep <login@example.com>`',
    'an e-mail address, or a name and an e-mail address in angle brackets',
    isMailbox,
  ),
}
