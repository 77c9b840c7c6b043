import t from 'tap'
import { hasPlainSchema, readDatabaseUrl } from '../../src/store/database-url.ts'

t.test('the schema, and what pg is to connect to', async (t) => {
  const cases: [string, string, string][] = [
    ['postgres://a:b@db/doorstep', 'postgres://a:b@db/doorstep', 'public'],
    ['postgresql://db/d?schema=auth', 'postgresql://db/d', 'auth'],
    ['postgresql://db/d?schema=Auth_1-x', 'postgresql://db/d', 'Auth_1-x'],
    [
      'postgresql://db/d?sslmode=require&schema=auth&application_name=a%20b+c',
      'postgresql://db/d?sslmode=require&application_name=a%20b+c',
      'auth',
    ],
    [
      'postgresql://db/d?pgbouncer=true&connection_limit=5&pool_timeout=3&connect_timeout=300',
      'postgresql://db/d',
      'public',
    ],
    ['postgresql://a:p%3Fschema%3Dx@db/d?sch%65ma=auth', 'postgresql://a:p%3Fschema%3Dx@db/d', 'auth'],
    ['postgresql:///d?host=/run/postgresql&schema=auth', 'postgresql:///d?host=/run/postgresql', 'auth'],
    ['postgresql://db/d?', 'postgresql://db/d', 'public'],
  ]
  for (const [url, connectionString, schema] of cases) {
    t.same(readDatabaseUrl(url), { connectionString, schema }, url)
    t.ok(hasPlainSchema(url))
  }
})

t.test('a schema that is not a plain name is refused, without a word of the URL', async (t) => {
  const long = 'x'.repeat(64)
  for (const schema of [
    '',
    '1st',
    'a.b',
    'a"b',
    "a'b",
    'a;b',
    'a b',
    'ä',
    'pg_catalog',
    'information_schema',
    long,
    'a&schema=b',
  ]) {
    const url = `postgresql://ada:hunter2@db/d?schema=${schema}`
    t.throws(() => readDatabaseUrl(url), { message: /^The schema in DATABASE_URL is not a plain name$/ }, schema)
    t.notOk(hasPlainSchema(url))
  }
})
