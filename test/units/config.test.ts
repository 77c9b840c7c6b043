import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { looksRandom } from '../../src/config/values.ts'
import { type ConfigError, loadConfig, settings } from '../../src/config.ts'
import { systemRandom } from '../../src/system.ts'

type Environment = Record<string, string | undefined>

const base64Key = (bytes = 32) => systemRandom.bytes(bytes).toString('base64')
const sid = (prefix: string) => `${prefix}${'0123456789abcdef'.repeat(2)}`

/** Right in production; each test spoils it. */
const production: Environment = {
  NODE_ENV: 'production',
  PUBLIC_URL: 'https://login.example.com',
  APP_URL: 'https://app.example.com',
  DATABASE_URL: 'postgres://doorstep@db.internal/doorstep',
  SECRET_KEYS: `k1:${base64Key()}`,
  SMS_PROVIDER: 'twilio',
  SMS_ALLOWED_COUNTRIES: 'GB,DE',
  SMS_SPEND_DAY: '2000',
  TRUST_PROXY: '10.0.0.0/8',
  TWILIO_ACCOUNT_SID: sid('AC'),
  TWILIO_AUTH_TOKEN: systemRandom.bytes(16).toString('hex'),
  TWILIO_FROM: '+15005550006',
  REGISTRATION: 'open',
  MAIL_PROVIDER: 'smtp',
  SMTP_URL: `smtps://doorstep:${systemRandom.bytes(16).toString('hex')}@smtp.example.com:465`,
  MAIL_FROM: 'Doorstep <login@example.com>',
}
const android = `android:apk-key-hash:${systemRandom.bytes(32).toString('base64url')}`
const development: Environment = { SECRET_KEYS: `k1:${base64Key()}` }

function mistakesOf(env: Environment): string[] {
  try {
    loadConfig(env)
    return []
  } catch (error) {
    const { name, problems } = error as ConfigError
    if (name !== 'ConfigError' || problems.length === 0) throw error
    return problems
  }
}

/** The environment is refused for exactly one mistake, which starts with the name of the variable. */
function refuses(t: Test, base: Environment, change: Environment, name = Object.keys(change)[0]): void {
  const problems = mistakesOf({ ...base, ...change })
  const shown = Object.entries(change).map(([key, value]) => `${key}=${value}`)
  t.same(
    problems.map((problem) => problem.split(' ')[0]),
    [name],
    `${shown.join(' ')} → ${problems.join('; ')}`,
  )
}

const accepts = (t: Test, base: Environment, change: Environment) =>
  t.same(mistakesOf({ ...base, ...change }), [], `${JSON.stringify(change)} is taken`)

t.test('the defaults are those of the contract', (t) => {
  const dataDir = t.testdir()
  const { secretKeys, ...config } = loadConfig({ DATA_DIR: dataDir })
  t.equal(secretKeys.length, 1)
  t.same(config, {
    production: false,
    developmentNetworks: [],
    host: '127.0.0.1',
    port: 3000,
    publicUrl: 'http://localhost:3000',
    issuer: 'http://localhost:3000',
    appUrl: 'http://localhost:3000',
    databaseUrl: undefined,
    dataDir,
    databasePoolSize: 10,
    redisUrl: undefined,
    tokens: { audience: 'http://localhost:3000', pendingTtl: 600, accessTtl: 600 },
    signingKeyDays: 30,
    eventRetentionDays: 400,
    code: { ttl: 300, length: 6 },
    twoFactor: 'required',
    methods: ['passkey', 'totp', 'sms'],
    enrolmentsDay: 10,
    registration: 'open',
    breachedPasswords: { source: 'list', url: 'https://api.pwnedpasswords.com' },
    eraseAfterDays: 7,
    passkey: { rpId: 'localhost', rpName: 'Doorstep', origins: ['http://localhost:3000'] },
    totpIssuer: 'Doorstep',
    mail: {
      provider: 'console',
      smtpUrl: undefined,
      from: 'doorstep@localhost',
      cooldown: 60,
      perAddressHour: 3,
      perAddressDay: 10,
      globalHour: 500,
      globalDay: 5000,
    },
    sms: {
      provider: 'console',
      twilio: undefined,
      allowedCountries: '*',
      appName: 'Doorstep',
      origin: 'localhost',
      cooldown: 60,
      perUserHour: 5,
      perUserDay: 10,
      perAddressHour: 10,
      perAddressDay: 20,
      perPrefixHour: 30,
      globalHour: 200,
      globalDay: 2000,
      spendDay: 2000,
    },
    rate: {
      loginMinute: 10,
      loginHour: 100,
      verifyMinute: 20,
      resendHour: 10,
      refreshMinute: 30,
      mailMinute: 10,
      mailHour: 30,
      defaultMinute: 300,
      clientMinute: 600,
      introspectMinute: 6000,
    },
    corsOrigins: 'localhost',
    trustProxy: false,
    argon2: { memoryKib: 19456, time: 2, concurrency: Math.min(availableParallelism(), 64), queue: 32 },
    loginFloorMs: 0,
    firebaseHashes: null,
    introspectionClients: [],
    webhookAllowedNetworks: [],
    metricsPort: undefined,
    metricsHost: '127.0.0.1',
    logLevel: 'info',
  })
  t.equal(settings.find(({ name }) => name === 'DATA_DIR')?.default, '.data')
  t.same(loadConfig({ ...development, HOST: '', PORT: '', LOG_LEVEL: '' }).host, '127.0.0.1', 'empty is unset')
  t.end()
})

t.test('everything that is set arrives, grouped', (t) => {
  const secret = systemRandom.bytes(24).toString('hex')
  const key = systemRandom.bytes(40)
  const config = loadConfig({
    ...production,
    PUBLIC_URL: 'https://Login.Example.com/door/',
    SECRET_KEYS: `${production.SECRET_KEYS}, old_2:${key.toString('base64url')}`,
    REDIS_URL: 'rediss://cache:6380/1',
    TRUST_PROXY: '10.0.0.0/8, 192.0.2.7,fd00::/8',
    INTROSPECTION_CLIENTS: `orders:${secret}`,
    APP_URL: 'https://App.Example.com/door/',
    TWO_FACTOR: 'optional',
    METHODS: 'email, sms,totp,passkey',
    PASSKEY_RP_ID: 'Example.com',
    PASSKEY_ORIGINS: `https://app.example.com, ${android}`,
    TOTP_ISSUER: 'Example & Co',
    REGISTRATION: 'closed',
    BREACHED_PASSWORDS: 'hibp',
    BREACHED_PASSWORDS_URL: 'https://Ranges.example.com/hibp/',
    ERASE_AFTER_DAYS: '30',
    MAIL_COOLDOWN: '90',
    MAIL_PER_ADDRESS_HOUR: '4',
    MAIL_PER_ADDRESS_DAY: '11',
    MAIL_GLOBAL_HOUR: '501',
    MAIL_GLOBAL_DAY: '5001',
    RATE_MAIL_MINUTE: '12',
    RATE_MAIL_HOUR: '33',
    METRICS_PORT: '9100',
    PORT: '0',
  })
  t.match(config, { production: true, port: 0, metricsPort: 9100, redisUrl: 'rediss://cache:6380/1' })
  t.equal(config.publicUrl, 'https://login.example.com/door')
  t.equal(config.issuer, config.publicUrl)
  t.equal(config.tokens.audience, config.publicUrl)
  t.same(config.secretKeys[1], { id: 'old_2', key })
  t.same(config.trustProxy, ['10.0.0.0/8', '192.0.2.7', 'fd00::/8'])
  t.same(config.introspectionClients, [{ id: 'orders', secret }])
  t.same(config.sms.twilio, {
    accountSid: production.TWILIO_ACCOUNT_SID,
    authToken: production.TWILIO_AUTH_TOKEN,
    from: '+15005550006',
    apiBaseUrl: 'https://api.twilio.com',
  })
  t.match(config.sms, { provider: 'twilio', allowedCountries: ['GB', 'DE'], origin: 'app.example.com' })
  t.equal(config.appUrl, 'https://app.example.com/door')
  t.same(config.methods, ['passkey', 'totp', 'sms', 'email'], 'best first, however they are listed')
  t.same(config.passkey, {
    ...{ rpId: 'example.com', rpName: 'Doorstep', origins: ['https://app.example.com', android] },
  })
  t.match(config, { twoFactor: 'optional', totpIssuer: 'Example & Co' })
  t.same(config.mail, {
    ...{ provider: 'smtp', smtpUrl: production.SMTP_URL, from: 'Doorstep <login@example.com>', cooldown: 90 },
    ...{ perAddressHour: 4, perAddressDay: 11, globalHour: 501, globalDay: 5001 },
  })
  t.match(config, { registration: 'closed', eraseAfterDays: 30, rate: { mailMinute: 12, mailHour: 33 } })
  t.same(config.breachedPasswords, { source: 'hibp', url: 'https://ranges.example.com/hibp' })
  for (const part of [
    config,
    config.tokens,
    config.mail,
    config.breachedPasswords,
    config.passkey,
    config.passkey.origins,
    config.methods,
    config.sms,
    config.sms.twilio,
    config.secretKeys,
    config.secretKeys[0],
  ]) {
    t.ok(Object.isFrozen(part))
  }
  t.end()
})

t.test('malformed settings are refused, each by its own name', (t) => {
  const bad: Environment[] = [
    { NODE_ENV: 'prod' },
    ...['-1', '65536', '1e3', '0x50', '03000', ' 3000', '3000.0', 'http', '+1'].map((PORT) => ({ PORT })),
    ...['a b', '127.0.0.1:3000', 'localhost:3000', '[::1]'].map((HOST) => ({ HOST })),
    ...[
      'ftp://a.example',
      'a.example',
      'https://',
      'https://a.example/?x',
      'https://a.example/#x',
      'https://a b.example',
    ]
      .concat('https://user:pass@a.example', 'https://a.example\\b', 'https://a.example?', 'http://[::1')
      .map((PUBLIC_URL) => ({ PUBLIC_URL })),
    ...['mysql://db/x', 'db', 'postgres:// db'].map((DATABASE_URL) => ({ DATABASE_URL })),
    { DATABASE_POOL_SIZE: '0' },
    { REDIS_URL: 'http://cache' },
    { TOKEN_AUDIENCE: 'two words' },
    ...['0', '3601'].map((PENDING_TOKEN_TTL) => ({ PENDING_TOKEN_TTL })),
    { ACCESS_TOKEN_TTL: '0' },
    ...['0', '601', '3.5'].map((CODE_TTL) => ({ CODE_TTL })),
    ...['5', '11'].map((CODE_LENGTH) => ({ CODE_LENGTH })),
    { SMS_PROVIDER: 'Twilio' },
    { TWILIO_ACCOUNT_SID: sid('MG') },
    { TWILIO_AUTH_TOKEN: 'a b' },
    ...['15005550006', '+0123456789', 'Doorstep Sign-in', '1234', '1234567'].map((TWILIO_FROM) => ({ TWILIO_FROM })),
    { TWILIO_MESSAGING_SERVICE_SID: sid('AC') },
    { TWILIO_API_BASE_URL: 'api.twilio.com' },
    ...['UK', 'gb', 'GB,*', 'GB,', 'Germany'].map((SMS_ALLOWED_COUNTRIES) => ({ SMS_ALLOWED_COUNTRIES })),
    ...['a\nb', 'x'.repeat(41), '木の扉', 'https://a.example', 'name@host', 'x'.repeat(40)].map((SMS_APP_NAME) => ({
      SMS_APP_NAME,
      ...(SMS_APP_NAME.length === 40 && { SMS_ORIGIN: `${'long.'.repeat(10)}example` }),
    })),
    ...['https://a.example', 'a.example:80', '-a.example'].map((SMS_ORIGIN) => ({ SMS_ORIGIN })),
    ...settings
      .filter(({ name }) => /^(RATE|SMS_(PER|GLOBAL|COOL)|MAIL_(PER|GLOBAL|COOL)|ENROL|ERASE)/.test(name))
      .map(({ name }) => ({ [name]: '0' })),
    ...['off', 'Required', 'sms'].map((TWO_FACTOR) => ({ TWO_FACTOR })),
    ...['email', 'sms,', 'passkey totp', 'Passkey', 'sms,sms', 'totp,recovery_code', 'totp,pwd', '*'].map(
      (METHODS) => ({
        METHODS,
      }),
    ),
    ...[
      'app.example',
      'ftp://app.example',
      'https://app.example/#x',
      'https://app.example?x',
      'javascript:alert(1)',
    ].map((APP_URL) => ({ APP_URL })),
    ...[
      'https://localhost',
      'localhost:3000',
      '127.0.0.1',
      '::1',
      '-a.example',
      'a..example',
      'a.example.',
      'ä.example',
    ].map((PASSKEY_RP_ID) => ({ PASSKEY_RP_ID })),
    ...['http://localhost:3000/', 'localhost', 'null', '*', 'capacitor://localhost', 'android:apk-key-hash:short']
      .concat(`${android}=`, `${android},`, 'ios:bundle-id:com.example', 'https://*.example.com', 'https://A.example')
      .map((PASSKEY_ORIGINS) => ({ PASSKEY_ORIGINS })),
    ...['a:b', 'a\nb', 'x'.repeat(41)].map((TOTP_ISSUER) => ({ TOTP_ISSUER })),
    { MAIL_PROVIDER: 'sendmail' },
    ...['Open', 'invite', 'true', 'none'].map((REGISTRATION) => ({ REGISTRATION })),
    ...['HIBP', 'none', 'list,hibp'].map((BREACHED_PASSWORDS) => ({ BREACHED_PASSWORDS })),
    ...['ranges.example', 'ftp://ranges.example', 'https://u:p@ranges.example', 'https://ranges.example/?key=1']
      .concat('https://ranges.example#x')
      .map((BREACHED_PASSWORDS_URL) => ({ BREACHED_PASSWORDS_URL })),
    ...['366', '-1', '1.5'].map((ERASE_AFTER_DAYS) => ({ ERASE_AFTER_DAYS })),
    { MAIL_COOLDOWN: '3601' },
    { ARGON2_MEMORY_KIB: '7' },
    { ARGON2_TIME: '0' },
    ...['0', '65'].map((ARGON2_CONCURRENCY) => ({ ARGON2_CONCURRENCY })),
    { ARGON2_QUEUE: '1001' },
    ...['5001', '-1'].map((LOGIN_FLOOR_MS) => ({ LOGIN_FLOOR_MS })),
    { METRICS_PORT: '3000' },
    { LOG_LEVEL: 'verbose' },
  ]
  for (const change of bad) refuses(t, development, change)
  t.ok(bad.length >= 25)
  t.end()
})

t.test('TRUST_PROXY: whoever it covers can write any address, so it must name proxies and nothing wider', (t) => {
  const bad = [
    'true',
    '1',
    'loopback',
    'proxy.internal',
    '*',
    '0.0.0.0/0',
    '::/0',
    '10.0.0.0/7',
    '10.0.0.0/33',
    '10.0/8',
  ]
    .concat('::ffff:0:0/96', '::/8', '2000::/3', '10.0.0.0/08', '10.0.0.0/8/8', '010.0.0.1', '0x7f000001', '10.0.0.1,')
    .concat('fe80::1%eth0', '10.0.0.0/', '127.0.0.1:80', '::ffff:10.0.0.0/64', 'none,10.0.0.1', 'None', 'false')
  for (const TRUST_PROXY of bad) refuses(t, development, { TRUST_PROXY })
  for (const TRUST_PROXY of ['127.0.0.1', '::1', '10.0.0.0/8', 'fc00::/7', '::ffff:10.0.0.0/104', '2001:db8::/32']) {
    accepts(t, development, { TRUST_PROXY })
  }
  t.equal(loadConfig({ ...production, TRUST_PROXY: 'none' }).trustProxy, false, 'a word that one has to write')
  t.equal(loadConfig(development).trustProxy, false)
  t.end()
})

t.test('SECRET_KEYS: malformed, short, repeated or plainly not random keys are refused', (t) => {
  const key = base64Key()
  const bad = [
    'x',
    key,
    `:${key}`,
    `a b:${key}`,
    `${'k'.repeat(33)}:${key}`,
    'k1:',
    'k1:not base64!',
    `k1:${key},`,
  ].concat(`k1:${key},k1:${base64Key()}`, `k1:${key},k2:${key}`, `k1:${base64Key(31)}`, `k1:${key},k2:${base64Key(16)}`)
  for (const SECRET_KEYS of bad) refuses(t, development, { SECRET_KEYS })

  const weak = {
    'one byte': Buffer.alloc(32, 0x61),
    'a short pattern': Buffer.from('doorstep-'.repeat(4)),
    'half a key twice': Buffer.concat([Buffer.from('0123456789abcdef'), Buffer.from('0123456789abcdef')]),
    'counting up': Buffer.from(Array.from({ length: 32 }, (_, at) => at + 5)),
    'counting down': Buffer.from(Array.from({ length: 32 }, (_, at) => 200 - at * 3)),
    'seven values': Buffer.from('abcdefgabdcfegagfedcbaacbdfegbda'),
  }
  for (const [name, bytes] of Object.entries(weak)) {
    t.equal(looksRandom(bytes), false, name)
    refuses(t, development, { SECRET_KEYS: `k1:${bytes.toString('base64')}` })
  }
  const random = Array.from({ length: 2000 }, () => systemRandom.bytes(32))
  t.ok(random.every(looksRandom), 'no random key is taken for a weak one')
  t.end()
})

t.test('one secret never serves two purposes', (t) => {
  const shared = systemRandom.bytes(24).toString('hex')
  const name = 'SECRET_KEYS'
  refuses(t, production, { TWILIO_AUTH_TOKEN: shared, INTROSPECTION_CLIENTS: `a:${shared}` }, name)
  refuses(t, production, { INTROSPECTION_CLIENTS: `a:${shared},b:${shared}` }, name)
  refuses(t, production, { SECRET_KEYS: `k:${base64Of(shared)}`, INTROSPECTION_CLIENTS: `a:${shared}` }, name)
  refuses(t, production, { SECRET_KEYS: `k:${shared}`, TWILIO_AUTH_TOKEN: shared }, name)
  refuses(t, production, { DATABASE_URL: `postgres://u:${shared}@db/x`, TWILIO_AUTH_TOKEN: shared }, name)
  refuses(t, production, { SMTP_URL: `smtp://u:${shared}@mail`, TWILIO_AUTH_TOKEN: shared }, name)
  accepts(t, development, { DATABASE_URL: 'postgres://u:postgres@db/x', REDIS_URL: 'redis://:postgres@cache' })
  t.end()
})
const base64Of = (text: string) => Buffer.from(text).toString('base64')

t.test('what reads the hashes of Firebase is there whole or not at all', (t) => {
  const key = systemRandom.bytes(64).toString('base64')
  t.equal(loadConfig(development).firebaseHashes, null)
  const set = { IMPORT_FIREBASE_SIGNER_KEY: key, IMPORT_FIREBASE_SALT_SEPARATOR: 'Bw==' }
  t.same(loadConfig({ ...development, ...set }).firebaseHashes, {
    signerKey: Buffer.from(key, 'base64'),
    saltSeparator: Buffer.of(7),
  })
  refuses(t, development, { IMPORT_FIREBASE_SIGNER_KEY: key }, 'IMPORT_FIREBASE_SALT_SEPARATOR')
  refuses(t, development, { IMPORT_FIREBASE_SALT_SEPARATOR: 'Bw==' }, 'IMPORT_FIREBASE_SALT_SEPARATOR')
  for (const wrong of ['x', 'not base64!', 'A'.repeat(20), systemRandom.bytes(65).toString('base64')]) {
    refuses(t, development, { ...set, IMPORT_FIREBASE_SIGNER_KEY: wrong }, 'IMPORT_FIREBASE_SIGNER_KEY')
  }
  refuses(t, development, { ...set, IMPORT_FIREBASE_SALT_SEPARATOR: '?' }, 'IMPORT_FIREBASE_SALT_SEPARATOR')
  t.end()
})

t.test('INTROSPECTION_CLIENTS', (t) => {
  const secret = systemRandom.bytes(20).toString('hex')
  for (const INTROSPECTION_CLIENTS of [
    'orders',
    'orders:short',
    `:${secret}`,
    `a:${secret},a:${secret}x`,
    'a:12345678 9',
  ]) {
    refuses(t, development, { INTROSPECTION_CLIENTS })
  }
  accepts(t, development, { INTROSPECTION_CLIENTS: 'orders:12345678' })
  refuses(t, production, { INTROSPECTION_CLIENTS: `a:${secret.slice(0, 31)}` })
  refuses(t, production, { INTROSPECTION_CLIENTS: `a:${'x'.repeat(40)}` })
  accepts(t, production, { INTROSPECTION_CLIENTS: `a:${secret},b:with:colons:${secret}` })
  t.end()
})

t.test('Twilio needs its account, its token and exactly one sender', (t) => {
  for (const base of [{ ...production, NODE_ENV: 'test', PUBLIC_URL: '' }, production]) {
    refuses(t, base, { TWILIO_ACCOUNT_SID: undefined })
    refuses(t, base, { TWILIO_AUTH_TOKEN: undefined })
    refuses(t, base, { TWILIO_FROM: undefined })
    refuses(t, base, { TWILIO_MESSAGING_SERVICE_SID: sid('MG') }, 'TWILIO_FROM')
    accepts(t, base, { TWILIO_FROM: '', TWILIO_MESSAGING_SERVICE_SID: sid('MG') })
    accepts(t, base, { TWILIO_FROM: 'Door Step 2' })
  }
  t.end()
})

t.test('production has floors and refuses every development convenience', (t) => {
  accepts(t, production, {})
  const bad: Environment[] = [
    ...['SECRET_KEYS', 'DATABASE_URL', 'PUBLIC_URL', 'SMS_PROVIDER', 'SMS_ALLOWED_COUNTRIES', 'SMS_SPEND_DAY']
      .concat('TRUST_PROXY', 'APP_URL', 'REGISTRATION', 'MAIL_PROVIDER', 'SMTP_URL', 'MAIL_FROM')
      .map((it) => ({ [it]: '' })),
    { PUBLIC_URL: 'http://login.example.com' },
    { PUBLIC_URL: 'http://localhost' },
    { SMS_PROVIDER: 'console' },
    { MAIL_PROVIDER: 'console' },
    { MAIL_COOLDOWN: '29' },
    { BREACHED_PASSWORDS_URL: 'http://ranges.example.com' },
    { BREACHED_PASSWORDS_URL: 'http://127.0.0.1.example.com' },
    { APP_URL: 'http://app.example.com' },
    { APP_URL: 'https://203.0.113.7', PASSKEY_RP_ID: '' },
    { PASSKEY_ORIGINS: 'https://app.example.com,http://app.example.com' },
    { SMS_ALLOWED_COUNTRIES: '*' },
    { TWILIO_API_BASE_URL: 'http://twilio.example.com' },
    { TWILIO_API_BASE_URL: 'http://127.0.0.1.example.com' },
    { PENDING_TOKEN_TTL: '59', CODE_TTL: '59' },
    { PENDING_TOKEN_TTL: '601' },
    { ACCESS_TOKEN_TTL: '59' },
    { ACCESS_TOKEN_TTL: '3601' },
    { CODE_TTL: '59' },
    { SMS_COOLDOWN: '29' },
    { ARGON2_MEMORY_KIB: '19455' },
    { ARGON2_MEMORY_KIB: '47103', ARGON2_TIME: '1' },
  ]
  for (const change of bad) {
    const names = mistakesOf({ ...production, ...change }).map((problem) => problem.split(' ')[0])
    t.ok(names.length > 0 && names.every((name) => name && name in change), `${Object.keys(change)} → ${names}`)
  }
  for (const base of ['http://localhost:4010', 'http://127.0.0.1:4010/', 'http://[::1]:4010']) {
    accepts(t, production, { TWILIO_API_BASE_URL: base })
    accepts(t, production, { BREACHED_PASSWORDS_URL: base })
  }
  accepts(t, development, { BREACHED_PASSWORDS_URL: 'http://ranges.example.com' })
  accepts(t, production, {
    PENDING_TOKEN_TTL: '60',
    CODE_TTL: '60',
    ACCESS_TOKEN_TTL: '3600',
    SMS_COOLDOWN: '30',
    MAIL_COOLDOWN: '30',
  })
  accepts(t, production, { ARGON2_MEMORY_KIB: '47104', ARGON2_TIME: '1' })
  accepts(t, development, { CODE_TTL: '3', PENDING_TOKEN_TTL: '3', ARGON2_MEMORY_KIB: '8', ARGON2_TIME: '1' })
  refuses(t, production, { PENDING_TOKEN_TTL: '299' })
  accepts(t, development, { PORT: '0', METRICS_PORT: '0' })
  t.end()
})

/** Names of what is wrong, in order. */
const wrong = (env: Environment): string[] => mistakesOf(env).map((problem) => problem.split(' ')[0] ?? '')

t.test('whoever forgets NODE_ENV does not publish every code: development is served to this machine (SEC-110)', (t) => {
  const hosts = {
    here: ['127.0.0.1', '127.8.9.10', '::1', 'localhost', 'LOCALHOST', '::ffff:127.0.0.1'],
    lan: ['192.168.1.7', '192.168.1.0', '::ffff:192.168.1.7', 'fd12::7'],
    away: [
      '0.0.0.0',
      '::',
      '10.0.0.1',
      '192.168.2.1',
      '203.0.113.7',
      'fd13::1',
      'my-laptop',
      '127.0.0.1.example.com',
    ].concat('127.1', 'localhost.example.com'),
  }
  const lan = '192.168.1.0/24, fd12::/64'
  const urlOf = (host: string): string => `http://${host.includes(':') ? `[${host}]` : host}:8080/door`
  for (const [place, list] of Object.entries(hosts)) {
    for (const host of list) {
      for (const DEVELOPMENT_NETWORKS of [undefined, lan]) {
        for (const NODE_ENV of [undefined, 'development', 'test']) {
          const isRight = place === 'here' || (place === 'lan' && DEVELOPMENT_NETWORKS === lan)
          const base = { ...development, DEVELOPMENT_NETWORKS, NODE_ENV }
          const shown = `${host}, ${DEVELOPMENT_NETWORKS}, ${NODE_ENV}`
          t.same(wrong({ ...base, HOST: host }), isRight ? [] : ['HOST'], `HOST ${shown}`)
          // As URLs are read, 127.1 is this machine; as a name to listen on it is nothing that we know.
          const isSoInUrl = isRight || host === '127.1'
          t.same(wrong({ ...base, PUBLIC_URL: urlOf(host) }), isSoInUrl ? [] : ['PUBLIC_URL'], `PUBLIC_URL ${shown}`)
          t.same(
            wrong({ ...base, HOST: '0.0.0.0', PUBLIC_URL: urlOf(host) }),
            isSoInUrl ? ['HOST'] : ['HOST', 'PUBLIC_URL'],
            `both, ${shown}`,
          )
        }
      }
      accepts(t, production, { HOST: host, PUBLIC_URL: urlOf(host).replace('http:', 'https:') })
    }
  }
  for (const PUBLIC_URL of ['http://app.localhost', 'https://localhost', 'http://2130706433']) {
    accepts(t, development, { PUBLIC_URL })
  }
  t.end()
})

t.test('DEVELOPMENT_NETWORKS: private ranges only, and never in production', (t) => {
  const right = ['10.0.0.0/8', '172.16.0.0/12', '192.168.1.7', '192.168.0.0/16,172.18.0.0/16', '169.254.0.0/16'].concat(
    'fd00::/8',
    'fe80::/10',
  )
  for (const DEVELOPMENT_NETWORKS of right) {
    accepts(t, development, { DEVELOPMENT_NETWORKS })
    refuses(t, production, { DEVELOPMENT_NETWORKS })
  }
  const bad = ['0.0.0.0/0', '::/0', '10.0.0.0/7', '172.16.0.0/11', '192.0.0.0/8', '203.0.113.0/24', '100.64.0.0/10']
    .concat(
      '127.0.0.0/8',
      '::1',
      '::ffff:0:0/96',
      '::ffff:172.16.0.0/104',
      '::ffff:ac10:0/104',
      'f000::/4',
      '2001:db8::/32',
      'localhost',
    )
    .concat('true', '*', '10.0.0.0/33', '10.0.0.0/08', '10.0.0.0/8/8', '10.0/8', '010.0.0.1', '10.0.0.1,', 'none')
  for (const DEVELOPMENT_NETWORKS of bad) refuses(t, development, { DEVELOPMENT_NETWORKS })
  t.same(loadConfig({ ...development, DEVELOPMENT_NETWORKS: '10.0.0.0/8, fd00::/8' }).developmentNetworks, [
    '10.0.0.0/8',
    'fd00::/8',
  ])
  t.end()
})

t.test('whoever sets up Twilio and forgets to say so does not show the codes at /dev/sms instead', (t) => {
  const one: Environment[] = [
    { TWILIO_ACCOUNT_SID: sid('AC') },
    { TWILIO_AUTH_TOKEN: systemRandom.bytes(16).toString('hex') },
    { TWILIO_FROM: '+15005550006' },
    { TWILIO_MESSAGING_SERVICE_SID: sid('MG') },
  ]
  for (const change of [...one, Object.assign({}, ...one.slice(0, 3))]) {
    t.same(wrong({ ...development, ...change }), ['SMS_PROVIDER'], Object.keys(change).join(' '))
    accepts(t, development, { ...change, SMS_PROVIDER: 'console' })
    t.same(wrong({ ...production, SMS_PROVIDER: '' }), ['SMS_PROVIDER'], 'told once')
  }
  t.end()
})

t.test('whoever sets up a mail server and forgets to say so does not show the codes at /dev/mail instead', (t) => {
  const { SMTP_URL, MAIL_FROM } = production
  for (const change of [{ SMTP_URL }, { MAIL_FROM }, { SMTP_URL, MAIL_FROM }]) {
    t.same(wrong({ ...development, ...change }), ['MAIL_PROVIDER'], Object.keys(change).join(' '))
    for (const MAIL_PROVIDER of ['console', 'none']) accepts(t, development, { ...change, MAIL_PROVIDER })
  }
  t.same(wrong({ ...production, MAIL_PROVIDER: '' }), ['MAIL_PROVIDER'], 'told once')
  t.equal(
    loadConfig({ ...production, MAIL_PROVIDER: 'none', REGISTRATION: 'closed' }).mail.smtpUrl,
    undefined,
    'and what is left is not used',
  )
  t.end()
})

t.test('smtp needs its server and a sender, in the forms that change nothing else', (t) => {
  for (const base of [{ ...production, NODE_ENV: 'test', PUBLIC_URL: '' }, production]) {
    refuses(t, base, { SMTP_URL: undefined })
    refuses(t, base, { MAIL_FROM: undefined })
  }
  const servers = ['mail.example.com', 'http://mail', 'smtp://', 'smtp:// mail', 'smtps://mail/path', 'smtp://mail#x']
    // What would turn the checks of certificates off.
    .concat('smtps://mail?tls.rejectUnauthorized=false', 'smtp://u:p/w@mail', 'smtp://mail:port', 'SMTP://mail')
  for (const SMTP_URL of servers) refuses(t, production, { SMTP_URL })
  for (const SMTP_URL of [
    'smtp://mail',
    'smtp://mail:587/',
    'smtps://u%40x:p%2Fw@mail.example:465',
    'smtp://[::1]:25',
  ]) {
    accepts(t, production, { SMTP_URL })
  }
  const senders = ['login', '@example.com', 'a@b@example.com', 'a b@example.com', 'Doorstep login@example.com']
    .concat('Doorstep <login@example.com', '<login@example.com>', 'Door, Step <a@example.com>', '"D" <a@example.com>')
    .concat('a@example.com, b@example.com', 'a@example.com\r\nBcc: b@example.com', 'D\r\nBcc: b <a@example.com>')
    .concat(`${'x'.repeat(81)} <a@example.com>`, `${'x'.repeat(65)}@example.com`, `a@${'x'.repeat(254)}`)
  for (const MAIL_FROM of senders) refuses(t, production, { MAIL_FROM })
  for (const MAIL_FROM of ['login@example.com', 'Haus & Tür <no-reply+door@mail.example.com>']) {
    t.equal(loadConfig({ ...production, MAIL_FROM }).mail.from, MAIL_FROM)
  }
  t.end()
})

t.test('without texts nobody has to say who sends them, and none is shown instead', (t) => {
  const texts = ['SMS_PROVIDER', 'SMS_ALLOWED_COUNTRIES', 'SMS_SPEND_DAY', 'TWILIO_ACCOUNT_SID', 'TWILIO_AUTH_TOKEN']
  const none = Object.fromEntries(texts.concat('TWILIO_FROM').map((name) => [name, undefined]))
  t.same(wrong({ ...production, ...none }).sort(), ['SMS_ALLOWED_COUNTRIES', 'SMS_PROVIDER', 'SMS_SPEND_DAY'])
  const without = { ...none, METHODS: 'passkey,totp' }
  t.match(loadConfig({ ...production, ...without }).sms, { provider: 'none', twilio: undefined })
  accepts(t, production, { ...without, SMS_APP_NAME: '木の扉' })
  accepts(t, production, { METHODS: 'totp' })
  for (const change of [{ SMS_PROVIDER: 'console' }, { SMS_ALLOWED_COUNTRIES: '*' }]) {
    t.same(wrong({ ...production, ...without, ...change }), Object.keys(change))
  }
  t.same(wrong({ ...production, ...without, TWILIO_FROM: '+15005550006' }), ['SMS_PROVIDER'], 'a leftover')
  t.end()
})

t.test('without mail: no codes by mail, and APP_URL only where passkeys need it', (t) => {
  const none = { MAIL_PROVIDER: 'none', SMTP_URL: undefined, MAIL_FROM: undefined, REGISTRATION: 'closed' }
  const own = { PASSKEY_RP_ID: 'example.com', PASSKEY_ORIGINS: 'https://app.example.com' }
  for (const base of [development, production]) {
    accepts(t, base, none)
    refuses(t, base, { ...none, METHODS: 'totp,sms,email' }, 'METHODS')
    accepts(t, base, { METHODS: 'totp,sms,email', ...(base === development && { MAIL_PROVIDER: 'console' }) })
  }
  const bare = { ...production, ...none, APP_URL: undefined }
  accepts(t, bare, { METHODS: 'totp,sms' })
  accepts(t, bare, own)
  t.equal(loadConfig({ ...bare, ...own }).appUrl, 'https://login.example.com', 'that of the service')
  refuses(t, bare, {}, 'APP_URL')
  refuses(t, bare, { PASSKEY_RP_ID: own.PASSKEY_RP_ID }, 'APP_URL')
  refuses(t, bare, { PASSKEY_ORIGINS: own.PASSKEY_ORIGINS }, 'APP_URL')
  refuses(t, { ...production, APP_URL: undefined }, own, 'APP_URL')
  refuses(t, { ...production, APP_URL: undefined }, { METHODS: 'totp,sms' }, 'APP_URL')
  t.end()
})

t.test('who may register: a production says it, and nobody can where no mail is sent', (t) => {
  const { REGISTRATION, ...silent } = production
  for (const base of [development, production]) {
    for (const word of ['open', 'closed']) {
      t.equal(loadConfig({ ...base, REGISTRATION: word }).registration, word)
      const without = wrong({ ...base, REGISTRATION: word, MAIL_PROVIDER: 'none' })
      t.same(without, word === 'open' ? ['REGISTRATION'] : [], `${word}, without mail`)
    }
  }
  t.same(wrong(silent), ['REGISTRATION'])
  t.same(wrong({ ...silent, MAIL_PROVIDER: 'none' }), ['REGISTRATION'], 'told once')
  t.equal(loadConfig(development).registration, 'open')
  t.equal(loadConfig({ ...development, MAIL_PROVIDER: 'none' }).registration, 'closed')
  t.end()
})

t.test('passkeys: a relying party that no browser would accept for these pages is refused at start', (t) => {
  const at = (PASSKEY_RP_ID: string, ...origins: string[]) => ({ PASSKEY_RP_ID, PASSKEY_ORIGINS: origins.join(',') })
  const name = 'PASSKEY_RP_ID'
  accepts(t, production, at('example.com', 'https://app.example.com', 'https://example.com:8443', android))
  accepts(t, production, at('app.example.com', 'https://app.example.com', 'https://x.app.example.com'))
  accepts(t, production, at('example.com', android))
  refuses(t, production, at('app.example.com', 'https://example.com'), name)
  refuses(t, production, at('example.com', 'https://badexample.com'), name)
  refuses(t, production, at('example.com', 'https://app.example.com', 'https://app.example.org'), name)
  refuses(t, production, at('com', 'https://app.example.com'), name)
  refuses(t, production, { PASSKEY_RP_ID: 'login.example.com' }, name)
  refuses(t, production, { PASSKEY_ORIGINS: 'https://login.example.com' }, name)
  accepts(t, production, { PASSKEY_RP_ID: 'login.example.com', METHODS: 'totp,sms' })
  accepts(t, development, { APP_URL: 'http://192.168.1.7:5173' })
  t.match(loadConfig({ ...development, APP_URL: 'http://localhost:5173/app' }).passkey, {
    ...{ rpId: 'localhost', origins: ['http://localhost:5173'] },
  })
  t.equal(loadConfig({ ...development, SMS_APP_NAME: 'Door: step' }).totpIssuer, 'Door step')
  t.end()
})

t.test('production says how clients reach it: all of it is missed at once', (t) => {
  t.same(wrong({ NODE_ENV: 'production' }).sort(), [
    ...[
      'APP_URL',
      'DATABASE_URL',
      'MAIL_PROVIDER',
      'PUBLIC_URL',
      'REGISTRATION',
      'SECRET_KEYS',
      'SMS_ALLOWED_COUNTRIES',
      'SMS_PROVIDER',
      'SMS_SPEND_DAY',
      'TRUST_PROXY',
    ],
  ])
  t.match(mistakesOf({ ...production, TRUST_PROXY: '' }), [/^TRUST_PROXY is required in production; none if clients/])
  for (const TRUST_PROXY of ['none', '127.0.0.1', '10.0.0.0/8,fd00::/8']) accepts(t, production, { TRUST_PROXY })
  t.end()
})

t.test('every mistake is listed at once, once, and nothing follows from a mistake already listed', (t) => {
  const numbers = settings
    .filter(({ constant, default: text }) => constant && /^\d+$/.test(text))
    .map(({ name }) => name)
  const problems = mistakesOf({
    ...production,
    ...Object.fromEntries(numbers.map((name) => [name, 'many'])),
    PUBLIC_URL: 'http://login.example.com',
    SMS_PROVIDER: 'console',
    SECRET_KEYS: undefined,
    LOG_LEVEL: 'loud',
  })
  const names = problems.map((problem) => problem.split(' ')[0])
  t.same(new Set(names), new Set([...numbers, 'PUBLIC_URL', 'SMS_PROVIDER', 'SECRET_KEYS', 'LOG_LEVEL']))
  t.equal(names.length, new Set(names).size)
  t.throws(() => loadConfig({ ...development, PORT: 'x', LOG_LEVEL: 'x' }), {
    name: 'ConfigError',
    message: /^The settings are not right:\n {2}PORT must be .+\n {2}LOG_LEVEL must be one of .+$/,
  })
  t.end()
})

t.test('no message tells a value', (t) => {
  const canary = 'cAnArY'
  const directory = t.testdir({ [`${canary}-file`]: `k1:${canary}${canary}` })
  const malformed = Object.fromEntries(settings.map(({ name }) => [name, `${canary}!@ ${name}`]))
  const broken: Environment = {
    ...production,
    SECRET_KEYS: `${canary}:${base64Of(`${canary}-${canary}-`.repeat(3))}`,
    TWILIO_AUTH_TOKEN: canary.repeat(6),
    INTROSPECTION_CLIENTS: `${canary}:${canary.repeat(6)}`,
    PUBLIC_URL: `http://${canary}.example`,
    APP_URL: `http://${canary}.example`,
    PASSKEY_ORIGINS: `http://${canary.toLowerCase()}.example`,
    SMTP_URL: `smtp://${canary}:${canary.repeat(6)}@mail.example`,
    MAIL_PROVIDER: 'console',
    SMS_APP_NAME: `${canary}木`,
  }
  const fromFile = { ...production, SECRET_KEYS: '', SECRET_KEYS_FILE: join(directory, `${canary}-file`) }
  const missing = { ...fromFile, SECRET_KEYS_FILE: `/nowhere/${canary}` }
  const unwritable = { DATA_DIR: join(directory, `${canary}-file`, canary) }
  for (const env of [malformed, broken, fromFile, missing, unwritable]) {
    try {
      loadConfig(env)
      t.fail('must be refused')
    } catch (error) {
      const { message, problems, stack, ...rest } = error as ConfigError
      const told = JSON.stringify([message, problems, stack, rest, (error as Error).cause])
      t.notMatch(told.toLowerCase(), canary.toLowerCase())
      t.notMatch(told, base64Of(canary).slice(0, 7))
      t.ok(problems.length > 0)
    }
  }
  t.end()
})

t.test('a secret can come from a file', (t) => {
  const secrets = settings.filter(({ secret }) => secret).map(({ name }) => name)
  t.same(secrets.sort(), [
    'DATABASE_URL',
    'IMPORT_FIREBASE_SALT_SEPARATOR',
    'IMPORT_FIREBASE_SIGNER_KEY',
    'INTROSPECTION_CLIENTS',
    'REDIS_URL',
    'SECRET_KEYS',
    'SMTP_URL',
    'TWILIO_ACCOUNT_SID',
    'TWILIO_AUTH_TOKEN',
  ])
  const all: Environment = {
    ...production,
    REDIS_URL: 'redis://cache',
    INTROSPECTION_CLIENTS: `a:${systemRandom.bytes(16).toString('hex')}`,
    IMPORT_FIREBASE_SIGNER_KEY: systemRandom.bytes(64).toString('base64'),
    IMPORT_FIREBASE_SALT_SEPARATOR: 'Bw==',
  }
  const directory = t.testdir(Object.fromEntries(secrets.map((name) => [name, `${all[name]}\n`])))
  const byFile = Object.fromEntries(
    secrets.flatMap((it) => [
      [it, ''],
      [`${it}_FILE`, join(directory, it)],
    ]),
  )
  t.same(loadConfig({ ...all, ...byFile }), loadConfig(all))

  refuses(t, all, { SECRET_KEYS_FILE: join(directory, 'SECRET_KEYS') }, 'SECRET_KEYS')
  refuses(t, all, { SECRET_KEYS: '', SECRET_KEYS_FILE: join(directory, 'missing') }, 'SECRET_KEYS')
  refuses(t, all, { SECRET_KEYS: '', SECRET_KEYS_FILE: directory }, 'SECRET_KEYS')
  writeFileSync(join(directory, 'empty'), '\n')
  refuses(t, all, { TWILIO_AUTH_TOKEN: '', TWILIO_AUTH_TOKEN_FILE: join(directory, 'empty') }, 'TWILIO_AUTH_TOKEN')
  writeFileSync(join(directory, 'two'), `${all.TWILIO_AUTH_TOKEN}\n\n`)
  refuses(t, all, { TWILIO_AUTH_TOKEN: '', TWILIO_AUTH_TOKEN_FILE: join(directory, 'two') }, 'TWILIO_AUTH_TOKEN')
  writeFileSync(join(directory, 'windows'), `${all.TWILIO_AUTH_TOKEN}\r\n`)
  accepts(t, all, { TWILIO_AUTH_TOKEN: '', TWILIO_AUTH_TOKEN_FILE: join(directory, 'windows') })
  t.end()
})

t.test('development secrets are made once, for their owner only, and used again', (t) => {
  const dataDir = join(t.testdir(), 'deep', 'data')
  const first = loadConfig({ DATA_DIR: dataDir })
  t.match(first.secretKeys, [{ id: /^k[0-9a-f]{8}$/ }])
  t.equal(first.secretKeys[0]?.key.length, 32)
  t.same(readdirSync(dataDir), ['secrets.env'], 'no draft stays behind')
  t.equal(statSync(dataDir).mode & 0o777, 0o700)
  t.equal(statSync(join(dataDir, 'secrets.env')).mode & 0o777, 0o600)
  t.same(loadConfig({ DATA_DIR: dataDir, NODE_ENV: 'test' }).secretKeys, first.secretKeys)

  t.not(loadConfig({ ...development, DATA_DIR: dataDir }).secretKeys[0]?.id, first.secretKeys[0]?.id, 'a set key wins')
  const other = join(t.testdir(), 'other')
  t.not(loadConfig({ DATA_DIR: other }).secretKeys[0]?.id, first.secretKeys[0]?.id)
  t.end()
})

t.test('two first starts at once: the slower one takes the keys of the other and overwrites nothing', (t) => {
  const dataDir = t.testdir()
  const winner = `k1:${base64Key()}`
  const uuid = () => {
    writeFileSync(join(dataDir, 'secrets.env'), `SECRET_KEYS=${winner}\n`)
    return systemRandom.uuid()
  }
  const { secretKeys } = loadConfig({ DATA_DIR: dataDir }, { ...systemRandom, uuid })
  t.same(secretKeys, loadConfig({ SECRET_KEYS: winner }).secretKeys)
  t.same(readdirSync(dataDir), ['secrets.env'])
  t.end()
})

t.test('development secrets are never made in production or beside a malformed key', (t) => {
  const dataDir = join(t.testdir({}), 'data')
  for (const change of [{ ...production, SECRET_KEYS: '' }, { SECRET_KEYS: 'x' }, { NODE_ENV: 'prod' }]) {
    t.not(mistakesOf({ ...change, DATA_DIR: dataDir }).length, 0)
    t.throws(() => statSync(dataDir), { code: 'ENOENT' })
  }
  t.end()
})

t.test('a DATA_DIR that cannot hold the development secrets is a listed mistake', (t) => {
  const directory = t.testdir({
    file: '',
    'no-keys': { 'secrets.env': 'OTHER=1\n' },
    bad: { 'secrets.env': 'SECRET_KEYS=x\n' },
    folder: { 'secrets.env': {} },
  })
  refuses(t, {}, { DATA_DIR: join(directory, 'file') })
  refuses(t, {}, { DATA_DIR: join(directory, 'no-keys') })
  refuses(t, {}, { DATA_DIR: join(directory, 'bad') })
  refuses(t, {}, { DATA_DIR: join(directory, 'folder') })
  t.same(mistakesOf({ DATA_DIR: join(directory, 'file'), PORT: 'x' }).length, 2, 'beside other mistakes')
  t.equal(readFileSync(join(directory, 'no-keys', 'secrets.env'), 'utf8'), 'OTHER=1\n', 'nothing is overwritten')
  const locked = join(directory, 'locked')
  mkdirSync(locked)
  chmodSync(locked, 0o500)
  if (process.getuid?.() !== 0) refuses(t, {}, { DATA_DIR: locked })
  t.end()
})
