import { limit, optionalWhole, whole } from './kinds.ts'

const withoutLogin = 'Texts not followed by a login per'

/** How many texts and requests there may be: the settings that are numbers of something in some time. */
export const limits = {
  SMS_COOLDOWN: whole(60, 1, 3600, 'Seconds between two texts to one user or phone'),
  SMS_PER_USER_HOUR: limit(5, `${withoutLogin} user and per phone in an hour`),
  SMS_PER_USER_DAY: limit(10, `${withoutLogin} user and per phone in a day`),
  SMS_PER_ADDRESS_HOUR: limit(10, `${withoutLogin} network address in an hour`),
  SMS_PER_ADDRESS_DAY: limit(20, `${withoutLogin} network address in a day`),
  SMS_PER_PREFIX_HOUR: limit(30, `${withoutLogin} number prefix (number less its last 4 digits) in an hour`),
  SMS_GLOBAL_HOUR: limit(200, 'Texts of the whole service in an hour that were not followed by a login'),
  SMS_GLOBAL_DAY: limit(2000, 'Texts of the whole service in a day that were not followed by a login'),
  SMS_SPEND_DAY: optionalWhole(
    '2000 in development',
    1,
    1_000_000_000,
    'All texts of the whole service in a day: the most that they may cost; required in production with sms in METHODS',
  ),
  MAIL_COOLDOWN: whole(60, 1, 3600, 'Seconds between two codes by mail to one user'),
  MAIL_PER_ADDRESS_HOUR: limit(3, 'Mails with a link to one address in an hour that anybody may ask for'),
  MAIL_PER_ADDRESS_DAY: limit(10, 'The same in a day'),
  MAIL_GLOBAL_HOUR: limit(
    500,
    'Mails with a link of the whole service in an hour; half of them to addresses without an account',
  ),
  MAIL_GLOBAL_DAY: limit(5000, 'The same in a day'),
  ENROLMENTS_DAY: limit(10, 'Enrolments of second factors that one account may begin in a day'),
  RATE_LOGIN_MINUTE: limit(10, 'Logins per network address in a minute'),
  RATE_LOGIN_HOUR: limit(100, 'Logins per network address in an hour'),
  RATE_VERIFY_MINUTE: limit(20, 'Codes tried per network address in a minute'),
  RATE_RESEND_HOUR: limit(10, 'Resends asked for per network address in an hour'),
  RATE_REFRESH_MINUTE: limit(30, 'Refreshes per network address in a minute'),
  RATE_MAIL_MINUTE: limit(10, 'Registrations and new passwords asked for per network address in a minute'),
  RATE_MAIL_HOUR: limit(30, 'The same in an hour'),
  RATE_DEFAULT_MINUTE: limit(300, 'Other requests per network address in a minute'),
  RATE_CLIENT_MINUTE: limit(600, 'Requests of one client (a backend) in a minute'),
  RATE_INTROSPECT_MINUTE: limit(6000, 'Questions of one client about tokens in a minute'),
}
