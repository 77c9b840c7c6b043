import { randomBytes, randomUUID } from 'node:crypto'
import t from 'tap'
import { policyOf } from '../../src/features/factors/index.ts'
import { startDoorstep } from '../helpers/doorstep.ts'
import { part } from '../helpers/forge.ts'
import { type Outcome, openSessions, ordersOf, type Script } from '../helpers/interleave.ts'
import { ghostEmail } from '../helpers/password-guesses.ts'
import { createUser, signIn } from '../helpers/story.ts'

t.setTimeout(300_000)

// What is decided about mailed links, two at a time, in every order in which two transactions can run: nobody gains a second
// mail, a second account, or a link that its end has missed, by doing two things at once.

const doorstep = await startDoorstep(t)
const { sql, services, database } = doorstep
const sessions = await openSessions(database, 2)
t.teardown(() => sessions.close())

const event = JSON.stringify({ type: 'test', outcome: 'test' })
const policy = JSON.stringify({ ...policyOf(services), changes_day: 3 })
const linkPolicy = (more: object = {}) => JSON.stringify({ ...services.linkRules.policy, ...more })
const from = () => ({ network: randomUUID(), device: null })

/** A mail that was asked for, and is being sent. */
async function queued(topic: string, address: string, user: string | null = null): Promise<Script> {
  const [mail] = await sql<{ id: string }>(
    `INSERT INTO mails (user_id, kind, topic, address, locale, data, created_at, next_try_at) VALUES ($1, 'link', $2, $3, '', $4, now(), now()) RETURNING id`,
    [user, topic, address, from()],
  )
  return { sql: 'SELECT prepare_link($1, $2, $3)', values: [mail?.id, randomBytes(32), linkPolicy()] }
}

const within = ({ sql: text, values }: Script, more: object): Script => ({
  sql: text,
  values: [...values.slice(0, -1), linkPolicy(more)],
})

/** The use of a link that was mailed to an address a while ago. */
async function use(email: string, user: string | null = null): Promise<Script> {
  const hash = randomBytes(32)
  await sql(
    `INSERT INTO mail_links (token_hash, kind, email, user_id, data, expires_at) VALUES ($1, 'set_password', $2, $3, '{"locale": "en"}', now() + interval '1 hour')`,
    [hash, email, user],
  )
  return {
    sql: 'SELECT set_password($1, $2, $3, $4, $5, $6, $7)',
    values: [hash, 'a hash', 'required', [], null, policy, event],
  }
}

const live = (email: string) =>
  sql<{ kind: string; user_id: string | null }>(
    'SELECT kind, user_id FROM mail_links WHERE email = $1 AND ended_at IS NULL',
    [email],
  )

const said = (outcomes: Outcome[]): string =>
  outcomes
    .map((it) => {
      if ('failed' in it) return it.failed
      const { outcome, topic } = it.value as { outcome?: string; topic?: string | null }
      return outcome ?? topic ?? 'nothing'
    })
    .sort()
    .join()

/** On the embedded database one transaction runs after the other. */
const orders = ordersOf([2, 2]).filter(([a, b]) => database.isReal || a === b)

/** Plays both in every order; `judge` names what is wrong, or gives null. */
function race(
  name: string,
  make: () => Promise<{ scripts: Script[]; judge: (said: string) => Promise<string | null> }>,
) {
  t.test(name, async (t) => {
    for (const order of orders) {
      const { scripts, judge } = await make()
      t.equal(await judge(said(await sessions.play(scripts, order))), null, order.join(''))
    }
  })
}

const be =
  (...expected: string[]) =>
  async (found: string): Promise<string | null> =>
    expected.includes(found) ? null : found

race('two mails to one address: one says something', async () => {
  const email = ghostEmail()
  return {
    scripts: [await queued('register', email), await queued('forgot', email)],
    judge: be('nothing,register', 'no_account,nothing'),
  }
})

race('two mails to addresses without an account, with one left of their half', async () => {
  await sql('DELETE FROM mails')
  const scripts = [await queued('register', ghostEmail()), await queued('forgot', ghostEmail())]
  return {
    scripts: scripts.map((it) => within(it, { link_hour: 2 })),
    judge: be('nothing,register', 'no_account,nothing'),
  }
})

race('two who ask, with one left of what the service sends', async () => {
  await sql('DELETE FROM mails')
  const asking = (): Script => ({
    sql: 'SELECT request_link($1, $2, $3, $4, $5)',
    values: ['register', ghostEmail(), null, from(), linkPolicy({ link_hour: 1 })],
  })
  return { scripts: [asking(), asking()], judge: be('mail_unavailable,queued') }
})

race('two links that register one address: one account, one password', async () => {
  const email = ghostEmail()
  return { scripts: [await use(email), await use(email)], judge: be('expired,set') }
})

race('two links that set the password of an account', async () => {
  const { id, email } = await createUser(doorstep)
  return { scripts: [await use(email, id), await use(email, id)], judge: be('expired,set') }
})

race('a link that registers, while a mail with another one goes out: none outlives it', async () => {
  const email = ghostEmail()
  return {
    scripts: [await use(email), await queued('register', email)],
    judge: async (found) => {
      const left = (await live(email)).filter(({ user_id }) => user_id === null)
      return left.length === 0 ? await be('register,set', 'have_account,set')(found) : `${found}, and a link`
    },
  }
})

race('an account that is disabled while a reset link goes out: none outlives it', async () => {
  const { email } = await createUser(doorstep)
  const disable = {
    sql: 'SELECT change_user($1, $2, $3, $4)',
    values: [email, [], JSON.stringify({ disabled: true }), event],
  }
  return {
    scripts: [disable, await queued('forgot', email)],
    judge: async () => ((await live(email)).length === 0 ? null : 'a link'),
  }
})

race('an e-mail change that is called off by the next one, while its mail goes out', async () => {
  const user = await createUser(doorstep)
  const { body } = await signIn(doorstep, user)
  const session = part(body.access_token, 1).sid
  const [first, next] = [ghostEmail(), ghostEmail()]
  const change = {
    sql: 'SELECT request_email_change($1, $2, $3, $4, $5)',
    values: [user.id, session, next, policy, event],
  }
  return {
    scripts: [change, await queued('confirm_email', first, user.id)],
    judge: async () => ((await live(first)).length === 0 ? null : 'a link'),
  }
})
