import Type from 'typebox'
import { matching, optional, plainUrl, secret, setting, text } from './kinds.ts'
import { isCountryList, isPlainUrl } from './values.ts'

/** Who sends texts, where to and in whose name. */
export const texts = {
  SMS_PROVIDER: setting(Type.Optional(Type.Enum(['console', 'twilio'])), {
    unset: 'console in development',
    description:
      'Who sends texts: `twilio`, or `console` (keeps them to read at /dev/sms); required in production with sms in METHODS',
    wanted: 'one of console, twilio',
  }),
  TWILIO_ACCOUNT_SID: secret('', 'Twilio account SID', 'AC and 32 hex digits', matching(/^AC[0-9a-fA-F]{32}$/)),
  TWILIO_AUTH_TOKEN: secret(
    '',
    'Twilio auth token: signs in to it and checks its webhooks',
    'the auth token, without spaces',
    matching(/^[!-~]+$/),
  ),
  TWILIO_FROM: optional(
    '',
    'Twilio sender: a phone number or a name. Either this or TWILIO_MESSAGING_SERVICE_SID',
    'an E.164 number, a short code, or a sender name of up to 11 letters, digits and spaces with a letter in it',
    matching(/^(\+[1-9]\d{6,14}|\d{5,6}|(?=.{0,10}[A-Za-z])[A-Za-z0-9 _-]{1,11})$/),
  ),
  TWILIO_MESSAGING_SERVICE_SID: optional(
    '',
    'Twilio sender: a messaging service',
    'MG and 32 hex digits',
    matching(/^MG[0-9a-fA-F]{32}$/),
  ),
  TWILIO_API_BASE_URL: text(
    'https://api.twilio.com',
    'Where the Twilio API is; tests put a local server here',
    plainUrl,
    isPlainUrl,
  ),
  SMS_ALLOWED_COUNTRIES: optional(
    '* in development',
    'Countries that texts may go to, as ISO codes `GB,DE`; required in production with sms in METHODS',
    '* or two-letter ISO country codes in capitals',
    isCountryList,
  ),
  SMS_APP_NAME: text(
    'Doorstep',
    'Name of the service in the text',
    '1 to 40 characters without control characters',
    matching(/^[^\p{C}\p{Zl}\p{Zp}]{1,40}$/u),
  ),
  SMS_ORIGIN: optional(
    'host of APP_URL',
    'Host in the last line of the text, `@host #code`, by which browsers offer the code',
    'a host name without a port',
    matching(/^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$/),
  ),
}
