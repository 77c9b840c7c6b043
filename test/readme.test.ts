import { readFileSync } from 'node:fs'
import t from 'tap'
import { parse } from 'yaml'
import { loadConfig, settings } from '../src/config.ts'
import { maxAttempts } from '../src/security/challenge.ts'
import { textBudget } from '../src/security/sms-budget.ts'
import { testKeys } from './helpers/doorstep.ts'

const read = (path: string): string => readFileSync(new URL(path, import.meta.url), 'utf8')
const readme = read('../README.md')
const between = (name: string): string => readme.split(`<!-- ${name} -->\n`)[1]?.split(`<!-- /${name} -->`)[0] ?? ''

t.test('the table of settings is what the code reads', async (t) => {
  const rows = settings.map(({ name, default: value, constant, description }) => {
    const shown = constant && value !== '' ? `\`${value}\`` : value
    return `| \`${name}\` | ${shown} | ${description} |`
  })
  t.equal(between('settings').trimEnd(), ['| name | default | meaning |', '|---|---|---|', ...rows].join('\n'))
})

t.test('the limits that are published are those of the code', async (t) => {
  const { sms, rate } = loadConfig({ ...testKeys })
  const published = [
    `| codes, per challenge | ${maxAttempts} |`,
    `per user and per phone | 1 per ${sms.cooldown} s, ${sms.perUserHour} per h, ${sms.perUserDay} per day |`,
    `| ${sms.perAddressHour} per h and ${sms.perAddressDay} per day / ${sms.perPrefixHour} per h |`,
    `per phone ${textBudget(sms, '192.0.2.1').phone_day} per day; the service ${sms.globalHour} per h and ${sms.globalDay.toLocaleString('en')} per day`,
    `\`/login\` ${rate.loginMinute} per min and ${rate.loginHour} per h; \`/login/2fa\` ${rate.verifyMinute} per min; ` +
      `resend ${rate.resendHour} per h; refresh ${rate.refreshMinute} per min; the rest ${rate.defaultMinute} per min`,
  ]
  for (const line of published) t.ok(readme.includes(line), line)
})

t.test('the endpoints that are listed exist, and all are listed', async (t) => {
  const documented = parse(read('../openapi.yaml')) as { paths: Record<string, Record<string, unknown>> }
  const operations = Object.entries(documented.paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
  )
  const table = readme.split('## Endpoints')[1]?.split('##')[0] ?? ''
  const listed = [...table.matchAll(/`((?:GET|POST|PATCH|DELETE) [^`]+)`/g)].map(([, call]) => call)
  // These describe the others.
  const others = ['GET /openapi.json', 'GET /docs']
  t.strictSame(listed.sort(), [...operations, ...others].sort())
})
