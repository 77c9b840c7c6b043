import { existsSync, readFileSync } from 'node:fs'
import t from 'tap'
import { parse } from 'yaml'
import { loadConfig, settings } from '../../src/config.ts'
import { testKeys } from '../helpers/doorstep.ts'

// No engine builds the image here, so what it says is held against what the project has.

type Service = {
  image: string
  build?: string | { context: string; target: string }
  user?: string
  command?: string[]
  profiles?: string[]
  environment?: Record<string, string | number>
  secrets?: string[]
  healthcheck?: { test?: string[]; disable?: boolean }
  depends_on?: Record<string, { condition: string }>
  ports?: string[]
  read_only?: boolean
  cap_drop?: string[]
}
type Compose = { services: Record<string, Service>; secrets: Record<string, { file: string }> }

const top = new URL('../../', import.meta.url)
const read = (path: string): string => readFileSync(new URL(path, top), 'utf8')

const compose: Compose = parse(read('docker-compose.yml'), { merge: true })
const stages = readStages(read('Dockerfile'))
const last = stages.at(-1) as Stage

type Stage = { name: string; base: string; instructions: [name: string, value: string][] }

/** The stages of a Dockerfile: comments dropped, continued lines joined. */
function readStages(text: string): Stage[] {
  const lines = text
    .split('\n')
    .filter((line) => !/^\s*(#|$)/.test(line))
    .join('\n')
    .replaceAll(/\\\n\s*/g, '')
    .split('\n')
  const found: Stage[] = []
  for (const line of lines) {
    const [, instruction = '', value = ''] = /^(\S+)\s+(.*)$/.exec(line) ?? []
    const [, base = '', , name = ''] = /^(\S+)(\s+AS\s+(\S+))?$/.exec(value) ?? []
    if (instruction === 'FROM') found.push({ name, base, instructions: [] })
    else found.at(-1)?.instructions.push([instruction, value])
  }
  return found
}

const values = (stage: Stage, instruction: string): string[] =>
  stage.instructions.filter(([name]) => name === instruction).map(([, value]) => value)

t.test('the image runs the compiled service, as a user who owns nothing', async (t) => {
  t.same(
    values(last, 'CMD').map((it) => JSON.parse(it)),
    [['node', '--max-old-space-size=256', '--max-semi-space-size=8', 'dist/main.js']],
  )
  t.same(values(last, 'USER'), ['node'], 'never root')
  const names = last.instructions.map(([name]) => name)
  t.ok(names.indexOf('USER') > names.lastIndexOf('COPY'), 'and its files are not its own')
  t.match(values(last, 'ENV').join(' '), /\bNODE_ENV=production\b/)
  t.match(values(last, 'ENV').join(' '), /\bUV_THREADPOOL_SIZE=16\b/, 'hashing leaves threads for the rest')
  t.match(values(last, 'HEALTHCHECK'), [/\bCMD \["node", .*\/health\/live/])
  t.same(values(last, 'RUN'), [], 'nothing is installed in it')
})

t.test('what the image is made of is there', async (t) => {
  t.ok(values(last, 'COPY').length >= 4)
  for (const stage of stages) {
    for (const copy of values(stage, 'COPY')) {
      const words = copy.split(' ')
      const from = words.find((word) => word.startsWith('--from='))?.slice('--from='.length)
      const sources = words.filter((word) => !word.startsWith('--')).slice(0, -1)
      if (from !== undefined)
        t.ok(
          stages.some(({ name }) => name === from),
          `the stage ${from} is there`,
        )
      for (const source of sources) {
        const path = source.replace(/^\/app\//, '')
        // Made while it is built.
        if (['node_modules', 'dist'].includes(path)) t.ok(from, `${path} is never taken from this machine`)
        else t.ok(existsSync(new URL(path, top)), `${path} exists`)
      }
    }
  }
  const bases = stages.map(({ base }) => base).filter((base) => !stages.some(({ name }) => name === base))
  t.same([...new Set(bases)], ['node:26-bookworm-slim'], 'what is built runs on what it was built on')
  const ignored = read('.dockerignore').split('\n')
  for (const name of ['.env', '.git', '.secrets', '.data', 'node_modules', 'dist']) {
    t.ok(ignored.includes(name), `${name} stays out of the image`)
  }
})

t.test('argon2 is built for the processors of servers, and only where those words mean something', async (t) => {
  const builds = stages.flatMap((stage) => values(stage, 'RUN')).filter((run) => run.includes('argon2:native'))
  t.match(builds, [/= amd64 ].*MARCH="\$ARGON2_MARCH" npm run argon2:native/])
  t.ok(stages.some((stage) => values(stage, 'ARG').includes('ARGON2_MARCH=x86-64-v3')))
  t.match(JSON.parse(read('package.json')).scripts['argon2:native'], /-O3 -march=\$\{MARCH:-native\}/)
})

const ours = Object.entries(compose.services).filter(([, { image }]) => image === 'doorstep')

t.test('compose gives the service settings that it knows', async (t) => {
  t.same(ours.map(([name]) => name).sort(), ['api', 'migrate'])
  for (const [service, { environment = {} }] of ours) {
    for (const name of Object.keys(environment)) {
      const setting = settings.find((it) => it.name === name || (it.secret && `${it.name}_FILE` === name))
      t.ok(setting, `${service}: ${name} is a setting, or the file of a secret one`)
    }
    const open = settings.filter(({ name, secret }) => secret && environment[name] !== undefined)
    t.same(open, [], `${service}: no secret is written in the environment`)
  }
})

/** What is of no use in the container: for development alone, or not supported yet. */
const leftOut = ['DEVELOPMENT_NETWORKS', 'DATA_DIR', 'REDIS_URL']

t.test('every setting that an operator can give reaches the service', async (t) => {
  const fixed = ['NODE_ENV', 'HOST', 'PORT', 'SMS_PROVIDER', 'MAIL_PROVIDER']
  for (const [service, { environment = {} }] of ours) {
    const missing = settings
      .map(({ name, secret }) => (secret ? `${name}_FILE` : name))
      .filter((name) => environment[name] === undefined)
    t.same(missing.map((name) => name.replace(/_FILE$/, '')).sort(), leftOut.toSorted(), service)
    const own = Object.entries(environment).filter(([name, value]) => !String(value).startsWith(`\${${name}:`))
    const mounted = own.filter(([name, value]) => name.endsWith('_FILE') && String(value).startsWith('/run/secrets/'))
    t.same(own.map(([name]) => name).sort(), [...fixed, ...mounted.map(([name]) => name)].sort(), 'under its own name')
  }
})

t.test('with every value that compose asks for, production accepts its settings', async (t) => {
  const given: Record<string, string> = {
    PUBLIC_URL: 'https://login.example.com',
    APP_URL: 'https://app.example.com',
    MAIL_FROM: 'Doorstep <login@example.com>',
    REGISTRATION: 'closed',
    SMS_ALLOWED_COUNTRIES: 'GB,US',
    SMS_SPEND_DAY: '2000',
    TRUST_PROXY: '172.16.0.0/12',
    TWILIO_FROM: '+12025550100',
  }
  const secrets: Record<string, string> = {
    ...testKeys,
    DATABASE_URL: 'postgresql://doorstep:7f1c9a52e08b46d3a1f0c2b9@postgres:5432/doorstep',
    TWILIO_ACCOUNT_SID: `AC${'0123456789abcdef'.repeat(2)}`,
    TWILIO_AUTH_TOKEN: '9d3e51c07fa24b68b1d2e6f0a7c4935e',
    SMTP_URL: 'smtps://doorstep:c2b9a1f07f1c9a52e08b46d3@smtp.example.com:465',
  }
  const folder = t.testdir(secrets)
  const asked = new Set<string>()
  const fill = (text: string): string =>
    text.replaceAll(/\$\{(\w+):([?-])([^}]*)\}/g, (_all, name: string, kind: string, rest: string) => {
      if (kind === '?') asked.add(name)
      if (kind === '?') t.ok(given[name], `${name} has to be given`)
      return given[name] ?? (kind === '-' ? rest : '')
    })
  for (const [service, { environment = {}, secrets: mounted = [] }] of ours) {
    const env: Record<string, string> = {}
    for (const [name, value] of Object.entries(environment)) {
      env[name] = fill(String(value))
      if (!name.endsWith('_FILE') || env[name] === '') continue
      const secret = String(value).replace('/run/secrets/', '')
      t.ok(mounted.includes(secret) && compose.secrets[secret], `${service}: the file of ${name} is mounted`)
      env[name] = `${folder}/${name.replace(/_FILE$/, '')}`
    }
    const expected = {
      ...{ production: true, host: '0.0.0.0', port: 3000, twoFactor: 'required', methods: ['passkey', 'totp', 'sms'] },
      ...{ sms: { provider: 'twilio' }, mail: { provider: 'smtp', smtpUrl: secrets.SMTP_URL, from: given.MAIL_FROM } },
    }
    t.match(loadConfig(env), expected, service)
  }
  t.same(
    [...asked].sort(),
    ['APP_URL', 'MAIL_FROM', 'PUBLIC_URL', 'REGISTRATION', 'SMS_ALLOWED_COUNTRIES', 'SMS_SPEND_DAY', 'TRUST_PROXY'],
    'what has no default',
  )
})

t.test('compose starts the service on a database that is healthy and migrated', async (t) => {
  const { postgres, migrate, api } = compose.services as Record<'postgres' | 'migrate' | 'api', Service>
  t.equal(postgres.image, 'postgres:17')
  t.match(postgres.healthcheck?.test, ['CMD', 'pg_isready'])
  t.equal(postgres.environment?.POSTGRES_PASSWORD_FILE, '/run/secrets/postgres_password')
  t.ok(postgres.secrets?.includes('postgres_password') && compose.secrets.postgres_password)
  t.notOk(postgres.ports, 'and that nobody outside reaches')
  t.same(migrate.command, ['node', 'dist/cli.js', 'migrate'])
  t.same(migrate.depends_on, { postgres: { condition: 'service_healthy' } })
  t.same(api.depends_on, {
    postgres: { condition: 'service_healthy' },
    migrate: { condition: 'service_completed_successfully' },
  })
  t.equal(api.command, undefined, 'what the image says')
  t.equal(api.healthcheck, undefined, 'and its health check')
  for (const [name, service] of ours) {
    t.match(service, { read_only: true, cap_drop: ['ALL'] }, `${name} may change nothing and has no powers`)
    t.equal(service.user, undefined)
  }
})

t.test('a profile of compose runs the suite on a Postgres of its own', async (t) => {
  const { test, 'postgres-test': server } = compose.services as Record<'test' | 'postgres-test', Service>
  t.same([test.profiles, server.profiles], [['test'], ['test']], 'which nothing starts unasked')
  t.match(server.healthcheck?.test, ['CMD', 'pg_isready'])
  t.equal(new URL(String(test.environment?.TEST_DATABASE_URL)).hostname, 'postgres-test')
  t.same(test.depends_on, { 'postgres-test': { condition: 'service_healthy' } })
  const target = typeof test.build === 'object' ? test.build.target : undefined
  const stage = stages.find(({ name }) => name === target)
  t.same(stage && values(stage, 'CMD').map((it) => JSON.parse(it)), [['npm', 'test']])
  t.same(stage && values(stage, 'USER'), ['node'])
})
