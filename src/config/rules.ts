import { matcherOf } from '../security/client-address.ts'
import { isLoopback } from '../security/nearby.ts'
import { hasPlainSchema } from '../store/database-url.ts'
import { accountRules } from './account-rules.ts'
import { factorRules } from './factor-rules.ts'
import { mailRules } from './mail-rules.ts'
import { between, type Rule, type Rules, required, rule } from './rule.ts'
import { publicUrlOf, type Values } from './schema.ts'
import { textRules } from './text-rules.ts'
import { clientsOf, isHttps, isUniqueList, keysOf, listOf, looksRandom, passwordIn } from './values.ts'

const keysIn = (values: Values) => keysOf(values.SECRET_KEYS)
const clientSecrets = (values: Values) => clientsOf(values.INTROSPECTION_CLIENTS).map(({ secret }) => secret)

/** Every secret as text. A key counts both as it is written and as the text that its bytes may be. */
function secretTexts(values: Values): string[] {
  const keys = keysIn(values).flatMap(({ text, key }) => [text, `${key}`])
  const production = values.NODE_ENV === 'production'
  const passwords = production ? [values.DATABASE_URL, values.REDIS_URL, values.SMTP_URL].map(passwordIn) : []
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
    ['SECRET_KEYS', 'TWILIO_AUTH_TOKEN', 'INTROSPECTION_CLIENTS', 'DATABASE_URL', 'REDIS_URL', 'SMTP_URL'],
    'and the other secrets must all differ: one secret is used for two purposes (SECRET_KEYS, TWILIO_AUTH_TOKEN, ' +
      'INTROSPECTION_CLIENTS, and in production the passwords of DATABASE_URL, REDIS_URL and SMTP_URL)',
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
]

const inProduction: Rule[] = [
  rule(['DEVELOPMENT_NETWORKS'], 'must not be set in production', (values) => !values.DEVELOPMENT_NETWORKS),
  required('TRUST_PROXY', '; none if clients connect directly'),
  required('SECRET_KEYS'),
  required('DATABASE_URL'),
  required('PUBLIC_URL'),
  rule(['PUBLIC_URL'], 'must be https in production', ({ PUBLIC_URL }) => !PUBLIC_URL || isHttps(PUBLIC_URL)),
  between('PENDING_TOKEN_TTL', 60, 600),
  rule(
    ['PENDING_TOKEN_TTL', 'CODE_TTL'],
    'must be at least CODE_TTL in production',
    (values) => values.PENDING_TOKEN_TTL >= values.CODE_TTL,
  ),
  between('ACCESS_TOKEN_TTL', 60, 3600),
  between('CODE_TTL', 60, 600),
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

const groups: Rules[] = [{ always, inDevelopment, inProduction }, accountRules, textRules, mailRules, factorRules]

/**
 * What is wrong with settings that are each of the right form: rules between settings, the floors of production, the
 * walls round development.
 *
 * @param malformed Settings already reported, by name; no rule about them is tried. With a malformed `NODE_ENV` neither
 *   production's rules are nor development's.
 * @returns One line per mistake, `NAME what is wanted`, never a value.
 */
export function brokenRules(values: Values, malformed: ReadonlyMap<string, string>): string[] {
  const place = values.NODE_ENV === 'production' ? 'inProduction' : 'inDevelopment'
  const rules = groups.flatMap((group) => [...group.always, ...group[place]])
  const tried = rules.filter(({ about }) => !about.some((name) => malformed.has(name)))
  return tried.filter((it) => !it.holds(values)).map(({ about, wanted }) => `${about[0]} ${wanted}`)
}
