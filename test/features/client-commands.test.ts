import pg from 'pg'
import t from 'tap'
import { isScope, scopes } from '../../src/scopes.ts'
import { runHere } from '../helpers/cli.ts'
import { ask, basicOf } from '../helpers/clients.ts'
import { startDoorstep, testKeys } from '../helpers/doorstep.ts'

t.setTimeout(300_000)

const bare = { NODE_ENV: 'test', ARGON2_MEMORY_KIB: '64', ARGON2_TIME: '1', ...testKeys }

t.test('a command line that is wrong is told so, and nothing is opened', async (t) => {
  const wrong: [string[], RegExp][] = [
    [['client', 'create'], /^--name is missing/],
    [['client', 'create', '--name', 'shop'], /^--scope is missing/],
    [['client', 'create', '--name', ' ', '--scope', 'users:read'], /^--name must have 1 to 100/],
    [['client', 'create', '--name', 'x'.repeat(101), '--scope', 'users:read'], /^--name must have 1 to 100/],
    [['client', 'create', '--name', 'shop', '--scope', 'users:all'], /^--scope must be of introspect, users:read/],
    [
      ['client', 'create', '--name', 'shop', '--scope', 'users:read', '--secret', 'x'],
      /^Usage: npm run cli -- client create/,
    ],
    ...['', ' , ', ' '].map((it): [string[], RegExp] => [
      ['client', 'create', '--name', 'shop', '--scope', 'users:read', '--network', it],
      /^--network is empty\.$/m,
    ]),
    [['client', 'rotate'], /^--id is missing/],
    [['client', 'disable'], /^--id is missing/],
    [['client', 'enable', '--id', 'x'], /^There is no such command/],
  ]
  for (const [words, stderr] of wrong) t.match(await runHere(words, { env: bare }), { exitCode: 2, stdout: '', stderr })
  t.notOk(isScope('users:all'))
})

t.test('clients are made, listed, rotated and disabled at the command line', async (t) => {
  const doorstep = await startDoorstep(t)
  if (!doorstep.database.isReal) return t.pass('the commands would open a second embedded database')
  const cli = (...words: string[]) =>
    runHere(['client', ...words], { env: { ...bare, DATABASE_URL: doorstep.database.url } })
  const search = async (id: string, secret: unknown) =>
    (await ask(doorstep, { basic: basicOf(id, String(secret)) }, 'POST /admin/users/search', {})).status

  const made = await cli(
    ...['create', '--name', ' the shop ', '--scope', 'users:write,users:read', '--scope', 'users:read'],
    ...['--expires', '2100-01-31', '--network', '127.0.0.1', '--network', '::ffff:192.0.2.77/120'],
  )
  const { id, secret } = made.result as { id: string; secret: string }
  t.match(made, { exitCode: 0, stderr: '' })
  t.same(made.result, {
    ...{ id, secret, name: 'the shop', scopes: ['users:read', 'users:write'] },
    ...{ networks: ['127.0.0.1/32', '192.0.2.0/24'], expires_at: '2100-01-31T00:00:00.000Z' },
  })
  t.equal(await search(id, secret), 200)

  const listed = await cli('list')
  t.match(listed.result, {
    clients: [
      {
        id,
        name: 'the shop',
        expires_at: '2100-01-31T00:00:00.000Z',
        disabled_at: null,
        last_used_at: /Z$/,
        secrets: [{ expires_at: null }],
      },
    ],
  })
  t.notMatch(listed.stdout, /dss_/)

  const rotated = await cli('rotate', '--id', id)
  t.match(rotated.result, { id, secret: /^dss_/, old_secret_expires_at: /Z$/ })
  for (const one of [secret, rotated.result.secret]) t.equal(await search(id, one), 200)
  t.match((await cli('list')).result, { clients: [{ secrets: [{ expires_at: /Z$/ }, { expires_at: null }] }] })

  t.same((await cli('disable', '--id', id)).result, { id, disabled: true })
  for (const one of [secret, rotated.result.secret]) t.equal(await search(id, one), 401)
  t.match(await cli('rotate', '--id', id), { exitCode: 1, stderr: 'This client is disabled: make another.\n' })
  t.match(await cli('disable', '--id', 'dsc_none'), { exitCode: 1, stderr: 'There is no client with this id.\n' })

  const events = await doorstep.sql(
    `SELECT type, detail, actor_type FROM audit_events WHERE type LIKE 'client.%' ORDER BY id`,
  )
  const types = ['client.created', 'client.rotated', 'client.disabled']
  t.same(
    events,
    types.map((type) => ({ type, detail: id, actor_type: 'operator' })),
  )

  const refused: [string[], RegExp][] = [
    ...['yesterday', '2020-01-01', '2100-13-01', '2100-02-29', '2100-02-30T00:00:00Z', '100'].map(
      (it): [string[], RegExp] => [['--expires', it], /^expires must be /],
    ),
    ...[
      'x',
      '192.0.2.0/33',
      '192.0.2',
      '192.0.2/24',
      '0.0.0.0/0',
      '::/0',
      '3221225985',
      '2001:db8::/129',
      '192.0.2.1/',
    ].map((it): [string[], RegExp] => [['--network', it], /^network must be an address or a CIDR/]),
  ]
  for (const [words, stderr] of refused) {
    t.match(
      await cli('create', '--name', 'x', '--scope', 'introspect', ...words),
      { exitCode: 1, stdout: '', stderr },
      words.join(' '),
    )
  }
  t.equal((await doorstep.sql('SELECT FROM clients')).length, 1)
  for (const it of ['2100-02-28t12:00:00z', '2100-02-28T14:00+02:00']) {
    const words = ['create', '--name', 'x', '--scope', 'introspect', '--expires', it]
    t.match((await cli(...words)).result, { expires_at: '2100-02-28T12:00:00.000Z' }, it)
  }
  t.equal(scopes.length, 8)
})

t.test('a lock that another session holds is called that', async (t) => {
  const doorstep = await startDoorstep(t)
  if (!doorstep.database.isReal) return t.pass('the commands would open a second embedded database')
  const other = new pg.Client({ connectionString: doorstep.database.url })
  await other.connect()
  t.teardown(() => other.end())
  await other.query('BEGIN; LOCK TABLE clients')
  const env = { ...bare, DATABASE_URL: doorstep.database.url }
  const stderr = /^Another session of the database holds a lock .*\n$/
  for (const words of [['list'], ['create', '--name', 'shop', '--scope', 'introspect']]) {
    t.match(await runHere(['client', ...words], { env }), { exitCode: 1, stdout: '', stderr })
  }
  await other.query('ROLLBACK')
  t.match(await runHere(['client', 'list'], { env }), { exitCode: 0, result: { clients: [] } })
})

t.test('what an operator does at the command line is recorded as an operator\u2019s', async (t) => {
  const doorstep = await startDoorstep(t)
  if (!doorstep.database.isReal) return t.pass('the commands would open a second embedded database')
  const email = 'ada@example.com'
  const cli = async (...words: string[]) => {
    const run = await runHere(words, {
      env: { ...bare, DATABASE_URL: doorstep.database.url },
      input: 'a sentence that nobody else has',
    })
    t.match(run, { exitCode: 0 }, words.join(' '))
  }
  const before = Number((await doorstep.sql('SELECT max(id) FROM audit_events'))[0]?.max ?? 0)
  await cli('user', 'create', '--email', email, '--password-stdin')
  for (const word of ['unlock', 'disable', 'enable', 'revoke', 'reset-password', 'reset-factors'])
    await cli('user', word, '--email', email)
  await cli('user', 'set-password', '--email', email, '--password-stdin')
  await cli('user', 'set-phone', '--email', email, '--phone', '+12025550123')
  await cli('user', 'reset-password', '--force', '--email', email)
  await cli('user', 'invite', '--email', 'grace@example.com')
  await cli('user', 'forget', '--email', email)
  await cli('keys', 'rotate')
  await cli('keys', 'rotate', '--now')
  const events = await doorstep.sql('SELECT type, actor_type FROM audit_events WHERE id > $1 ORDER BY id', [before])
  t.same([...new Set(events.map(({ actor_type }) => actor_type))], ['operator'])
  t.same(
    events.map(({ type }) => type),
    [
      ...['user.created', 'user.unlocked', 'user.disabled', 'user.enabled', 'session.ended', 'user.changed'],
      ...['factor.removed', 'password.changed', 'factor.added', 'password.reset_forced'],
      ...['user.created', 'user.changed', 'user.deleted'],
      ...['key.created', 'key.created'],
    ],
  )
})
