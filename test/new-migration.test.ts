import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { writeDifference } from '../prisma/new-migration.ts'
import { migrate } from '../src/store/migrate.ts'
import { catalogue, createHistory, empty, emptyDatabase } from './helpers/catalogue.ts'

// What `npm run migration` writes: the history, and then schema.prisma and the functions' files as they stand.

t.setTimeout(300_000)

const users = `datasource db {
  provider = "postgresql"
}

model User {
  id    Int    @id
  email String @unique
  @@map("users")
}
`

const called = `-- The users with an e-mail.
CREATE OR REPLACE FUNCTION users_called(p_email text) RETURNS integer LANGUAGE sql STABLE AS $$
  SELECT twice(count(*)::integer) FROM users WHERE email = p_email
$$;`
const twice = `CREATE OR REPLACE FUNCTION twice(p_number integer) RETURNS integer LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
BEGIN
  RETURN 2 * p_number; -- one; two

END $$;`
const emailOf = `-- Left alone.
CREATE OR REPLACE FUNCTION email_of(p_user users) RETURNS text LANGUAGE sql AS $$ SELECT p_user.email $$;`
const passing = emailOf.replace('Left alone', 'Not needed for long').replace('email_of', 'passing')

/** As somebody would write it. */
const fileOf = (...functions: string[]): string => `-- What this is about.\n\n${functions.join('\n\n')}\n`

function folderOf(t: Test, files: Record<string, string>): string {
  const folder = mkdtempSync(join(tmpdir(), 'doorstep-functions-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text)
  return folder
}

t.test('from nothing to a first migration, and on from there', async (t) => {
  const { url, sql } = await emptyDatabase(t)
  const { folder: migrations, add } = createHistory(t)
  const write = async (schema: string, ...functions: string[]): Promise<string> => {
    await empty(sql)
    return await writeDifference({
      url,
      migrations,
      schema,
      functions: folderOf(t, { 'users.sql': fileOf(...functions) }),
    })
  }

  const one = await write(users, called, twice, emailOf, passing)
  const table = `-- CreateTable
CREATE TABLE "users" (
    "id" INTEGER NOT NULL,
    "email" TEXT NOT NULL,

    CONSTRAINT "users_pkey" PRIMARY KEY ("id")
);

-- CreateIndex
CREATE UNIQUE INDEX "users_email_key" ON "users"("email");`
  const whole = [table, twice, emailOf, passing, called].join('\n\n')
  t.equal(one, whole, 'all of it, without the name of a schema, and what is called before what calls it')

  const byHand = `CREATE UNIQUE INDEX one_ada ON users (id) WHERE email = 'ada';
    CREATE INDEX small_letters ON users (lower(email));
    ALTER TABLE users SET (fillfactor = 50);
    ALTER TABLE users ADD CONSTRAINT has_at CHECK (email <> '');`
  add('20260101000000_one', `${one}\n\n${byHand}`)
  const same = [passing, emailOf.replace('Left alone', 'In other words'), twice, called]
  t.equal(await write(users, ...same), '', 'nothing has changed, and what Prisma does not know is left as it is')

  const phone = users.replace('@@map', 'phone String?\n  @@map')
  const phoneOf = `-- New.\n${emailOf.split('\n')[1]?.replaceAll('email', 'phone')}`
  const another = twice.replace('2 * p_number', 'p_number + p_number')
  const asText = called.replace('RETURNS integer', 'RETURNS text').replace(/(twice\(.*\)) FROM/, '$1::text FROM')
  const now = [asText, another, emailOf, phoneOf]
  const two = await write(phone, ...now)
  t.equal(
    two,
    [
      'DROP FUNCTION passing(users);',
      'DROP FUNCTION users_called(text);',
      '-- AlterTable\nALTER TABLE "users" ADD COLUMN     "phone" TEXT;',
      ...[another, phoneOf, asText],
    ].join('\n\n'),
    'one gone, one with another result, a new column, one changed, one new that needs the column; and one left alone',
  )
  const asWritten = await catalogue(sql)
  add('20260102000000_two', two)
  t.equal(await write(phone, ...now), '', 'with it the history says what the files say')

  await empty(sql)
  await migrate(url, migrations)
  const ofUsers = (lines: string[]): string[] => lines.filter((line) => !line.includes('_prisma_migrations'))
  const migrated = ofUsers(await catalogue(sql))
  t.same(migrated, ofUsers(asWritten), 'and makes what it was written from')
  for (const name of ['one_ada', 'small_letters', 'fillfactor', 'has_at'])
    t.ok(
      migrated.some((line) => line.includes(name)),
      name,
    )

  await t.test('with another argument it is another function, and the old one goes', async (t) => {
    const wider = another.replace('p_number integer', 'p_number integer, p_more integer DEFAULT 0')
    t.equal(await write(phone, asText, wider, emailOf, phoneOf), `DROP FUNCTION twice(integer);\n\n${wider}`)
  })

  await t.test('what cannot be', async (t) => {
    const wrong: [string, RegExp][] = [
      [emailOf, /^The function email_of is there twice/],
      ['CREATE TABLE mine ();', /^users\.sql has something else than functions: CREATE TABLE mine/],
      [passing.replace('OR REPLACE ', ''), /^users\.sql has something else than functions: CREATE FUNCTION/],
      [passing.replace('p_user.email', 'p_user.nothing'), /^The function passing cannot be made: /],
    ]
    for (const [text, message] of wrong) await t.rejects(write(phone, ...now, text), { message })
  })
})

t.test('the command: a bad name is refused before anything is done', async (t) => {
  const program = fileURLToPath(new URL('../prisma/new-migration.ts', import.meta.url))
  for (const name of [[], ['Two words'], ['../escape'], ['é']]) {
    const run = await new Promise((resolve) =>
      execFile(process.execPath, ['--import=tsx', program, ...name], (error, stdout, stderr) =>
        resolve({ code: error?.code, stdout, stderr }),
      ),
    )
    t.same(run, { code: 1, stdout: '', stderr: 'Usage: npm run migration -- name_in_small_letters\n' })
  }
  t.match(
    readFileSync(new URL('../package.json', import.meta.url), 'utf8'),
    /"migration": "tsx prisma\/new-migration\.ts"/,
  )
})
