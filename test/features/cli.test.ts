import { randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'
import t, { type Test } from 'tap'
import { parse } from 'yaml'
import { loadConfig } from '../../src/config.ts'
import { embeddedConnections } from '../../src/store/embedded.ts'
import { lockFolder } from '../../src/store/folder-lock.ts'
import { listMigrations } from '../../src/store/migrate.ts'
import { openDatabase } from '../../src/store/open.ts'
import { age } from '../helpers/age.ts'
import { type CliRun, runCli, runHere } from '../helpers/cli.ts'
import type { TestDatabase } from '../helpers/database.ts'
import { startDoorstep, testKeys } from '../helpers/doorstep.ts'
import { mailedToken, mailsTo } from '../helpers/links.ts'
import { call, codeFor, createUser, finish, login, signIn } from '../helpers/story.ts'
import { setWrongCodes } from '../helpers/wrong-codes.ts'

/** Settings that hash quickly; the keys of the services that the tests start beside the commands. */
const env = { NODE_ENV: 'test', ARGON2_MEMORY_KIB: '64', ARGON2_TIME: '1', ...testKeys }
const home = t.testdir()
t.setTimeout(600_000) // Some twenty processes, several of which load the whole service.
const server = process.env.TEST_DATABASE_URL
const runs: CliRun[] = []

/** A command without a database: a setting that it needed would be missed at once. */
const cli = (words: string[], more: { env?: Record<string, string>; input?: string } = {}) => keep(words, more)

/** The same within this process. */
async function here(words: string[], more: { env?: Record<string, string>; input?: string } = {}): Promise<CliRun> {
  const run = await runHere(words, { ...more, env: { ...env, ...more.env } })
  runs.push(run)
  return run
}

async function keep(words: string[], more: { env?: Record<string, string>; input?: string | Uint8Array }) {
  const run = await runCli(words, { cwd: home, ...more, env: { ...env, ...more.env } })
  runs.push(run)
  return run
}

/** Only the embedded database says what takes a while. */
const success = (result: object) => ({ exitCode: 0, stderr: /^(Starting the embedded database .*\n)?$/, result })

/** An empty database, as an operator finds it: what commands need to know of it, and how a service opens it. */
async function createPlace(t: Test) {
  if (server === undefined) {
    const settings = { DATA_DIR: join(t.testdir(), 'data') }
    const open = async (): Promise<TestDatabase> => {
      const { url, close } = await openDatabase(loadConfig({ ...env, ...settings }), () => {})
      return { url, close, connections: embeddedConnections, isReal: false }
    }
    return { settings, open }
  }
  const name = `doorstep_test_${randomBytes(6).toString('hex')}`
  const admin = new pg.Client({ connectionString: server })
  await admin.connect()
  await admin.query(`CREATE DATABASE ${name}`)
  t.teardown(async () => {
    await admin.query(`DROP DATABASE ${name} WITH (FORCE)`)
    await admin.end()
  })
  const url = new URL(server)
  url.pathname = `/${name}`
  const open = async (): Promise<TestDatabase> => ({
    url: url.href,
    close: async () => {},
    connections: null,
    isReal: true,
  })
  return { settings: { DATABASE_URL: url.href }, open }
}

t.test('a wrong command line: exit 2, nothing on standard output, and what was typed is not repeated', async (t) => {
  const user = ['user', 'create', '--email', 'ada@example.com', '--phone', '+12025550101']
  const wrong: [string[], RegExp][] = [
    [[], /no such command.*\n(.*\n)+ +user create --email E \[--phone P\]/],
    [['hunter2-hunter2'], /no such command/],
    [['user', 'unlock'], /--email is missing/],
    [['user', 'list', '--limit', '0'], /--limit must be/],
    [['migrate', 'hunter2-hunter2'], /^Usage: .*migrate$/m],
    [['sessions', 'revoke-all', 'hunter2'], /^Usage: .*sessions revoke-all$/m],
    [user, /no terminal.*--password-stdin/],
    [[...user, '--two-factor', 'email', '--password-stdin'], /--two-factor must be required, optional or off/],
    [[...user, '--two-factor', 'sms', '--password-stdin'], /--two-factor must be required, optional or off/],
    [['user', 'create', '--phone', '+12025550101', '--password-stdin'], /--email is missing/],
    [['user', 'reset-factors'], /--email is missing/],
    [['user', 'invite'], /--email is missing/],
    [
      ['user', 'invite', '--email', 'ada@example.com', '--two-factor', 'sms'],
      /--two-factor must be required, optional or off/,
    ],
    [
      ['user', 'invite', '--email', 'ada@example.com', '--force'],
      /^Usage: .*user invite --email E \[--two-factor .*\]$/m,
    ],
    [['user', 'reset-password', '--force'], /--email is missing/],
    [
      ['user', 'reset-password', '--email', 'ada@example.com', 'hunter2'],
      /^Usage: .*user reset-password --email E \[--force\]$/m,
    ],
    [['user', 'forget'], /--email is missing/],
    [['user', 'forget', '--email', 'ada@example.com', '--force'], /^Usage: .*user forget --email E$/m],
    [['user', 'reset-factors', '--email', 'ada@example.com', '--all'], /^Usage: .*user reset-factors --email E$/m],
    [['user', 'set-phone', '--email', 'ada@example.com'], /--phone is missing/],
    [['users', 'import'], /--file is missing/],
    [['users', 'import', '--file'], /^Usage: .*users import --file F\.ndjson \[--dry-run\] \[--report R\.ndjson\]$/m],
    [['users', 'import', '--file', 'x', 'hunter2'], /^Usage: .*users import --file/m],
    [
      ['user', 'forget', '--email', 'ada@example.com', '--email', 'bob@example.com'],
      /^--email is given more than once\.$/m,
    ],
    [['user', 'forget', '--email=a@example.com', '--email', 'a@example.com'], /^--email is given more than once\.$/m],
    [['user', 'unlock', '--all', '--email', 'ada@example.com', '--all'], /^--all is given more than once\.$/m],
    [
      [
        'client',
        'create',
        '--name',
        'a',
        '--scope',
        'introspect',
        '--expires',
        '2100-01-01',
        '--expires',
        '2030-01-01',
      ],
      /^--expires is given more than once\.$/m,
    ],
    [[...user, '--password', 'hunter2-hunter2'], /^Usage: .*--password-stdin/m],
    [[...user, 'hunter2-hunter2'], /^Usage: .*--password-stdin/m],
  ]
  for (const [n, [words, message]] of wrong.entries()) {
    // Even with a broken setting: the command line comes first.
    const { exitCode, stdout, stderr } = await (n < 2 ? cli : here)(words, { env: { PORT: 'x' } })
    t.match({ exitCode, stdout, stderr }, { exitCode: 2, stdout: '', stderr: message }, words.join(' '))
    t.notMatch(stderr, /hunter2/)
  }

  const help = await cli(['--help'])
  t.match(help, { exitCode: 0, stdout: '', stderr: /secrets generate/ })
})

t.test('a database that is not there: exit 1 and one line', async (t) => {
  const run = await cli(['migrate'], { env: { DATABASE_URL: 'postgresql://ada:hunter2@127.0.0.1:1/none' } })
  t.match(run, { exitCode: 1, stdout: '', stderr: /^The database in DATABASE_URL cannot be reached.*\n$/ })
})

t.test(
  'settings are read as the service reads them: wrong ones are told all at once, without their values',
  async (t) => {
    const cwd = t.testdir({ '.env': 'PORT=seventy\n' })
    const given = { ...env, LOG_LEVEL: 'loud' }
    const run = await runCli(['user', 'list'], { cwd, env: { ...given, NODE_ENV: 'development' } })
    const told = /^The settings are not right:\n {2}PORT .*\n {2}LOG_LEVEL .*\n$/
    t.match(run, { exitCode: 1, stdout: '', stderr: told }, 'those of .env too')
    t.notMatch(run.stderr, /seventy|loud/)
  },
)

t.test('secrets generate: keys that the service takes, new ones every time', async (t) => {
  const [first, second] = await Promise.all([cli(['secrets', 'generate']), cli(['secrets', 'generate'])])
  t.match([first.exitCode, second.exitCode], [0, 0])
  const keys = [first, second].map(({ result }) => String(result.SECRET_KEYS))
  const [key] = loadConfig({ SECRET_KEYS: keys.join(',') }).secretKeys
  t.equal(key?.key.length, 32)
  t.same(Object.keys(first.result), ['SECRET_KEYS'])
})

t.test('an embedded database that a service holds is left alone', async (t) => {
  const dataDir = t.testdir({ postgres: {} })
  const unlock = lockFolder(join(dataDir, 'postgres'))
  const run = await cli(['user', 'list'], { env: { DATA_DIR: dataDir } })
  t.match(run, {
    exitCode: 1,
    stdout: '',
    stderr: new RegExp(`^The embedded database is in use by process ${process.pid} `),
  })
  t.equal(run.stderr.trim().split('\n').length, 1, 'one line')
  unlock()
})

t.test('openapi: the same document everywhere, and a check that it is fresh', async (t) => {
  const file = join(t.testdir(), 'openapi.yaml')
  const elsewhere = { PUBLIC_URL: 'https://login.example.com', PORT: '4000', SMS_PROVIDER: 'twilio', TZ: 'Asia/Tokyo' }
  t.match(await cli(['openapi', '--output', file], { env: elsewhere }), {
    exitCode: 0,
    result: { path: file, changed: true },
  })
  t.match(await here(['openapi', '--output', file, '--check']), { exitCode: 0, result: { path: file, changed: false } })

  const written = readFileSync(file, 'utf8')
  writeFileSync(file, `${written}x-edited: true\n`)
  t.match(await here(['openapi', '--output', file, '--check']), { exitCode: 1, stderr: /is not what the code says/ })
  t.match(readFileSync(file, 'utf8'), /x-edited/, 'a check writes nothing')

  const doorstep = await startDoorstep(t)
  t.same(parse(written), (await call(doorstep, '/openapi.json')).body, 'what the service says of itself')
})

t.test('users, from the first migration to the last lock', async (t) => {
  const { settings, open } = await createPlace(t)
  const given = (input?: string) => ({ env: settings, ...(input !== undefined && { input }) })
  /** As a process of its own, as an operator runs it. */
  const runAlone = (words: string[], input?: string) => keep(words, given(input))
  const run = (words: string[], input?: string) => here(words, given(input))
  const creating = (email: string, phone: string, ...more: string[]) => [
    'user',
    'create',
    '--email',
    email,
    '--phone',
    phone,
    '--password-stdin',
    ...more,
  ]
  const serve = async (t: Test) => {
    const database = await open()
    t.teardown(database.close)
    return startDoorstep(t, { database })
  }
  const ada = { email: 'ada@example.com', phone: '+12025550101', password: ' vier stille Eulen \u{1f989}\n' }
  const grace = { email: 'grace@example.com', phone: '+12025550102', password: 'canary-4711-owls' }

  const migrated = await runAlone(['migrate'])
  t.match(migrated, success({ applied: await listMigrations() }))
  t.match(migrated.stdout, /^{"applied":\[".*"\]}\n$/)

  const made = await runAlone(creating(' ADA@Example.com', '+1 (202) 555-0101'), `${ada.password}\n`)
  t.match(made, success({ id: /^[0-9a-f-]{36}$/, email: ada.email, phone: ada.phone }))
  t.same(Object.keys(made.result), ['id', 'email', 'phone'])
  const off = await run(creating(grace.email, grace.phone, '--two-factor', 'off'), `${grace.password}\n`)
  t.match(off, success({ email: grace.email, phone: grace.phone }))
  const windows = { email: 'bob@example.com', password: 'windows line end 42' }
  const piped = await run(
    creating(windows.email, '+12025550104', '--two-factor', 'off'),
    `\ufeff${windows.password}\r\n`,
  )
  t.match(piped, success({ email: windows.email }))
  const bare = ['user', 'create', '--email', 'eve@example.com', '--two-factor', 'optional', '--password-stdin']
  t.match(await run(bare, 'no phone of her own\n'), success({ email: 'eve@example.com', phone: null }))
  const weak = await run(creating('weak@example.com', '+12025550103'), 'Password1234\n')
  t.match(weak, { exitCode: 1, stdout: '', stderr: /password must not be one of the passwords that many people use/ })
  const keys = await run(['keys', 'list'])
  t.match(keys, success({ keys: [{ id: /^[\w-]{43}$/, state: 'active', created_at: /^20.*Z$/ }] }))
  t.notMatch(keys.stdout, /private|"d"/)

  const rotated = await run(['keys', 'rotate'])
  t.match(rotated, success({ id: /^[\w-]{43}$/, active_in: 390 }))
  t.match(await run(['keys', 'rotate']), { exitCode: 1, stdout: '', stderr: 'A new key is on its way already.\n' })
  const replaced = await run(['keys', 'rotate', '--now'])
  t.match(replaced, success({ id: /^[\w-]{43}$/, active_in: 0 }))
  const left = await run(['keys', 'list'])
  t.match(left, success({ keys: [{ id: replaced.result.id, state: 'active' }] }))
  t.equal((left.result.keys as unknown[]).length, 1, 'a key that leaked is gone, and so is the one on its way')

  await t.test('secrets that open no key: the way out that the message names', async (t) => {
    const lost = { env: { ...settings, SECRET_KEYS: `k9:${randomBytes(32).toString('base64')}` } }
    t.match(await here(['keys', 'list'], lost), {
      exitCode: 1,
      stderr: /"k1", which SECRET_KEYS does not list\. .* keys rotate --now\n$/,
    })
    t.match(await here(['keys', 'rotate', '--now'], lost), { exitCode: 0, result: { active_in: 0 } })
    t.match(await here(['keys', 'list'], lost), { exitCode: 0 })
    t.match(await run(['keys', 'list']), { exitCode: 1, stderr: /"k9", which SECRET_KEYS does not list/ })
    t.match(await run(['keys', 'rotate', '--now']), { exitCode: 0 })
  })

  const unknown = await run(['user', 'disable', '--email', 'nobody@example.com'])
  t.match(unknown, { exitCode: 1, stdout: '', stderr: 'There is no user with this e-mail.\n' })
  const disabled = await run(['user', 'disable', '--email', 'Grace@example.com'])
  t.match(disabled, success({ id: off.result.id, email: grace.email, disabled: true }))

  await t.test('the service sees what the commands did', async (t) => {
    const doorstep = await serve(t)
    t.equal((await login(doorstep, { ...ada, password: ada.password.trimEnd() })).status, 401, 'not one character less')
    t.equal((await signIn(doorstep, { id: '', ...ada })).status, 200, 'exactly the line that was piped')
    const refused = await login(doorstep, grace)
    t.match(
      refused,
      { status: 401, body: { code: 'invalid_credentials' } },
      'the disabled user, with the right password',
    )
    const stranger = await login(doorstep, { email: 'stranger@example.com', password: grace.password })
    t.same({ ...refused.body, instance: '' }, { ...stranger.body, instance: '' })

    t.match(await login(doorstep, windows), { status: 200 }, 'nor does what another system adds to a line belong to it')

    for (let n = 0; n < 5; n += 1) await login(doorstep, { email: ada.email, password: 'wrong' })
    t.match(await login(doorstep, ada), { status: 429, body: { code: 'login_locked' } })
    await setWrongCodes(doorstep, { id: String(made.result.id) }, { streak: 10, lockedFor: '15 minutes' })
  })

  const listed = await run(['user', 'list', '--limit', '5'])
  const users = listed.result.users as { email: string }[]
  t.same(users.map(({ email }) => email).sort(), [ada.email, windows.email, 'eve@example.com', grace.email])
  t.match(users.slice(0, 2), [
    { email: ada.email, phone: ada.phone, two_factor: 'required', methods: ['sms'], disabled: false },
    { email: grace.email, two_factor: 'off', disabled: true },
  ])
  const phoned = await run(['user', 'set-phone', '--email', 'eve@example.com', '--phone', '+12025550105'])
  t.match(phoned, success({ email: 'eve@example.com' }))
  const reset = await run(['user', 'reset-factors', '--email', 'Eve@example.com'])
  t.match(reset, {
    ...{ exitCode: 0, stderr: /^(Starting the embedded database .*\n)?$/ },
    result: { id: phoned.result.id, email: 'eve@example.com' },
  })
  const nobody = await run(['user', 'reset-factors', '--email', 'nobody@example.com'])
  t.match(nobody, { exitCode: 1, stdout: '', stderr: 'There is no user with this e-mail.\n' })
  const unlocked = await run(['user', 'unlock', '--email', ada.email])
  t.match(unlocked, success({ id: made.result.id, email: ada.email }))
  const enabled = await run(['user', 'enable', '--email', grace.email])
  t.match(enabled, success({ id: off.result.id, email: grace.email, disabled: false }))

  await t.test('both locks are gone; the budget of 24 hours can be used up all the same', async (t) => {
    const doorstep = await serve(t)
    t.match(await login(doorstep, grace), { status: 200, body: { status: 'authenticated' } }, 'enabled again')
    const answer = await login(doorstep, ada)
    t.equal(answer.status, 200)
    t.equal((await finish(doorstep, answer.body.pending_token, codeFor(doorstep, ada.phone))).status, 200)
    const failedAgo = Array(20).fill('1 hour')
    for (const known of [false, true]) {
      await setWrongCodes(
        doorstep,
        { id: String(made.result.id) },
        { known, streak: 10, lockedFor: '15 minutes', failedAgo },
      )
    }
    t.match(await login(doorstep, ada), { status: 429, body: { code: 'second_factor_locked' } })
    if (server !== undefined) {
      const session = await login(doorstep, grace)
      const beside = await runAlone(['user', 'disable', '--email', grace.email])
      t.match(beside, success({ disabled: true }), 'beside the service')
      const me = await call(doorstep, '/me', { token: session.body.access_token })
      t.equal(me.status, 401, 'which refuses the open session at once')
    }
  })

  t.match(await run(['user', 'unlock', '--email', ada.email]), success({ email: ada.email }))
  await t.test('which a thief of the password cannot have lifted by an unlock', async (t) => {
    const doorstep = await serve(t)
    t.match(await login(doorstep, ada), { status: 429, body: { code: 'second_factor_locked' } })

    const { sql } = doorstep
    await sql(
      `INSERT INTO sms_messages (user_id, challenge_id, known, phone, prefix, address)
       SELECT $1, gen_random_uuid(), false, $2, '', '' FROM generate_series(1, 10)`,
      [made.result.id, ada.phone],
    )

    const tables = ['users', 'audit_events', 'login_throttles']
    const rows = await Promise.all(tables.map((table) => doorstep.sql(`SELECT row::text AS text FROM ${table} AS row`)))
    const stored = rows.flat().map(({ text }) => text)
    t.ok(stored.length > 5)
    for (const password of [ada.password.trim(), grace.password, 'Password1234']) {
      t.notOk(
        stored.some((text) => text.includes(password)),
        'no password in the database',
      )
    }
  })

  const all = await run(['user', 'unlock', '--all', '--email', ada.email])
  t.match(all, success({ id: made.result.id, email: ada.email }))
  await t.test('unlock --all lifts that too, and what is counted of texts', async (t) => {
    const doorstep = await serve(t)
    t.equal((await signIn(doorstep, { id: '', ...ada })).status, 200)
  })
})

t.test('users who are invited, have to set a new password, come back, and are forgotten', async (t) => {
  const doorstep = await startDoorstep(t)
  const settings = { DATABASE_URL: doorstep.database.url, DATA_DIR: doorstep.config.dataDir, ...testKeys }
  const run = (words: string[], input?: string, more: object = {}) =>
    here(words, { env: { ...settings, ...more }, ...(input !== undefined && { input }) })
  const bob = { id: '', email: 'bob@example.com', phone: '+12025550106', password: 'windows line end 42' }
  const next = 'phone of her own, and a long one'
  const noMail = { MAIL_PROVIDER: 'none', REGISTRATION: 'closed' }
  const unknown = { exitCode: 1, stdout: '', stderr: 'There is no user with this e-mail.\n' }

  const refused = { exitCode: 1, stdout: '', stderr: 'MAIL_PROVIDER is none: no link can be mailed.\n' }
  t.match(await run(['user', 'invite', '--email', 'ada@example.com'], undefined, noMail), refused)
  t.match(await run(['user', 'reset-password', '--email', 'ada@example.com'], undefined, noMail), refused)
  t.match((await run(['user', 'list'])).result, { users: [] }, 'nobody was made')
  const invited = await run(['user', 'invite', '--email', ' ADA@Example.com', '--two-factor', 'off'])
  t.match(invited, success({ id: /^[0-9a-f-]{36}$/, email: 'ada@example.com' }))
  t.same(Object.keys(invited.result), ['id', 'email'])
  t.same((await run(['user', 'invite', '--email', 'ada@example.com'])).result, invited.result, 'invited again')
  const words = ['user', 'create', '--email', bob.email, '--phone', bob.phone, '--password-stdin']
  bob.id = String((await run(words, `${bob.password}\n`)).result.id)
  t.match(await run(['user', 'invite', '--email', bob.email]), {
    ...{ exitCode: 1, stdout: '', stderr: 'This user has a password: use reset-password.\n' },
  })
  t.match(await run(['user', 'reset-password', '--email', 'nobody@example.com']), unknown)
  t.match(await run(['user', 'forget', '--email', 'nobody@example.com']), unknown)
  for (const command of ['invite', 'reset-password', 'forget']) {
    const wrong = await run(['user', command, '--email', 'no address'])
    t.match(wrong, { exitCode: 1, stdout: '', stderr: /e-mail/ }, command)
  }
  t.match(await run(['user', 'reset-password', '--email', bob.email]), success({ id: bob.id, email: bob.email }))

  await t.test('an invitation lives for seven days, and one use ends all', async (t) => {
    t.match(await login(doorstep, { email: 'ada@example.com', password: next }), { status: 401 })
    const mails = await mailsTo(doorstep, 'ada@example.com')
    const tokens = mails.map(({ text }) => /set-password#token=(\S+)$/m.exec(text)?.[1])
    t.equal(tokens.length, 2)
    const late = await doorstep.sql(
      `SELECT FROM mail_links WHERE email = 'ada@example.com' AND expires_at - created_at = interval '168 hours'`,
    )
    t.equal(late.length, 2)
    const body = { token: tokens[1], password: next }
    t.match(await call(doorstep, '/password/set', { body }), { status: 200, body: { status: 'authenticated' } })
    for (const token of tokens)
      t.equal((await call(doorstep, '/password/set', { body: { ...body, token } })).status, 410)

    t.match(await mailsTo(doorstep, bob.email), [{ text: /set-password#token=/ }])
    const session = await signIn(doorstep, bob)
    t.equal(session.status, 200, 'a reset that is not forced leaves the old password as it was')
  })

  t.match(await run(['user', 'invite', '--email', 'ada@example.com']), { exitCode: 1, stderr: /has a password/ })
  t.match(await run(['user', 'reset-password', '--email', bob.email, '--force']), success({ id: bob.id }))
  await t.test('a forced one makes it useless, ends sessions, and still asks for the second factor', async (t) => {
    const open = await doorstep.sql('SELECT FROM sessions WHERE user_id = $1 AND ended_at IS NULL', [bob.id])
    t.same(open, [])
    t.match(await login(doorstep, bob), { status: 403, body: { code: 'password_reset_required' } })
    await age(doorstep, bob, 61)
    const body = { token: await mailedToken(doorstep, bob.email), password: next }
    const set = await call(doorstep, '/password/set', { body })
    t.match(set, { status: 200, body: { status: '2fa_required', methods: ['sms'] } })
    const done = await finish(doorstep, set.body.pending_token, codeFor(doorstep, bob.phone))
    t.equal((await call(doorstep, '/me', { method: 'DELETE', token: done.body.access_token })).status, 202)
  })

  const back = await run(['user', 'enable', '--email', bob.email])
  t.match(back, success({ id: bob.id, email: bob.email, disabled: false }), 'who had left is back')
  await t.test('and is not erased', async (t) => {
    const [user] = await doorstep.sql('SELECT disabled_at, erases_at FROM users WHERE id = $1', [bob.id])
    t.same(user, { disabled_at: null, erases_at: null })
    await age(doorstep, bob, 61)
    t.equal((await signIn(doorstep, { ...bob, password: next })).status, 200)
  })

  const gone = await run(['user', 'forget', '--email', bob.email], undefined, noMail)
  t.match(gone, { exitCode: 0, stderr: /^(Starting the embedded database .*\n)?$/, result: { id: bob.id } })
  t.same(Object.keys(gone.result), ['id'])
  t.notMatch(gone.stderr, /bob/)
  t.match(await run(['user', 'forget', '--email', bob.email]), unknown)
  const { users } = (await run(['user', 'list'])).result as { users: object[] }
  t.match(users, [{ email: 'ada@example.com' }])
  t.equal(users.length, 1)
})

t.test('sessions revoke-all: nobody is signed in any more, or on the way to it', async (t) => {
  const doorstep = await startDoorstep(t)
  const { sql } = doorstep
  const env = { DATABASE_URL: doorstep.database.url, DATA_DIR: doorstep.config.dataDir, ...testKeys }
  const revoke = () => here(['sessions', 'revoke-all'], { env })
  t.match(await revoke(), success({ users: 0, sessions: 0 }))

  const [signedIn, trusting] = [await createUser(doorstep), await createUser(doorstep)]
  const [begun, idle] = [await createUser(doorstep), await createUser(doorstep)]
  const sessions = [await signIn(doorstep, signedIn), await signIn(doorstep, signedIn)]
  const first = await login(doorstep, trusting)
  const code = codeFor(doorstep, trusting.phone)
  const trusted = await finish(doorstep, first.body.pending_token, code, { body: { trust_device: true } })
  const { device_token } = trusted.body
  t.ok(trusted.body.trusted_until)
  const raised = await call(doorstep, '/login/step-up', { token: trusted.body.access_token, body: {} })
  t.match(raised, { status: 200, body: { status: '2fa_required' } })
  const pending = await login(doorstep, begun)
  await call(doorstep, '/password/forgot', { body: { email: idle.email } })
  const link = await mailedToken(doorstep, idle.email)
  // Of more users than are decided about at once.
  await sql(
    `WITH made AS (INSERT INTO users (email) SELECT 'many-' || n || '@example.org' FROM generate_series(1, 450) n RETURNING id)
     INSERT INTO sessions (id, user_id, amr, acr, authenticated_at, last_used_at, idle_until, expires_at)
     SELECT gen_random_uuid(), id, '{pwd}', 'aal1', now(), now(), now() + interval '1 hour', now() + interval '1 hour' FROM made`,
  )
  await sql(
    `INSERT INTO sessions (id, user_id, amr, acr, authenticated_at, last_used_at, idle_until, expires_at)
     VALUES (gen_random_uuid(), $1, '{pwd}', 'aal1', now(), now(), now() - interval '1 second', now() + interval '1 hour')`,
    [idle.id],
  )

  t.match(await revoke(), success({ users: 453, sessions: 453 }), 'two sessions of one, none of who had only begun')
  t.same(await sql('SELECT FROM sessions WHERE ended_at IS NULL AND idle_until > now()'), [])
  for (const { body } of [...sessions, trusted]) {
    t.equal((await call(doorstep, '/me', { token: body.access_token })).status, 401)
    const refreshed = await call(doorstep, '/token/refresh', { body: { refresh_token: body.refresh_token } })
    t.equal(refreshed.status, 401)
  }
  for (const { body } of [raised, pending])
    t.equal((await call(doorstep, '/login/2fa', { token: body.pending_token })).status, 401)
  await age(doorstep, trusting, 61)
  const again = await login(doorstep, trusting, { body: { device_token } })
  t.match(again, { status: 200, body: { status: '2fa_required' } }, 'no device is trusted')
  const set = await call(doorstep, '/password/set', { body: { token: link, password: 'a new sentence of hers' } })
  t.equal(set.status, 200, 'links live on')

  const events = await sql(`SELECT user_id, outcome, actor_type FROM audit_events WHERE type = 'session.ended'`)
  t.equal(events.length, 453)
  for (const user of [signedIn, trusting, begun])
    t.same(
      events.filter(({ user_id }) => user_id === user.id),
      [{ user_id: user.id, outcome: 'revoked', actor_type: 'operator' }],
    )
})

t.test('no command repeated a password, and every answer was one line of JSON or nothing', async (t) => {
  t.ok(runs.length > 20)
  for (const { stdout, stderr, exitCode } of runs) {
    t.notMatch(stdout + stderr, /Eulen|canary-4711|Password1234|hunter2|windows line|phone of her/)
    t.equal(stdout === '', exitCode !== 0 || stderr.includes('Usage:'))
  }
})
