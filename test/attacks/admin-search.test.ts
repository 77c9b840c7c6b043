import t from 'tap'
import { ask, makeBackend } from '../helpers/clients.ts'
import { startDoorstep } from '../helpers/doorstep.ts'
import { watchStatements } from '../helpers/statements.ts'
import { createUser, freshPhone } from '../helpers/story.ts'

// Whoever may not read users must not learn from a search who is one, and whoever may must find them all: a backend that pages through
// its users to tell them of a breach, or to erase them, misses nobody because others came or went meanwhile (SEC-118).

t.setTimeout(300_000)

const doorstep = await startDoorstep(t)
const { sql } = doorstep
const backend = await makeBackend(doorstep)
const search = (body: object, by = backend) => ask(doorstep, by, 'POST /admin/users/search', body)
const idsIn = async (body: object): Promise<string[]> =>
  (await search(body)).body.users.map(({ id }: { id: string }) => id)

/** Users that are only rows, a second apart, the oldest first. */
async function rows(count: number, name: string): Promise<string[]> {
  const made = await sql<{ id: string }>(
    `INSERT INTO users (email, created_at) SELECT $1 || n || '@example.org', timestamptz '2020-01-01' + n * interval '1 second'
     FROM generate_series(1, $2) n RETURNING id`,
    [name, count],
  )
  return made.map(({ id }) => id)
}

t.test('without users:read nobody learns who is a user, and the database is not asked', async (t) => {
  const blind = await makeBackend(doorstep, {
    scopes: [
      'introspect',
      'users:write',
      'users:security',
      'users:delete',
      'users:contact',
      'events:read',
      'webhooks:write',
    ],
  })
  const user = await createUser(doorstep)
  const { taken } = watchStatements(t)
  const seen = new Set<string>()
  for (const body of [
    { email: user.email },
    { email: 'nobody@example.com' },
    { phone: user.phone },
    { nonsense: 1 },
    {},
  ]) {
    const { status, body: answer, headers } = await search(body, blind)
    const { instance, ...told } = answer
    t.ok(instance)
    seen.add(JSON.stringify([status, told, headers['content-length']]))
    t.notOk(taken().some((text) => text.includes('search_users')))
  }
  t.equal(seen.size, 1)
  t.match([...seen][0], /403.*insufficient_scope/)
})

t.test('pages hold every user once, while users are made and erased between them', async (t) => {
  const ids = await rows(60, 'paged-')
  // Moments that are the same are told apart too.
  await sql(`UPDATE users SET created_at = timestamptz '2020-01-01 00:00:30' WHERE id = ANY ($1)`, [ids.slice(20, 40)])
  const filter = { email_prefix: 'paged-', limit: 7 }
  const seen: string[] = []
  const gone: string[] = []
  let cursor: string | null = null
  let page = 0
  do {
    const { status, body } = await search({ ...filter, ...(cursor !== null && { cursor }) })
    t.equal(status, 200)
    seen.push(...body.users.map(({ id }: { id: string }) => id))
    t.ok(body.users.length === 7 || body.next_cursor === null)
    cursor = body.next_cursor
    page += 1
    // Newer ones come, one that was seen goes, and the very one that the next page begins after.
    await rows(1, `paged-new-${page}-`)
    await sql(`UPDATE users SET created_at = now() WHERE email = $1`, [`paged-new-${page}-1@example.org`])
    for (const id of [seen.at(-1), seen.at(-3)]) {
      if (id === undefined) continue
      gone.push(id)
      await ask(doorstep, backend, `DELETE /admin/users/${id}`)
    }
    const ahead = ids.find((id) => !seen.includes(id) && !gone.includes(id))
    if (page === 2 && ahead !== undefined) {
      gone.push(ahead)
      await sql('DELETE FROM users WHERE id = $1', [ahead])
    }
  } while (cursor !== null && page < 40)
  t.equal(new Set(seen).size, seen.length, 'nothing twice')
  const stayed = ids.filter((id) => !gone.includes(id))
  t.ok(stayed.length > 20)
  t.same(
    stayed.filter((id) => !seen.includes(id)),
    [],
    'nothing lost',
  )
})

t.test('filters combine, and each finds what it says', async (t) => {
  const shared = freshPhone()
  const [one, two] = [await createUser(doorstep, { phone: shared }), await createUser(doorstep, { phone: shared })]
  await ask(doorstep, backend, `PATCH /admin/users/${one.id}`, { external_id: 'Kundin 1', disabled: true })
  t.same(await idsIn({ email: ` ${one.email.toUpperCase()} ` }), [one.id])
  t.same((await idsIn({ phone: shared })).sort(), [one.id, two.id].sort())
  t.same(
    (await idsIn({ phone: `${shared.slice(0, 5)} (${shared.slice(5, 8)}) ${shared.slice(8)}` })).sort(),
    [one.id, two.id].sort(),
  )
  t.same(await idsIn({ phone: shared, status: 'disabled' }), [one.id])
  t.same(await idsIn({ phone: shared, status: 'active' }), [two.id])
  t.same(await idsIn({ phone: shared, external_id: 'Kundin 1' }), [one.id])
  t.same(await idsIn({ external_id: 'kundin 1' }), [], 'your own names are taken as they are')
  t.same(await idsIn({ email: one.email, external_id: 'another' }), [])
  t.same(await idsIn({ email: one.email, created_after: '2020-01-01T00:00:00Z' }), [one.id])
  t.same(await idsIn({ email: one.email, created_before: '2020-01-01T00:00:00+14:00' }), [])
  const [oldest] = await rows(3, 'moments-')
  t.same(await idsIn({ email_prefix: 'MOMENTS-', created_before: '2020-01-01T00:00:02Z' }), [oldest])
  t.equal((await idsIn({ email_prefix: 'moments-', created_after: '2020-01-01T00:00:01Z' })).length, 2)
  const [past, , next] = await rows(3, 'fraction-')
  const fraction = `UPDATE users SET created_at = '2020-01-01T00:00:05Z'::timestamptz + $2 * interval '1 microsecond' WHERE email = $1`
  for (const [n, micros] of [122_999, 123_456, 124_000].entries())
    await sql(fraction, [`fraction-${n + 1}@example.org`, micros])
  const shown = (await search({ email_prefix: 'fraction-2' })).body.users[0].created_at
  t.equal(shown, '2020-01-01T00:00:05.123Z')
  t.same(await idsIn({ email_prefix: 'fraction-', created_after: shown }), [next], 'later than the time that is shown')
  t.same(await idsIn({ email_prefix: 'fraction-', created_before: shown }), [past])
  const [invited] = await rows(1, 'nobody-has-set-a-password-')
  t.ok((await idsIn({ status: 'invited', limit: 200 })).includes(invited ?? ''))
  await sql(`UPDATE users SET disabled_at = now(), erases_at = now() + interval '1 day' WHERE id = $1`, [two.id])
  t.same(await idsIn({ status: 'erasing' }), [two.id])
})

t.test('what a filter says is text, not a pattern and not SQL', async (t) => {
  await rows(2, 'plain_')
  for (const email_prefix of [
    '%',
    '_',
    'plain%',
    'plain.',
    '.*',
    "' OR true --",
    '$1',
    'plain_1@example.org\u{10ffff}',
  ]) {
    t.same(await idsIn({ email_prefix }), [], email_prefix)
  }
  t.equal((await idsIn({ email_prefix: 'plain_' })).length, 2)
  for (const external_id of ["' OR true --", '%', "$1->>'email'", '\\', '{}']) t.same(await idsIn({ external_id }), [])
})

t.test('a cursor is good for going on, and for nothing else', async (t) => {
  await rows(5, 'cursor-')
  const { next_cursor } = (await search({ email_prefix: 'cursor-', limit: 2 })).body
  t.match(await search({ email_prefix: 'cursor-', cursor: next_cursor }), {
    status: 200,
    body: { users: { length: 3 }, next_cursor: null },
  })
  const id = '6f1c1f5e-7a52-4d3a-9a39-0a1f2b3c4d5e'
  const made = (text: string) => Buffer.from(text).toString('base64url')
  const wrong = [
    ...[
      'x',
      '{}',
      made(''),
      made('1'),
      made(`.${id}`),
      made(`1.${id}x`),
      made(`1.${id.toUpperCase()}`),
      made(`01.${id}`),
    ],
    ...[
      made(`1e9.${id}`),
      made(`99999999999999999999.${id}`),
      made(`1; DROP TABLE users.${id}`),
      made(`NaN.${id}`),
      made(`1.5.${id}`),
    ],
    ...[`${next_cursor}=`, `${next_cursor} `, `${next_cursor}A`, next_cursor.slice(0, -1), 'A'.repeat(128)],
  ]
  for (const cursor of wrong) {
    t.match(
      await search({ cursor }),
      { status: 400, body: { code: 'invalid_request', errors: [{ pointer: '/cursor' }] } },
      cursor.slice(0, 60),
    )
  }
  for (const at of ['0', '-1', '-9007199254740991', '9007199254740991']) {
    t.equal((await search({ cursor: made(`${at}.${id}`) })).status, 200, `made up, but of its form: ${at}`)
  }
})

t.test('what is no search is refused by name', async (t) => {
  const wrong: [object, string][] = [
    [{ limit: 0 }, '/limit'],
    [{ limit: 201 }, '/limit'],
    [{ limit: 1.5 }, '/limit'],
    [{ limit: '50' }, '/limit'],
    [{ limit: -1 }, '/limit'],
    [{ email: 'nobody' }, '/email'],
    [{ email: '' }, '/email'],
    [{ email_prefix: '' }, '/email_prefix'],
    [{ email_prefix: 'x'.repeat(255) }, '/email_prefix'],
    [{ phone: '0171' }, '/phone'],
    [{ status: 'gone' }, '/status'],
    [{ created_after: 'yesterday' }, '/created_after'],
    [{ created_before: '2020-02-30T00:00:00Z' }, '/created_before'],
    [{ created_after: '2016-12-31T23:59:60Z' }, '/created_after'],
    [{ created_after: 1 }, '/created_after'],
    [{ cursor: '' }, '/cursor'],
    [{ cursor: null }, '/cursor'],
    [{ password: 'x' }, '/password'],
  ]
  for (const [body, pointer] of wrong) {
    t.match(
      await search(body),
      { status: 400, body: { code: 'invalid_request', errors: [{ pointer }] } },
      JSON.stringify(body).slice(0, 60),
    )
  }
  for (const created_after of ['0000-01-01T00:00:00Z', '9999-12-31T23:59:59Z', '0001-01-01T00:00:00-23:59']) {
    t.equal((await search({ created_after, limit: 1 })).status, 200, created_after)
  }
})

t.test('a search leaves one event, which says by what was searched and not for whom', async (t) => {
  const before = Number((await sql('SELECT count(*) FROM audit_events'))[0]?.count)
  await search({ email: 'nobody-at-all@example.com', status: 'active', limit: 200 })
  const events = await sql('SELECT * FROM audit_events ORDER BY id OFFSET $1', [before])
  t.match(events, [
    { type: 'user.searched', outcome: 'searched', detail: 'email, status', user_id: null, actor_id: backend.id },
  ])
  t.equal(events.length, 1)
  t.notMatch(doorstep.logs.join(''), 'nobody-at-all')
})

t.test('a search reads few rows of many, whatever it is by', async (t) => {
  if (!doorstep.database.isReal) return t.pass('plans are for a server to make')
  await sql(
    `INSERT INTO users (email, external_id, created_at) SELECT 'crowd-' || n || '@example.org', 'crowd-' || n, now() - n * interval '1 minute'
     FROM generate_series(1, 20000) n`,
  )
  await sql('ANALYZE users')
  const searches = [
    ...[
      {},
      { email: 'crowd-77@example.org' },
      { email_prefix: 'crowd-123' },
      { external_id: 'crowd-9' },
      { phone: freshPhone() },
    ],
    { created_before: Date.now() / 1_000 - 3_600 },
  ]
  for (const filter of searches) {
    await sql('BEGIN')
    await sql('SELECT search_users($1, NULL, 6, $2)', [JSON.stringify(filter), '{"type": "test", "outcome": "test"}'])
    const [{ rows: read } = { rows: 0 }] = await sql(
      `SELECT (coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0))::integer AS rows FROM pg_stat_xact_user_tables WHERE relname = 'users'`,
    )
    await sql('ROLLBACK')
    t.ok(read < 2_000, `${JSON.stringify(filter)}: ${read} rows`)
  }
})
