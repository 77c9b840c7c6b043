import { neededBy, type Rules, required, rule } from './rule.ts'
import { methodsOf } from './schema.ts'

/** Rules about mails and who sends them. */
export const mailRules: Rules = {
  always: [
    neededBy('MAIL_PROVIDER', 'smtp', 'SMTP_URL'),
    neededBy('MAIL_PROVIDER', 'smtp', 'MAIL_FROM'),
    rule(
      ['METHODS', 'MAIL_PROVIDER'],
      'must not list email with MAIL_PROVIDER=none',
      (values) => values.MAIL_PROVIDER !== 'none' || !methodsOf(values).includes('email'),
    ),
  ],
  inDevelopment: [
    rule(
      ['MAIL_PROVIDER', 'NODE_ENV', 'SMTP_URL', 'MAIL_FROM'],
      'must say who sends mails (smtp, console or none) where there is SMTP_URL or MAIL_FROM',
      ({ MAIL_PROVIDER, SMTP_URL, MAIL_FROM }) =>
        MAIL_PROVIDER !== undefined || (SMTP_URL === undefined && MAIL_FROM === undefined),
    ),
  ],
  inProduction: [
    required('MAIL_PROVIDER', '; none if nothing is to be mailed'),
    rule(['MAIL_PROVIDER'], 'must not be console in production', (values) => values.MAIL_PROVIDER !== 'console'),
    rule(['MAIL_COOLDOWN'], 'must be at least 30 in production', (values) => values.MAIL_COOLDOWN >= 30),
  ],
}
