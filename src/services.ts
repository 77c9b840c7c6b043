import { type Background, createBackground } from './background.ts'
import { type Bell, createBell } from './bell.ts'
import { isLoopbackUrl } from './config/values.ts'
import type { Config } from './config.ts'
import { createEvents, type Events } from './events.ts'
import type { Logger } from './log.ts'
import { type ConsoleMailbox, createConsoleMailbox } from './mail/console.ts'
import { type MailSender, noMail } from './mail/index.ts'
import { createMetrics, type Metrics } from './metrics.ts'
import { createBreachedPasswords } from './security/breached-passwords.ts'
import { type ChallengeRules, createChallengeRules } from './security/challenge.ts'
import { createDeviceTokens, type DeviceTokens } from './security/device-token.ts'
import { createForeignHashes } from './security/foreign-hashes/index.ts'
import { createKeyRing, type KeyRing, replaceKeys } from './security/key-ring.ts'
import { createLinkRules, type LinkRules } from './security/link-rules.ts'
import { createLoginFloor, type LoginFloor } from './security/login-floor.ts'
import { createLoginThrottle, type LoginThrottle } from './security/login-throttle.ts'
import { createMailLinks, type MailLinks } from './security/mail-link.ts'
import { createOneTimeCodes, type OneTimeCodes } from './security/one-time-code.ts'
import { createPasskeys, type Passkeys } from './security/passkey.ts'
import { createPasswordHash, type PasswordHash } from './security/password-hash.ts'
import { createPasswordPolicy, type PasswordPolicy } from './security/password-policy.ts'
import { createPhoneNumbers, type PhoneNumbers } from './security/phone-number.ts'
import { createAddressRule } from './security/public-address.ts'
import { createRecoveryCodes, type RecoveryCodes } from './security/recovery-code.ts'
import { createRefreshTokens, type RefreshTokens } from './security/refresh-token.ts'
import { createSealer, type Sealer } from './security/sealed.ts'
import { createSecrets, type Secrets } from './security/secrets.ts'
import type { Tokens } from './security/tokens.ts'
import { createWebhookSecrets, type WebhookSecrets } from './security/webhook-secret.ts'
import { type ConsoleSender, createConsoleSender } from './sms/console.ts'
import type { SmsSender } from './sms/index.ts'
import { noTexts } from './sms/none.ts'
import { createDatabase } from './store/client.ts'
import { createStore, type Store } from './store/index.ts'
import type { OpenDatabase } from './store/open.ts'
import type { Clock, Random } from './system.ts'
import { createTurns, type InTurn } from './turns.ts'
import type { WebhookPoster } from './webhooks/index.ts'
import { createWebhookPoster } from './webhooks/poster.ts'

/** Logins of one e-mail that wait for each other: more than a client ever sends at once, fewer than fill the memory. */
const mostLoginsInLine = 64

/** Everything a use case may ask for. It names what it needs of it: `Pick<Services, …>`. */
export type Services = BaseServices & { tokens: Tokens }

/** The services before there is an HTTP server; app.ts adds the tokens, which @fastify/jwt signs. */
export type BaseServices = {
  config: Config
  clock: Clock
  random: Random
  log: Logger
  metrics: Metrics
  events: Events
  background: Background
  /** Puts the logins of one e-mail in line (start-login.ts), and the tries at one code (finish-login.ts). */
  loginTurns: InTurn
  tryTurns: InTurn
  store: Store
  secrets: Secrets
  keyRing: KeyRing
  refreshTokens: RefreshTokens
  deviceTokens: DeviceTokens
  passwordHash: PasswordHash
  loginThrottle: LoginThrottle
  loginFloor: LoginFloor
  oneTimeCodes: OneTimeCodes
  challengeRules: ChallengeRules
  phoneNumbers: PhoneNumbers
  passkeys: Passkeys
  recoveryCodes: RecoveryCodes
  sealer: Sealer
  linkRules: LinkRules
  mailLinks: MailLinks
  passwordPolicy: PasswordPolicy
  sms: SmsSender
  /** The texts of the console sender; null with a real provider. */
  inbox: ConsoleSender | null
  mail: MailSender
  /** The mails of the console sender; null with a real provider, and with none. */
  mailbox: ConsoleMailbox | null
  /** Rung after a commit that has put mails into the outbox. */
  mailBell: Bell
  webhookSecrets: WebhookSecrets
  webhookPoster: WebhookPoster
  close(): Promise<void>
}

/** Chooses the adapters, binds the rules to them. `database` is a Postgres that is migrated. */
export async function createServices(parts: {
  config: Config
  database: Pick<OpenDatabase, 'url' | 'connections'>
  clock: Clock
  random: Random
  log: Logger
  /** Shows a person what the console sender "sends". */
  show?: (line: string) => void
  /** How many times longer than a request this caller waits for the database. */
  patience?: number
  /** Begins with a new signing key, and gives up those that are there, also where no secret opens them any more. */
  replacesKeys?: boolean
}): Promise<BaseServices> {
  const { config, database, clock, random, log, show = () => {}, patience = 1, replacesKeys = false } = parts
  // Better no start than limits that somebody believes to be shared.
  if (config.redisUrl !== undefined) throw new Error('REDIS_URL is not supported yet: unset it')
  const db = createDatabase({
    url: database.url,
    poolSize: Math.min(config.databasePoolSize, database.connections ?? config.databasePoolSize),
    isServer: database.connections === null,
    patience,
    onError: (error) =>
      log.warn({ reason: (error as { code?: string }).code ?? error.name }, 'database connection lost'),
  })
  const store = createStore(db)
  const metrics = createMetrics()
  const events = createEvents({ saveRow: store.audit.record, log, count: metrics.countEvent })
  const secrets = createSecrets(config.secretKeys)
  const inbox = config.sms.provider === 'console' ? createConsoleSender({ clock, print: show }) : null
  const sms = inbox ?? (config.sms.provider === 'none' ? noTexts : await createTwilio(config, clock, log))
  const mailbox = config.mail.provider === 'console' ? createConsoleMailbox({ clock, print: show }) : null
  const mail = mailbox ?? (await createMailSender(config, clock, log))
  const background = createBackground()
  const passwordHash = await createPasswordHash(config.argon2, createForeignHashes(config.firebaseHashes))
  const webhookPoster = createWebhookPoster({
    isAllowed: createAddressRule(config.webhookAllowedNetworks),
    nowMs: clock.nowMs,
  })
  if (replacesKeys) await replaceKeys({ store, secrets, random, events })
  const smsAvailable = () => config.sms.provider === 'none' || sms.isAvailable()
  metrics.watch({ hashing: passwordHash.load, smsAvailable, mailAvailable: mail.isAvailable })

  return {
    ...{ config, clock, random, log, metrics, events, background, store, secrets, passwordHash, sms, inbox },
    ...{ mail, mailbox, mailBell: createBell(), webhookPoster },
    ...{ loginTurns: createTurns(mostLoginsInLine), tryTurns: createTurns() },
    keyRing: await createKeyRing({ config, store, secrets, clock, random, events }),
    ...rulesOf({ config, secrets, random, log }),
    loginThrottle: createLoginThrottle({ store, secrets }),
    loginFloor: createLoginFloor({ config, store, passwordHash, log }),
    close: async () => {
      await background.drain()
      webhookPoster.close()
      sms.close()
      mail.close()
      await db.close()
    },
  }
}

/** The rules that only need settings, keys and chance. */
function rulesOf({ config, secrets, random, log }: { config: Config; secrets: Secrets; random: Random; log: Logger }) {
  const sealer = createSealer({ secrets, random })
  return {
    refreshTokens: createRefreshTokens({ secrets }),
    deviceTokens: createDeviceTokens({ secrets, random }),
    oneTimeCodes: createOneTimeCodes({ secrets, length: config.code.length }),
    challengeRules: createChallengeRules(config),
    linkRules: createLinkRules(config),
    mailLinks: createMailLinks({ random }),
    passwordPolicy: createPasswordPolicy({ config, isBreached: createBreachedPasswords(config, log) }),
    passkeys: createPasskeys({ config: config.passkey, secrets }),
    recoveryCodes: createRecoveryCodes({ secrets, random }),
    sealer,
    webhookSecrets: createWebhookSecrets({ sealer, random }),
    phoneNumbers: createPhoneNumbers({ allowedCountries: config.sms.allowedCountries }),
  }
}

async function createTwilio(config: Config, clock: Clock, log: Logger): Promise<SmsSender> {
  if (config.sms.twilio === undefined) throw new Error('SMS_PROVIDER=twilio without its settings')
  // The library is large: loaded only where it sends.
  const { createTwilioSender } = await import('./sms/twilio.ts')
  return createTwilioSender({
    ...config.sms.twilio,
    statusCallbackUrl: `${config.publicUrl}/webhooks/twilio/status`,
    clock,
    log: (level, fields, message) => log[level](fields, message),
  })
}

async function createMailSender(config: Config, clock: Clock, log: Logger): Promise<MailSender> {
  const { provider, smtpUrl, from } = config.mail
  if (provider !== 'smtp') return noMail
  if (smtpUrl === undefined) throw new Error('MAIL_PROVIDER=smtp without SMTP_URL')
  const { createSmtpSender } = await import('./mail/smtp.ts')
  return createSmtpSender({
    url: smtpUrl,
    from,
    isPlainAllowed: !config.production && isLoopbackUrl(smtpUrl),
    clock,
    log: (level, fields, message) => log[level](fields, message),
  })
}
