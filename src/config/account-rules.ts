import { type Rules, required, rule } from './rule.ts'
import { isHttps, isLoopbackUrl } from './values.ts'

/** Rules about who may have an account, and with what password. */
export const accountRules: Rules = {
  always: [
    rule(
      ['REGISTRATION', 'MAIL_PROVIDER'],
      'must be closed with MAIL_PROVIDER=none',
      ({ REGISTRATION, MAIL_PROVIDER }) => MAIL_PROVIDER !== 'none' || REGISTRATION !== 'open',
    ),
    rule(
      ['IMPORT_FIREBASE_SALT_SEPARATOR', 'IMPORT_FIREBASE_SIGNER_KEY'],
      'must be set together with IMPORT_FIREBASE_SIGNER_KEY',
      ({ IMPORT_FIREBASE_SALT_SEPARATOR: separator, IMPORT_FIREBASE_SIGNER_KEY: key }) => !separator === !key,
    ),
  ],
  inDevelopment: [],
  inProduction: [
    required('REGISTRATION'),
    rule(
      ['BREACHED_PASSWORDS_URL'],
      'must be https in production, or on this machine',
      ({ BREACHED_PASSWORDS_URL: base }) => isHttps(base) || isLoopbackUrl(base),
    ),
  ],
}
