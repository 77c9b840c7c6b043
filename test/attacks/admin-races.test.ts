import t, { type Test } from 'tap'
import { ask, makeBackend } from '../helpers/clients.ts'
import { dump } from '../helpers/credentials.ts'
import { startDoorstep } from '../helpers/doorstep.ts'
import { createOwner, type Owner, sessionOf } from '../helpers/equipped.ts'
import type { Answer } from '../helpers/story.ts'
import { isOverloaded, repeat, tally, together } from '../helpers/together.ts'

// Backends retry: a lost reply, two workers with the same job, a queue that delivers twice. If the same call at the same time makes
// two users, mails fifty links or lets one number through twice, a retry is an attack on somebody's mailbox or identity.

t.setTimeout(300_000)

const many = 50
const doorstep = await startDoorstep(t, { env: { LOG_LEVEL: 'silent', RATE_CLIENT_MINUTE: '100000' } })
const { sql } = doorstep
const backend = await makeBackend(doorstep)
const send = (what: string, body?: unknown) => ask(doorstep, backend, what, body)

let made = 0
const freshEmail = (): string => {
  made += 1
  return `raced-${made}@example.net`
}
const count = async (text: string, values: unknown[]) =>
  Number((await sql(`SELECT count(*) FROM ${text}`, values))[0]?.count)
const mailsOf = (id: string, topic: string) => count('mails WHERE user_id = $1 AND topic = $2', [id, topic])
const eventsOf = (id: string, type: string) => count('audit_events WHERE user_id = $1 AND type = $2', [id, type])

/** Fifty of one call at once, until a burst goes through without an overload; `exact`: what must then have been answered. */
async function burst(
  t: Test,
  work: (index: number) => Promise<Answer>,
  exact: Record<string, number>,
): Promise<Answer[]> {
  const answers = await together(many, work)
  if (isOverloaded(answers)) t.comment('this machine was too slow for a burst')
  else t.same(tally(answers), exact)
  for (const name of Object.keys(tally(answers))) t.ok(name in exact || name.startsWith('503'), name)
  return answers
}

t.test('fifty that make one user make one, and invite it once', async (t) => {
  const email = freshEmail()
  const answers = await burst(t, () => send('POST /admin/users', { email, external_id: email }), {
    201: 1,
    '409 conflict': many - 1,
  })
  const [user, ...more] = await sql('SELECT id FROM users WHERE email = $1', [email])
  t.same(more, [])
  for (const { status, body } of answers) if (status === 409) t.equal(body.user_id, user?.id)
  t.equal(await mailsOf(user?.id, 'invite'), 1)
  t.equal(await eventsOf(user?.id, 'user.created'), 1)
})

t.test('of fifty users with one external id there is one', async (t) => {
  const external_id = freshEmail()
  const answers = await burst(t, () => send('POST /admin/users', { email: freshEmail(), external_id }), {
    201: 1,
    '409 conflict': many - 1,
  })
  const [user, ...more] = await sql('SELECT id FROM users WHERE external_id = $1', [external_id])
  t.same(more, [])
  for (const { status, body } of answers) if (status === 409) t.equal(body.user_id, user?.id)
  t.equal(await count(`users WHERE external_id IS NULL AND email LIKE 'raced-%'`, []), 0, 'nothing half made is left')
})

t.test('two users who are to have one e-mail at the same time: one has it', async (t) => {
  await repeat(t, 3, async () => {
    const email = freshEmail()
    const [one, two] = [await createOwner(doorstep, ['totp']), await createOwner(doorstep, ['totp'])]
    const answers = await together(10, (n) => send(`PATCH /admin/users/${(n % 2 === 0 ? one : two).id}`, { email }))
    t.equal(await count('users WHERE email = $1', [email]), 1)
    if (isOverloaded(answers)) return false
    t.same(tally(answers), { 200: 5, '409 conflict': 5 })
    return true
  })
})

t.test('a change said fifty times is made, recorded and told once', async (t) => {
  const owner = await createOwner(doorstep)
  const path = `PATCH /admin/users/${owner.id}`
  const email = freshEmail()
  await burst(t, () => send(path, { email }), { 200: many })
  t.equal(await mailsOf(owner.id, 'email.set'), 1)
  t.equal(await eventsOf(owner.id, 'email.changed'), 1)
  await burst(t, () => send(path, { disabled: true }), { 200: many })
  t.equal(await mailsOf(owner.id, 'account.disabled'), 1)
  t.equal(await eventsOf(owner.id, 'user.disabled'), 1)
  await burst(t, (n) => send(path, { disabled: n % 2 === 0 }), { 200: many })
  t.equal(
    await eventsOf(owner.id, 'user.disabled'),
    await mailsOf(owner.id, 'account.disabled'),
    'each time it was so is told',
  )
})

t.test('fifty that ask for a new password are one mail', async (t) => {
  const owner = await createOwner(doorstep)
  const path = `POST /admin/users/${owner.id}/password-reset`
  await burst(t, () => send(path, {}), { 202: many })
  t.equal(await mailsOf(owner.id, 'reset'), 1)
  await burst(t, () => send(path, { force: true }), { 202: many })
  t.equal(await mailsOf(owner.id, 'reset_forced'), 1)
  await burst(t, () => send(`POST /admin/users/${owner.id}/unlock`, { all: true }), { 204: many })
})

t.test('what is taken away fifty times is taken once, and told once', async (t) => {
  const owner = await createOwner(doorstep)
  await sessionOf(doorstep, owner)
  const path = `/admin/users/${owner.id}`
  const whole = (await send(`GET ${path}`)).body
  const once = { 204: 1, '404 not_found': many - 1 }
  for (const [thing, type] of Object.entries({
    sessions: 'session.ended',
    devices: 'device.removed',
    factors: 'factor.removed',
  })) {
    await burst(t, () => send(`DELETE ${path}/${thing}/${whole[thing][0].id}`), once)
    t.equal(await eventsOf(owner.id, type), 1, type)
  }
  t.equal(await mailsOf(owner.id, 'factor.reset'), 1)
  for (const thing of ['sessions', 'devices', 'factors'])
    await burst(t, () => send(`DELETE ${path}/${thing}`), { 204: many })
  t.equal(await mailsOf(owner.id, 'factors.reset'), 1)
})

t.test('who is erased while everything else is asked for is gone whole', async (t) => {
  const erase = async (owner: Owner): Promise<Answer[]> => {
    const path = `/admin/users/${owner.id}`
    const calls: [string, unknown?][] = [
      ...([
        [`GET ${path}`],
        [`DELETE ${path}`],
        [`DELETE ${path}/factors`],
        [`DELETE ${path}/sessions`],
        [`DELETE ${path}/devices`],
      ] as [string][]),
      [`PATCH ${path}`, { external_id: `name-of-${owner.id}`, locale: 'de' }],
      [`PATCH ${path}`, { disabled: true }],
      [`POST ${path}/password-reset`, { force: true }],
      [`POST ${path}/unlock`, { all: true }],
    ]
    return together(many, (n) => {
      const [what, body] = calls[n % calls.length] as [string, unknown?]
      return send(what, body)
    })
  }
  for (let round = 0; round < 3; round += 1) {
    const owner = await createOwner(doorstep)
    await sessionOf(doorstep, owner)
    const answers = await erase(owner)
    t.notOk(answers.some(({ status }) => status === 500 || status === 409))
    if ((await send(`DELETE /admin/users/${owner.id}`)).status === 204) t.comment('it was too slow for the race')
    const told = await sql('DELETE FROM forgotten_users WHERE user_id = $1 RETURNING event_id', [owner.id])
    t.equal(told.length, 1, 'for two weeks backends hear whom to forget')
    const left = await dump(doorstep)
    for (const trace of [owner.id, owner.email, owner.phone]) t.notMatch(left, trace)
  }
})

t.test('fifty searches are fifty answers', async (t) => {
  const owner = await createOwner(doorstep)
  const answers = await burst(t, () => send('POST /admin/users/search', { email: owner.email }), { 200: many })
  for (const { status, body } of answers)
    if (status === 200) t.match(body, { users: [{ id: owner.id }], next_cursor: null })
})
