import { once } from 'node:events'
import { createWriteStream, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { readLines } from '../../src/features/admin/import-lines.ts'
import { importUsers } from '../../src/features/admin/import-users.ts'
import { createPasswordHash } from '../../src/security/password-hash.ts'
import { runCli } from '../helpers/cli.ts'
import { startDoorstep, testKeys } from '../helpers/doorstep.ts'
import { thorough } from '../helpers/effort.ts'
import { login } from '../helpers/story.ts'

// An operator imports a file that was made of another system's tables. Whoever could write one field of one user there, a
// display name or a hash, would with it stop the import, fill the memory of the machine it runs on, or have every later
// login of that account take a core for minutes: anybody can try to sign in to it (SEC-99).

t.setTimeout(600_000)
const doorstep = await startDoorstep(t)
const { sql, services } = doorstep
const mebibyte = 1_024 * 1_024
const salt = 'c2FsdHNhbHRzYWx0c2FsdA'
const key = 'a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2U'

/** Identity's version 3 with numbers of one's choice. */
function identity(prf: number, rounds: number, saltLength: number): string {
  const head = Buffer.alloc(13 + 16 + 32, 5)
  head.writeUInt8(1, 0)
  for (const [at, number] of [prf, rounds, saltLength].entries()) head.writeUInt32BE(number, 1 + 4 * at)
  return `$aspnet$${head.toString('base64')}`
}

const bombs = {
  'argon2 of 4 TiB': `$argon2id$v=19$m=4294967295,t=1,p=1$${salt}$${key}`,
  'argon2 of a million passes': `$argon2i$v=19$m=19456,t=1000000,p=1$${salt}$${key}`,
  'bcrypt of cost 31, for days': `$2b$31$${'a'.repeat(21)}u${'a'.repeat(30)}e`,
  'scrypt of 128 GiB': `$scrypt$ln=27,r=8,p=1$${salt}$${key}`,
  'scrypt, a thousand times in turn': `$scrypt$ln=17,r=8,p=1000$${salt}$${key}`,
  'PBKDF2 of ten billion rounds': `$pbkdf2-sha512$i=9999999999$${salt}$${key}`,
  'Identity of four billion rounds': identity(2, 4_294_967_295, 16),
  'Identity with a salt of 4 GiB': identity(1, 1_000, 4_294_967_295),
  'a hash of 15,000 letters': `$pbkdf2-sha1$i=1000$${salt}$${'k'.repeat(15_000)}`,
  'nothing but separators': '$'.repeat(15_000),
  'nothing but padding': `$aspnet$${'='.repeat(15_000)}`,
}

async function* linesOf(rows: string[]) {
  yield Buffer.from(rows.join('\n'))
}
const bringIn = (rows: string[]) =>
  importUsers(services, readLines(linesOf(rows)), { dryRun: false, tell: async () => {} })

t.test('a hash that is a bomb is refused before any work, and the rows round it come in', async (t) => {
  const { started } = services.passwordHash.load()
  const rows = Object.values(bombs).flatMap((hash, at) => [
    JSON.stringify({ email: `bomb-${at}@example.com`, password_hash: hash }),
    JSON.stringify({ email: `beside-${at}@example.com` }),
  ])
  const { created, failed, codes } = await bringIn(rows)
  const count = Object.keys(bombs).length
  t.same({ created, failed, codes }, { created: count, failed: count, codes: { hash_not_accepted: count } })
  t.equal(services.passwordHash.load().started, started, 'no hash was computed')
  t.same(await sql(`SELECT email FROM users WHERE email LIKE 'bomb-%'`), [])
})

t.test('one that got into the database past the import costs a login no more than any other', async (t) => {
  for (const [name, hash] of Object.entries(bombs)) {
    // What begins as our own do is not judged again: nobody but the service and the import writes one.
    if (hash.startsWith('$argon2id$')) continue
    await sql(`UPDATE users SET password_hash = $1, two_factor = 'off' WHERE email = 'beside-0@example.com'`, [hash])
    const { started } = services.passwordHash.load()
    const answer = await login(doorstep, { email: 'beside-0@example.com', password: 'whatever it is' })
    t.match(answer, { status: 401, body: { code: 'invalid_credentials' } }, name)
    t.equal(services.passwordHash.load().started, started + 1, 'the dummy, as for nobody')
    await sql('DELETE FROM login_throttles')
  }
  await sql(`UPDATE users SET password_hash = NULL WHERE email = 'beside-0@example.com'`)
})

t.test('a line of a gigabyte takes no memory, and the next one is read', async (t) => {
  const source = async function* () {
    yield Buffer.from('{"email":"first@example.com"}\n')
    for (let n = 0; n < 1_024; n += 1) yield Buffer.alloc(mebibyte, 'x')
    yield Buffer.from('\n{"email":"last@example.com"}\n')
  }
  const before = process.memoryUsage().rss
  const lines = []
  for await (const { number, text } of readLines(source())) lines.push([number, text])
  const grown = process.memoryUsage().rss - before
  t.same(lines, [
    [1, '{"email":"first@example.com"}'],
    [2, null],
    [3, '{"email":"last@example.com"}'],
  ])
  t.ok(grown < 400 * mebibyte, `${Math.round(grown / mebibyte)} MiB more`)
})

t.test('JSON as deep as a line is long, in every field, stops nothing', async (t) => {
  const deep = `${'['.repeat(8_000)}${']'.repeat(8_000)}`
  const nested = `${'{"a":'.repeat(2_000)}1${'}'.repeat(2_000)}`
  const names = ['email', 'password_hash', 'phone', 'totp_secret', 'created_at', 'external_id', 'disabled', 'other']
  const rows = [
    deep,
    nested,
    ...names.flatMap((name) => [`{"${name}":${deep}}`, `{"email":"deep@example.com","${name}":${nested}}`]),
    `{${Array.from({ length: 1_000 }, (_, n) => `"n${n}":${n}`).join(',')}}`,
    `{"email":"${'a'.repeat(15_000)}@example.com"}`,
    `{"email":"deep@example.com","totp_secret":"${'='.repeat(15_000)}"}`,
    `{"email":"deep@example.com","phone":"+${'1'.repeat(15_000)}","phone_confirmed":true}`,
  ]
  const { failed, codes } = await bringIn(rows)
  t.equal(failed, rows.length)
  t.same(codes, { invalid_request: rows.length })
  t.same(await sql(`SELECT email FROM users WHERE email = 'deep@example.com'`), [])
})

t.test('the dearest hashes that are accepted leave the event loop to others, and stand in line', async (t) => {
  const line = await createPasswordHash({ memoryKib: 64, time: 1, concurrency: 1, queue: 8 })
  const dear = [
    `$2b$10$${'a'.repeat(21)}u${'a'.repeat(30)}e`,
    `$pbkdf2-sha512$i=${thorough(2_000_000, 300_000)}$${salt}$${key}`,
    `$scrypt$ln=${thorough(17, 15)},r=8,p=1$${salt}$${key}`,
    `$argon2i$v=19$m=65536,t=3,p=1$${salt}$${key}`,
  ]
  let ticks = 0
  const ticking = setInterval(() => {
    ticks += 1
    if (line.load().running > 1) t.fail('two at once')
  }, 5)
  for (const hash of dear) {
    ticks = 0
    t.equal(await line.verify(hash, 'wrong'), false)
    t.ok(ticks >= 3, `${hash.slice(0, 20)}: ${ticks} ticks meanwhile`)
  }
  await Promise.all(dear.map((hash) => line.verify(hash, 'wrong')))
  clearInterval(ticking)
  t.equal(line.load().started, 8)
  await t.rejects(Promise.all(Array.from({ length: 10 }, () => line.verify(dear[0] ?? '', 'wrong'))), { code: 'busy' })
})

/** A file of many users and some bombs among them; a line is about 250 bytes. */
async function writeUsers(path: string, count: number): Promise<void> {
  const out = createWriteStream(path)
  for (let n = 0; n < count; n += 1) {
    const hash = n % 10 === 9 ? bombs['scrypt of 128 GiB'] : `$pbkdf2-sha256$i=600000$${salt}$${key}`
    const row = { email: `many-${n}@example.com`, external_id: `old|${n}`, email_confirmed: true, password_hash: hash }
    if (!out.write(`${JSON.stringify({ ...row, totp_secret: 'JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP' })}\n`))
      await once(out, 'drain')
  }
  out.write(`${'x'.repeat(64 * mebibyte)}\n`)
  out.write('{"email":"the-very-last@example.com"}\n')
  out.end()
  await once(out, 'close')
}

t.test('the command needs no more memory for a long file than for a short one', async (t) => {
  const home = t.testdir()
  const path = join(home, 'users.ndjson')
  const count = thorough(20_000, 3_000)
  await writeUsers(path, count)
  const env = {
    ...{ NODE_ENV: 'test', ARGON2_MEMORY_KIB: '64', ARGON2_TIME: '1', ...testKeys, DATA_DIR: join(home, 'data') },
    // On the embedded database the process has that in its memory too, but not where this counts.
    ...{
      NODE_OPTIONS: '--max-old-space-size=80',
      ...(doorstep.database.isReal && { DATABASE_URL: doorstep.database.url }),
    },
  }
  const report = join(home, 'report.ndjson')
  const run = await runCli(['users', 'import', '--file', path, '--report', report], { cwd: home, env })
  t.match(run, {
    exitCode: 0,
    result: {
      ...{ dry_run: false, rows: count + 2, created: count * 0.9 + 1, exists: 0, failed: count * 0.1 + 1 },
      codes: { hash_not_accepted: count * 0.1, invalid_request: 1 },
    },
  })
  t.equal((run.result.failures as object[] | undefined)?.length, 100, 'the first hundred are named')
  const reported = readFileSync(report, 'utf8').trim().split('\n')
  t.equal(reported.length, count * 0.1 + 1, 'and all of them in the report')
  t.match(JSON.parse(reported.at(-1) ?? ''), { line: count + 1, code: 'invalid_request', message: /16384 bytes/ })

  writeFileSync(path, '{"email":"many-1@example.com"}\n{"email":"one-more@example.com"}\n')
  const again = await runCli(['users', 'import', '--file', path, '--dry-run'], { cwd: home, env })
  t.match(again, { exitCode: 0, result: { dry_run: true, rows: 2, created: 1, exists: 1, failed: 0 } })
})
