import { randomUUID } from 'node:crypto'
import t from 'tap'
import { sendDueMails, startMailSender } from '../../src/features/mails/mail-sender.ts'
import { sendMail } from '../../src/features/mails/send-mail.ts'
import type { Mail, MailResult } from '../../src/mail/index.ts'
import { createSmtpSender } from '../../src/mail/smtp.ts'
import { languages } from '../../src/mail/words/index.ts'
import { systemClock } from '../../src/system.ts'
import { type Doorstep, startDoorstep } from '../helpers/doorstep.ts'
import { readMail, startSmtpStub } from '../helpers/smtp-stub.ts'
import { call, createUser } from '../helpers/story.ts'

t.setTimeout(300_000)
const doorstep = await startDoorstep(t)
const { sql } = doorstep
const second = await startDoorstep(t, { database: doorstep.database })

type Row = {
  id: string
  state: string
  delivery: string
  tries: number
  error: string | null
  claimed: boolean
  waits: number
}

/** The waits between tries, of which some seconds may be over when they are looked at. */
const schedule = [5, 30, 120, 600, 3_600]

const read = async (id: number): Promise<Row> => {
  const [row] = await sql<Row>(
    `SELECT id, state, delivery, tries, error, claimed_until IS NOT NULL AS claimed,
       round(extract(epoch FROM next_try_at - clock_timestamp()))::integer AS waits FROM mails WHERE id = $1`,
    [id],
  )
  const { waits } = row as Row
  return { ...(row as Row), waits: schedule.find((it) => waits <= it && waits > it - Math.min(it, 15)) ?? waits }
}

/** Lets `seconds` go by for the next try of a mail. */
const pass = async (id: number, seconds: number): Promise<void> => {
  await sql(
    `UPDATE mails SET next_try_at = next_try_at - by, claimed_until = claimed_until - by
     FROM (SELECT $2::integer * interval '1 second' AS by) age WHERE id = $1`,
    [id, seconds],
  )
}

/** Makes a mail older. */
const age = async (id: number, seconds: number): Promise<void> => {
  await sql(`UPDATE mails SET created_at = created_at - $2::integer * interval '1 second' WHERE id = $1`, [id, seconds])
}

/** A sender of mails that does what it is told, on the services of a replica. */
function sending(given: Doorstep, answer: MailResult | (() => Promise<MailResult>)) {
  const sent: Mail[] = []
  const limits: number[] = []
  const mail: Doorstep['services']['mail'] = {
    send: async (one, { timeoutMs }) => {
      sent.push(one)
      limits.push(timeoutMs)
      return typeof answer === 'function' ? await answer() : answer
    },
    isAvailable: () => true,
    close: () => {},
  }
  return { sent, limits, services: { ...given.services, mail } }
}

const accepted: MailResult = { outcome: 'sent' }
const later: MailResult = { outcome: 'refused', reason: 'mail', isCertain: false, error: 'smtp_451' }
const refused: MailResult = { outcome: 'refused', reason: 'mail', isCertain: true, error: 'smtp_550' }
const down: MailResult = { outcome: 'refused', reason: 'provider', isCertain: false, error: 'no_connection' }
const unknown: MailResult = { outcome: 'unknown', error: 'timeout' }

const caller = { address: '203.0.113.77', user_agent: 'Mozilla/5.0 (Windows NT 10.0) Firefox/140.0' }

async function notice(
  userId: string,
  topic = 'factor.added',
  data: object | null = caller,
  daily = false,
): Promise<number> {
  const [row] = await sql<{ id: string | null }>('SELECT record_notice($1, $2, $3, $4, clock_timestamp()) AS id', [
    userId,
    topic,
    data,
    daily,
  ])
  return Number(row?.id)
}

const budget = { locale: 'en', cooldown: 60, hour: 5, day: 10 }

type Reserved = { id: number; outcome: string | null; retry_after: number | null }

async function reserve(
  user: { id: string; email: string },
  { known = false, challenge = randomUUID(), locale = 'en' } = {},
): Promise<Reserved & { challenge: string }> {
  const [row] = await sql<Reserved>(
    'SELECT id::integer, outcome, retry_after FROM reserve_mail($1, $2, $3, $4, clock_timestamp())',
    [user.id, challenge, known, { ...budget, locale, address: user.email }],
  )
  return { ...(row as Reserved), challenge }
}

/** A challenge whose code is in a mail that was reserved: the mail's number, and the code. */
async function mailCode(user: { id: string; email: string }, locale = 'en') {
  const { id, challenge } = await reserve(user, { locale })
  const { services } = doorstep
  const keyId = services.secrets.current('code').id
  await sql(
    `INSERT INTO challenges (id, user_id, purpose, client, known, method, begun, proves_mailbox, ends_at)
     VALUES ($1, $2, 'login', gen_random_uuid()::text, false, 'email', '{email}', false, clock_timestamp() + interval '10 minutes')`,
    [challenge, user.id],
  )
  await sql(
    `INSERT INTO challenge_codes (challenge_id, method, channel, code_mac, key_id, message_id, last_sent_at, expires_at)
     VALUES ($1, 'email', 'mail', '\\x00', $2, $3, clock_timestamp(), clock_timestamp() + interval '10 minutes')`,
    [challenge, keyId, id],
  )
  return { id, challenge, code: services.oneTimeCodes.again({ challengeId: challenge, method: 'email' }, keyId) ?? '' }
}

/** Nothing of other tests is due. */
const empty = async (): Promise<void> => {
  await sql(`DELETE FROM mails WHERE delivery = 'queued'`)
}

t.test('a code goes out in the language of its user, and is seen at /dev/mail', async (t) => {
  const ada = await createUser(doorstep)
  const { id, challenge, code } = await mailCode(ada, 'de-AT')
  t.equal(await sendMail(doorstep.services, id, { withinMs: 30_000 }), 'sent')
  const { status, body, headers } = await call(doorstep, '/dev/mail')
  t.equal(status, 200)
  t.equal(headers['cache-control'], 'no-store')
  const [newest] = body.messages
  t.strictSame(Object.keys(newest), ['to', 'subject', 'text', 'html', 'sent_at'])
  t.match(newest, { to: ada.email, subject: 'Ihr Code für Doorstep', text: `\n\n${code}\n\nEr gilt 10 Minuten.` })
  t.match(newest.html, `<strong>${code}</strong>`)
  t.match(await read(id), { delivery: 'sent', state: 'open', tries: 1, error: null, claimed: false })
  const texted = doorstep.services.oneTimeCodes.again({ challengeId: challenge, method: 'sms' }, 'k1')
  t.not(code, texted, 'not the code that a text of the same login carries')
})

t.test('/dev/mail is for this machine alone', async (t) => {
  for (const from of ['203.0.113.7', '10.0.0.7']) {
    t.match(await call(doorstep, '/dev/mail', { from }), { status: 404, body: { code: 'not_found' } })
  }
})

t.test('neither log nor metrics know whom a mail went to, or what was in it', async (t) => {
  const ada = await createUser(doorstep, { email: `canary-${randomUUID()}@example.com` })
  const { id, code } = await mailCode(ada)
  doorstep.logs.length = 0
  await sendMail(doorstep.services, id, { withinMs: 30_000 })
  const { id: other } = await mailCode(await createUser(doorstep))
  await sendMail(sending(doorstep, refused).services, other, { withinMs: 30_000 })
  const logs = doorstep.logs.join('')
  t.match(logs, /"event":"mail.delivery","outcome":"sent".*"detail":"code"/)
  t.match(logs, /"event":"mail.delivery","outcome":"failed".*"detail":"code: smtp_550"/)
  t.notMatch(logs, ada.email)
  t.notMatch(logs.replaceAll(/[0-9a-f-]{36}/g, ''), code)
  t.match(await doorstep.services.metrics.scrape(), /doorstep_events_total\{type="mail.delivery",outcome="sent"\} \d/)
  t.match(await doorstep.services.metrics.scrape(), /doorstep_mail_available 1/)
})

t.test(
  'a provider that refuses for good: the code failed, its budget is given back, its cooldown is not',
  async (t) => {
    const ada = await createUser(doorstep)
    const { id } = await mailCode(ada)
    t.equal(await sendMail(sending(doorstep, refused).services, id, { withinMs: 30_000 }), 'failed')
    t.match(await read(id), { delivery: 'failed', state: 'finished', error: 'smtp_550', claimed: false })
    t.match(await reserve(ada), { id: null, outcome: 'resend_too_soon', retry_after: /^(5\d|60)$/ })
    for (let count = 0; count < 5; count += 1) {
      await sql(`UPDATE mails SET created_at = created_at - interval '61 seconds' WHERE user_id = $1`, [ada.id])
      t.match(await reserve(ada), { outcome: null }, 'five more in this hour')
    }
  },
)

t.test(
  'a provider that is down: the code failed, so that the login goes on with something else; a notice waits',
  async (t) => {
    const { id } = await mailCode(await createUser(doorstep))
    const { services } = sending(doorstep, down)
    t.equal(await sendMail(services, id, { withinMs: 30_000 }), 'failed')
    t.match(await read(id), { delivery: 'failed', state: 'finished', error: 'no_connection' })
    const told = await notice((await createUser(doorstep)).id)
    t.equal(await sendMail(services, told, { withinMs: 30_000 }), 'queued')
    t.match(await read(told), { delivery: 'queued', waits: 5, error: 'no_connection' })
  },
)

t.test('a mail that is committed fails no call, whatever the database does then', async (t) => {
  const { id } = await mailCode(await createUser(doorstep))
  const { services } = sending(doorstep, accepted)
  const mails = { ...services.store.mails, claim: () => Promise.reject(new Error('away')) }
  t.equal(await sendMail({ ...services, store: { ...services.store, mails } }, id, { withinMs: 30_000 }), 'queued')
  t.match(await read(id), { delivery: 'queued', tries: 0 })
})

t.test('a provider that is slow keeps nobody waiting, and is heard all the same', async (t) => {
  const { id } = await mailCode(await createUser(doorstep))
  let answer = (_result: MailResult): void => {}
  const replied = new Promise<MailResult>((resolve) => {
    answer = resolve
  })
  const { services } = sending(doorstep, () => replied)
  t.equal(await sendMail(services, id, { withinMs: 50 }), 'queued')
  answer(accepted)
  await services.background.drain()
  t.match(await read(id), { delivery: 'sent' })
})

t.test('whoever reserved a code has some seconds before others send it', async (t) => {
  await empty()
  const { id } = await mailCode(await createUser(doorstep))
  const other = sending(second, accepted)
  t.match(await read(id), { waits: 5 })
  await pass(id, -60)
  t.equal(await sendDueMails(other.services), 0)
  await pass(id, 65)
  t.equal(await sendDueMails(other.services), 1)
  t.equal(await sendMail(doorstep.services, id, { withinMs: 30_000 }), 'queued', 'it has been sent')
  t.match(await read(id), { delivery: 'sent', tries: 1 })
})

t.test('a code that ran out, was used or went out again by a later mail is not sent any more', async (t) => {
  const ada = await createUser(doorstep)
  const ends = [
    (challenge: string) => sql('UPDATE challenges SET consumed_at = now() WHERE id = $1', [challenge]),
    (challenge: string) => sql('UPDATE challenges SET superseded_at = now() WHERE id = $1', [challenge]),
    (challenge: string) => sql('UPDATE challenges SET ends_at = now() WHERE id = $1', [challenge]),
    (challenge: string) => sql('UPDATE challenge_codes SET expires_at = now() WHERE challenge_id = $1', [challenge]),
    (challenge: string) =>
      sql('UPDATE challenge_codes SET message_id = message_id + 1000000 WHERE challenge_id = $1', [challenge]),
  ]
  for (const end of ends) {
    await sql(`UPDATE mails SET created_at = created_at - interval '1 day' WHERE user_id = $1`, [ada.id])
    const { id, challenge } = await mailCode(ada)
    await end(challenge)
    const { sent, services } = sending(doorstep, accepted)
    t.equal(await sendMail(services, id, { withinMs: 30_000 }), 'queued')
    t.strictSame(sent, [])
    t.match(await read(id), { delivery: 'failed', error: 'code_over', tries: 0 })
  }
})

t.test('a code is tried again only while it lives', async (t) => {
  await empty()
  const { id, challenge } = await mailCode(await createUser(doorstep))
  const { services, sent, limits } = sending(doorstep, later)
  t.equal(await sendMail(services, id, { withinMs: 30_000 }), 'queued')
  t.match(await read(id), { delivery: 'queued', tries: 1, waits: 5, error: 'smtp_451' })
  await pass(id, 5)
  await sql(
    `UPDATE challenge_codes SET expires_at = clock_timestamp() + interval '25 seconds' WHERE challenge_id = $1`,
    [challenge],
  )
  t.equal(await sendDueMails(services), 1)
  t.match(await read(id), { delivery: 'failed', state: 'finished', tries: 2 }, 'the third would be 30 s later')
  t.equal(sent[0]?.messageId, sent[1]?.messageId)
  t.ok((limits[0] ?? 0) < 9_500 && (limits[1] ?? 0) < 30_000)
})

t.test('a notice is tried six times, after 5 s, 30 s, 2 min, 10 min and 1 h, and then no more', async (t) => {
  await empty()
  const id = await notice((await createUser(doorstep)).id)
  const { services, sent } = sending(doorstep, later)
  for (const wait of schedule) {
    t.equal(await sendDueMails(services), 1)
    t.match(await read(id), { delivery: 'queued', waits: wait, claimed: false })
    // This machine may have stood still for some of the seconds.
    await pass(id, -60)
    t.equal(await sendDueMails(services), 0, 'not before')
    await pass(id, wait + 60)
  }
  t.equal(await sendDueMails(services), 1)
  t.match(await read(id), { delivery: 'failed', tries: 6, error: 'smtp_451' })
  await pass(id, 100_000)
  t.equal(await sendDueMails(services), 0)
  t.equal(new Set(sent.map(({ messageId }) => messageId)).size, 1, 'each of them to be known as the same mail')
  t.equal(sent.length, 6)
})

t.test('two replicas at once send each mail once', async (t) => {
  await empty()
  const users = await Promise.all(Array.from({ length: 30 }, () => createUser(doorstep)))
  for (const { id } of users) await notice(id)
  const replicas = [sending(doorstep, accepted), sending(second, accepted), sending(doorstep, accepted)]
  const counts = await Promise.all(replicas.map(({ services }) => sendDueMails(services)))
  const to = replicas.flatMap(({ sent }) => sent.map((mail) => mail.to)).sort()
  t.strictSame(to, users.map(({ email }) => email).sort())
  t.equal(
    counts.reduce((sum, count) => sum + count, 0),
    30,
  )
})

/** Does `work` while another connection has done `text` and not committed it (the embedded database has one for all). */
async function beside<T>(text: string, values: unknown[], work: () => Promise<T>): Promise<T> {
  const [begin, commit] = doorstep.database.isReal ? ['BEGIN', 'COMMIT'] : ['SELECT', 'SELECT']
  await second.sql(begin)
  await second.sql(text, values)
  return await work().finally(() => second.sql(commit))
}

t.test('what one replica is taking at this moment, another neither takes nor waits for', async (t) => {
  await empty()
  for (let count = 0; count < 3; count += 1) await notice((await createUser(doorstep)).id)
  const { services, sent } = sending(doorstep, accepted)
  t.equal(await beside('SELECT claim_due_mails(2)', [], () => sendDueMails(services)), 1)
  t.equal(await sendDueMails(services), 0)
  const { id } = await mailCode(await createUser(doorstep))
  t.equal(await beside('SELECT claim_mail($1)', [id], () => sendMail(services, id, { withinMs: 30_000 })), 'queued')
  t.match(await read(id), { tries: 1, claimed: true })
  t.equal(sent.length, 1)
})

t.test('of two that send one mail by its number one does', async (t) => {
  for (let round = 0; round < 5; round += 1) {
    const { id } = await mailCode(await createUser(doorstep))
    const replicas = [sending(doorstep, accepted), sending(second, accepted)]
    await Promise.all(replicas.map(({ services }) => sendMail(services, id, { withinMs: 30_000 })))
    t.equal(replicas.flatMap(({ sent }) => sent).length, 1)
  }
})

t.test(
  'a replica that dies while it sends: another takes over after 30 s, and a late word of the first changes nothing',
  async (t) => {
    await empty()
    const id = await notice((await createUser(doorstep)).id)
    const [dead] = await doorstep.services.store.mails.claimDue(1)
    t.equal(dead?.id, id)
    const { services, sent } = sending(second, accepted)
    await pass(id, 15)
    t.equal(await sendDueMails(services), 0)
    t.equal(await sendMail(services, id, { withinMs: 30_000 }), 'queued')
    await pass(id, 15)
    const [mail] = await second.services.store.mails.claimDue(1)
    t.match(mail, { id, tries: 2 })
    const { store } = doorstep.services
    t.equal(await store.mails.record({ id, tries: 1 }, 'refused', 'smtp_550'), 'late')
    t.equal(await store.mails.record({ id, tries: 2 }, 'sent', null), 'sent')
    t.equal(await store.mails.record({ id, tries: 2 }, 'refused', 'smtp_550'), 'late', 'the end is the end')
    t.match(await read(id), { delivery: 'sent' })
    t.strictSame(sent, [])
  },
)

t.test('a mail that kills whoever sends it kills six of them', async (t) => {
  await empty()
  const id = await notice((await createUser(doorstep)).id)
  for (let count = 1; count <= 6; count += 1) {
    t.match(await second.services.store.mails.claimDue(1), [{ id, tries: count }])
    await pass(id, 4_000)
  }
  t.strictSame(await second.services.store.mails.claimDue(1), [])
  t.match(await read(id), { delivery: 'failed', error: 'gave_up' })
})

t.test('a code that may have gone keeps its place in the budget', async (t) => {
  const { id, challenge } = await mailCode(await createUser(doorstep))
  t.equal(await sendMail(sending(doorstep, unknown).services, id, { withinMs: 30_000 }), 'queued')
  await pass(id, 5)
  await sql('UPDATE challenge_codes SET expires_at = clock_timestamp() + $2::interval WHERE challenge_id = $1', [
    challenge,
    '20 seconds',
  ])
  t.equal(await sendMail(sending(doorstep, later).services, id, { withinMs: 30_000 }), 'failed')
  t.match(await read(id), { delivery: 'failed', state: 'open' })
})

t.test(
  'codes by mail: one a minute, five an hour, ten a day, for each class of clients; a finished login counts not',
  async (t) => {
    const ada = await createUser(doorstep)
    const passAll = (seconds: number) =>
      sql(`UPDATE mails SET created_at = created_at - $2::integer * interval '1 second' WHERE user_id = $1`, [
        ada.id,
        seconds,
      ])
    t.match(await reserve(ada), { outcome: null })
    t.match(await reserve(ada), { id: null, outcome: 'resend_too_soon', retry_after: /^(5\d|60)$/ })
    t.match(await reserve(ada, { known: true }), { outcome: null }, 'a known device has its own')
    for (let count = 2; count <= 5; count += 1) {
      await passAll(60)
      t.match(await reserve(ada), { outcome: null })
    }
    await passAll(60)
    t.match(await reserve(ada), { id: null, outcome: 'mail_limit_reached', retry_after: /^3[23]\d\d$/ })
    await passAll(3_600)
    for (let count = 6; count <= 10; count += 1) {
      t.match(await reserve(ada), { outcome: null })
      await passAll(60)
    }
    await passAll(3_600)
    t.match(await reserve(ada), { id: null, outcome: 'mail_limit_reached' })
    await sql(`UPDATE mails SET state = 'finished' WHERE user_id = $1 AND NOT known`, [ada.id])
    t.match(await reserve(ada), { outcome: null })
    t.match(await reserve(await createUser(doorstep)), { outcome: null }, 'nobody else waits for it')
    await notice(ada.id)
    await passAll(60)
    t.match(await reserve(ada), { outcome: null }, 'notices are not counted')
  },
)

t.test(
  'a notice: address and language are the user’s; once a day where it says so; nothing to nobody, or without notices',
  async (t) => {
    const ada = await createUser(doorstep)
    await sql(`UPDATE users SET locale = 'de' WHERE id = $1`, [ada.id])
    const first = await notice(ada.id, 'device.new', caller, true)
    t.ok(first > 0)
    t.match(await sql('SELECT address, locale, kind, data FROM mails WHERE id = $1', [first]), [
      { address: ada.email, locale: 'de', kind: 'notice', data: caller },
    ])
    t.equal(await notice(ada.id, 'device.new', caller, true), 0)
    t.ok((await notice(ada.id, 'codes.failed', caller, true)) > first, 'another topic is another notice')
    t.ok((await notice(ada.id, 'factor.added')) > first)
    t.ok((await notice(ada.id, 'factor.added')) > first, 'what happens twice is told twice')
    await age(first, 86_401)
    t.ok((await notice(ada.id, 'device.new', caller, true)) > first)
    t.equal(await notice(randomUUID()), 0)
    t.equal(await notice(ada.id, 'factor.added', null), 0)
  },
)

t.test('at the same moment, too, a daily notice is told once, and nobody waits', async (t) => {
  const { id } = await createUser(doorstep)
  const tell = `SELECT record_notice($1, 'device.new', '{}', true, clock_timestamp())`
  t.equal(await beside(tell, [id], () => notice(id, 'device.new', caller, true)), 0)
  t.match(await sql('SELECT count(*)::integer AS told FROM mails WHERE user_id = $1', [id]), [{ told: 1 }])
})

t.test('whoever names a device or a program writes no line, no markup and no link into a notice', async (t) => {
  await empty()
  const stub = await startSmtpStub()
  t.teardown(stub.close)
  const log = () => {}
  const from = 'Doorstep <doorstep@example.com>'
  const mail = createSmtpSender({ url: stub.url, from, isPlainAllowed: true, clock: systemClock, log })
  const ours = /http:\/\/localhost:3000\/not-me#token=dsm_[\w-]{43}/g
  const evil = 'x\r\nBcc: eve@example.net\r\n\r\n<b>Call</b> http://evil.example/login www.evil.example +1 202 555 0123'
  const { id } = await createUser(doorstep)
  const links = ['evil.example', 'evil．example', 'evil。example', 'evil․example', 'http：／／evil', 'ＷＷＷ evil']
  const numbers = ['call +1 202 555 0123', '(202) 555-0123', '２０２５５５０１２３', '2 0 2 5 5 5 0 1 2 3']
  const names = [evil, '<img src=x onerror=alert(1)>', ...links, ...numbers, 'Ada’s “key” & <b>', '\u202egnp.exe']
  for (const name of names)
    await notice(id, 'factor.added', { address: caller.address, user_agent: evil, name, method: evil })
  t.equal(await sendDueMails({ ...doorstep.services, mail }), names.length)
  for (const { raw, to } of stub.taken) {
    t.equal(to.length, 1)
    const { headers, ...parts } = readMail(raw)
    const [text, html] = [parts.text, parts.html].map((part) => part.replaceAll(ours, '')) as [string, string]
    t.notOk(headers.some(([name]) => name === 'bcc'))
    for (const part of [text, html]) t.notMatch(part, /evil|eve@|555|５５５|5 5 5|\u202e|http/)
    t.notMatch(html, /<b>|<img/)
    t.match(text, 'Network: 203.0.113.0/24\nBrowser or app: unknown')
  }
  t.match(readMail(stub.taken.find(({ raw }) => raw.includes('key'))?.raw ?? '').html, 'Ada’s “key” &amp; &lt;b&gt;')
})

t.test(
  'the mail sender: rung after a commit it sends at once; a database that fails stops it not; stopped it rests',
  async (t) => {
    await empty()
    const { services, sent } = sending(doorstep, accepted)
    let failures = 1
    const mails = {
      ...services.store.mails,
      claimDue: (limit: number) =>
        failures-- > 0 ? Promise.reject(new Error('away')) : services.store.mails.claimDue(limit),
    }
    const { id, email } = await createUser(doorstep)
    await notice(id)
    doorstep.logs.length = 0
    const stop = startMailSender({ ...services, store: { ...services.store, mails } })
    services.mailBell.ring()
    await until(() => failures <= 0)
    services.mailBell.ring()
    await until(() => sent.length === 1)
    t.match(sent, [{ to: email }])
    t.match(doorstep.logs.join(''), /mails were not looked for/)
    await stop()
    await notice(id)
    services.mailBell.ring()
    await stop()
    t.equal(sent.length, 1)
  },
)

t.test('a language without one of its mails stops the start, before anybody is not told', async (t) => {
  const { notices } = languages.de
  const { 'device.new': written } = notices
  t.teardown(() => Object.assign(notices, { 'device.new': written }))
  Reflect.deleteProperty(notices, 'device.new')
  t.throws(() => startMailSender(doorstep.services), { message: /device\.new .* de$/ })
})

t.test('while the provider is down nothing is tried, and no mail loses a try', async (t) => {
  await empty()
  const id = await notice((await createUser(doorstep)).id)
  const { services } = sending(doorstep, accepted)
  t.equal(await sendDueMails({ ...services, mail: { ...services.mail, isAvailable: () => false } }), 0)
  t.match(await read(id), { tries: 0, delivery: 'queued' })
})

t.test(
  'a code whose key is gone, and a notice that this build does not know, wait for a replica that can write them',
  async (t) => {
    await empty()
    const { services, sent } = sending(doorstep, accepted)
    const { id, challenge } = await mailCode(await createUser(doorstep))
    await sql(`UPDATE challenge_codes SET key_id = 'gone' WHERE challenge_id = $1`, [challenge])
    t.equal(await sendMail(services, id, { withinMs: 30_000 }), 'queued')
    t.match(await read(id), { delivery: 'queued', tries: 1, error: 'cannot_be_written' })
    const unknownTopic = await notice((await createUser(doorstep)).id, 'of.tomorrow')
    t.equal(await sendMail(services, unknownTopic, { withinMs: 30_000 }), 'queued')
    t.match(await read(unknownTopic), { delivery: 'queued', error: 'cannot_be_written' })
    t.strictSame(sent, [])
  },
)

t.test('a mail that has gone has gone, though the database cannot note it', async (t) => {
  const { id } = await mailCode(await createUser(doorstep))
  const { services } = sending(doorstep, accepted)
  const mails = { ...services.store.mails, record: () => Promise.reject(new Error('away')) }
  const store = { ...services.store, mails }
  t.equal(await sendMail({ ...services, store }, id, { withinMs: 30_000 }), 'sent')
})

t.test('mails go: codes after 25 hours, notices after 7 days, in batches', async (t) => {
  await sql('DELETE FROM mails')
  const ada = await createUser(doorstep)
  const { id: code } = await mailCode(ada)
  const [old, young] = [await notice(ada.id), await notice(ada.id)]
  await age(code, 25 * 3_600 + 1)
  await age(old, 7 * 86_400 + 1)
  await age(young, 7 * 86_400 - 60)
  const purge = async (batch: number) => (await sql('SELECT purge_mails($1) AS gone', [batch]))[0]?.gone
  t.equal(await purge(1), 1)
  t.equal(await purge(1_000), 1)
  t.equal(await purge(1_000), 0)
  t.match(await sql('SELECT id::integer FROM mails'), [{ id: young }])
})

async function until(isThere: () => boolean): Promise<void> {
  while (!isThere()) await new Promise((resolve) => setTimeout(resolve, 5))
}
