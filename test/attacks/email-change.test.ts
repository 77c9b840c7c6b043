import t, { type Test } from 'tap'
import { age } from '../helpers/age.ts'
import { plantDevice, refresh } from '../helpers/credentials.ts'
import { startDoorstep } from '../helpers/doorstep.ts'
import { createOwner, type Owner, rightAnswer } from '../helpers/equipped.ts'
import { prove } from '../helpers/factors.ts'
import { mailedToken, mailsTo } from '../helpers/links.ts'
import { passDays } from '../helpers/pass-days.ts'
import { type Answer, call, createUser, login, signIn } from '../helpers/story.ts'
import { phish } from '../helpers/thief.ts'

// Whoever can move an account to another mailbox has it for good. So it takes a fresh session and that mailbox, and tells nobody
// but the mailbox whether it has an account; whoever holds only one of the two gets nowhere (SEC-115).

t.setTimeout(300_000)

const doorstep = await startDoorstep(t)
const { sql } = doorstep
const password = 'a long sentence that only she knows'
const me = (token: string) => call(doorstep, '/me', { token })
const ask = (token: string, email: string) => call(doorstep, '/me/email', { method: 'PUT', token, body: { email } })
const confirm = (token: string | undefined, link: string) =>
  call(doorstep, '/me/email/confirm', { ...(token && { token }), body: { token: link } })
const expired = { status: 410, body: { code: 'link_expired' } }

let addresses = 0
const freshEmail = () => `moved-${++addresses}@example.net`

/** What a client can tell apart: everything but the request id and the time. */
const seen = ({ status, body, headers }: Answer) => {
  const { date: _date, 'x-request-id': _id, ...kept } = headers
  return { status, body: { ...body, instance: '' }, headers: kept }
}

const purge = () => doorstep.services.store.purge.expired({ eventDays: 400, notices: true })

t.test(
  'free, taken, mistyped or her own: the answer is one, and what there is to know only that mailbox learns',
  async (t) => {
    const other = await createUser(doorstep)
    const answers: Answer[] = []
    for (const kind of ['free', 'taken', 'closed', 'own'] as const) {
      const owner = await createOwner(doorstep, ['totp'])
      const session = await phish(doorstep, owner)
      const closed = await createUser(doorstep)
      await sql('UPDATE users SET disabled_at = now() WHERE id = $1', [closed.id])
      const email = { free: freshEmail(), taken: other.email, closed: closed.email, own: owner.email }[kind]
      answers.push(await ask(session.access, ` ${email.toUpperCase()} `))
      const mails = await mailsTo(doorstep, email)
      const link = mails.find(({ text }) => text.includes('confirm-email'))
      t.equal(link !== undefined, kind === 'free', kind)
      if (kind !== 'free') t.ok(mails.some(({ subject }) => subject.startsWith('This e-mail address is taken')))
      const told = (await mailsTo(doorstep, owner.email)).filter(({ subject }) =>
        subject.startsWith('Change of e-mail address'),
      )
      t.match(told, [{ text: /not-me#token=/ }], 'the mailbox that the account has is told')
      t.match((await me(session.access)).body, { email: owner.email }, 'nothing has changed')
    }
    for (const answer of answers) t.same(seen(answer), seen(answers[0] as Answer))
    t.match(answers[0], { status: 202, body: { status: 'mail_sent' } })

    const owner = await createOwner(doorstep, ['totp'])
    const session = await phish(doorstep, owner)
    t.match(await ask(session.access, 'no address'), { status: 400, body: { code: 'invalid_request' } })
  },
)

t.test('a stolen session that is not fresh, or weak, moves nothing', async (t) => {
  const owner = await createOwner(doorstep, ['totp'])
  const session = await phish(doorstep, owner)
  await age(doorstep, owner, 601)
  const refused = await ask(session.access, freshEmail())
  t.match(refused, { status: 401, body: { code: 'insufficient_user_authentication' } })
  t.match(refused.headers['www-authenticate'], /acr_values="aal2", max_age="600"/)
  await sql(`UPDATE sessions SET authenticated_at = now(), acr = 'aal1' WHERE user_id = $1`, [owner.id])
  t.match(await ask(session.access, freshEmail()), { status: 401, body: { code: 'insufficient_user_authentication' } })
  t.same(await sql(`SELECT FROM mails WHERE user_id = $1 AND topic LIKE '%email%'`, [owner.id]), [])
})

/** Owner, session and a link to another address. */
async function asked(email = freshEmail()) {
  const owner = await createOwner(doorstep, ['totp'])
  const session = await phish(doorstep, owner)
  const answer = await ask(session.access, email)
  if (answer.status !== 202) throw new Error(`${answer.status}`)
  return { owner, session, email, link: await mailedToken(doorstep, email, 'confirm-email') }
}

t.test('the link alone is nothing: it wants a session of the same user, and works once, for a day', async (t) => {
  const { owner, session, email, link } = await asked()
  t.match(await confirm(undefined, link), { status: 401, body: { code: 'invalid_token' } }, 'no session')
  const stranger = await signIn(doorstep, await createUser(doorstep))
  t.match(await confirm(stranger.body.access_token, link), expired, "another user's")
  t.match(await call(doorstep, '/password/set', { body: { token: link, password } }), expired, 'not for a password')
  t.match((await me(session.access)).body, { email: owner.email })
  t.match(await confirm(session.access, link), { status: 200, body: { email, email_confirmed: true, id: owner.id } })
  t.match(await confirm(session.access, link), expired, 'once')
  t.match((await me(session.access)).body, { email }, 'this session goes on')

  const late = await asked()
  await sql(`UPDATE mail_links SET expires_at = expires_at - interval '23 hours 58 minutes' WHERE email = $1`, [
    late.email,
  ])
  await sql(`UPDATE mail_links SET expires_at = expires_at - interval '3 minutes' WHERE email = $1`, [late.email])
  t.match(await confirm(late.session.access, late.link), expired, 'after 24 hours')
  const inTime = await asked()
  await sql(`UPDATE mail_links SET expires_at = expires_at - interval '23 hours 58 minutes' WHERE email = $1`, [
    inTime.email,
  ])
  t.match(await confirm(inTime.session.access, inTime.link), { status: 200 }, 'before')
})

t.test('a mistyped address: the next request ends its link, also one that is still on its way', async (t) => {
  const { owner, session, link } = await asked()
  const second = freshEmail()
  t.equal((await ask(session.access, second)).status, 202)
  t.match(await confirm(session.access, link), expired, 'the first link')
  const third = freshEmail()
  t.equal((await ask(session.access, third)).status, 202, 'the second was never sent')
  t.same(await mailsTo(doorstep, second), [], 'nor is it now')
  const right = await mailedToken(doorstep, third, 'confirm-email')

  const fourth = await ask(session.access, freshEmail())
  t.match(fourth, { status: 429, body: { code: 'mail_limit_reached' } }, 'three in a day')
  t.ok(fourth.body.retry_after > 86_000 && fourth.body.retry_after <= 86_400, `${fourth.body.retry_after}`)
  await purge()
  t.match(await ask(session.access, freshEmail()), { status: 429 }, 'also those that were not sent after all')
  t.match(await confirm(session.access, right), { status: 200, body: { email: third } }, 'the last link still works')
  t.match(await ask(session.access, freshEmail()), { status: 429 }, 'and a change refills nothing')
  await sql(`UPDATE mails SET created_at = created_at - interval '24 hours' WHERE user_id = $1`, [owner.id])
  t.match(await ask(session.access, freshEmail()), { status: 202 }, 'a day later')
})

t.test('a link that a replica is about to send when the next request comes is none', async (t) => {
  const owner = await createOwner(doorstep, ['totp'])
  const session = await phish(doorstep, owner)
  await mailsTo(doorstep, owner.email)
  await ask(session.access, freshEmail())
  const [mail] = await doorstep.services.store.mails
    .claimDue(10)
    .then((mails) => mails.filter((it) => it.kind === 'link'))
  t.equal(mail?.topic, 'confirm_email')
  await ask(session.access, freshEmail())
  const { token, hash } = doorstep.services.mailLinks.make()
  const prepared = await doorstep.services.store.links.prepare(mail?.id ?? 0, hash, doorstep.services.linkRules.policy)
  t.match(prepared, { topic: null })
  t.match(await confirm(session.access, token), expired)
})

t.test('an address that became somebody else’s meanwhile is not given away', async (t) => {
  const { owner, session, email, link } = await asked()
  await call(doorstep, '/register', { body: { email } })
  const registered = await mailedToken(doorstep, email)
  t.equal((await call(doorstep, '/password/set', { body: { token: registered, password } })).status, 200)
  t.match(await confirm(session.access, link), expired)
  t.match((await me(session.access)).body, { email: owner.email })
  const accounts = await sql('SELECT id FROM users WHERE email = $1', [email])
  t.equal(accounts.length, 1)
  t.not(accounts[0]?.id, owner.id)

  const other = await asked()
  await createUser(doorstep, { email: other.email })
  t.match(await confirm(other.session.access, other.link), expired, 'made by an operator')
})

t.test('once it has changed, what was begun with the old address is over, and the new one signs in', async (t) => {
  const owner = await createOwner(doorstep, ['totp'])
  const device = await plantDevice(doorstep, owner)
  await sql(`UPDATE devices SET trusted_until = now() + interval '30 days' WHERE user_id = $1`, [owner.id])
  const other = await phish(doorstep, owner)
  const session = await phish(doorstep, owner)
  const email = freshEmail()
  await ask(session.access, email)
  const link = await mailedToken(doorstep, email, 'confirm-email')
  await call(doorstep, '/password/forgot', { body: { email: owner.email } })
  const reset = await mailedToken(doorstep, owner.email)
  const underWay = await login(doorstep, owner)
  t.equal(underWay.body.status, '2fa_required')
  t.match(await confirm(session.access, link), { status: 200 })

  t.match(await me(other.access), { status: 401 }, 'another session')
  t.match(await refresh(doorstep, other.refresh), { status: 401 })
  t.equal((await refresh(doorstep, session.refresh)).status, 200, 'this one goes on')
  t.match(await prove(doorstep, underWay, rightAnswer(doorstep, owner, 'totp', underWay.body)), { status: 401 })
  t.match(await call(doorstep, '/password/set', { body: { token: reset, password } }), expired, 'the old reset link')
  await sql(`UPDATE mails SET created_at = created_at - interval '2 hours' WHERE address = $1`, [owner.email])
  await call(doorstep, '/password/forgot', { body: { email: owner.email } })
  const mails = await mailsTo(doorstep, owner.email)
  t.ok(mails.some(({ subject }) => subject.startsWith('There is no account')))
  t.equal(mails.filter(({ text }) => text.includes('set-password')).length, 1, 'and no other is mailed')

  await signsInWith(t, owner, email, device)
  const told = [...(await mailsTo(doorstep, owner.email)), ...(await mailsTo(doorstep, email))]
  const changed = told.filter(({ subject }) => subject.startsWith('E-mail address changed'))
  t.same(changed.map(({ to, text }) => [to, text.includes('not-me#token=')]).sort(), [
    [owner.email, true],
    [email, false],
  ])
})

async function signsInWith(t: Test, owner: Owner, email: string, device: string): Promise<void> {
  const old = await login(doorstep, owner)
  const unknown = await login(doorstep, { email: freshEmail(), password: owner.password })
  t.same(seen({ ...old, headers: {} }), seen({ ...unknown, headers: {} }), 'the old one is as one that nobody has')
  const now = await login(doorstep, { ...owner, email }, { body: { device_token: device } })
  t.match(now, { status: 200, body: { status: '2fa_required' } }, 'the device is known, and trusted no longer')
}

t.test(
  'whoever has locked the new address beforehand does not lock out her devices, nor do her old locks follow',
  async (t) => {
    const { owner, session, email, link } = await asked()
    const device = await plantDevice(doorstep, owner)
    for (let n = 0; n < 5; n += 1) {
      await login(doorstep, { email, password: 'wrong' })
      await login(doorstep, { ...owner, password: 'wrong' })
    }
    t.match(await confirm(session.access, link), { status: 200 })
    const moved = { ...owner, email }
    t.match(await login(doorstep, moved), { status: 429, body: { code: 'login_locked' } }, 'a stranger waits there')
    t.match(await login(doorstep, moved, { body: { device_token: device } }), { status: 200 })
    t.match(await login(doorstep, owner), { status: 429 }, 'the old address is locked as any other')
    await sql('DELETE FROM login_throttles')
    t.match(await login(doorstep, owner), { status: 401 })
  },
)

t.test(
  'the link of the old mailbox outlives e-mail and password, for seven days, however late it was mailed',
  async (t) => {
    const { owner, session, link } = await asked()
    await confirm(session.access, link)
    await sql(`UPDATE mails SET delivery = 'queued', next_try_at = now() WHERE user_id = $1 AND data->>'to' = 'old'`, [
      owner.id,
    ])
    await passDays(doorstep, 2)
    const token = await mailedToken(doorstep, owner.email, 'not-me')
    await passDays(doorstep, 6)
    await purge()
    const body = { token }
    t.match(await call(doorstep, '/account/secure', { body }), { status: 200 }, 'mailed two days late, six days ago')
    t.match(await sql('SELECT email FROM users WHERE id = $1', [owner.id]), [{ email: owner.email }])

    const other = await asked()
    await confirm(other.session.access, other.link)
    const late = await mailedToken(doorstep, other.owner.email, 'not-me')
    await passDays(doorstep, 7)
    t.match(await call(doorstep, '/account/secure', { body: { token: late } }), expired, 'seven days are over')
    await purge()
    t.same(
      await sql('SELECT FROM account_changes WHERE user_id = $1', [other.owner.id]),
      [],
      'and what was is forgotten',
    )
    t.match(await sql('SELECT email FROM users WHERE id = $1', [other.owner.id]), [{ email: other.email }])
  },
)
