import { messageFits } from '../sms/message.ts'
import { listsTexts, neededBy, type Rules, rule } from './rule.ts'
import { type Name, smsOriginOf } from './schema.ts'
import { isHttps, isLoopbackUrl } from './values.ts'

const twilioSettings: Name[] = [
  'TWILIO_ACCOUNT_SID',
  'TWILIO_AUTH_TOKEN',
  'TWILIO_FROM',
  'TWILIO_MESSAGING_SERVICE_SID',
]

/** Without texts among the methods nobody has to say who sends them and what they may cost. */
const requiredForTexts = (name: Name) =>
  rule(
    [name, 'METHODS'],
    'is required in production where METHODS lists sms',
    (values) => !listsTexts(values) || values[name] !== undefined,
  )

/** Rules about texts and who sends them. */
export const textRules: Rules = {
  always: [
    rule(
      ['SMS_APP_NAME', 'SMS_ORIGIN', 'APP_URL', 'PUBLIC_URL', 'CODE_LENGTH', 'METHODS'],
      'with SMS_ORIGIN must let the text fit one SMS: shorter, in GSM-7 letters, the name without a link or @',
      (values) =>
        !listsTexts(values) ||
        messageFits({ appName: values.SMS_APP_NAME, origin: smsOriginOf(values), codeLength: values.CODE_LENGTH }),
    ),
    neededBy('SMS_PROVIDER', 'twilio', 'TWILIO_ACCOUNT_SID'),
    neededBy('SMS_PROVIDER', 'twilio', 'TWILIO_AUTH_TOKEN'),
    rule(
      ['TWILIO_FROM', 'TWILIO_MESSAGING_SERVICE_SID', 'SMS_PROVIDER'],
      'or TWILIO_MESSAGING_SERVICE_SID, exactly one of them, is required by SMS_PROVIDER=twilio',
      (values) =>
        values.SMS_PROVIDER !== 'twilio' ||
        (values.TWILIO_FROM === undefined) !== (values.TWILIO_MESSAGING_SERVICE_SID === undefined),
    ),
    rule(
      ['SMS_PROVIDER', 'NODE_ENV', 'METHODS', ...twilioSettings],
      'must say who sends texts (twilio or console) where there are TWILIO_ settings',
      (values) =>
        values.SMS_PROVIDER !== undefined ||
        twilioSettings.every((name) => values[name] === undefined) ||
        // Which is told already.
        (values.NODE_ENV === 'production' && listsTexts(values)),
    ),
  ],
  inDevelopment: [],
  inProduction: [
    requiredForTexts('SMS_PROVIDER'),
    rule(['SMS_PROVIDER'], 'must not be console in production', (values) => values.SMS_PROVIDER !== 'console'),
    requiredForTexts('SMS_ALLOWED_COUNTRIES'),
    requiredForTexts('SMS_SPEND_DAY'),
    rule(
      ['SMS_ALLOWED_COUNTRIES'],
      'must name the countries in production, not *',
      (values) => values.SMS_ALLOWED_COUNTRIES !== '*',
    ),
    rule(
      ['TWILIO_API_BASE_URL'],
      'must be https in production, or on this machine',
      ({ TWILIO_API_BASE_URL: base }) => isHttps(base) || isLoopbackUrl(base),
    ),
    rule(['SMS_COOLDOWN'], 'must be at least 30 in production', (values) => values.SMS_COOLDOWN >= 30),
  ],
}
