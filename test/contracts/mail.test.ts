import t, { type Test } from 'tap'
import { createConsoleMailbox } from '../../src/mail/console.ts'
import { type Mail, type MailResult, type MailSender, noMail } from '../../src/mail/index.ts'
import { createSmtpSender, type SmtpOptions } from '../../src/mail/smtp.ts'
import { systemClock } from '../../src/system.ts'
import { serverCertificate } from '../helpers/certificate.ts'
import { readMail, type SmtpMode, startDripping, startSmtpStub } from '../helpers/smtp-stub.ts'

const mail: Mail = {
  messageId: '0123456789abcdef@example.com',
  to: 'ada@example.org',
  subject: 'Your Doorstep code',
  text: 'Your Doorstep code is:\n\n481516\n\nGrüße\n',
  html: '<p>Your Doorstep code is:</p><p><strong>481516</strong></p><p>Grüße</p>\n',
}
const soon = { timeoutMs: 5_000 }

const certificate = serverCertificate('localhost')

type Logged = { level: string; fields: Record<string, unknown>; text: string }

/** A sender on a server of its own, as in development (without TLS) unless `options` say otherwise. */
async function setup(
  t: Test,
  server: Parameters<typeof startSmtpStub>[0] = {},
  options: Partial<SmtpOptions> & { at?: (url: string) => string } = {},
) {
  const stub = await startSmtpStub(server)
  const logged: Logged[] = []
  let nowMs = 1_700_000_000_000
  const { at = (url: string) => url, ...given } = options
  const sender = createSmtpSender({
    url: at(stub.url),
    from: 'Doorstep <doorstep@example.com>',
    isPlainAllowed: true,
    clock: { nowMs: () => nowMs },
    log: (level, fields, text) => logged.push({ level, fields: fields as Logged['fields'], text }),
    ...given,
  })
  t.teardown(async () => {
    sender.close()
    await stub.close()
  })
  const pass = (ms: number): void => {
    nowMs += ms
  }
  return { stub, sender, logged, pass }
}

/** As in production: no mail without TLS, from an authority that is trusted. */
const strict = { isPlainAllowed: false, ca: certificate.cert }

const senders: Record<string, (t: Test) => Promise<{ sender: MailSender; texts: () => string[] }>> = {
  smtp: async (t) => {
    const { sender, stub } = await setup(t)
    return { sender, texts: () => stub.taken.map(({ raw }) => `${readMail(raw).text}\n`) }
  },
  console: async () => {
    const sender = createConsoleMailbox({ clock: systemClock, print: () => {} })
    return { sender, texts: () => sender.sent().map(({ text }) => text) }
  },
}

for (const [name, create] of Object.entries(senders)) {
  t.test(`every sender: ${name}`, async (t) => {
    const { sender, texts } = await create(t)
    t.equal(sender.isAvailable(), true)
    const results = await Promise.all([1, 2, 3].map(() => sender.send(mail, soon)))
    t.strictSame(results, Array(3).fill({ outcome: 'sent' }))
    t.strictSame(texts(), Array(3).fill(mail.text), 'as it was, once each')
    t.equal(sender.isAvailable(), true)
    sender.close()
    t.doesNotThrow(() => sender.close(), 'closing twice is harmless')
  })
}

t.test('without a provider nothing is sent, and everybody can know it before', async (t) => {
  t.equal(noMail.isAvailable(), false)
  t.strictSame(await noMail.send(mail, soon), {
    outcome: 'refused',
    reason: 'provider',
    isCertain: true,
    error: 'mail_is_off',
  })
  t.doesNotThrow(noMail.close)
})

t.test('console: one line each, the last 100 are kept, newest first', async (t) => {
  const lines: string[] = []
  const clock = { nowMs: () => Date.UTC(2030, 0, 2, 3, 4, 5) }
  const sender = createConsoleMailbox({ clock, print: (line) => lines.push(line) })
  for (let count = 1; count <= 103; count += 1) await sender.send({ ...mail, subject: `mail ${count}` }, soon)
  t.equal(sender.sent().length, 100)
  const { to, text, html } = mail
  t.strictSame(sender.sent()[0], { to, subject: 'mail 103', text, html, sent_at: '2030-01-02T03:04:05.000Z' })
  t.equal(sender.sent()[99]?.subject, 'mail 4')
  t.equal(lines.length, 103)
  t.equal(lines[0], 'Mail to ada@example.org: mail 1 | Your Doorstep code is: | 481516 | Grüße | ')
})

t.test('smtp: what is sent', async (t) => {
  const { sender, stub, logged } = await setup(t)
  t.strictSame(await sender.send(mail, soon), { outcome: 'sent' })
  const [taken] = stub.taken
  t.match(taken, { from: 'doorstep@example.com', to: ['ada@example.org'] })
  const { headers, text, html } = readMail(taken?.raw ?? '')
  const fields = Object.fromEntries(headers)
  t.match(fields, {
    from: 'Doorstep <doorstep@example.com>',
    to: 'ada@example.org',
    subject: mail.subject,
    'message-id': `<${mail.messageId}>`,
    'auto-submitted': 'auto-generated',
  })
  t.strictSame([`${text}\n`, `${html}\n`], [mail.text, mail.html])
  await sender.send(mail, soon)
  t.equal(Object.fromEntries(readMail(stub.taken[1]?.raw ?? '').headers)['message-id'], fields['message-id'])
  t.strictSame(logged, [])
})

t.test('smtp: one sender, however it is written', async (t) => {
  for (const [from, shown] of [
    ['Doorstep, Inc. <doorstep@example.com>', '"Doorstep, Inc." <doorstep@example.com>'],
    ['"Doorstep, Inc." <doorstep@example.com>', '"Doorstep, Inc." <doorstep@example.com>'],
    ['Türschwelle <doorstep@example.com>', 'Türschwelle <doorstep@example.com>'],
    [' doorstep@example.com', 'doorstep@example.com'],
  ] as const) {
    const { sender, stub } = await setup(t, {}, { from })
    t.strictSame(await sender.send(mail, soon), { outcome: 'sent' })
    t.equal(stub.taken[0]?.from, 'doorstep@example.com')
    t.equal(Object.fromEntries(readMail(stub.taken[0]?.raw ?? '').headers).from, shown)
  }
})

t.test('smtp: over STARTTLS and over TLS, with a login', async (t) => {
  const login = { user: 'relay@example.com', pass: 'p@ss:/wörd' }
  const withLogin = (url: string) =>
    url.replace('://', `://${encodeURIComponent(login.user)}:${encodeURIComponent(login.pass)}@`)
  for (const secure of [false, true]) {
    const { sender, stub, logged } = await setup(t, { ...certificate, secure, login }, { ...strict, at: withLogin })
    t.strictSame(await sender.send(mail, soon), { outcome: 'sent' })
    t.match(stub.taken, [{ isSecure: true, user: login.user }])
    t.strictSame(logged, [])
  }
})

t.test(
  'whoever sits between us and the provider takes STARTTLS away: no mail, no login, no envelope in clear',
  async (t) => {
    const { sender, stub, logged } = await setup(t, {}, strict)
    t.strictSame(await sender.send(mail, soon), {
      outcome: 'refused',
      reason: 'provider',
      isCertain: false,
      error: 'no_tls',
    })
    t.strictSame(stub.taken, [])
    t.match(logged, [{ level: 'error', fields: { error: 'no_tls', breaker_open: true } }])
    t.equal(sender.isAvailable(), false)
  },
)

t.test('whoever shows a certificate of their own, or of another host, gets no mail', async (t) => {
  for (const [options, given] of [
    [{ isPlainAllowed: false }, certificate],
    [
      { ...strict, at: (url: string) => url.replace('localhost', '127.0.0.1') },
      { ...certificate, host: '127.0.0.1' },
    ],
    [
      { ...strict, at: (url: string) => `${url}?tls.rejectUnauthorized=false&requireTLS=false` },
      serverCertificate('localhost'),
    ],
  ] as const) {
    for (const secure of [false, true]) {
      const { sender, stub } = await setup(t, { ...given, secure }, options)
      t.match(await sender.send(mail, soon), {
        outcome: 'refused',
        reason: 'provider',
        isCertain: false,
        error: /^no_(tls|connection)$/,
      })
      t.strictSame(stub.taken, [])
    }
  }
})

const answers: [mode: SmtpMode, result: MailResult][] = [
  [{ refuse: 550 }, { outcome: 'refused', reason: 'mail', isCertain: true, error: 'smtp_550' }],
  [{ refuse: 553 }, { outcome: 'refused', reason: 'mail', isCertain: true, error: 'smtp_553' }],
  [{ refuseData: 554 }, { outcome: 'refused', reason: 'mail', isCertain: true, error: 'smtp_554' }],
  [{ refuse: 451 }, { outcome: 'refused', reason: 'mail', isCertain: false, error: 'smtp_451' }],
  [{ refuseData: 452 }, { outcome: 'refused', reason: 'mail', isCertain: false, error: 'smtp_452' }],
  [{ refuseAll: 554 }, { outcome: 'refused', reason: 'provider', isCertain: false, error: 'smtp_554' }],
  [{ refuseSender: 530 }, { outcome: 'refused', reason: 'provider', isCertain: false, error: 'smtp_530' }],
  [{ refuseAll: 421 }, { outcome: 'refused', reason: 'provider', isCertain: false, error: 'smtp_421' }],
  ['silent', { outcome: 'unknown', error: 'timeout' }],
  ['dieAfterData', { outcome: 'unknown', error: 'connection_lost' }],
]

for (const [mode, expected] of answers) {
  t.test(`smtp: ${JSON.stringify(mode)} is ${expected.outcome}; one try, and no word of whom or what`, async (t) => {
    const { sender, stub, logged } = await setup(t)
    stub.setMode(mode)
    const result = await sender.send(mail, { timeoutMs: mode === 'silent' ? 2_000 : 30_000 })
    t.strictSame(result, expected)
    t.equal(stub.tries(), 1)
    t.match(logged, [{ level: 'warn', fields: { ...expected, provider: 'smtp' }, text: 'a mail was not accepted' }])
    t.notMatch(JSON.stringify([result, logged]), /ada|example|481516/)
  })
}

t.test('smtp: a server that drips is left in time, byte after byte or not', async (t) => {
  const dripping = await startDripping()
  const sender = createSmtpSender({
    url: dripping.url,
    from: 'doorstep@example.com',
    isPlainAllowed: true,
    clock: systemClock,
    log: () => {},
  })
  t.teardown(dripping.close)
  t.strictSame(await sender.send(mail, { timeoutMs: 300 }), { outcome: 'unknown', error: 'timeout' })
})

t.test('smtp: no connection is certainly no mail, and ten of them open the breaker; one probe closes it', async (t) => {
  const { sender, stub, pass } = await setup(t)
  await stub.close()
  for (let count = 0; count < 10; count += 1) {
    t.strictSame(await sender.send(mail, soon), {
      outcome: 'refused',
      reason: 'provider',
      isCertain: false,
      error: 'no_connection',
    })
  }
  t.equal(sender.isAvailable(), false)
  t.match(await sender.send(mail, soon), {
    outcome: 'refused',
    reason: 'provider',
    isCertain: false,
    error: 'breaker_open',
  })
  pass(10_000)
  t.equal(sender.isAvailable(), true)
})

t.test('smtp: wrong credentials are found out, and the breaker opens at once', async (t) => {
  const given = { ...certificate, login: { user: 'relay', pass: 'right' } }
  const { sender, stub, logged } = await setup(t, given, {
    ...strict,
    at: (url) => url.replace('://', '://relay:wrong@'),
  })
  t.strictSame(await sender.send(mail, soon), {
    outcome: 'refused',
    reason: 'provider',
    isCertain: false,
    error: 'auth',
  })
  t.match(logged, [{ level: 'error', fields: { error: 'auth', breaker_open: true } }])
  t.strictSame(stub.taken, [])
  t.notMatch(JSON.stringify(logged), /relay|wrong/)
})

t.test('whoever registers odd addresses silences nobody: a server that refuses them works', async (t) => {
  const { sender, stub } = await setup(t)
  stub.setMode({ refuse: 550 })
  for (let count = 0; count < 12; count += 1) await sender.send(mail, soon)
  t.equal(sender.isAvailable(), true)
})

t.test('whoever writes line ends or commas into an address gets no second recipient and no header', async (t) => {
  const addresses = [
    'ada@example.org\r\nBcc: eve@example.net',
    'ada@example.org, eve@example.net',
    'ada@example.org>\r\nRCPT TO:<eve@example.net',
    'eve@example.net,ada@example.org',
    '<eve@example.net>ada@example.org',
    '"x" <eve@example.net>',
    'ada;eve@example.org',
    'group: eve@example.net; ada@example.org',
  ]
  const { sender, stub } = await setup(t)
  for (const to of addresses) await sender.send({ ...mail, to }, soon)
  t.ok(stub.taken.length > 0, 'some of them are a mailbox all the same')
  for (const { to, raw } of stub.taken) {
    t.equal(to.length, 1)
    const { headers } = readMail(raw)
    t.strictSame(
      headers.filter(([name]) => ['to', 'cc', 'bcc'].includes(name)).map(([name]) => name),
      ['to'],
    )
    t.notMatch(to[0], /^<?eve@example\.net>?$/, 'what is before the last @ is never a mailbox of its own')
  }
})

t.test('whoever writes line ends into a subject adds no header', async (t) => {
  const { sender, stub } = await setup(t)
  await sender.send({ ...mail, subject: 'Hello\r\nBcc: eve@example.net\r\n\r\nBuy' }, soon)
  const [{ raw, to } = { raw: '', to: [] }] = stub.taken
  const { headers } = readMail(raw)
  t.notOk(headers.some(([name]) => name === 'bcc'))
  t.strictSame(to, [mail.to])
  t.match(Object.fromEntries(headers).subject, /^Hello\s+Bcc: eve@example\.net\s+Buy$/)
})

t.test('smtp: domains and names of any script', async (t) => {
  const { sender, stub } = await setup(t)
  for (const to of ['ada@xn--bcher-kva.example', 'jörg@xn--bcher-kva.example', 'ada+tag@example.org']) {
    t.strictSame(await sender.send({ ...mail, to }, soon), { outcome: 'sent' })
  }
  const [ascii, utf8, tag] = stub.taken
  // The server shows a domain in its own script, however it came; without SMTPUTF8 it came in ASCII.
  t.match(ascii, { to: [/^ada@(bücher|xn--bcher-kva)\.example$/], isUtf8: false })
  t.match(utf8, { to: [/^jörg@(bücher|xn--bcher-kva)\.example$/], isUtf8: true })
  t.match(tag, { to: ['ada+tag@example.org'] })
})
