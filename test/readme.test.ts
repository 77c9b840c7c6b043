import { readFileSync } from 'node:fs'
import t from 'tap'
import { parse } from 'yaml'
import { loadConfig, settings } from '../src/config.ts'
import { problemCatalogue } from '../src/errors.ts'
import { eventCatalogue } from '../src/events.ts'
import { traits } from '../src/features/factors/index.ts'
import { sessionLife } from '../src/features/sessions/start-session.ts'
import { methodNames } from '../src/methods.ts'
import { createMetrics } from '../src/metrics.ts'
import { fromBase32 } from '../src/security/base32.ts'
import { maxAttempts } from '../src/security/challenge.ts'
import { networksOf } from '../src/security/client-address.ts'
import { deviceLife } from '../src/security/device-token.ts'
import { createLinkRules } from '../src/security/link-rules.ts'
import { textBudget } from '../src/security/sms-budget.ts'
import { hotp, matchingStep, totpLength } from '../src/security/totp.ts'
import { runHere } from './helpers/cli.ts'
import { testKeys } from './helpers/doorstep.ts'

const read = (path: string): string => readFileSync(new URL(path, import.meta.url), 'utf8')
const readme = read('../README.md')
const security = read('../.github/SECURITY.md')
const between = (name: string): string => readme.split(`<!-- ${name} -->\n`)[1]?.split(`<!-- /${name} -->`)[0] ?? ''

t.test('the table of settings is what the code reads', async (t) => {
  const rows = settings.map(({ name, default: value, constant, description }) => {
    const shown = constant && value !== '' ? `\`${value}\`` : value
    return `| \`${name}\` | ${shown} | ${description} |`
  })
  t.equal(between('settings').trimEnd(), ['| name | default | meaning |', '|---|---|---|', ...rows].join('\n'))
})

t.test('the limits that are published are those of the code', async (t) => {
  const config = loadConfig({ ...testKeys })
  const { sms, mail, rate, argon2, enrolmentsDay } = config
  const timesIn = (address: string) => networksOf(address).map(({ key, times }) => [key.replace(/.*\//, '/'), times])
  const [[, wide] = []] = timesIn('192.0.2.1').slice(1)
  const [[, wider] = [], [, widest] = []] = timesIn('2001:db8::/64').slice(1)
  const days = (seconds: number): number => seconds / 86_400
  const published = [
    `| answers, per challenge | ${maxAttempts}, over all its methods |`,
    `per class: per user and per phone | 1 per ${sms.cooldown} s, ${sms.perUserHour} per h, ${sms.perUserDay} per day |`,
    `| ${sms.perAddressHour} per h and ${sms.perAddressDay} per day / ${sms.perPrefixHour} per h |`,
    `of the service | ${sms.globalHour} per h and ${sms.globalDay.toLocaleString('en')} per day, a quarter of them for known devices only |`,
    `| codes by mail that led to no sign-in, per class and user | 1 per ${mail.cooldown} s, ${sms.perUserHour} per h, ${sms.perUserDay} per day |`,
    `| enrolments, per account | ${enrolmentsDay} per day, 3 texts to new numbers among them; a phone serves at most 3 accounts, ` +
      `an account has at most ${traits.passkey.at_most} passkeys |`,
    `| texts in all | per phone ${textBudget(sms, '192.0.2.1').phone_day} per day; the service as many as \`SMS_SPEND_DAY\` says |`,
    `| the same, per network | ${wide} times as many per IPv4 /24; ${wider} times per IPv6 /56 and ${widest} times per /48.`,
    `introspection ${rate.introspectMinute.toLocaleString('en')} per min and client`,
    `| the line for hashing | ${argon2.queue} places: known devices first, strangers at most ${(argon2.queue * 3) / 4},`,
    `known for\n${deviceLife.known / 86_400} days after its last use`,
    `trusted: for ${deviceLife.trusted / 86_400}\ndays`,
    `\`/login\` ${rate.loginMinute} per min and ${rate.loginHour} per h; \`/login/2fa\` ${rate.verifyMinute} per min; ` +
      `resend ${rate.resendHour} per h; refresh ${rate.refreshMinute} per min; ` +
      `mails asked for ${rate.mailMinute} per min and ${rate.mailHour} per h; the rest ${rate.defaultMinute} per min`,
    `\`remember_me\`: ${days(sessionLife.remembered.idle_ttl)} days after the last refresh, ${days(sessionLife.remembered.ttl)} days in all. ` +
      `Without it ${sessionLife.normal.ttl / 3_600} hours.`,
    `per address and class | 1 per ${mail.cooldown} s, ${mail.perAddressHour} per h, ${mail.perAddressDay} per day, ` +
      `of which one network (/24, /48) at most ${createLinkRules(config).policy.network_day} a day |`,
    `| the same, of the service | ${mail.globalHour} per h and ${mail.globalDay.toLocaleString('en')} per day, at most half`,
  ]
  for (const line of published) t.ok(readme.includes(line), line)
})

t.test('what is published of the methods is what the code makes of them', async (t) => {
  const rows = [...between('methods').matchAll(/^\| `(\w+)` \|.*\| `(aal\d)`[^|]*\|$/gm)].map(([, ...row]) => row)
  t.same(rows.sort(), methodNames.map((method) => [method, traits[method].acr]).sort())

  // An authenticator app: what 20 tries a day and 100 in 30 days (test/attacks/factor-budgets.test.ts) come to.
  const secret = 'GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ'
  const now = 1_234_567_890_000
  const steps = Array.from({ length: 21 }, (_, n) => Math.floor(now / 30_000) + n - 10)
  const accepted = steps.filter((step) => matchingStep(secret, hotp(fromBase32(secret), step), now, 0) !== null)
  t.equal(accepted.length, 2, 'codes that are right at one moment')
  const chance = (tries: number) => `1 in ${(10 ** totpLength / (tries * accepted.length)).toLocaleString('en')}`
  for (const document of [readme, security]) {
    t.match(document.replace(/\s+/g, ' '), `${chance(20)} per day and ${chance(100)} per 30 days`)
  }
})

t.test('the endpoints that are listed exist, and all are listed', async (t) => {
  const documented = parse(read('../openapi.yaml')) as { paths: Record<string, Record<string, unknown>> }
  const operations = Object.entries(documented.paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
  )
  const table = readme.split('## Endpoints')[1]?.split('##')[0] ?? ''
  const listed = [...table.matchAll(/`((?:GET|POST|PUT|PATCH|DELETE) [^`]+)`/g)].map(([, call]) => call)
  // These describe the others.
  const others = ['GET /openapi.json', 'GET /docs']
  t.strictSame(listed.sort(), [...operations, ...others].sort())
})

t.test(
  'every alarm of an attack is one that the service has, every command and metric too, and none is left out',
  async (t) => {
    const table = between('alarms')
    const spans = [...table.matchAll(/`([^`]+)`/g)].map(([, span]) => span as string)
    const named = spans.filter((span) => /^[a-z_]+\.[a-z_]+$/.test(span))
    for (const event of named) t.ok(event in eventCatalogue, event)
    const loud = Object.entries(eventCatalogue).flatMap(([event, { level }]) => (level === 'info' ? [] : [event]))
    for (const event of loud) t.ok(named.includes(event), `${event} is explained`)

    const { stderr: usage } = await runHere(['--help'], { env: {} })
    const commands = spans.filter((span) => /^(user|keys) /.test(span))
    t.ok(commands.length > 5)
    for (const command of commands) {
      const [words = '', option] = command.split(' --')
      const line = usage.split('\n').find((it) => it.trimStart().startsWith(words)) ?? ''
      t.ok(line.includes(option === undefined ? words : `--${option}`), command)
    }
    const metrics = createMetrics()
    metrics.watch({
      hashing: () => ({ running: 0, waiting: 0, started: 0 }),
      smsAvailable: () => true,
      mailAvailable: () => true,
    })
    metrics.watchLog(() => 0)
    const shown = await metrics.scrape()
    for (const name of readme.match(/doorstep_\w+/g) ?? []) {
      if (name !== 'doorstep_owner') t.ok(shown.includes(name), name)
    }
    for (const [, code = ''] of table.matchAll(/`\d{3} (\w+)`/g)) t.ok(code in problemCatalogue, code)
  },
)
