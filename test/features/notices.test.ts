import t, { type Test } from 'tap'
import { sendDueMails } from '../../src/features/mails/mail-sender.ts'
import type { MailResult } from '../../src/mail/index.ts'
import type { Method } from '../../src/methods.ts'
import { createAuthenticator } from '../helpers/authenticator.ts'
import { runHere } from '../helpers/cli.ts'
import { plantDevice, tokensOf } from '../helpers/credentials.ts'
import { type Doorstep, startDoorstep, testKeys } from '../helpers/doorstep.ts'
import { allMethods, createOwner, type Given, type Owner, rightAnswer, sentCode } from '../helpers/equipped.ts'
import { totpCode, wrongTotpCode } from '../helpers/factors.ts'
import { mailedToken, mailsTo } from '../helpers/links.ts'
import { readMail, startSmtpStub } from '../helpers/smtp-stub.ts'
import { type Answer, call, codeFor, freshPhone, textsTo } from '../helpers/story.ts'

t.setTimeout(300_000)

/**
 * What a change of an account ends, and what its owner hears of it (contract, section 6, the last table): each event as a
 * client or an operator causes it.
 */
const env = { ...allMethods, SMS_COOLDOWN: '1', RATE_MAIL_MINUTE: '100000', RATE_MAIL_HOUR: '100000' }
const doorstep = await startDoorstep(t, { env })
const { sql } = doorstep

const newPassword = 'a long sentence that only she knows'
const headers = { 'user-agent': 'Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0' }
type Sent = { token?: string; body?: object; method?: 'PUT' | 'PATCH' | 'DELETE' }
type At = Pick<Doorstep, 'app' | 'services' | 'sql' | 'config'>

/** One call of a client that notices describe as Firefox on Windows, in 203.0.113.0/24. */
const act = (at: At, path: string, sent: Sent = {}): Promise<Answer> =>
  call(at, path, { ...sent, from: '203.0.113.9', headers })

/** A login by a device that is known; its second step, and how it is proven. */
async function begin(at: At, owner: Owner, method: Method, device: string): Promise<Answer> {
  const { email, password } = owner
  const first = await act(at, '/login', { body: { email, password, device_token: device } })
  if (first.body.challenge?.method === method) return first
  const switched = await act(at, '/login/2fa/method', { token: first.body.pending_token, body: { method } })
  return { ...switched, body: { ...first.body, ...switched.body } }
}

const prove = (at: At, { body }: Answer, proof: Given & { trust_device?: boolean }): Promise<Answer> =>
  act(at, '/login/2fa', { token: body.pending_token, body: proof })

async function enter(at: At, owner: Owner, more: { trust_device?: boolean } = {}): Promise<string> {
  const begun = await begin(at, owner, 'passkey', await plantDevice(at, owner))
  return tokensOf(await prove(at, begun, { ...rightAnswer(at, owner, 'passkey', begun.body), ...more })).access
}

async function enrol(at: At, token: string, method: 'passkey' | 'totp' | 'sms'): Promise<Answer> {
  const phone = freshPhone()
  const begun = await act(at, '/factors', { token, body: method === 'sms' ? { method, phone } : { method } })
  const { setup } = begun.body.challenge
  if (method === 'sms') return prove(at, begun, { code: codeFor(at, phone) })
  if (method === 'totp') return prove(at, begun, { code: totpCode(setup.secret) })
  const device = createAuthenticator({ origin: at.config.passkey.origins[0] ?? '' })
  return prove(at, begun, { credential: device.register(setup.public_key) })
}

async function failCodes(at: At, owner: Owner, times: number): Promise<Answer> {
  const begun = await begin(at, owner, 'totp', await plantDevice(at, owner))
  const code = wrongTotpCode(owner.secret)
  let answer = begun
  for (let n = 0; n < times; n += 1) answer = await prove(at, begun, { method: 'totp', code })
  return answer
}

/** An operator's command, on the database of the tests. */
async function operate(words: string, { email }: Owner, more: { words?: string[]; input?: string } = {}) {
  const settings = { NODE_ENV: 'test', ARGON2_MEMORY_KIB: '64', ARGON2_TIME: '1', DATABASE_POOL_SIZE: '1', ...testKeys }
  const given = {
    env: { ...settings, ...env, DATABASE_URL: doorstep.database.url },
    ...(more.input && { input: more.input }),
  }
  const { exitCode, stderr } = await runHere(
    ['user', ...words.split(' '), '--email', email, ...(more.words ?? [])],
    given,
  )
  return { status: exitCode === 0 ? 200 : 500, body: { code: stderr }, headers: {} }
}

/** An account in the middle of its life. */
type Stage = {
  owner: Owner
  /** Who acts, and somebody who is signed in elsewhere, on a device that is trusted. */
  actor: string
  other: string
  /** A login that waits for its second factor. */
  challenge: Answer
  /** Tokens: that sets a password, that confirms `next` as the e-mail, that takes back the wish for it. */
  link: string
  next: string
  confirm: string
  notMe: string
}

async function setStage(locale: string): Promise<Stage> {
  const at = doorstep
  const owner = await createOwner(at)
  const actor = await enter(at, owner)
  const other = await enter(at, owner, { trust_device: true })
  await act(at, '/me', { method: 'PATCH', token: actor, body: { locale } })
  const next = `next-${owner.email}`
  await act(at, '/me/email', { method: 'PUT', token: actor, body: { email: next } })
  await act(at, '/password/forgot', { body: { email: owner.email, locale } })
  const challenge = await begin(at, owner, 'passkey', await plantDevice(at, owner))
  for (let n = 0; n < 5; n += 1) await act(at, '/login', { body: { email: owner.email, password: 'not this one' } })
  return {
    ...{ owner, actor, other, challenge, next },
    link: await mailedToken(at, owner.email),
    confirm: await mailedToken(at, next, 'confirm-email'),
    notMe: await mailedToken(at, owner.email, 'not-me'),
  }
}

type Part = 'actor' | 'other' | 'trust' | 'devices' | 'challenge' | 'links' | 'confirm' | 'lock' | 'notMe'
const parts: Part[] = ['actor', 'other', 'trust', 'devices', 'challenge', 'links', 'confirm', 'lock', 'notMe']

/** Which of all that is over. */
async function endedOf({ owner, actor, other, challenge, link, notMe }: Stage): Promise<Part[]> {
  const at = doorstep
  const isOver = async (token: string) => (await act(at, '/me', { token })).status === 401
  const [devices] = await sql<{ known: boolean; trusted: boolean }>(
    'SELECT count(*) >= 3 AS known, bool_or(trusted_until > now()) IS TRUE AS trusted FROM devices WHERE user_id = $1',
    [owner.id],
  )
  const live = (await sql('SELECT kind FROM mail_links WHERE user_id = $1 AND ended_at IS NULL', [owner.id])).map(
    ({ kind }) => kind,
  )
  const [used] = await sql('SELECT ended_at FROM mail_links WHERE token_hash = $1', [at.services.mailLinks.read(notMe)])
  // A password that is refused leaves the link as it is.
  const set = await act(at, '/password/set', { body: { token: link, password: 'password1' } })
  const guess = await act(at, '/login', { body: { email: owner.email, password: 'not this one' } })
  const proof = rightAnswer(at, owner, 'passkey', challenge.body)
  const over: Record<Part, boolean> = {
    actor: await isOver(actor),
    other: await isOver(other),
    trust: devices?.trusted === false,
    devices: devices?.known === false,
    challenge: (await prove(at, challenge, proof)).status === 401,
    links: set.status === 410,
    confirm: !live.includes('confirm_email'),
    lock: guess.body.code !== 'login_locked',
    notMe: used?.ended_at !== null,
  }
  return parts.filter((part) => over[part])
}

type Row = {
  act: (stage: Stage) => Promise<Answer>
  ends: Part[]
  /** Subjects, in the order of events. */
  says: Record<'en' | 'de', string>[]
  /** What else the (newest) mail says. */
  text?: RegExp
  /** No address, since an operator did it. */
  operator?: boolean
  /** Leads to a new password instead, there being nothing else to do. */
  page?: 'set-password'
}

const others: Part[] = ['other', 'trust', 'challenge']
const all: Part[] = ['actor', ...others, 'links', 'confirm']
const put = (path: string, token: string, body: object) => act(doorstep, path, { method: 'PUT', token, body })

const rows: Record<string, Row> = {
  'password set by link': {
    act: ({ link }) => act(doorstep, '/password/set', { body: { token: link, password: newPassword } }),
    ends: [...all, 'lock'],
    says: [{ en: 'New password', de: 'Neues Passwort' }],
  },
  'password changed': {
    act: ({ owner, actor }) => put('/me/password', actor, { current_password: owner.password, password: newPassword }),
    ends: [...all, 'lock'],
    says: [{ en: 'Password changed', de: 'Passwort geändert' }],
  },
  'e-mail changed': {
    act: ({ actor, confirm }) => act(doorstep, '/me/email/confirm', { token: actor, body: { token: confirm } }),
    ends: [...others, 'links', 'confirm'],
    says: [{ en: 'E-mail address changed', de: 'E-Mail-Adresse geändert' }],
    text: /has another e-mail address now|hat jetzt eine andere E-Mail-Adresse/,
  },
  'another e-mail asked for': {
    act: ({ actor }) => put('/me/email', actor, { email: 'somebody-else@example.org' }),
    ends: [],
    says: [{ en: 'Change of e-mail address requested', de: 'Änderung der E-Mail-Adresse angefordert' }],
  },
  'factor replaced': {
    act: ({ actor }) => enrol(doorstep, actor, 'totp'),
    ends: others,
    says: [{ en: 'Second factor replaced', de: 'Zweiter Faktor ersetzt' }],
    text: /: (an authenticator app|eine Authenticator-App)\. /,
  },
  'phone replaced': {
    act: ({ actor }) => enrol(doorstep, actor, 'sms'),
    ends: others,
    says: [{ en: 'Second factor replaced', de: 'Zweiter Faktor ersetzt' }],
    text: /: (codes by text message|Codes per SMS)\. /,
  },
  'factor removed': {
    act: async ({ owner, actor }) => {
      const [factor] = await sql(`SELECT id FROM factors WHERE user_id = $1 AND method = 'totp'`, [owner.id])
      return act(doorstep, `/factors/${factor?.id}`, { method: 'DELETE', token: actor })
    },
    ends: others,
    says: [{ en: 'Second factor removed', de: 'Zweiter Faktor entfernt' }],
  },
  'factor added': {
    act: ({ actor }) => enrol(doorstep, actor, 'passkey'),
    ends: ['challenge'],
    says: [{ en: 'New second factor', de: 'Neuer zweiter Faktor' }],
    text: /: (a passkey|ein Passkey)\.\n/,
  },
  'recovery codes renewed': {
    act: ({ actor }) => act(doorstep, '/factors', { token: actor, body: { method: 'recovery_code' } }),
    ends: [],
    says: [{ en: 'New recovery codes', de: 'Neue Wiederherstellungscodes' }],
    text: /(has|hat) 10 (new recovery codes|neue Wiederherstellungscodes)\./,
  },
  'a recovery code used': {
    act: async ({ owner, actor }) => {
      const begun = await act(doorstep, '/login/step-up', { token: actor, body: { method: 'recovery_code' } })
      return prove(doorstep, begun, { code: owner.codes[0] ?? '' })
    },
    ends: [],
    says: [{ en: 'Recovery code used', de: 'Wiederherstellungscode benutzt' }],
    text: /(Codes left|Noch übrig): 9;/,
  },
  'second factor locked': {
    act: async ({ owner }) => {
      await failCodes(doorstep, owner, 5)
      const last = await failCodes(doorstep, owner, 5)
      return { ...last, status: last.status === 422 ? 200 : last.status }
    },
    ends: [],
    says: [
      { en: 'Right password, wrong codes', de: 'Richtiges Passwort, falsche Codes' },
      { en: 'Codes are refused for a while', de: 'Codes werden eine Zeit lang abgewiesen' },
    ],
  },
  'three failed codes after a right password': {
    act: async ({ owner }) => {
      const last = await failCodes(doorstep, owner, 3)
      return { ...last, status: last.status === 422 ? 200 : last.status }
    },
    ends: [],
    says: [{ en: 'Right password, wrong codes', de: 'Richtiges Passwort, falsche Codes' }],
  },
  'passkey counter back': {
    act: async ({ owner }) => {
      await sql(`UPDATE factors SET counter = 1000 WHERE user_id = $1 AND method = 'passkey'`, [owner.id])
      const device = await plantDevice(doorstep, owner)
      const begun = await act(doorstep, '/login/passkey', { body: { device_token: device } })
      const credential = owner.device.assert(begun.body.challenge.public_key, { counter: 900 })
      return prove(doorstep, begun, { credential })
    },
    ends: [],
    says: [{ en: 'A passkey may have been copied', de: 'Ein Passkey wurde vielleicht kopiert' }],
  },
  'a code by e-mail used': {
    act: async ({ owner }) => {
      const begun = await begin(doorstep, owner, 'email', await plantDevice(doorstep, owner))
      return prove(doorstep, begun, { method: 'email', code: sentCode(doorstep, begun.body.pending_token, 'email') })
    },
    ends: [],
    says: [{ en: 'Sign-in with a code by e-mail', de: 'Anmeldung mit einem Code per E-Mail' }],
  },
  'sign-in from a device not known before': {
    act: async ({ owner }) => {
      const begun = await act(doorstep, '/login/passkey', { body: {} })
      return prove(doorstep, begun, { credential: owner.device.assert(begun.body.challenge.public_key) })
    },
    ends: [],
    says: [{ en: 'Sign-in from a new device', de: 'Anmeldung von einem neuen Gerät' }],
  },
  'disabled by an operator': {
    act: ({ owner }) => operate('disable', owner),
    ends: all,
    says: [{ en: 'Your account is disabled', de: 'Ihr Konto ist gesperrt' }],
    operator: true,
  },
  'deletion begun': {
    act: ({ actor }) => act(doorstep, '/me', { method: 'DELETE', token: actor }),
    ends: all,
    says: [{ en: 'Your account will be erased', de: 'Ihr Konto wird gelöscht' }],
  },
  'factors reset by an operator': {
    act: ({ owner }) => operate('reset-factors', owner),
    ends: all,
    says: [{ en: 'Second factors reset by the operator', de: 'Zweite Faktoren vom Betreiber zurückgesetzt' }],
    operator: true,
  },
  'phone set by an operator': {
    act: ({ owner }) => operate('set-phone', owner, { words: ['--phone', freshPhone()] }),
    ends: [...all, 'lock'],
    says: [{ en: 'Phone number set by the operator', de: 'Telefonnummer vom Betreiber geändert' }],
    operator: true,
  },
  'password set by an operator': {
    act: ({ owner }) => operate('set-password', owner, { words: ['--password-stdin'], input: newPassword }),
    ends: [...all, 'lock'],
    says: [{ en: 'Password set by the operator', de: 'Passwort vom Betreiber geändert' }],
    operator: true,
  },
  'password reset by an operator': {
    act: ({ owner }) => operate('reset-password --force', owner),
    ends: all,
    says: [{ en: 'Your password no longer works', de: 'Ihr Passwort gilt nicht mehr' }],
    operator: true,
    page: 'set-password',
  },
  'account/secure': {
    act: ({ notMe }) => act(doorstep, '/account/secure', { body: { token: notMe } }),
    ends: [...all, 'devices', 'notMe'],
    says: [{ en: 'Your account is secured', de: 'Ihr Konto ist gesichert' }],
    operator: true,
    page: 'set-password',
  },
}

const linkOf = (text: string): RegExpMatchArray[] => [...text.matchAll(/https?:\S*/g)]
const form = (page: string) => new RegExp(`^http://localhost:3000/${page}#token=(dsm_[\\w-]{43})$`)

/** The mail of a row, whatever it tells: when, from where, one link, nothing secret. */
function checkMail(t: Test, mail: { text: string; html: string }, { owner }: Stage, row: Row): string {
  const { text, html } = mail
  t.equal(
    /^(Network: 203\.0\.113\.0\/24\nBrowser or app|Netz: 203\.0\.113\.0\/24\nBrowser oder App): Firefox, Windows$/m.test(
      text,
    ),
    !row.operator,
  )
  if (row.page === undefined) t.match(text, new RegExp(`^(When|Wann): .*${new Date().getUTCFullYear()}.* UTC$`, 'm'))
  for (const secret of [owner.password, newPassword, owner.secret, owner.phone, ...owner.codes]) {
    t.notOk(text.includes(secret) || html.includes(secret), 'no code, password or number')
  }
  const [link, ...more] = linkOf(text).map(([url]) => url)
  const [, token = ''] = form(row.page ?? 'not-me').exec(link ?? '') ?? []
  t.ok(token, 'the link')
  t.same(more, [])
  t.same(html.match(/<a\b[^>]*>[^<]*<\/a>/g), [`<a href="${link}">${link}</a>`])
  t.equal(html.split('<a').length, 2)
  return token
}

const locales = ['en', 'de-AT', 'fr'] as const
for (const [index, [name, row]] of Object.entries(rows).entries()) {
  const locale = locales[index % locales.length] ?? 'en'
  const language = locale === 'de-AT' ? 'de' : 'en'
  t.test(`${name}: what ends, what does not, and what the owner is told (${locale})`, async (t) => {
    const stage = await setStage(locale)
    const { owner } = stage
    const before = (await mailsTo(doorstep, owner.email)).length
    const answer = await row.act(stage)
    t.ok([200, 202, 204].includes(answer.status), `${answer.status} ${answer.body.code ?? ''}`)
    await doorstep.services.background.drain()
    const sent = await mailsTo(doorstep, owner.email)
    const news = sent
      .slice(0, sent.length - before)
      .filter(({ text }) => !/^\d{6}$/m.test(text))
      .reverse()
    t.same(
      news.map(({ subject }) => subject).sort(),
      row.says.map((says) => `${says[language]} – Doorstep`).sort(),
      'told once each, in the language of its user',
    )
    t.same(
      await endedOf(stage),
      parts.filter((part) => row.ends.includes(part)),
    )

    const tokens = news.map((mail) => checkMail(t, mail as typeof mail & { html: string }, stage, row))
    if (row.text) t.match(news.at(-1)?.text, row.text)
    if (row.page === undefined) {
      const secured = await act(doorstep, '/account/secure', { body: { token: tokens[0] } })
      t.match(secured, { status: 200, body: { status: 'secured' } }, 'the link works')
      t.match(await act(doorstep, '/account/secure', { body: { token: tokens[0] } }), { status: 410 }, 'once')
    } else {
      const set = await act(doorstep, '/password/set', { body: { token: tokens[0], password: newPassword } })
      t.match(set, { status: 200, body: { status: '2fa_required' } }, 'the link works, and passes no second factor')
    }
    const old = textsTo(doorstep, owner.phone)
    t.equal(old.length, name === 'phone replaced' ? 1 : 0, 'the old number is told by text if it changed, and no other')
  })
}

t.test('a new mailbox is told without a link: it may be a thief’s', async (t) => {
  const stage = await setStage('de')
  await act(doorstep, '/me/email/confirm', { token: stage.actor, body: { token: stage.confirm } })
  const [newest] = await mailsTo(doorstep, stage.next)
  t.match(newest, { subject: 'E-Mail-Adresse geändert – Doorstep', text: /von jetzt an die E-Mail-Adresse/ })
  t.notMatch(JSON.stringify(newest), /dsm_|http/)
})

t.test(
  'how long the link lives: seven days, and of an account that its user has left as long as it is kept',
  async (t) => {
    const [{ owner, actor }, leaving] = [await setStage('en'), await setStage('en')]
    const days = async (id: string) =>
      (
        await sql(
          `SELECT extract(epoch FROM expires_at - created_at)::integer AS lives FROM mail_links
         WHERE user_id = $1 AND kind = 'not_me' ORDER BY id DESC LIMIT 1`,
          [id],
        )
      )[0]?.lives / 86_400
    await enrol(doorstep, actor, 'passkey')
    t.match((await mailsTo(doorstep, owner.email))[0]?.text, /within seven days:\n/)
    t.equal(await days(owner.id), 7)

    await sql(`UPDATE users SET erases_at = NULL WHERE id = $1`, [leaving.owner.id])
    const { body } = await act(doorstep, '/me', { method: 'DELETE', token: leaving.actor })
    await sql(`UPDATE users SET erases_at = erases_at + interval '3 days' WHERE id = $1`, [leaving.owner.id])
    const [told] = await mailsTo(doorstep, leaving.owner.email)
    const day = new Intl.DateTimeFormat('en-GB', { dateStyle: 'long', timeZone: 'UTC' }).format(
      new Date(body.erases_at),
    )
    t.ok(told?.text.includes(`will be erased on ${day} at `), 'until then')
    t.ok(Math.abs((await days(leaving.owner.id)) - 10) < 0.01)
  },
)

t.test('who has left and thinks better of it has the account back by the link, with all that was in it', async (t) => {
  const { owner, actor } = await setStage('en')
  await act(doorstep, '/me', { method: 'DELETE', token: actor })
  const token = await mailedToken(doorstep, owner.email, 'not-me')
  t.match(await act(doorstep, '/account/secure', { body: { token } }), { status: 200 })
  const link = await mailedToken(doorstep, owner.email)
  const set = await act(doorstep, '/password/set', { body: { token: link, password: newPassword } })
  t.match(set, {
    status: 200,
    body: { status: '2fa_required', methods: ['passkey', 'totp', 'sms', 'recovery_code'] },
  })
  t.match(await prove(doorstep, set, rightAnswer(doorstep, owner, 'passkey', set.body)), { status: 200 })
})

t.test('what an operator did stays, though everything that is signed in ends by the link', async (t) => {
  const { owner } = await setStage('en')
  await operate('reset-factors', owner)
  const token = await mailedToken(doorstep, owner.email, 'not-me')
  t.match(await act(doorstep, '/account/secure', { body: { token } }), { status: 200 })
  t.same(await sql('SELECT FROM factors WHERE user_id = $1', [owner.id]), [])

  const disabled = (await setStage('en')).owner
  await operate('disable', disabled)
  const useless = await mailedToken(doorstep, disabled.email, 'not-me')
  t.match(await act(doorstep, '/account/secure', { body: { token: useless } }), { status: 200 })
  const { email, password } = disabled
  const known = { email, password, device_token: await plantDevice(doorstep, disabled) }
  t.match(await act(doorstep, '/login', { body: known }), { status: 401, body: { code: 'invalid_credentials' } })
  t.match((await mailsTo(doorstep, email))[0], { subject: 'This account is closed – Doorstep' })
  await operate('enable', disabled)
  known.device_token = await plantDevice(doorstep, disabled)
  t.match(await act(doorstep, '/login', { body: known }), { status: 403, body: { code: 'password_reset_required' } })
})

/** The services, with a mail provider that does not take mails to one address now. */
function greylisting(email: string): typeof doorstep.services {
  const { mail } = doorstep.services
  const later: MailResult = { outcome: 'refused', reason: 'mail', isCertain: false, error: 'smtp_451' }
  const send: typeof mail.send = async (one, limits) => (one.to === email ? later : mail.send(one, limits))
  return { ...doorstep.services, mail: { ...mail, send } }
}

const lateMails = (email: string) =>
  sql(`UPDATE mails SET next_try_at = now() WHERE address = $1 AND delivery = 'queued'`, [email])

t.test(
  'a thief who has moved the account before the owner’s mail is taken: its link still takes all of it back',
  async (t) => {
    const { owner, actor, next, confirm } = await setStage('en')
    const services = greylisting(owner.email)
    t.equal((await enrol(doorstep, actor, 'totp')).status, 200)
    await sendDueMails(services)
    t.match(await act(doorstep, '/me/email/confirm', { token: actor, body: { token: confirm } }), { status: 200 })
    await sendDueMails(services)
    // What the thief does next is told to the thief’s mailbox, and waits there too.
    t.equal((await enrol(doorstep, actor, 'sms')).status, 200)
    await lateMails(owner.email)
    await sendDueMails(greylisting(next))

    const told = (await mailsTo(doorstep, owner.email)).find(({ subject }) =>
      subject.startsWith('Second factor replaced'),
    )
    const [, token = ''] = form('not-me').exec(linkOf(told?.text ?? '')[0]?.[0] ?? '') ?? []
    t.match(await act(doorstep, '/account/secure', { body: { token } }), { status: 200 })
    const link = await mailedToken(doorstep, owner.email)
    const set = await act(doorstep, '/password/set', { body: { token: link, password: newPassword } })
    t.match(set, { status: 200, body: { status: '2fa_required' } })
    t.match(
      await prove(doorstep, set, { method: 'totp', code: totpCode(owner.secret) }),
      { status: 200 },
      'the old app',
    )

    await lateMails(next)
    for (const { text } of await mailsTo(doorstep, next)) t.notMatch(text, /not-me/, 'the thief takes nothing back')
  },
)

t.test('a mail provider that is away fails no call, and the notices wait', async (t) => {
  const away = { MAIL_PROVIDER: 'smtp', SMTP_URL: 'smtp://localhost:1', MAIL_FROM: 'doorstep@example.com' }
  const down = await startDoorstep(t, { database: doorstep.database, env: { ...env, ...away } })
  const none = await startDoorstep(t, {
    database: doorstep.database,
    env: { METHODS: 'passkey,totp,sms', SMS_COOLDOWN: '1', MAIL_PROVIDER: 'none', REGISTRATION: 'closed' },
  })
  for (const at of [down, none]) {
    const owner = await createOwner(at)
    const body = { current_password: owner.password, password: newPassword }
    const changed = await act(at, '/me/password', { method: 'PUT', token: await enter(at, owner), body })
    t.match(changed, { status: 200, body: { status: 'authenticated' } })
    const token = tokensOf(changed).access
    t.equal((await enrol(at, token, 'passkey')).status, 200)
    t.equal((await enrol(at, token, 'totp')).status, 200)
    t.equal((await act(at, '/factors', { token, body: { method: 'recovery_code' } })).status, 200)
    t.equal((await failCodes(at, { ...owner, password: newPassword }, 3)).status, 422)
    t.equal((await act(at, '/me', { method: 'DELETE', token })).status, 202)
    await sendDueMails(at.services)
    const mails = await sql('SELECT topic, delivery FROM mails WHERE user_id = $1 ORDER BY id', [owner.id])
    const topics = ['password.changed', 'factor.added', 'factor.replaced', 'recovery_codes.renewed', 'codes.failed']
    const waiting = [...topics, 'deletion.begun'].map((topic) => ({ topic, delivery: 'queued' }))
    t.same(mails, at === none ? [] : waiting)
    await sql('DELETE FROM mails WHERE user_id = $1', [owner.id])
  }
  t.match(await act(none, '/account/secure', { body: { token: 'dsm_' } }), { status: 404 })
})

t.test('the mails are to be read at /dev/mail, links and all, newest first', async (t) => {
  const email = 'newcomer@example.com'
  await act(doorstep, '/register', { body: { email } })
  await sendDueMails(doorstep.services)
  const { body } = await call(doorstep, '/dev/mail')
  t.match(body.messages[0], {
    to: email,
    subject: 'Finish your registration – Doorstep',
    text: /#token=dsm_/,
  })
  t.match(body.messages[0].html, /<a href="http:\/\/localhost:3000\/set-password#token=dsm_[\w-]{43}">/)
  t.match(await call(doorstep, '/dev/mail', { from: '203.0.113.7' }), { status: 404 })
})

/** The service, and where its mails go by SMTP. */
async function startMailing(t: Test) {
  const stub = await startSmtpStub()
  const smtp = { MAIL_PROVIDER: 'smtp', SMTP_URL: stub.url, MAIL_FROM: 'Doorstep <doorstep@example.com>' }
  const at = await startDoorstep(t, { database: doorstep.database, env: { ...env, ...smtp } })
  t.teardown(stub.close)
  return { at, stub }
}

t.test(
  'whatever somebody calls himself, his things or his program: no markup, header, recipient or link of his',
  async (t) => {
    const { at, stub } = await startMailing(t)
    const ours = /http:\/\/localhost:3000\/not-me#token=dsm_[\w-]{43}/g
    const names = [
      '<b>bold</b>',
      '"><img src=x>',
      'http://evil.example',
      'www.evil.example',
      'evil．example/x',
      'Call +1 (202) 555-0123',
      'a\r\nBcc: eve@evil.example',
      '\u202egnp.evil',
      '&lt;i&gt;',
    ]
    const program = 'Mozilla/5.0 <a href="http://evil.example">Firefox/140.0</a> evil.example Bcc: eve@evil.example'
    const owner = await createOwner(at)
    const token = await enter(at, owner)
    const hostile = {
      from: '203.0.113.9',
      headers: { 'user-agent': program, host: 'evil.example', 'x-forwarded-host': 'evil.example' },
    }
    let added = 0
    for (const name of names) {
      const begun = await call(at, '/factors', { token, body: { method: 'passkey', name }, ...hostile })
      if (begun.status === 400) continue
      added += 1
      const device = createAuthenticator({ origin: at.config.passkey.origins[0] ?? '' })
      const proof = {
        credential: device.register(begun.body.challenge.setup.public_key),
        trust_device: true,
        device_name: '<i>evil</i>',
      }
      t.equal((await call(at, '/login/2fa', { token: begun.body.pending_token, body: proof, ...hostile })).status, 200)
    }
    t.ok(added >= 7)
    for (const locale of ['<b>', 'de\r\nBcc: eve@evil.example', 'en"onload=']) {
      t.equal((await call(at, '/me', { method: 'PATCH', token, body: { locale } })).status, 400)
    }
    await sendDueMails(at.services)
    t.equal(stub.taken.length, added)
    for (const { raw, to } of stub.taken) {
      const { headers, ...parts } = readMail(raw)
      const [text, html] = [parts.text, parts.html].map((part) => part.replaceAll(ours, 'OURS')) as [string, string]
      t.same(to, [owner.email])
      t.same(
        headers
          .map(([header]) => header)
          .filter((header) => /^(to|cc|bcc|subject)$/.test(header))
          .sort(),
        ['subject', 'to'],
      )
      for (const part of [text, html]) t.notMatch(part, /evil|eve@|555|\u202e|:\/\/|www/)
      t.same(html.match(/<\/?(b|i|img|a)\b[^>]*>/g) ?? [], ['<a href="OURS">', '</a>'])
      t.match(text, 'Browser or app: Firefox')
    }
  },
)

t.test('an address with odd but legal characters gets its mail, alone; one that is no address gets none', async (t) => {
  const { at, stub } = await startMailing(t)
  const odd = ["o'brien+tag@example.com", 'a.b-c_d=e@example.com', '!#$%&*/?^`{|}~@example.com', 'grüße@example.com']
  for (const email of odd) {
    t.equal((await act(at, '/register', { body: { email } })).status, 202, email)
    await sendDueMails(at.services)
    const mail = stub.taken.at(-1)
    t.same(mail?.to, [email])
    const { text, html } = readMail(mail?.raw ?? '')
    t.match(text, /set-password#token=dsm_/)
    t.equal(html.split('<a').length, 2)
  }
  const count = stub.taken.length
  const others = [
    'x<victim@example.com',
    'x>victim@example.com',
    '"a,b"@example.com',
    'a,victim@example.com',
    'a;b@example.com',
    '(c)a@example.com',
    '"<img>"@example.com',
  ]
  for (const email of others) await act(at, '/register', { body: { email } })
  await sendDueMails(at.services)
  // Of an unquoted one, as it is not legal, the mail goes to the quoted one, which is the same mailbox.
  const plain = (address: string): string => address.replace(/["\\]/g, '')
  t.ok(stub.taken.length > count)
  for (const { raw, to } of stub.taken.slice(count)) {
    const header = readMail(raw).headers.filter(([name]) => name === 'to')
    t.same(
      header.map(([, value]) => plain(value).replace(/^<|>$/g, '')),
      to.map(plain),
    )
    t.ok(to.length === 1 && others.map(plain).includes(plain(to[0] ?? '')), 'nobody else')
  }
  for (const email of [
    'a@example.com\r\nRCPT TO:<eve@evil.example>',
    'a@example.com, eve@evil.example',
    'a@b@example.com',
  ]) {
    t.equal((await act(at, '/register', { body: { email } })).status, 400, JSON.stringify(email))
  }
})
