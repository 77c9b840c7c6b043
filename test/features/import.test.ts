import { execFileSync, spawn } from 'node:child_process'
import { pbkdf2Sync, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { closeSync, existsSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { setTimeout } from 'node:timers/promises'
import bcrypt from 'bcrypt'
import t from 'tap'
import { createProgress, progressLine } from '../../src/cli/progress.ts'
import { resetPassword } from '../../src/features/accounts/invite-user.ts'
import { longestLine, readLines } from '../../src/features/admin/import-lines.ts'
import { type ImportSummary, importUsers, type RowResult } from '../../src/features/admin/import-users.ts'
import { createForeignHashes } from '../../src/security/foreign-hashes/index.ts'
import { type Doorstep, startDoorstep, testKeys } from '../helpers/doorstep.ts'
import { prove, totpCode } from '../helpers/factors.ts'
import { codeOf, loader } from '../helpers/program.ts'
import { call, codeFor, finish, login } from '../helpers/story.ts'

t.setTimeout(300_000)
const firebase = {
  IMPORT_FIREBASE_SIGNER_KEY:
    'jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLNmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA==',
  IMPORT_FIREBASE_SALT_SEPARATOR: 'Bw==',
}
const doorstep = await startDoorstep(t, { env: firebase })
const { sql } = doorstep
const home = t.testdir()
const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8')

type Row = Record<string, unknown>

/** What the command does with a file of these rows, within this process. */
async function bringIn(
  { services }: Pick<Doorstep, 'services'>,
  rows: (Row | string)[],
  dryRun = false,
): Promise<{ summary: ImportSummary; results: RowResult[] }> {
  const text = rows.map((row) => (typeof row === 'string' ? row : JSON.stringify(row))).join('\n')
  const results: RowResult[] = []
  const tell = async (result: RowResult): Promise<void> => void results.push(result)
  const chunks = async function* () {
    yield Buffer.from(text)
  }
  return { summary: await importUsers(services, readLines(chunks()), { dryRun, tell }), results }
}

const userOf = async (email: string) => {
  const [user] = await sql(
    `SELECT u.*, extract(epoch FROM created_at)::float8 AS created,
      (SELECT json_agg(json_build_object('method', method, 'phone', phone)) FROM factors WHERE user_id = u.id) AS factors
     FROM users u WHERE email = $1`,
    [email],
  )
  return user
}

const password = 'the old password of mine'
const identityBlob = (): string => {
  const salt = randomBytes(16)
  const head = Buffer.alloc(13)
  head.writeUInt8(1, 0)
  for (const [at, number] of [2, 1_000, 16].entries()) head.writeUInt32BE(number, 1 + 4 * at)
  return Buffer.concat([head, salt, pbkdf2Sync(password, salt, 1_000, 32, 'sha512')]).toString('base64')
}

t.test('a row has everything that a user has', async (t) => {
  const { summary, results } = await bringIn(doorstep, [
    {
      ...{
        email: '  Ada@BÜCHER.example ',
        email_confirmed: true,
        external_id: 'legacy-42',
        locale: 'de',
        disabled: false,
      },
      ...{
        password_hash: await bcrypt.hash(password, 4),
        two_factor: 'optional',
        created_at: '2019-05-01T14:00:00+02:00',
      },
      ...{ phone: '+1 (202) 555-0142', phone_confirmed: true, totp_secret: 'gezd gnbv gy3t qojq' },
    },
    { email: 'bare@example.com' },
    { email: 'joined@example.com', external_id: '\u{1f469}\u200d\u{1f52c} \ue000' },
    { email: 'unconfirmed@example.com', phone: '07700 900123', phone_confirmed: false, external_id: null },
    { email: 'closed@example.com', disabled: true, password_hash: `$aspnet$${identityBlob()}` },
  ])
  t.same(summary, { dry_run: false, rows: 5, created: 5, exists: 0, failed: 0, codes: {}, failures: [] })
  t.same(
    results,
    [1, 2, 3, 4, 5].map((line) => ({ line, outcome: 'created' })),
  )

  const ada = await userOf('ada@xn--bcher-kva.example')
  t.match(ada, {
    external_id: 'legacy-42',
    locale: 'de',
    two_factor: 'optional',
    password_state: 'imported',
    disabled_at: null,
  })
  t.equal(ada?.created, Date.parse('2019-05-01T12:00:00Z') / 1_000)
  t.ok(ada?.email_confirmed_at)
  t.same(ada?.factors, [
    { method: 'sms', phone: '+12025550142' },
    { method: 'totp', phone: null },
  ])
  t.match(await userOf('bare@example.com'), {
    ...{ password_hash: null, password_state: 'none', external_id: null, email_confirmed_at: null, factors: null },
    ...{ locale: 'en', two_factor: 'required' },
  })
  t.match(await userOf('joined@example.com'), { external_id: '\u{1f469}\u200d\u{1f52c} \ue000' })
  t.match(await userOf('unconfirmed@example.com'), { factors: null }, 'a phone that was not confirmed is no factor')
  t.ok((await userOf('closed@example.com'))?.disabled_at)
  t.equal((await login(doorstep, { email: 'closed@example.com', password })).status, 401, 'disabled stays disabled')

  const events = await sql(
    `SELECT type, outcome, actor_type, actor_id FROM audit_events e JOIN users u ON u.id = e.user_id ORDER BY e.id`,
  )
  t.equal(events.filter(({ type }) => type === 'user.created').length, 5, 'an event for each, no more')
  t.match(events[0], { type: 'user.created', outcome: 'imported', actor_type: 'operator', actor_id: null })
})

t.test('the old password and the old app sign in, and the hash is replaced at that moment', async (t) => {
  const user = { email: 'ada@xn--bcher-kva.example', password }
  t.equal((await login(doorstep, { ...user, password: 'another one' })).status, 401)
  t.match(
    await userOf(user.email),
    { password_state: 'imported', password_hash: /^\$2b\$04\$/ },
    'a wrong one replaces nothing',
  )
  const first = await login(doorstep, user)
  t.match(first, { status: 200, body: { status: '2fa_required', methods: ['totp', 'sms'] } })
  t.match(await userOf(user.email), { password_state: 'set', password_hash: /^\$argon2id\$v=19\$m=64,t=1,p=1\$/ })
  const done = await prove(doorstep, first, { code: totpCode('GEZDGNBVGY3TQOJQ') })
  t.match(done, { status: 200, body: { status: 'authenticated' } })
  const again = await login(doorstep, user)
  t.equal(again.status, 200, 'and so it does from then on')
  const texted = await call(doorstep, '/login/2fa/method', { token: again.body.pending_token, body: { method: 'sms' } })
  t.equal(texted.status, 200)
  const code = codeFor(doorstep, '+12025550142')
  t.equal((await finish(doorstep, again.body.pending_token, code, { body: { method: 'sms' } })).status, 200)
})

t.test('every kind of hash signs in, and is upgraded', async (t) => {
  const salt = Buffer.from('0123456789abcdef')
  const phc = (bytes: Buffer): string => bytes.toString('base64').replaceAll('=', '')
  const pbkdf2 = (digest: string) =>
    `$pbkdf2-${digest}$i=1000$${phc(salt)}$${phc(pbkdf2Sync(password, salt, 1_000, 32, digest))}`
  const v2 = Buffer.concat([Buffer.of(0), salt, pbkdf2Sync(password, salt, 1_000, 32, 'sha1')]).toString('base64')
  const same = await doorstep.services.passwordHash.hash(password)
  const hashes: Record<string, [string, string]> = {
    argon2i: ['password', '$argon2i$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$wWKIMhR9lyDFvRz9YTZweHKfbftvj+qf+YFY4NeBbtA'],
    argon2id: [password, same],
    bcrypt: [password, (await bcrypt.hash(password, 4)).replace('$2b$', '$2y$')],
    scrypt: [
      'pleaseletmein',
      '$scrypt$ln=14,r=8,p=1$U29kaXVtQ2hsb3JpZGU$cCO9yzr9c0hGHAbNgf046/2o+7qQT44+qbVD9lRdofLVQylVYT8Pz2LUlwUkKpr55h6F3A1lHkDfzwF7RVdYhw',
    ],
    sha1: [password, pbkdf2('sha1')],
    sha256: [password, pbkdf2('sha256')],
    sha512: [password, pbkdf2('sha512')],
    firebase: [
      'user1password',
      '$firebase$ln=14,r=8,p=1$42xEC+ixf3L2lw==$lSrfV15cpx95/sZS2W9c9Kp6i/LVgQNDNC/qzrCnh1SAyZvqmZqAjTdn3aoItz+VHjoZilo78198JAdRuid5lQ==',
    ],
    aspnet2: [password, `$aspnet$${v2}`],
    aspnet3: [password, `$aspnet$${identityBlob()}`],
  }
  const emailOf = (kind: string): string => `${kind}@kinds.example.com`
  const rows = Object.entries(hashes).map(([kind, [, hash]]) => ({
    email: emailOf(kind),
    password_hash: hash,
    two_factor: 'off',
  }))
  t.match((await bringIn(doorstep, rows)).summary, { created: rows.length })
  t.same(await doorstep.services.loginFloor.look(), { otherHashes: 9 }, 'all but ours, and no kind twice')
  for (const [kind, [right]] of Object.entries(hashes)) {
    const user = { email: emailOf(kind), password: right }
    t.equal((await login(doorstep, { ...user, password: `${right}!` })).status, 401, `${kind}: wrong`)
    t.match(await login(doorstep, user), { status: 200, body: { status: 'authenticated' } }, `${kind}: right`)
    const now = await userOf(user.email)
    t.match(now, { password_state: 'set', password_hash: /^\$argon2id\$v=19\$m=64,t=1,p=1\$/ }, `${kind}: replaced`)
    t.not(now?.password_hash, hashes[kind]?.[1])
    t.equal((await login(doorstep, user)).status, 200, `${kind}: again`)
    t.equal((await login(doorstep, { ...user, password: `${right}!` })).status, 401)
  }
})

t.test(
  'a password of more than 72 bytes: bcrypt reads the first of them, and from then on all of it counts',
  async (t) => {
    const long = 'a'.repeat(80)
    const email = 'long@example.com'
    const hash = '$2b$04$abcdefghijklmnopqrstuuBzzIgyKkz7xMWYSzkIjUSnxEQFQ0WNe'
    await bringIn(doorstep, [{ email, password_hash: hash, two_factor: 'off' }])
    t.equal((await login(doorstep, { email, password: long })).status, 200)
    t.equal((await login(doorstep, { email, password: long })).status, 200)
    t.equal((await login(doorstep, { email, password: 'a'.repeat(72) })).status, 401, 'no longer by the first 72 alone')
  },
)

t.test('the state of a password: a forced reset outlives an import, and a new password ends it', async (t) => {
  const row = { email: 'state@example.com', password_hash: `$aspnet$${identityBlob()}`, two_factor: 'off' }
  await bringIn(doorstep, [row])
  await resetPassword(doorstep.services, { email: row.email, force: true })
  t.match(await userOf(row.email), { password_state: 'reset_required' })
  t.match(await login(doorstep, { email: row.email, password }), {
    status: 403,
    body: { code: 'password_reset_required' },
  })
  t.match(await userOf(row.email), { password_state: 'reset_required', password_hash: /^\$aspnet/ })
})

t.test('a second run makes nobody twice and changes nobody', async (t) => {
  const rows = [
    { email: 'twice@example.com', external_id: 'twice-1', locale: 'de' },
    { email: 'Twice@example.com', external_id: 'twice-2' },
    { email: 'other@example.com', external_id: 'twice-1' },
    { email: 'third@example.com', external_id: 'twice-3' },
  ]
  const dry = await bringIn(doorstep, rows, true)
  const before = await sql('SELECT count(*) FROM users')
  const first = await bringIn(doorstep, rows)
  const outcomes = (results: RowResult[]) => results.map(({ outcome }) => outcome)
  t.same(outcomes(first.results), ['created', 'exists', 'failed', 'created'])
  t.match(first.results[2], { line: 3, code: 'conflict', message: /external_id/ })
  t.same(dry.results, first.results, 'a dry run says the same')
  t.match(dry.summary, { dry_run: true, created: 2 })
  t.equal(Number((await sql('SELECT count(*) FROM users'))[0]?.count) - Number(before[0]?.count), 2)
  const second = await bringIn(
    doorstep,
    rows.map((row) => ({ ...row, locale: 'en' })),
  )
  t.same(outcomes(second.results), ['exists', 'exists', 'failed', 'exists'])
  t.match(await userOf('twice@example.com'), { locale: 'de', external_id: 'twice-1' })
})

t.test('a phone serves three users, whoever brings it', async (t) => {
  const phone = { phone: '+12125550177', phone_confirmed: true }
  const { results } = await bringIn(
    doorstep,
    ['a', 'b', 'c', 'd'].map((name) => ({ email: `${name}@phones.example.com`, ...phone })),
  )
  t.same(
    results.map(({ outcome }) => outcome),
    ['created', 'created', 'created', 'failed'],
  )
  t.match(results[3], { code: 'conflict', message: /phone/ })
  t.equal(await userOf('d@phones.example.com'), undefined)
})

t.test('a dry run foresees all that lines take from each other, also over many of them', async (t) => {
  const four = ['a', 'b', 'c', 'd'].map((name) => ({
    ...{ email: `${name}@dry.example.com`, phone: '+12125550178', phone_confirmed: true },
  }))
  t.match((await bringIn(doorstep, four, true)).summary, { created: 3, failed: 1, codes: { conflict: 1 } })
  t.equal(await userOf('a@dry.example.com'), undefined)

  const rowOf = (n: number): Row => ({
    email: `dry-${n % 331}@example.com`,
    ...(n % 3 !== 0 && { external_id: `dry-${n % 257}` }),
    ...(n % 2 === 0 && { phone: `+12125550${100 + (n % 37)}`, phone_confirmed: n % 5 !== 0 }),
  })
  // Some are there before, of whom each has something that others bring along.
  await bringIn(doorstep, [8, 16, 34, 36, 100].map(rowOf))
  const rows = Array.from({ length: 900 }, (_, n) => rowOf((n * 7) % 1_009))
  const dry = await bringIn(doorstep, rows, true)
  const real = await bringIn(doorstep, rows)
  t.same(dry.results, real.results)
  t.same(dry.summary, { ...real.summary, dry_run: true })
  const messages = real.results.map((it) => (it.outcome === 'failed' ? it.message.split(' ')[0] : it.outcome))
  for (const what of ['created', 'exists', 'external_id', 'phone']) {
    t.ok(messages.filter((it) => it === what).length >= 10, `${what}: ${messages.filter((it) => it === what).length}`)
  }
  t.ok(messages.slice(400).includes('phone') && messages.slice(400).includes('created'), 'not in the first batch alone')
})

t.test('with few words for what is wrong with a row, none of them the row’s own', async (t) => {
  const good = { email: 'canary@example.com' }
  const wrong: [Row | string, string, RegExp][] = [
    ['not json', 'invalid_request', /JSON object/],
    ['[]', 'invalid_request', /JSON object/],
    ['null', 'invalid_request', /JSON object/],
    ['"canary"', 'invalid_request', /JSON object/],
    ['{"email":"canary@example.com"', 'invalid_request', /JSON object/],
    ['{"email":"canary@example.com"} {}', 'invalid_request', /JSON object/],
    [{}, 'invalid_request', /^email/],
    [{ email: null }, 'invalid_request', /^email/],
    [{ email: 42 }, 'invalid_request', /^email/],
    [{ email: 'canary' }, 'invalid_request', /^email/],
    [{ email: 'ca\u0000nary@example.com' }, 'invalid_request', /^email/],
    [{ email: '\ud800@example.com' }, 'invalid_request', /^email/],
    [{ email: `${'c'.repeat(250)}@example.com` }, 'invalid_request', /^email/],
    [{ ...good, canary_name: 1 }, 'invalid_request', /^a name/],
    [{ ...good, id: 'x' }, 'invalid_request', /^a name/],
    ['{"email":"canary@example.com","__proto__":{"disabled":true}}', 'invalid_request', /^a name/],
    [{ ...good, email_confirmed: 'true' }, 'invalid_request', /^email_confirmed/],
    [{ ...good, disabled: 1 }, 'invalid_request', /^disabled/],
    [{ ...good, phone_confirmed: 'yes' }, 'invalid_request', /^phone_confirmed/],
    [{ ...good, external_id: '' }, 'invalid_request', /^external_id/],
    [{ ...good, external_id: 7 }, 'invalid_request', /^external_id/],
    [{ ...good, external_id: 'x'.repeat(256) }, 'invalid_request', /^external_id/],
    [{ ...good, external_id: 'a\nb' }, 'invalid_request', /^external_id/],
    [{ ...good, external_id: 'a\u0085b' }, 'invalid_request', /^external_id/],
    [{ ...good, external_id: `e${'\u0301'.repeat(255)}` }, 'invalid_request', /^external_id/],
    [{ ...good, external_id: '\udc00' }, 'invalid_request', /^external_id/],
    [{ ...good, locale: 'english please' }, 'invalid_request', /^locale/],
    [{ ...good, two_factor: 'always' }, 'invalid_request', /^two_factor/],
    [{ ...good, created_at: '2019' }, 'invalid_request', /^created_at/],
    [{ ...good, created_at: 1_556_712_000 }, 'invalid_request', /^created_at/],
    [{ ...good, created_at: '2019-13-01T00:00:00Z' }, 'invalid_request', /^created_at/],
    [{ ...good, created_at: '2019-02-30T00:00:00Z' }, 'invalid_request', /^created_at/],
    [{ ...good, created_at: '1901-01-01T00:00:00Z' }, 'invalid_request', /^created_at/],
    [{ ...good, created_at: '2999-01-01T00:00:00Z' }, 'invalid_request', /^created_at/],
    [{ ...good, password_hash: '' }, 'hash_not_accepted', /one of \$argon2id\$/],
    [{ ...good, password_hash: 'canary' }, 'hash_not_accepted', /one of/],
    [{ ...good, password_hash: '$2b$31$canary' }, 'hash_not_accepted', /bcrypt of cost 4 to 14/],
    [{ ...good, password_hash: '$aspnet$canary' }, 'hash_not_accepted', /1000000 rounds/],
    [{ ...good, password_hash: {} }, 'invalid_request', /^password_hash/],
    [{ ...good, phone: '07700 900123', phone_confirmed: true }, 'phone_not_allowed', /country code/],
    [{ ...good, phone: '+12025550142'.repeat(30), phone_confirmed: true }, 'invalid_request', /^phone/],
    [{ ...good, totp_secret: 'canary' }, 'invalid_request', /^totp_secret/],
    [{ ...good, totp_secret: 'GEZDGNBV' }, 'invalid_request', /^totp_secret/],
    [{ ...good, totp_secret: '1'.repeat(32) }, 'invalid_request', /^totp_secret/],
    [{ ...good, totp_secret: 'A'.repeat(128) }, 'invalid_request', /^totp_secret/],
  ]
  const { summary, results } = await bringIn(doorstep, [
    { email: 'before@example.com' },
    ...wrong.map(([row]) => row),
    { email: 'after@example.com' },
  ])
  t.match(summary, { rows: wrong.length + 2, created: 2, failed: wrong.length })
  t.equal(
    Object.values(summary.codes).reduce((sum, count) => sum + count, 0),
    wrong.length,
  )
  for (const [at, [row, code, message]] of wrong.entries()) {
    t.match(results[at + 1], { line: at + 2, outcome: 'failed', code, message }, JSON.stringify(row).slice(0, 80))
  }
  t.notMatch(JSON.stringify(results), /canary|cccc/)
  t.equal(await userOf('canary@example.com'), undefined)
})

t.test('lines are counted as an editor counts them, and end as any system ends them', async (t) => {
  const collect = async (...chunks: (string | Uint8Array)[]) => {
    const lines = []
    const source = async function* () {
      for (const chunk of chunks) yield Buffer.from(chunk as string)
    }
    for await (const line of readLines(source())) lines.push([line.number, line.text])
    return lines
  }
  t.same(await collect(), [])
  t.same(await collect('\n\n'), [])
  t.same(await collect('\ufeff{"a":1}\r\n\r\n {"b"', ':2}'), [
    [1, '{"a":1}\r'],
    [3, ' {"b":2}'],
  ])
  const owl = Buffer.from('🦉\n')
  t.same(await collect(owl.subarray(0, 2), owl.subarray(2)), [[1, '🦉']], 'a letter may be cut in two')
  t.same(await collect(Buffer.of(0xff, 0x0a, 0x61)), [
    [1, null],
    [2, 'a'],
  ])
  t.same(await collect('x'.repeat(longestLine), '\n', 'y'.repeat(longestLine), 'y\nz'), [
    [1, 'x'.repeat(longestLine)],
    [2, null],
    [3, 'z'],
  ])
})

t.test('a terminal is told how far it is, how fast it goes and how long it takes', async (t) => {
  t.equal(progressLine({ rows: 12_000, bytes: 25, size: 100, ms: 5_000 }), '12,000 rows, 2,400 a second, 0:15 left')
  t.equal(progressLine({ rows: 1, bytes: 1, size: 1_000, ms: 1_000 }), '1 rows, 1 a second, 16:39 left')
  t.equal(progressLine({ rows: 5, bytes: 5, size: 0, ms: 0 }), '5 rows, 5,000 a second')
  let now = 0
  const shown = (isTTY: boolean): string => {
    const to = Object.assign(new PassThrough({ encoding: 'utf8' }), { isTTY })
    const progress = createProgress({ clock: { nowMs: () => now }, to, size: 300 })
    for (const bytes of [100, 200, 300]) {
      now += 600
      progress.step(bytes)
    }
    progress.end(300)
    return String(to.read() ?? '')
  }
  t.equal(shown(true), '\r\u001b[K2 rows, 2 a second, 0:01 left\r\u001b[K3 rows, 2 a second, 0:00 left\n')
  t.equal(shown(false), '', 'nobody else is')
})

t.test('what README says of hashes is what is read', async (t) => {
  const { kinds } = createForeignHashes({ signerKey: Buffer.alloc(64), saltSeparator: Buffer.alloc(1) })
  const rows = kinds.map(({ begins, bounds }) => `| ${begins.map((it) => `\`${it}\``).join(' ')} | ${bounds} |`)
  t.match(
    readme,
    `<!-- hashes -->\n| \`password_hash\` begins | what is accepted |\n|---|---|\n${rows.join('\n')}\n<!-- /hashes -->`,
  )
})

t.test("README's statement moves in from a database laid out as ASP.NET Core Identity's", async (t) => {
  const [, statement = ''] = /<!-- identity -->\n```sql\n([\s\S]*?)```/.exec(readme) ?? []
  t.match(statement, /AspNetUsers/)
  // As Identity's own migration makes them on Postgres.
  await sql(`CREATE SCHEMA identity; SET search_path TO identity;
    CREATE TABLE "AspNetUsers" ("Id" text PRIMARY KEY, "UserName" varchar(256), "NormalizedUserName" varchar(256) UNIQUE,
      "Email" varchar(256), "NormalizedEmail" varchar(256), "EmailConfirmed" boolean NOT NULL, "PasswordHash" text,
      "SecurityStamp" text, "ConcurrencyStamp" text, "PhoneNumber" text, "PhoneNumberConfirmed" boolean NOT NULL,
      "TwoFactorEnabled" boolean NOT NULL, "LockoutEnd" timestamptz, "LockoutEnabled" boolean NOT NULL,
      "AccessFailedCount" integer NOT NULL);
    CREATE TABLE "AspNetUserTokens" ("UserId" text REFERENCES "AspNetUsers", "LoginProvider" text, "Name" text, "Value" text,
      PRIMARY KEY ("UserId", "LoginProvider", "Name"));
    CREATE TABLE "AspNetUserClaims" ("Id" integer GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
      "UserId" text NOT NULL REFERENCES "AspNetUsers", "ClaimType" text, "ClaimValue" text);
    CREATE TABLE "AspNetUserLogins" ("LoginProvider" text, "ProviderKey" text, "ProviderDisplayName" text,
      "UserId" text NOT NULL REFERENCES "AspNetUsers", PRIMARY KEY ("LoginProvider", "ProviderKey"));
    CREATE TABLE "AspNetRoles" ("Id" text PRIMARY KEY, "Name" varchar(256), "NormalizedName" varchar(256), "ConcurrencyStamp" text);
    CREATE TABLE "AspNetUserRoles" ("UserId" text REFERENCES "AspNetUsers", "RoleId" text REFERENCES "AspNetRoles",
      PRIMARY KEY ("UserId", "RoleId"));`)
  t.teardown(() => sql('SET search_path TO public'))
  type Old = { name: string; email?: string | null; confirmed?: boolean; hash?: string | null; phone?: string | null }
  type OldState = {
    phoneConfirmed?: boolean
    twoFactor?: boolean
    lockoutEnd?: string | null
    lockoutEnabled?: boolean
    failed?: number
  }
  const add = async ({ name, ...user }: Old & OldState): Promise<void> => {
    const email = user.email === undefined ? `${name}@old.example.com` : user.email
    await sql(
      `INSERT INTO "AspNetUsers" VALUES ($1::text, $1, upper($1), $2::text, upper($2), $3, $4, 'STAMP', 'c', $5, $6, $7, $8::timestamptz, $9, $10)`,
      [
        ...[
          name,
          email,
          user.confirmed ?? true,
          user.hash === undefined ? identityBlob() : user.hash,
          user.phone ?? null,
        ],
        ...[
          user.phoneConfirmed ?? false,
          user.twoFactor ?? false,
          user.lockoutEnd ?? null,
          user.lockoutEnabled ?? true,
        ],
        user.failed ?? 0,
      ],
    )
  }
  const key = 'JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP'
  const addKey = (name: string) =>
    sql(
      `INSERT INTO "AspNetUserTokens" VALUES ($1, '[AspNetUserStore]', 'AuthenticatorKey', $2),
      ($1, '[AspNetUserStore]', 'RecoveryCodes', 'AAAAA-BBBBB;CCCCC-DDDDD')`,
      [name, key],
    )
  await add({ name: 'plain', failed: 4, lockoutEnd: new Date(Date.now() + 300_000).toISOString() })
  await add({
    name: 'v2',
    hash: 'AAABAgMEBQYHCAkKCwwNDg+ukCEMDf0yyQ29NYubggHIVY0sdEUfdyeM+E1LtH1uJg==',
    confirmed: false,
  })
  await add({ name: 'app', twoFactor: true })
  await add({ name: 'half', twoFactor: false })
  for (const name of ['app', 'half']) await addKey(name)
  await add({ name: 'texts', twoFactor: true, phone: '+12025550186', phoneConfirmed: true })
  await add({ name: 'dirty', twoFactor: true, phone: '07700 900123', phoneConfirmed: true })
  await add({ name: 'unsure', phone: '12', phoneConfirmed: false })
  await add({ name: 'banned', lockoutEnd: '9999-12-31T23:59:59.9999999+00:00' })
  await add({ name: 'forever', lockoutEnd: 'infinity' })
  await add({ name: 'unlockable', lockoutEnd: 'infinity', lockoutEnabled: false })
  await add({ name: 'external', hash: null })
  await add({ name: 'nobody', email: null })
  await add({ name: 'plain2', email: 'Plain@old.example.com' })
  await sql(
    `INSERT INTO "AspNetUserClaims" ("UserId", "ClaimType", "ClaimValue") VALUES ('app', 'locale', 'de_DE'), ('app', 'name', 'App')`,
  )

  // As psql -At prints it: a row a line.
  const rows = (await sql<{ json_strip_nulls: object }>(statement)).map((row) => JSON.stringify(Object.values(row)[0]))
  await sql('SET search_path TO public')
  t.equal(rows.length, 12, 'all who have an e-mail')
  const { results } = await bringIn(doorstep, rows)
  const outcomeOf = (name: string) => results[rows.findIndex((row) => JSON.parse(row).external_id === name)]
  t.match(outcomeOf('dirty'), { outcome: 'failed', code: 'phone_not_allowed' })
  t.match(outcomeOf('plain2'), { outcome: 'exists' })
  t.equal(results.filter(({ outcome }) => outcome === 'created').length, 10)

  const signIn = (name: string, old = password) => login(doorstep, { email: `${name}@old.example.com`, password: old })
  t.match(await signIn('plain'), { status: 200 }, 'failures and a lockout of minutes stay behind')
  t.match(await signIn('v2', 'my password'), { status: 200 }, 'a hash of version 2')
  t.match(await userOf('v2@old.example.com'), { external_id: 'v2', email_confirmed_at: null, two_factor: 'required' })
  const app = await signIn('app')
  t.match(app, { status: 200, body: { status: '2fa_required', challenge: { method: 'totp' } } })
  t.match(await prove(doorstep, app, { code: totpCode(key) }), { status: 200, body: { status: 'authenticated' } })
  t.match(await userOf('app@old.example.com'), { locale: 'de-DE', two_factor: 'required' })
  t.match(await userOf('half@old.example.com'), { factors: null }, 'a key that was never confirmed is none')
  const texts = await signIn('texts')
  t.match(texts, { body: { challenge: { method: 'sms', destination: '+1 •••••••• 86' } } })
  t.match(await finish(doorstep, texts.body.pending_token, codeFor(doorstep, '+12025550186')), { status: 200 })
  t.match(await userOf('unsure@old.example.com'), { factors: null })
  for (const name of ['banned', 'forever']) {
    t.ok((await userOf(`${name}@old.example.com`))?.disabled_at, `${name} is disabled`)
    t.equal((await signIn(name)).status, 401)
  }
  t.match(await signIn('unlockable'), { status: 200 }, 'a lockout that was never in force')
  t.match(await userOf('external@old.example.com'), { password_hash: null, password_state: 'none' })
})

t.test('the file of the command', async (t) => {
  const { runHere } = await import('../helpers/cli.ts')
  const path = join(home, 'users.ndjson')
  writeFileSync(path, '{"email":"file-1@example.com"}\n{"email":"file-2@example.com","disabled":7}\n')
  const missing = await runHere(['users', 'import', '--file', join(home, 'none')], { env: {} })
  t.match(missing, { exitCode: 1, stdout: '', stderr: /--file cannot be read/ })
  t.match(await runHere(['users', 'import', '--file', home], { env: {} }), {
    exitCode: 1,
    stderr: /--file cannot be read/,
  })
  t.match(await runHere(['users', 'import'], { env: {} }), { exitCode: 2, stderr: /--file is missing/ })
  t.match(await runHere(['users', 'import', '--file', path, '--force'], { env: {} }), {
    exitCode: 2,
    stderr: /^Usage: .*users import --file/,
  })
  const taken = await runHere(['users', 'import', '--file', path, '--report', path], { env: {} })
  t.match(taken, { exitCode: 1, stderr: /--report cannot be made, or is there already/ })
  t.match(readFileSync(path, 'utf8'), 'file-1', 'and is not overwritten')
  t.notOk(existsSync(join(home, 'none')))
})

t.test('a run that is cut short leaves no empty report, and can be done again', async (t) => {
  const { runHere } = await import('../helpers/cli.ts')
  const env = { NODE_ENV: 'test', ...testKeys }
  const [file, report] = [join(home, 'rows.ndjson'), join(home, 'report.ndjson')]
  writeFileSync(file, '{"email":"report-1@example.com"}\n')
  const words = ['users', 'import', '--file', file, '--report', report]
  const away = { ...env, DATABASE_URL: 'postgresql://ada@127.0.0.1:1/none' }
  for (const time of ['once', 'again']) {
    t.match(await runHere(words, { env: away }), { exitCode: 1, stderr: /cannot be reached/ }, time)
    t.notOk(existsSync(report))
  }
  if (!doorstep.database.isReal) return t.pass('the command would open a second embedded database')

  const here = { ...env, DATABASE_URL: doorstep.database.url }
  await sql('ALTER FUNCTION import_users(jsonb, jsonb) RENAME TO import_away')
  const failed = await runHere(words, { env: here })
  await sql('ALTER FUNCTION import_away(jsonb, jsonb) RENAME TO import_users')
  t.match(failed, { exitCode: 1, stdout: '' })
  t.notOk(existsSync(report), 'nor does one that fails on its way')

  const pipe = join(home, 'pipe')
  execFileSync('mkfifo', [pipe])
  const held = openSync(pipe, 'r+')
  const child = spawn(
    process.execPath,
    [...loader, codeOf('src/cli.ts'), 'users', 'import', '--file', pipe, '--report', report],
    { cwd: home, env: { PATH: process.env.PATH, ...here }, stdio: 'ignore' },
  )
  const left = once(child, 'exit')
  for (let n = 0; n < 600 && !existsSync(report); n += 1) await setTimeout(100)
  t.ok(existsSync(report), 'made once the database is there')
  child.kill('SIGINT')
  t.same(await left, [null, 'SIGINT'])
  closeSync(held)
  t.notOk(existsSync(report), 'nor does one that is interrupted')

  writeFileSync(file, '{"email":"report-1@example.com"}\n{"email":7}\n')
  t.match(await runHere(words, { env: here }), { exitCode: 0, result: { created: 1, failed: 1 } })
  t.match(readFileSync(report, 'utf8'), /^\{"line":2,"outcome":"failed".*\}\n$/)
  t.match(await runHere(words, { env: here }), { exitCode: 1, stderr: /is there already/ })
})
