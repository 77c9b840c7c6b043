import Type, { type Static } from 'typebox'
import { type Method, methodNames } from '../methods.ts'
import { accounts } from './accounts.ts'
import { factors } from './factors.ts'
import { imports } from './imports.ts'
import {
  type About,
  matching,
  oneOf,
  optional,
  optionalWhole,
  pairs,
  plainUrl,
  secret,
  text,
  url,
  whole,
} from './kinds.ts'
import { limits } from './limits.ts'
import { mails } from './mails.ts'
import { texts } from './texts.ts'
import { bytesOf, isHost, isOrigin, isPlainUrl, isPrivateRange, isProxyRange, listOf, withoutSlash } from './values.ts'

/** A handler has 8 s, and there is more to a login than its hash. */
export const longestFloorMs = 5_000

/**
 * Every setting: its form, its default, what it means; documents are checked against this. What depends on other
 * settings or on production is in `rules.ts`.
 */
export const environment = Type.Object({
  NODE_ENV: oneOf(
    'development',
    ['development', 'test', 'production'],
    '`production` refuses every development convenience; anything else is served to this machine only',
  ),
  DEVELOPMENT_NETWORKS: optional(
    '',
    'Private CIDR ranges besides this machine that a development service may be reached in; never in production',
    'private CIDR ranges, such as 192.168.1.0/24',
    (value) => listOf(value).every(isPrivateRange),
  ),
  HOST: text('127.0.0.1', 'Address to listen on', 'an IP address or a host name', isHost),
  PORT: whole(3000, 0, 65_535, 'Port to listen on; 0 takes any free one (PUBLIC_URL is then to be set)'),
  PUBLIC_URL: optional(
    'http://localhost:<PORT>',
    'Address that clients use: issuer, problem types, webhook; https required in production',
    plainUrl,
    isPlainUrl,
  ),
  APP_URL: optional(
    'PUBLIC_URL in development',
    'Pages of the application, where codes are typed and passkeys used; https, and required, in production',
    plainUrl,
    isPlainUrl,
  ),
  DATABASE_URL: secret(
    'embedded Postgres in DATA_DIR',
    'Postgres to use; required in production',
    'a postgres:// or postgresql:// address',
    url(/^postgres(ql)?:\/\/\S+$/),
  ),
  DATA_DIR: text(
    '.data',
    'Development only: directory of the embedded database and of generated secrets',
    'the path of a directory',
    matching(/./),
  ),
  DATABASE_POOL_SIZE: whole(10, 1, 1000, 'Most connections to the database'),
  REDIS_URL: secret(
    'address limits in memory',
    'For a Redis that shares the address limits between replicas; not supported yet, so leave it unset',
    'a redis:// or rediss:// address',
    url(/^rediss?:\/\/\S+$/),
  ),
  SECRET_KEYS: secret(
    'generated into DATA_DIR in development',
    'Master keys `kid:base64,…`, each at least 32 random bytes; the first is used, all verify',
    'kid:base64,… with every kid once, of 1 to 32 letters, digits, _ and -',
    pairs((value) => bytesOf(value) !== undefined),
  ),
  TOKEN_AUDIENCE: optional(
    'PUBLIC_URL',
    'The `aud` of access tokens',
    '1 to 255 characters without spaces',
    matching(/^\S{1,255}$/),
  ),
  PENDING_TOKEN_TTL: whole(600, 1, 3600, 'Seconds to finish a login in'),
  SIGNING_KEY_DAYS: whole(30, 1, 3650, 'Days after which the key that signs access tokens is replaced by itself'),
  ACCESS_TOKEN_TTL: whole(600, 1, 86_400, 'Seconds that an access token lives'),
  CODE_TTL: whole(
    300,
    1,
    600,
    'Seconds that a texted code lives after it was last sent; a mailed one lives as long as its login',
  ),
  CODE_LENGTH: whole(6, 6, 10, 'Digits of a code'),
  ...factors,
  ...accounts,
  ...texts,
  ...mails,
  ...limits,
  CORS_ORIGINS: optional(
    'every localhost origin in development, none in production',
    'Pages of other origins that may call from a browser: exact origins, `https://app.example.com,capacitor://localhost`',
    'exact origins such as https://app.example.com, without a path or a slash at the end; not null or *',
    (value) => listOf(value).every(isOrigin),
  ),
  TRUST_PROXY: optional(
    '`none` in development',
    'Proxies whose X-Forwarded-For is believed: a list of addresses and CIDR ranges, or `none`; required in production',
    '`none`, or IP addresses and CIDR ranges, none wider than /8 (IPv4) or /7 (IPv6); not true, a number or a name',
    (value) => value === 'none' || listOf(value).every(isProxyRange),
  ),
  ARGON2_MEMORY_KIB: whole(19_456, 8, 4_194_304, 'Password hashing: memory in KiB'),
  ARGON2_TIME: whole(2, 1, 20, 'Password hashing: passes over the memory'),
  ARGON2_CONCURRENCY: optionalWhole('number of cores', 1, 64, 'Password hashes at one time'),
  ARGON2_QUEUE: whole(32, 0, 1000, 'Logins that may wait for password hashing; more are told `busy`'),
  LOGIN_FLOOR_MS: whole(
    0,
    0,
    longestFloorMs,
    'Milliseconds that a failed login takes at least while hashes made otherwise than today are left: with other ARGON2_* settings, or by another system',
  ),
  INTROSPECTION_CLIENTS: secret(
    '',
    'Backends that may ask about tokens: `id:secret,…`, in production each secret at least 32 characters',
    'id:secret,… with every id once, of 1 to 32 letters, digits, _ and -, and secrets of 8 or more characters',
    pairs(matching(/^[!-~]{8,}$/)),
  ),
  WEBHOOK_ALLOWED_NETWORKS: optional(
    'public addresses only',
    'Addresses and CIDR ranges of this network that webhooks may go to, besides public ones',
    'IP addresses and CIDR ranges, such as 10.1.0.0/16, none wider than /8 (IPv4) or /7 (IPv6)',
    (value) => listOf(value).every(isProxyRange),
  ),
  ...imports,
  METRICS_PORT: optionalWhole(
    'no such port',
    0,
    65_535,
    'Port to read /metrics and /health from; 0 takes any free one',
  ),
  METRICS_HOST: text(
    '127.0.0.1',
    'Address to listen on for METRICS_PORT, which the public must not reach',
    'an IP address or a host name',
    matching(/^[\w.:-]{1,255}$/),
  ),
  EVENT_RETENTION_DAYS: whole(400, 1, 36_500, 'Days that recorded events are kept'),
  LOG_LEVEL: oneOf(
    'info',
    ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'],
    'Least important log lines to write',
  ),
})

/** The settings one by one: each of the right form, defaults filled in, not yet grouped. */
export type Values = Static<typeof environment>
export type Name = keyof Values

/** The address that clients use. */
export const publicUrlOf = (values: Values) => withoutSlash(values.PUBLIC_URL ?? `http://localhost:${values.PORT}`)

/** The address of the application's pages. */
export const appUrlOf = (values: Values) => (values.APP_URL ? withoutSlash(values.APP_URL) : publicUrlOf(values))

/** The host in the last line of a text. */
export const smsOriginOf = (values: Values) => values.SMS_ORIGIN?.toLowerCase() ?? new URL(appUrlOf(values)).hostname

/** The methods that may be enrolled and used, best first. */
export const methodsOf = (values: Values): Method[] => {
  const listed = listOf(values.METHODS)
  return methodNames.filter((name) => listed.includes(name))
}

/** Where passkeys are made for, and the exact origins that they are used from. */
export const passkeyOf = (values: Values) => {
  const { hostname, origin } = new URL(appUrlOf(values))
  return {
    rpId: values.PASSKEY_RP_ID?.toLowerCase() ?? hostname,
    origins: values.PASSKEY_ORIGINS === undefined ? [origin] : listOf(values.PASSKEY_ORIGINS),
  }
}

/** Every setting for documents: the default as text (`constant`: it can be written as the value), and the meaning. */
export const settings = Object.entries(environment.properties).map(([name, schema]: [string, About]) => ({
  name,
  default: String(schema.default ?? schema.unset ?? ''),
  constant: schema.default !== undefined,
  description: schema.description,
  secret: schema.secret === true,
}))
