import t, { type Test } from 'tap'
import { forgetAccount } from '../../src/features/accounts/forget-account.ts'
import { type Canary, canariesIn } from '../helpers/canaries.ts'
import { dump, tokensOf } from '../helpers/credentials.ts'
import { startDoorstep } from '../helpers/doorstep.ts'
import { createOwner, type Owner, rightAnswer, sessionOf } from '../helpers/equipped.ts'
import { enrol, enrolSms, enrolTotp, forgetSteps, prove, totpCode, wrongTotpCode } from '../helpers/factors.ts'
import { meetAtRow } from '../helpers/hold-row.ts'
import { mailedToken, mailsTo } from '../helpers/links.ts'
import { passDays } from '../helpers/pass-days.ts'
import { type Answer, call, login } from '../helpers/story.ts'

// Who has left is nobody any more: whoever gets hold of the database afterwards, or of a backup of it, finds nothing that says who
// it was, while what happened, and when, can still be told, and nobody else loses anything (SEC-79).

t.setTimeout(300_000)

const doorstep = await startDoorstep(t, { env: { METHODS: 'passkey,totp,sms,email' } })
const { services, sql } = doorstep
const purge = () => services.store.purge.expired({ eventDays: 400, notices: true })

let lives = 0

/** Everything that somebody can do here, done from places and with names that stand for this person alone. */
async function live(): Promise<{ owner: Owner; access: string; canaries: Canary[] }> {
  lives += 1
  const person = {
    agent: `Canary-Browser/${lives}.77 (of one person)`,
    ...{ from: `198.51.100.${lives + 20}`, elsewhere: `203.0.113.${lives + 120}`, before: `10.177.${lives}.9` },
    ...{ email: `canary-now-${lives}@example.net`, next: `canary-next-${lives}@example.net` },
    ...{
      mistyped: `canary-mistyped-${lives}@example.net`,
      device: `Canary's phone ${lives}`,
      factor: `Canary's app ${lives}`,
    },
  }
  const as = (from: string) => ({ from, headers: { 'user-agent': person.agent } })
  const owner = await createOwner(doorstep, ['sms', 'passkey'])
  const old = { email: owner.email, phone: owner.phone }
  // Before and beside the account: asked for by nobody who is known.
  for (const email of [person.next, owner.email]) {
    await call(doorstep, '/register', { body: { email }, ...as(person.before) })
  }
  await login(doorstep, { ...owner, password: 'wrong' }, as(person.elsewhere))
  const first = await login(doorstep, owner, as(person.from))
  const proof = {
    ...rightAnswer(doorstep, owner, 'passkey', first.body),
    device_name: person.device,
    trust_device: true,
  }
  const done = await call(doorstep, '/login/2fa', { token: first.body.pending_token, body: proof, ...as(person.from) })
  const { access } = tokensOf(done)

  await enrolTotp(doorstep, access)
  await enrol(doorstep, access, { method: 'totp', name: person.factor })
  const { secret } = await enrolTotp(doorstep, access)
  const { phone } = await enrolSms(doorstep, access)
  await enrol(doorstep, access, { method: 'recovery_code' })
  await call(doorstep, '/factors', { token: access }).then(({ body }) =>
    call(doorstep, `/factors/${body.factors[0].id}`, { method: 'PATCH', token: access, body: { name: person.factor } }),
  )
  const ask = (email: string) => call(doorstep, '/me/email', { method: 'PUT', token: access, body: { email } })
  await ask(person.mistyped)
  await mailsTo(doorstep, person.mistyped)
  await ask(person.email)
  const link = await mailedToken(doorstep, person.email, 'confirm-email')
  const moved: Answer = await call(doorstep, '/me/email/confirm', {
    token: access,
    body: { token: link },
    ...as(person.from),
  })
  if (moved.status !== 200) throw new Error(`${moved.status}`)
  await ask(person.next)

  const now = { ...owner, email: person.email, phone, secret }
  const again = await login(doorstep, now, { ...as(person.elsewhere), body: { device_token: done.body.device_token } })
  await forgetSteps(doorstep, owner)
  await prove(doorstep, again, { method: 'totp', code: wrongTotpCode(secret) })
  await call(doorstep, '/login/2fa/method', { token: again.body.pending_token, body: { method: 'email' } })
  const third = await login(doorstep, now, as(person.elsewhere))
  await prove(doorstep, third, { method: 'totp', code: totpCode(secret) })
  await call(doorstep, '/password/forgot', { body: { email: person.email }, ...as(person.elsewhere) })
  await mailsTo(doorstep, person.email)
  await call(doorstep, '/register', { body: { email: old.email }, ...as(person.before) })
  await call(doorstep, '/me/export', { token: access, ...as(person.from) })

  const ids = await sql<{ id: string }>(
    `SELECT id::text FROM sessions WHERE user_id = $1 UNION SELECT id::text FROM devices WHERE user_id = $1
     UNION SELECT id::text FROM factors WHERE user_id = $1 UNION SELECT id::text FROM challenges WHERE user_id = $1
     UNION SELECT request_id FROM audit_events WHERE user_id = $1 AND request_id IS NOT NULL`,
    [owner.id],
  )
  const bytes = await sql<{ handle: Buffer; credential: Buffer }>(
    `SELECT handle, (SELECT credential_id FROM factors WHERE user_id = u.id AND method = 'passkey') AS credential FROM users u WHERE id = $1`,
    [owner.id],
  )
  const canaries: Canary[] = [
    // Of whoever asks for a mail only the network is kept.
    ...Object.entries({
      ...person,
      before: `10.177.${lives}.`,
      'old e-mail': old.email,
      'old phone': old.phone,
      phone,
      id: owner.id,
    }).map(([name, value]) => ({ name, value })),
    ...ids.map(({ id }, n) => ({ name: `id ${n}`, value: id })),
    ...bytes.flatMap(({ handle, credential }) => [
      { name: 'handle', value: handle },
      { name: 'credential', value: credential },
    ]),
  ]
  return { owner: now, access, canaries }
}

/** What the database tells of others. */
async function othersRows(others: Owner[]): Promise<Record<string, string[]>> {
  const ids = others.map(({ id }) => id)
  const tables = await sql<{ name: string; column: string }>(
    `SELECT quote_ident(table_name) AS name, column_name AS column FROM information_schema.columns
     WHERE table_schema = 'public' AND (column_name = 'user_id' OR table_name = 'users' AND column_name = 'id') ORDER BY 1`,
  )
  const rows: Record<string, string[]> = {}
  for (const { name, column } of tables) {
    const found = await sql(`SELECT t::text AS row FROM ${name} t WHERE ${column} = ANY ($1) ORDER BY 1`, [ids])
    rows[name] = found.map(({ row }) => row)
  }
  return rows
}

const events = () => sql('SELECT id, at, type, outcome, factor FROM audit_events ORDER BY id')

async function isForgotten(t: Test, canaries: Canary[], last: string, forget: () => Promise<unknown>): Promise<void> {
  const found = canariesIn(await dump(doorstep), canaries)
  t.same(
    canaries.filter(({ name }) => !found.includes(name)),
    [],
    'until then all of it is stored',
  )
  t.ok(canaries.length > 25, `${canaries.length} traces`)
  const before = await events()
  await forget()
  const id = canaries.find(({ name }) => name === 'id')?.value
  const told = await sql('SELECT event_id, user_id FROM forgotten_users WHERE user_id = $1', [id])
  t.same(canariesIn(await dump(doorstep), canaries), ['id'], 'its id is left, for backends that have to forget it too')
  t.match(told, [{ user_id: id }])
  await sql(`UPDATE forgotten_users SET at = at - interval '335 hours'`)
  t.match(await purge(), { forgotten: 0 })
  await sql(`UPDATE forgotten_users SET at = at - interval '2 hours'`)
  t.match(await purge(), { forgotten: 1 }, 'for two weeks')
  t.same(canariesIn(await dump(doorstep), canaries), [], 'nothing says who it was, in no table')
  const after = await events()
  t.same(after.slice(0, before.length), before, 'what happened, and when, is still told')
  t.match(after.slice(before.length), [{ type: 'user.deleted', outcome: last }])
  const [nobody] = await sql(
    `SELECT count(DISTINCT user_id)::integer AS ids, count(*)::integer AS events, count(address)::integer AS addresses,
       count(request_id)::integer AS requests, count(detail)::integer AS details
     FROM audit_events e WHERE user_id = (SELECT user_id FROM audit_events WHERE id = $1)
       AND NOT EXISTS (SELECT FROM users WHERE id = e.user_id)`,
    [after.at(-1)?.id],
  )
  t.match(nobody, { ids: 1, addresses: 0, requests: 0, details: 0 }, 'as of one person who is nobody')
  t.ok(nobody?.events > 15, `${nobody?.events} events`)
}

t.test('of whom an operator forgets nothing is left, and others keep everything', async (t) => {
  const other = await live()
  const { owner, access, canaries } = await live()
  const rest = await othersRows([other.owner])
  t.ok(Object.values(rest).flat().length > 40)
  await isForgotten(t, canaries, 'forgotten', async () => {
    t.same(await forgetAccount(services, { email: ` ${owner.email.toUpperCase()}` }), { id: owner.id })
  })
  t.same(await othersRows([other.owner]), rest)
  t.same(canariesIn(await dump(doorstep), other.canaries).length, other.canaries.length)
  t.match(await call(doorstep, '/me', { token: access }), { status: 401 })
  t.match(await login(doorstep, owner), { status: 401, body: { code: 'invalid_credentials' } })
  await t.rejects(forgetAccount(services, { email: owner.email }), { code: 'not_found' }, 'a second time')
  await t.rejects(forgetAccount(services, { email: 'nobody' }), { code: 'invalid_request' })
  t.equal(
    (await events()).filter(({ type }) => type === 'user.deleted').length,
    1,
    'and nothing more is written about it',
  )
})

t.test('of who has left nothing is left either, once the days are over, and not before', async (t) => {
  const { owner, access, canaries } = await live()
  const left = await call(doorstep, '/me', { method: 'DELETE', token: access })
  t.equal(left.status, 202)
  await mailsTo(doorstep, owner.email)
  await sql(`UPDATE users SET erases_at = now() + interval '1 minute' WHERE id = $1`, [owner.id])
  t.match(await purge(), { accounts: 0 })
  await isForgotten(t, canaries, 'erased', async () => {
    await sql(`UPDATE users SET erases_at = now() - interval '1 second' WHERE id = $1`, [owner.id])
    t.match(await purge(), { accounts: 1 })
    t.match(await purge(), { accounts: 0 })
  })
})

t.test('somebody else who asked for her address, and whose address she asked for', async (t) => {
  const { owner, access } = await live()
  const other = await createOwner(doorstep, ['totp'])
  const first = await login(doorstep, other)
  const session = tokensOf(await prove(doorstep, first, { code: totpCode(other.secret) }))
  await call(doorstep, '/me/email', { method: 'PUT', token: session.access, body: { email: owner.email } })
  await sql(`UPDATE mails SET created_at = created_at - interval '25 hours' WHERE user_id = $1`, [owner.id])
  await call(doorstep, '/me/email', { method: 'PUT', token: access, body: { email: other.email } })
  await call(doorstep, '/password/forgot', { body: { email: other.email } })
  const theirs = () => sql('SELECT id FROM mails WHERE address = $1 AND user_id IS NULL', [other.email])
  const queued = await theirs()
  t.equal(queued.length, 1, 'a mail to them that nobody has looked at yet')

  await forgetAccount(services, { email: owner.email })
  t.same(canariesIn(await dump(doorstep), [{ name: 'e-mail', value: owner.email }]), [])
  t.same(await theirs(), queued, 'which stays')
  t.match(await mailedToken(doorstep, other.email), /^dsm_/)
})

t.test('what was under way when somebody was forgotten writes nothing any more', async (t) => {
  const { owner, canaries } = await live()
  const id = owner.id
  await sql(`UPDATE mails SET created_at = created_at - interval '2 hours' WHERE address = $1`, [owner.email])
  await call(doorstep, '/password/forgot', { body: { email: owner.email } })
  const claimed = await services.store.mails.claimDue(10)
  const mail = claimed.find(({ address }) => address === owner.email)
  await forgetAccount(services, { email: owner.email })

  const before = await events()
  const event = JSON.stringify({ type: 'test', outcome: 'test', address: '198.51.100.254', request_id: 'late' })
  const { hash } = services.mailLinks.make()
  t.match(await services.store.links.prepare(mail?.id ?? 0, hash, services.linkRules.policy), { topic: null })
  t.equal(await services.store.links.ofNotice(mail?.id ?? 0, hash), false)
  await sql('SELECT fail_login($1, NULL, $2)', [id, event])
  await sql(`SELECT set_locale($1, 'de', $2)`, [id, event])
  t.match(await sql('SELECT export_account($1, 5, $2) AS answer', [id, event]), [{ answer: { outcome: 'ended' } }])
  t.match(await sql('SELECT forget_account($1, $2) AS answer', [id, event]), [{ answer: false }])
  t.same(await events(), before)
  t.same(canariesIn(await dump(doorstep), canaries), ['id'], 'which backends are told')
})

t.test('who is forgotten between being let in and the call itself is signed in no longer', async (t) => {
  const { sessions } = services.store
  const { findLive } = sessions
  t.teardown(() => Object.assign(sessions, { findLive }))
  const anId = services.random.uuid()
  const [ended, nothing, empty] = [401, 404, 200]
  type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  const calls: [method: Method, path: string, status: number, body?: object][] = [
    ['GET', '/factors', ended],
    ['POST', '/factors', ended, { method: 'totp' }],
    ['POST', '/factors', ended, { method: 'recovery_code' }],
    ['PATCH', `/factors/${anId}`, nothing, { name: 'x' }],
    ['DELETE', `/factors/${anId}`, nothing],
    ['POST', '/login/step-up', ended, {}],
    ['GET', '/sessions', empty],
    ['DELETE', `/sessions/${anId}`, nothing],
    ['GET', '/devices', empty],
    ['PATCH', `/devices/${anId}`, nothing, { name: 'x' }],
    ['DELETE', `/devices/${anId}`, nothing],
    ['PUT', '/me/password', ended, { current_password: 'x', password: 'a long sentence that only one person knows' }],
    ['PUT', '/me/email', ended, { email: 'elsewhere@example.net' }],
    ['PATCH', '/me', ended, { locale: 'de' }],
    ['GET', '/me/export', ended],
    ['DELETE', '/me', ended],
  ]
  for (const [method, path, status, body] of calls) {
    const owner = await createOwner(doorstep, ['totp'])
    const token = (await sessionOf(doorstep, owner)).access
    const forgetOnce: typeof findLive = async (...named) => {
      const found = await findLive(...named)
      sessions.findLive = findLive
      await forgetAccount(services, { email: owner.email })
      return found
    }
    sessions.findLive = forgetOnce
    const answer = await call(doorstep, path, { method, token, ...(body !== undefined && { body }) })
    t.equal(answer.status, status, `${method} ${path}: ${answer.body.code}`)
    if (status === ended) t.equal(answer.body.code, 'invalid_token', `${method} ${path}`)
    t.match(await call(doorstep, '/me', { token }), { status: 401, body: { code: 'invalid_token' } })
  }
})

t.test('who fails to sign in at that moment waits for it, and is as somebody unknown', async (t) => {
  if (!doorstep.database.isReal) return t.pass('one connection at a time')
  const { owner, canaries } = await live()
  const row = {
    text: 'WITH locked AS (SELECT lock_account($1)) DELETE FROM users USING locked WHERE id = $1',
    ...{ values: [owner.id], waiters: 1 },
  }
  const failed = await meetAtRow(doorstep, row, () =>
    login(doorstep, { ...owner, password: 'wrong' }, { from: '198.51.100.253' }),
  )
  t.match(failed, { status: 401, body: { code: 'invalid_credentials' } })
  t.same(canariesIn(await dump(doorstep), [...canaries, { name: 'last', value: '198.51.100.253' }]), [], 'nor is told')
})

t.test('two replicas erase at once, and an operator brings somebody back at the last moment', async (t) => {
  const people = []
  for (let n = 0; n < 6; n += 1) people.push(await createOwner(doorstep, ['totp']))
  const ids = people.map(({ id }) => id)
  await sql(`UPDATE users SET disabled_at = now(), erases_at = now() - interval '1 minute' WHERE id = ANY ($1)`, [ids])
  await sql(`UPDATE users SET disabled_at = NULL, erases_at = NULL WHERE id = $1`, [ids[0]])
  const [next] = ids.slice(1).sort()
  const row = { text: 'SELECT lock_account($1)', values: [next], waiters: 3 }
  const purged = await meetAtRow(doorstep, row, () => Promise.all([purge(), purge(), purge()]))
  t.equal(
    purged.reduce((sum, { accounts }) => sum + accounts, 0),
    5,
    'each is counted once',
  )
  t.same(await sql('SELECT id FROM users WHERE id = ANY ($1)', [ids]), [{ id: ids[0] }])
  t.same(await sql('SELECT FROM audit_events WHERE user_id = ANY ($1)', [ids.slice(1)]), [])
})

t.test('what was said of somebody goes by itself, too: links, changes and mails have their days', async (t) => {
  const { owner } = await live()
  const kept = () =>
    sql(
      `SELECT (SELECT count(*)::integer FROM mail_links WHERE user_id = u.id) AS links,
         (SELECT count(*)::integer FROM account_changes WHERE user_id = u.id) AS changes,
         (SELECT count(*)::integer FROM mails WHERE user_id = u.id) AS mails FROM users u WHERE id = $1`,
      [owner.id],
    )
  await mailsTo(doorstep, owner.email)
  const [first] = await kept()
  t.ok(first?.links > 5 && first?.changes > 5 && first?.mails > 10)
  await passDays(doorstep, 6)
  await purge()
  const [later] = await kept()
  t.match(later, { changes: first?.changes })
  t.ok(later?.links > 0)
  await passDays(doorstep, 2)
  await purge()
  t.same(await kept(), [{ links: 0, changes: 0, mails: 0 }])
})
