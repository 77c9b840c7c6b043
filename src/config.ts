import { availableParallelism } from 'node:os'
import Value from 'typebox/value'
import { developmentSecretKeys } from './config/development-secrets.ts'
import { type Environment, readSettings } from './config/read.ts'
import { brokenRules } from './config/rules.ts'
import { appUrlOf, environment, methodsOf, passkeyOf, publicUrlOf, smsOriginOf, type Values } from './config/schema.ts'
import { bytesOf, clientsOf, keysOf, listOf, withoutSlash } from './config/values.ts'
import { type Random, systemRandom } from './system.ts'

export { settings } from './config/schema.ts'

/** The settings, grouped and frozen. Times are whole seconds, addresses have no slash at the end. */
export type Config = ReturnType<typeof toConfig>

/** Texts in all that a day may cost while nobody has said a number. */
const developmentSpendDay = 2_000

/** What `loadConfig` throws: `problems` holds every mistake as `NAME what is wanted`; `name` is `ConfigError`. */
export type ConfigError = Error & { problems: string[] }

/**
 * The settings of `env` (contract, section 5). An empty variable counts as unset; a secret may come from the file
 * that `NAME_FILE` names. In development missing `SECRET_KEYS` are made once and kept in `DATA_DIR`.
 *
 * @throws ConfigError which lists every mistake at once, by the name of the variable and never with its value.
 */
export function loadConfig(env: Environment, random: Random = systemRandom): Config {
  const { values, mistakes } = readSettings(env)
  const isDevelopment = values.NODE_ENV !== 'production' && !mistakes.has('NODE_ENV')
  if (isDevelopment && !values.SECRET_KEYS && !mistakes.has('SECRET_KEYS')) {
    const keys = keptKeys(String(values.DATA_DIR), random)
    if (keys) values.SECRET_KEYS = keys
    else mistakes.set('DATA_DIR', 'must be a directory in which secrets.env, with SECRET_KEYS, can be read and written')
  }
  const problems = [...mistakes].map(([name, wanted]) => `${name} ${wanted}`)
  // Defaults stand in for what is malformed, so this never throws; it tells the compiler what is known.
  if (!Value.Check(environment, values)) throw configError(problems)
  problems.push(...brokenRules(values, mistakes))
  if (problems.length > 0) throw configError(problems)
  return frozen(toConfig(values))
}

/** The keys kept for development, or nothing when they cannot be kept or were spoiled. */
function keptKeys(dataDir: string, random: Random): string | undefined {
  try {
    const keys = developmentSecretKeys(dataDir, random)
    return Value.Check(environment.properties.SECRET_KEYS, keys) ? keys : undefined
  } catch {
    return undefined
  }
}

function configError(problems: string[]): ConfigError {
  const error = new Error(`The settings are not right:\n${problems.map((it) => `  ${it}`).join('\n')}`)
  return Object.assign(error, { name: 'ConfigError', problems })
}

function toConfig(values: Values) {
  const publicUrl = publicUrlOf(values)
  return {
    production: values.NODE_ENV === 'production',
    /** Ranges besides this machine that a development service may be reached in. */
    developmentNetworks: values.DEVELOPMENT_NETWORKS ? listOf(values.DEVELOPMENT_NETWORKS) : [],
    host: values.HOST,
    port: values.PORT,
    publicUrl,
    issuer: publicUrl,
    /** The application's pages. */
    appUrl: appUrlOf(values),
    /** Without it: the embedded database in `dataDir`. */
    databaseUrl: values.DATABASE_URL,
    dataDir: values.DATA_DIR,
    databasePoolSize: values.DATABASE_POOL_SIZE,
    redisUrl: values.REDIS_URL,
    /** The first makes new things, all verify. */
    secretKeys: keysOf(values.SECRET_KEYS).map(({ id, key }) => ({ id, key })),
    tokens: {
      audience: values.TOKEN_AUDIENCE ?? publicUrl,
      pendingTtl: values.PENDING_TOKEN_TTL,
      accessTtl: values.ACCESS_TOKEN_TTL,
    },
    signingKeyDays: values.SIGNING_KEY_DAYS,
    eventRetentionDays: values.EVENT_RETENTION_DAYS,
    code: { ttl: values.CODE_TTL, length: values.CODE_LENGTH },
    /** What new users need. */
    twoFactor: values.TWO_FACTOR,
    /** What may be enrolled and used, best first; recovery codes, which come along, are not among them. */
    methods: methodsOf(values),
    enrolmentsDay: values.ENROLMENTS_DAY,
    registration: values.REGISTRATION ?? (values.MAIL_PROVIDER === 'none' ? ('closed' as const) : ('open' as const)),
    breachedPasswords: { source: values.BREACHED_PASSWORDS, url: withoutSlash(values.BREACHED_PASSWORDS_URL) },
    eraseAfterDays: values.ERASE_AFTER_DAYS,
    passkey: { ...passkeyOf(values), rpName: values.SMS_APP_NAME },
    totpIssuer: values.TOTP_ISSUER ?? values.SMS_APP_NAME.replaceAll(':', ''),
    sms: smsOf(values),
    mail: mailOf(values),
    rate: rateOf(values),
    corsOrigins: corsOriginsOf(values),
    trustProxy: trustedProxiesOf(values),
    argon2: {
      memoryKib: values.ARGON2_MEMORY_KIB,
      time: values.ARGON2_TIME,
      concurrency: values.ARGON2_CONCURRENCY ?? Math.min(availableParallelism(), 64),
      queue: values.ARGON2_QUEUE,
    },
    loginFloorMs: values.LOGIN_FLOOR_MS,
    /** What it takes to read Firebase's password hashes; null where none are to be read. */
    firebaseHashes: firebaseOf(values),
    introspectionClients: clientsOf(values.INTROSPECTION_CLIENTS),
    webhookAllowedNetworks: values.WEBHOOK_ALLOWED_NETWORKS ? listOf(values.WEBHOOK_ALLOWED_NETWORKS) : [],
    metricsPort: values.METRICS_PORT,
    metricsHost: values.METRICS_HOST,
    logLevel: values.LOG_LEVEL,
  }
}

/** The addresses and ranges of proxies, or false where there is none. */
const trustedProxiesOf = ({ TRUST_PROXY: proxies = 'none' }: Values): string[] | false =>
  proxies === 'none' ? false : listOf(proxies)

function firebaseOf(values: Values) {
  const { IMPORT_FIREBASE_SIGNER_KEY: key, IMPORT_FIREBASE_SALT_SEPARATOR: separator } = values
  const [signerKey, saltSeparator] = [bytesOf(key ?? ''), bytesOf(separator ?? '')]
  return signerKey && saltSeparator ? { signerKey, saltSeparator } : null
}

function smsOf(values: Values) {
  const countries = values.SMS_ALLOWED_COUNTRIES ?? '*'
  return {
    /** `none`: production without texts. */
    provider: values.SMS_PROVIDER ?? (values.NODE_ENV === 'production' ? ('none' as const) : ('console' as const)),
    twilio: values.SMS_PROVIDER === 'twilio' ? twilioOf(values) : undefined,
    allowedCountries: countries === '*' ? ('*' as const) : listOf(countries),
    appName: values.SMS_APP_NAME,
    origin: smsOriginOf(values),
    cooldown: values.SMS_COOLDOWN,
    perUserHour: values.SMS_PER_USER_HOUR,
    perUserDay: values.SMS_PER_USER_DAY,
    perAddressHour: values.SMS_PER_ADDRESS_HOUR,
    perAddressDay: values.SMS_PER_ADDRESS_DAY,
    perPrefixHour: values.SMS_PER_PREFIX_HOUR,
    globalHour: values.SMS_GLOBAL_HOUR,
    globalDay: values.SMS_GLOBAL_DAY,
    spendDay: values.SMS_SPEND_DAY ?? developmentSpendDay,
  }
}

function mailOf({ MAIL_PROVIDER: provider = 'console', SMTP_URL: smtpUrl, ...values }: Values) {
  return {
    provider,
    smtpUrl: provider === 'smtp' ? smtpUrl : undefined,
    from: values.MAIL_FROM ?? 'doorstep@localhost',
    cooldown: values.MAIL_COOLDOWN,
    perAddressHour: values.MAIL_PER_ADDRESS_HOUR,
    perAddressDay: values.MAIL_PER_ADDRESS_DAY,
    globalHour: values.MAIL_GLOBAL_HOUR,
    globalDay: values.MAIL_GLOBAL_DAY,
  }
}

/** Requests per network address; of clients, per client. */
function rateOf(values: Values) {
  return {
    loginMinute: values.RATE_LOGIN_MINUTE,
    loginHour: values.RATE_LOGIN_HOUR,
    verifyMinute: values.RATE_VERIFY_MINUTE,
    resendHour: values.RATE_RESEND_HOUR,
    refreshMinute: values.RATE_REFRESH_MINUTE,
    mailMinute: values.RATE_MAIL_MINUTE,
    mailHour: values.RATE_MAIL_HOUR,
    defaultMinute: values.RATE_DEFAULT_MINUTE,
    clientMinute: values.RATE_CLIENT_MINUTE,
    introspectMinute: values.RATE_INTROSPECT_MINUTE,
  }
}

/** The pages that may call; in development, where nothing is said, all that this machine serves. */
function corsOriginsOf({ CORS_ORIGINS: origins, NODE_ENV: environment }: Values): readonly string[] | 'localhost' {
  if (origins !== undefined) return listOf(origins)
  return environment === 'production' ? [] : 'localhost'
}

/** The rules have seen to it that both identifiers and one sender are there. */
function twilioOf(values: Values) {
  const { TWILIO_FROM: from, TWILIO_MESSAGING_SERVICE_SID: messagingServiceSid } = values
  const sender: { from?: string; messagingServiceSid?: string } = {}
  if (from) sender.from = from
  if (messagingServiceSid) sender.messagingServiceSid = messagingServiceSid
  return {
    accountSid: values.TWILIO_ACCOUNT_SID ?? '',
    authToken: values.TWILIO_AUTH_TOKEN ?? '',
    ...sender,
    apiBaseUrl: withoutSlash(values.TWILIO_API_BASE_URL),
  }
}

/** `value` frozen all the way down, but for bytes, which cannot be. */
function frozen<T extends object>(value: T): T {
  for (const part of Object.values(value)) {
    if (typeof part === 'object' && part !== null && !ArrayBuffer.isView(part)) frozen(part)
  }
  return Object.freeze(value)
}
