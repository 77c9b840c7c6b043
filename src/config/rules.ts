import { matcherOf } from '../security/client-address.ts'
import { isLoopback } from '../security/nearby.ts'
import { messageFits } from '../sms/message.ts'
import { hasPlainSchema } from '../store/database-url.ts'
import { type Name, publicUrlOf, smsOriginOf, type Values } from './schema.ts'
import { clientsOf, isHttps, isLoopbackUrl, isUniqueList, keysOf, listOf, looksRandom, passwordIn } from './values.ts'

/** A condition over settings. The first of `about` is the one to correct; nothing is said while one is malformed. */
type Rule = { about: [Name, ...Name[]]; wanted: string; holds(values: Values): boolean }

const rule = (about: Rule['about'], wanted: string, holds: Rule['holds']): Rule => ({ about, wanted, holds })

const between = (name: Name, least: number, most: number): Rule =>
  rule([name], `must be from ${least} to ${most} in production`, (values) => {
    const value = Number(values[name])
    return value >= least && value <= most
  })

const required = (name: Name, hint = ''): Rule =>
  rule([name], `is required in production${hint}`, (values) => values[name] !== undefined)

const twilioNeeds = (name: Name): Rule =>
  rule(
    [name, 'SMS_PROVIDER'],
    'is required by SMS_PROVIDER=twilio',
    (values) => values.SMS_PROVIDER !== 'twilio' || values[name] !== undefined,
  )

const twilioSettings: Name[] = [
  'TWILIO_ACCOUNT_SID',
  'TWILIO_AUTH_TOKEN',
  'TWILIO_FROM',
  'TWILIO_MESSAGING_SERVICE_SID',
]

const keysIn = (values: Values) => keysOf(values.SECRET_KEYS)
const clientSecrets = (values: Values) => clientsOf(values.INTROSPECTION_CLIENTS).map(({ secret }) => secret)

/** Every secret as text. A key counts both as it is written and as the text that its bytes may be. */
function secretTexts(values: Values): string[] {
  const keys = keysIn(values).flatMap(({ text, key }) => [text, `${key}`])
  const production = values.NODE_ENV === 'production'
  const passwords = production ? [values.DATABASE_URL, values.REDIS_URL].map(passwordIn) : []
  const others = [values.TWILIO_AUTH_TOKEN ?? '', ...clientSecrets(values), ...passwords]
  // Equal keys are a mistake of their own.
  return [...new Set(keys), ...others.filter((it) => it !== '')]
}

const always: Rule[] = [
  rule(['SECRET_KEYS'], 'must hold keys of at least 32 bytes each', (values) =>
    keysIn(values).every(({ key }) => key.length >= 32),
  ),
  rule(['SECRET_KEYS'], 'must hold random bytes: one of the keys is plainly not random', (values) =>
    keysIn(values).every(({ key }) => looksRandom(key)),
  ),
  rule(['SECRET_KEYS'], 'must hold keys that differ from each other', (values) =>
    isUniqueList(keysIn(values).map(({ key }) => key.toString('hex'))),
  ),
  rule(
    ['SECRET_KEYS', 'TWILIO_AUTH_TOKEN', 'INTROSPECTION_CLIENTS', 'DATABASE_URL', 'REDIS_URL'],
    'and the other secrets must all differ: one secret is used for two purposes (SECRET_KEYS, TWILIO_AUTH_TOKEN, ' +
      'INTROSPECTION_CLIENTS, and in production the passwords of DATABASE_URL and REDIS_URL)',
    (values) => isUniqueList(secretTexts(values)),
  ),
  rule(
    ['DATABASE_URL'],
    'must name at most one schema, of letters, digits, _ and - and not one of Postgres itself',
    ({ DATABASE_URL }) => DATABASE_URL === undefined || hasPlainSchema(DATABASE_URL),
  ),
  rule(
    ['METRICS_PORT', 'PORT'],
    'must differ from PORT',
    (values) => values.METRICS_PORT === 0 || values.METRICS_PORT !== values.PORT,
  ),
  rule(
    ['SMS_APP_NAME', 'SMS_ORIGIN', 'PUBLIC_URL', 'CODE_LENGTH'],
    'with SMS_ORIGIN must let the text fit one SMS: shorter, in GSM-7 letters, the name without a link or @',
    (values) =>
      messageFits({ appName: values.SMS_APP_NAME, origin: smsOriginOf(values), codeLength: values.CODE_LENGTH }),
  ),
  twilioNeeds('TWILIO_ACCOUNT_SID'),
  twilioNeeds('TWILIO_AUTH_TOKEN'),
  rule(
    ['TWILIO_FROM', 'TWILIO_MESSAGING_SERVICE_SID', 'SMS_PROVIDER'],
    'or TWILIO_MESSAGING_SERVICE_SID, exactly one of them, is required by SMS_PROVIDER=twilio',
    (values) =>
      values.SMS_PROVIDER !== 'twilio' ||
      (values.TWILIO_FROM === undefined) !== (values.TWILIO_MESSAGING_SERVICE_SID === undefined),
  ),
]

/** True for this machine, and for addresses that development may have besides. */
function isForDevelopment(host: string, { DEVELOPMENT_NETWORKS: networks }: Values): boolean {
  return isLoopback(host) || (networks !== undefined && matcherOf(listOf(networks))(host))
}

/** What a forgotten NODE_ENV must not do: serve people with codes that everybody can read. */
const inDevelopment: Rule[] = [
  rule(
    ['HOST', 'NODE_ENV', 'DEVELOPMENT_NETWORKS'],
    'must be an address of this machine alone (127.0.0.1) or in DEVELOPMENT_NETWORKS, unless NODE_ENV=production',
    (values) => isForDevelopment(values.HOST, values),
  ),
  rule(
    ['PUBLIC_URL', 'NODE_ENV', 'DEVELOPMENT_NETWORKS'],
    'must be on localhost or on an address in DEVELOPMENT_NETWORKS, unless NODE_ENV=production',
    (values) => isForDevelopment(new URL(publicUrlOf(values)).hostname, values),
  ),
  rule(
    ['SMS_PROVIDER', 'NODE_ENV', ...twilioSettings],
    'must say who sends texts (twilio or console) where there are TWILIO_ settings',
    (values) => values.SMS_PROVIDER !== undefined || twilioSettings.every((name) => values[name] === undefined),
  ),
]

const inProduction: Rule[] = [
  rule(['DEVELOPMENT_NETWORKS'], 'must not be set in production', (values) => !values.DEVELOPMENT_NETWORKS),
  required('TRUST_PROXY', '; none if clients connect directly'),
  required('SECRET_KEYS'),
  required('DATABASE_URL'),
  required('PUBLIC_URL'),
  rule(['PUBLIC_URL'], 'must be https in production', ({ PUBLIC_URL }) => !PUBLIC_URL || isHttps(PUBLIC_URL)),
  required('SMS_PROVIDER'),
  rule(['SMS_PROVIDER'], 'must not be console in production', (values) => values.SMS_PROVIDER !== 'console'),
  required('SMS_ALLOWED_COUNTRIES'),
  required('SMS_SPEND_DAY'),
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
  between('PENDING_TOKEN_TTL', 60, 600),
  rule(
    ['PENDING_TOKEN_TTL', 'CODE_TTL'],
    'must be at least CODE_TTL in production',
    (values) => values.PENDING_TOKEN_TTL >= values.CODE_TTL,
  ),
  between('ACCESS_TOKEN_TTL', 60, 3600),
  between('CODE_TTL', 60, 600),
  rule(['SMS_COOLDOWN'], 'must be at least 30 in production', (values) => values.SMS_COOLDOWN >= 30),
  // OWASP's password storage advice: 19 MiB with two passes, or 46 MiB with one.
  rule(
    ['ARGON2_MEMORY_KIB', 'ARGON2_TIME'],
    'must be at least 19456 with ARGON2_TIME 2 or more, or at least 47104 with ARGON2_TIME 1, in production',
    (values) => values.ARGON2_MEMORY_KIB >= (values.ARGON2_TIME >= 2 ? 19_456 : 47_104),
  ),
  rule(['INTROSPECTION_CLIENTS'], 'must hold random secrets of at least 32 characters in production', (values) =>
    clientSecrets(values).every((it) => it.length >= 32 && looksRandom(Buffer.from(it))),
  ),
]

/**
 * What is wrong with settings that are each of the right form: rules between settings, the floors of production, the
 * walls round development.
 *
 * @param malformed Settings already reported, by name; no rule about them is tried. With a malformed `NODE_ENV` neither
 *   production's rules are nor development's.
 * @returns One line per mistake, `NAME what is wanted`, never a value.
 */
export function brokenRules(values: Values, malformed: ReadonlyMap<string, string>): string[] {
  const rules = [...always, ...(values.NODE_ENV === 'production' ? inProduction : inDevelopment)]
  const tried = rules.filter(({ about }) => !about.some((name) => malformed.has(name)))
  return tried.filter((it) => !it.holds(values)).map(({ about, wanted }) => `${about[0]} ${wanted}`)
}
