import t, { type Test } from 'tap'
import { sendDueMails } from '../../src/features/mails/mail-sender.ts'
import type { Mail, MailResult } from '../../src/mail/index.ts'
import { plantDevice } from '../helpers/credentials.ts'
import { type Doorstep, startDoorstep } from '../helpers/doorstep.ts'
import { mailedToken, mailsTo } from '../helpers/links.ts'
import { type Asking, ageMails, ask, askings } from '../helpers/mail-asks.ts'
import { freshAddress, ghostEmail } from '../helpers/password-guesses.ts'
import { readMail, startSmtpStub } from '../helpers/smtp-stub.ts'
import { call, createUser, signIn } from '../helpers/story.ts'
import { isOverloaded, repeat, tally, together } from '../helpers/together.ts'

t.setTimeout(300_000)

/** Whoever can have mails sent to anybody can fill mailboxes, and keep the mails from those who need them. */
const doorstep = await startDoorstep(t)
const { sql, services, database } = doorstep
const second = await startDoorstep(t, { database })
const password = 'a long sentence that only she knows'

/** Asks, lets the mail go if it does, and counts what the address has got since `reset`. */
async function counter(email: string, at: Doorstep = doorstep) {
  const before = (await mailsTo(at, email)).length
  return async (path: Asking = '/password/forgot', more: Parameters<typeof ask>[3] = {}): Promise<number> => {
    const { status } = await ask(at, path, email, more)
    if (status !== 202) throw new Error(`answered ${status}`)
    return (await mailsTo(at, email)).length - before
  }
}

t.test(
  'one address: a mail a minute, three an hour, ten a day, however they are asked for and by how many',
  async (t) => {
    const { email } = await createUser(doorstep)
    const bomb = await counter(email)
    t.equal(await bomb('/register'), 1)
    for (const path of askings) t.equal(await bomb(path), 1, 'both calls have one cooldown')
    await ageMails(doorstep, email, 45)
    t.equal(await bomb(), 1)
    await ageMails(doorstep, email, 16)
    t.equal(await bomb(), 2, 'what was refused has not made it longer')
    await ageMails(doorstep, email, 61)
    t.equal(await bomb('/register'), 3)
    for (let n = 0; n < 5; n += 1) {
      await ageMails(doorstep, email, 61)
      t.equal(await bomb(askings[n % 2]), 3, 'the hour is spent')
    }
    await ageMails(doorstep, email, 3_600 - 7 * 61 + 2)
    t.equal(await bomb(), 4, 'an hour after the first')
    for (let hour = 0; hour < 18; hour += 1) {
      await ageMails(doorstep, email, 4_000)
      await bomb(askings[hour % 2])
    }
    t.equal(await bomb(), 10, 'the day is spent')
    await ageMails(doorstep, email, 86_400)
    t.equal(await bomb(), 11)
  },
)

t.test('of which one network has three, however many addresses it has', async (t) => {
  for (const hosts of [
    ['203.0.113.1', '203.0.113.77', '203.0.113.200', '203.0.113.9', '::ffff:203.0.113.10'],
    ['2001:db8:7::1', '2001:db8:7:1::1', '2001:db8:7:ffff::1', '2001:db8:7::2', '2001:db8:7:8::9'],
  ]) {
    const { email } = await createUser(doorstep)
    const bomb = await counter(email)
    let count = 0
    for (const from of hosts) {
      count = await bomb('/password/forgot', { from })
      await ageMails(doorstep, email, 3_601)
    }
    t.equal(count, 3)
    t.equal(await bomb('/password/forgot', { from: '203.0.114.1' }), 4, 'whoever is elsewhere is not kept from it')
  }
})

t.test(
  'a flood keeps the owner, on a known device, from nothing; and who is known has no more than these numbers',
  async (t) => {
    const user = await createUser(doorstep)
    const [device_token, eves] = [
      await plantDevice(doorstep, user),
      await plantDevice(doorstep, await createUser(doorstep)),
    ]
    const bomb = await counter(user.email)
    for (let n = 0; n < 12; n += 1) {
      await bomb(askings[n % 2], n % 2 === 0 ? { body: { device_token: eves } } : {})
      await ageMails(doorstep, user.email, 1_300)
    }
    const [left] = await sql('SELECT count(*)::integer AS n FROM mails WHERE address = $1', [user.email])
    t.same(left, { n: 10 }, 'what is not sent leaves nothing behind')
    t.match(doorstep.logs.join(''), /"event":"mail.delivery","outcome":"withheld"/)
    t.notMatch(
      doorstep.logs.join(''),
      /"event":"mail.delivery","outcome":"failed"/,
      'no alarm about a provider that works',
    )
    t.equal(await bomb(), 10, "strangers have had theirs; a token of another's device is no better")
    t.equal(await bomb('/password/forgot', { body: { device_token }, from: '203.0.113.1' }), 11, 'the owner')
    t.equal(
      await bomb('/password/forgot', { body: { device_token }, from: '203.0.113.1' }),
      11,
      'in a cooldown of its own',
    )
    for (let n = 0; n < 4; n += 1) {
      await ageMails(doorstep, user.email, 61)
      await bomb('/register', { body: { device_token }, from: '203.0.113.1' })
    }
    t.equal(await bomb(), 13, 'three an hour')
    const token = await mailedToken(doorstep, user.email)
    t.match(await call(doorstep, '/password/set', { body: { token, password } }), { status: 200 })

    const quiet = await createUser(doorstep)
    const known = await plantDevice(doorstep, quiet)
    const asked = await counter(quiet.email)
    t.equal(await asked('/password/forgot', { body: { device_token: known } }), 1)
    t.equal(await asked(), 2, 'nor does a known device use up what strangers have')
  },
)

t.test('an address without an account is told so once a day, and can register all the same', async (t) => {
  const email = ghostEmail()
  const bomb = await counter(email)
  t.equal(await bomb(), 1)
  for (let n = 0; n < 4; n += 1) {
    await ageMails(doorstep, email, 3_601)
    t.equal(await bomb(), 1)
  }
  t.equal(await bomb('/register'), 2, 'what was not sent is in nobody’s way')
  await ageMails(doorstep, email, 86_400)
  t.equal(await bomb(), 3)
})

t.test(
  'one client: ten a minute and thirty an hour over all addresses, but not from a device that is known',
  async (t) => {
    const fast = await startDoorstep(t, { database, env: { RATE_MAIL_MINUTE: '', RATE_MAIL_HOUR: '' } })
    const from = freshAddress()
    const bomb = (n: number) => ask(fast, askings[n % 2] as Asking, ghostEmail(), { from })
    t.same(tally(await together(12, bomb)), { '202': 10, '429 rate_limited': 2 })
    t.match(await bomb(0), { headers: { 'retry-after': /^\d+$/ } })
    const device_token = await plantDevice(fast, await createUser(fast))
    t.equal((await ask(fast, '/register', ghostEmail(), { from, body: { device_token } })).status, 202)
    t.equal((await ask(fast, '/register', ghostEmail())).status, 202, 'nor are others refused')
    const slow = await startDoorstep(t, { database, env: { RATE_MAIL_MINUTE: '1000', RATE_MAIL_HOUR: '' } })
    const answers = await together(32, (n) => ask(slow, askings[n % 2] as Asking, ghostEmail(), { from }))
    t.same(tally(answers), { '202': 30, '429 rate_limited': 2 })
  },
)

for (const [name, window] of [
  ['MAIL_GLOBAL_HOUR', 3_600],
  ['MAIL_GLOBAL_DAY', 86_400],
] as const) {
  t.test(
    `the service: ${name}, at most half of it to addresses without an account; codes and notices go on`,
    async (t) => {
      await sql('DELETE FROM mails')
      const small = await startDoorstep(t, { database, env: { [name]: '6' } })
      const sent = () => small.services.mailbox?.sent().length
      const toGhosts = async (count: number) => {
        for (let n = 0; n < count; n += 1) {
          t.equal((await ask(small, askings[n % 2] as Asking, ghostEmail())).status, 202)
          await sendDueMails(small.services)
        }
      }
      await toGhosts(10)
      t.equal(sent(), 3, 'half')
      const users = await Promise.all([0, 1, 2].map(() => createUser(small)))
      for (const { email } of users) {
        t.equal((await ask(small, '/password/forgot', email)).status, 202, 'who has an account still gets a mail')
        await sendDueMails(small.services)
        const again = await ask(small, '/password/forgot', email)
        t.equal(again.status, sent() === 6 ? 503 : 202, 'what the address is refused the service has left')
        await sendDueMails(small.services)
      }
      t.equal(sent(), 6)
      for (const email of [ghostEmail(), users[0]?.email ?? '']) {
        const { status, body } = await ask(small, '/password/forgot', email)
        t.match({ status, code: body.code }, { status: 503, code: 'mail_unavailable' })
        t.ok(body.retry_after > window - 60 && body.retry_after <= window, `in ${body.retry_after} s`)
      }
      const [user = await createUser(small)] = users
      await plantDevice(small, user)
      t.match(await signIn(small, user), { status: 200 })
      t.match((await mailsTo(small, user.email))[0]?.subject, /sign-in/i, 'a notice')
      await sql(`UPDATE mails SET created_at = created_at - $1 * interval '1 second' WHERE kind = 'link'`, [window])
      await toGhosts(1)
      t.equal(sent(), 8, 'once it is over')
    },
  )
}

t.test('nor does a burst, over two replicas, get more out of the service than that', async (t) => {
  const env = { MAIL_GLOBAL_HOUR: '8' }
  const replicas = [await startDoorstep(t, { database, env }), await startDoorstep(t, { database, env })]
  const at = (n: number) => replicas[n % 2] as Doorstep
  const sent = () => replicas.reduce((sum, { services }) => sum + (services.mailbox?.sent().length ?? 0), 0)
  await repeat(t, 1, async () => {
    await sql('DELETE FROM mails')
    const before = sent()
    const answers = await together(30, (n) => ask(at(n), '/register', ghostEmail()))
    await Promise.all(replicas.map(({ services }) => sendDueMails(services)))
    t.ok(answers.filter(({ status }) => status === 202).length <= 8, 'never more')
    t.ok(sent() - before <= 4, 'of which half to nobody')
    if (isOverloaded(answers)) return false
    t.same(tally(answers), { '202': 8, '503 mail_unavailable': 22 })
    t.equal(sent() - before, 4)
    return true
  })
})

t.test('mails asked for at one moment for one address, and two replicas that send them: one goes', async (t) => {
  for (const email of [ghostEmail(), (await createUser(doorstep)).email]) {
    const before = services.mailbox?.sent().length ?? 0
    await together(20, (n) => ask(n % 2 === 0 ? doorstep : second, askings[n % 2] as Asking, email))
    await Promise.all([doorstep, second].map((it) => sendDueMails(it.services)))
    const all = [...(await mailsTo(doorstep, email)), ...(await mailsTo(second, email))]
    t.equal(all.length, 1, `of 20, after ${before} others`)
  }
})

/** A sender that does what it is told, on the services of a replica. */
function sending(given: Doorstep, send: (mail: Mail) => Promise<MailResult>) {
  const mail: Doorstep['services']['mail'] = { send, isAvailable: () => true, close: () => {} }
  return { ...given.services, mail }
}

t.test(
  'nobody waits while a provider hangs: no lock is held, the next mail to the address is weighed, none goes twice',
  async (t) => {
    const { email } = await createUser(doorstep)
    await sendDueMails(services)
    await ask(doorstep, '/password/forgot', email)
    const sent: Mail[] = []
    let release = (): void => {}
    const hanging = new Promise<void>((resolve) => {
      release = resolve
    })
    let isAsked = (): void => {}
    const asked = new Promise<void>((resolve) => {
      isAsked = resolve
    })
    const slow = sendDueMails(
      sending(doorstep, async (mail) => {
        sent.push(mail)
        isAsked()
        await hanging
        return { outcome: 'sent' }
      }),
    )
    await asked
    if (database.isReal) {
      const held = await sql(
        `SELECT FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`,
      )
      t.same(held, [], 'no lock')
      const open = await sql(
        `SELECT FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'`,
      )
      t.same(open, [], 'and no transaction')
    }
    t.equal(await sendDueMails(second.services), 0, 'another replica does not take it')
    await sql(`UPDATE mails SET created_at = created_at - interval '61 seconds' WHERE address = $1`, [email])
    await ask(doorstep, '/password/forgot', email)
    t.equal((await mailsTo(second, email)).length, 1, 'the next one has gone meanwhile')
    release()
    await slow
    t.equal(sent.length, 1)
    t.equal(await sendDueMails(services), 0)
  },
)

/** Lets the time of the next try come. */
const nextTry = (email: string) => sql('UPDATE mails SET next_try_at = now() WHERE address = $1', [email])

/** A service that mails to a server of this machine, and what it took. */
async function withSmtp(t: Test) {
  const smtp = await startSmtpStub()
  const mailing = await startDoorstep(t, {
    database,
    env: { MAIL_PROVIDER: 'smtp', SMTP_URL: smtp.url, MAIL_FROM: 'Doorstep <door@example.org>' },
  })
  t.teardown(async () => {
    mailing.services.mail.close()
    await smtp.close()
  })
  const tokens = (): string[] =>
    smtp.taken.map(({ raw }) => /set-password#token=(dsm_[\w-]{43})/.exec(readMail(raw).text)?.[1] ?? '')
  const messageIds = (): string[] =>
    smtp.taken.map(({ raw }) => readMail(raw).headers.find(([name]) => name === 'message-id')?.[1] ?? '')
  return { smtp, mailing, tokens, messageIds }
}

t.test(
  'a server that takes a mail and says no, or dies: the next try has a new link, and both work until one is used',
  async (t) => {
    for (const mode of [{ refuseData: 452 }, 'dieAfterData'] as const) {
      await sql('DELETE FROM mails')
      const { smtp, mailing, tokens, messageIds } = await withSmtp(t)
      const { email } = await createUser(mailing)
      smtp.setMode(mode)
      await ask(mailing, '/password/forgot', email)
      await sendDueMails(mailing.services)
      t.equal(smtp.taken.length, 1)
      t.equal(await sendDueMails(mailing.services), 0, 'not at once')
      smtp.setMode('ok')
      await nextTry(email)
      await sendDueMails(mailing.services)
      await nextTry(email)
      t.equal(await sendDueMails(mailing.services), 0, 'and not a third time')
      const [first = '', next = ''] = tokens()
      t.equal(tokens().length, 2)
      t.not(first, next)
      t.equal(new Set(messageIds()).size, 1, 'one mail, as a mailbox sees it')
      t.same(
        smtp.taken.map(({ to }) => to),
        [[email], [email]],
      )
      t.match(await call(mailing, '/password/set', { body: { token: first, password } }), { status: 200 })
      t.match(await call(mailing, '/password/set', { body: { token: next, password } }), { status: 410 })
    }
  },
)

t.test(
  'a mail that is tried again is not weighed again: what strangers ask for meanwhile does not put it off',
  async (t) => {
    await sql('DELETE FROM mails')
    const email = ghostEmail()
    await ask(doorstep, '/register', email)
    await sendDueMails(
      sending(doorstep, async () => ({ outcome: 'refused', reason: 'mail', isCertain: false, error: 'smtp_451' })),
    )
    await ageMails(doorstep, email, 61)
    await sql(`UPDATE mails SET next_try_at = now() + interval '1 minute' WHERE address = $1`, [email])
    await ask(doorstep, '/password/forgot', email)
    t.match(
      (await mailsTo(doorstep, email)).map(({ subject }) => subject),
      [/There is no account/],
    )
    await ageMails(doorstep, email, 61)
    t.match(
      (await mailsTo(doorstep, email)).map(({ subject }) => subject),
      [/Finish your registration/, /There is no account/],
    )
  },
)

t.test(
  'a mailbox that is refused for good is tried once, costs its address a minute, and the service nothing',
  async (t) => {
    await sql('DELETE FROM mails')
    const { smtp, mailing } = await withSmtp(t)
    const email = ghostEmail()
    smtp.setMode({ refuse: 550 })
    for (let n = 0; n < 5; n += 1) {
      for (const path of askings) await ask(mailing, path, email)
      await sendDueMails(mailing.services)
      await sendDueMails(mailing.services)
      await mailing.services.store.purge.expired({ eventDays: 400, notices: true })
      for (const path of askings) await ask(mailing, path, email)
      await sendDueMails(mailing.services)
      t.equal(smtp.tries(), n + 1, 'no second try within a minute')
      await ageMails(mailing, email, 61)
    }
    t.same(await sql(`SELECT FROM mails WHERE state = 'open'`), [], 'nothing counts in a budget')
    smtp.setMode('ok')
    await ask(mailing, '/register', email)
    await sendDueMails(mailing.services)
    t.same(
      smtp.taken.map(({ to }) => to),
      [[email]],
    )
  },
)

t.test('a mail that may have gone counts, even where the next try says nothing', async (t) => {
  const closed = await startDoorstep(t, { database, env: { REGISTRATION: 'closed' } })
  const email = ghostEmail()
  await ask(doorstep, '/register', email)
  await sendDueMails(sending(doorstep, async () => ({ outcome: 'unknown', error: 'timeout' })))
  await nextTry(email)
  await sendDueMails(closed.services)
  await ask(doorstep, '/register', email)
  t.same(await mailsTo(doorstep, email), [], 'its minute is not over')
  await ageMails(doorstep, email, 61)
  await ask(doorstep, '/register', email)
  t.equal((await mailsTo(doorstep, email)).length, 1)
})

t.test('an address is one recipient, whatever stands in it', async (t) => {
  await sql('DELETE FROM mails')
  const { smtp, mailing } = await withSmtp(t)
  const locals = [
    'eve,a',
    'eve;a',
    'eve@example.org,a'.replace('@', '"'),
    '<eve>a',
    '(eve)a',
    'a"b',
    "o'brien+x",
    'a%example.org',
    'grüße',
    'a&b=c',
  ]
  for (const local of locals) await ask(mailing, '/register', `${local}@example.com`)
  await sendDueMails(mailing.services)
  t.ok(smtp.taken.length > 0)
  for (const { to, raw } of smtp.taken) {
    const { headers } = readMail(raw)
    t.equal(to.length, 1)
    t.match(to[0], /@example\.com$/)
    t.same(
      headers
        .filter(([name]) => /^(to|cc|bcc|from|subject)$/.test(name))
        .map(([name]) => name)
        .sort(),
      ['from', 'subject', 'to'],
      to[0] ?? '',
    )
  }
})
