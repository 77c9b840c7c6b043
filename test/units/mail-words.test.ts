import { readdirSync } from 'node:fs'
import fc from 'fast-check'
import t from 'tap'
import { composeMail, oneLine } from '../../src/mail/message.ts'
import { lifeOf, type Told } from '../../src/mail/words/facts.ts'
import {
  checkWords,
  type FactorName,
  type Language,
  type LinkTopic,
  languageOf,
  languages,
  linkMailOf,
  linkTopics,
  type NoticeFacts,
  type NoticeTopic,
  noticeOf,
  noticeTopics,
  type Words,
} from '../../src/mail/words/index.ts'
import { maskEmail } from '../../src/security/masked-email.ts'
import { describeUserAgent } from '../../src/security/user-agent.ts'

const names = Object.keys(languages) as Language[]
const factors: FactorName[] = ['passkey', 'totp', 'sms', 'email', 'recovery_code', 'other']

const facts: NoticeFacts = {
  app: 'Doorstep',
  at: new Date('2030-01-02T03:04:05Z'),
  network: '203.0.113.0/24',
  client: 'Firefox, Windows',
  factor: 'passkey',
  name: 'Ada’s key',
  remaining: 7,
  isNew: false,
  erasesAt: new Date('2030-01-09T03:04:05Z'),
  link: null,
}

const notMe = 'https://app.example.com/not-me#token=dsm_8qTR0m7ZkH1uWn5sYbXv2cD4eFgJhLpQaKiOuEwRtYz'
const setPassword = notMe.replace('not-me', 'set-password')

/** What an operator does has no address. */
const operated: NoticeTopic[] = [
  'factors.reset',
  'factor.reset',
  'phone.set',
  'account.disabled',
  'password.reset',
  'email.set',
]

/** Nothing is to be done by these. */
const unlinked: LinkTopic[] = ['no_account', 'closed', 'email_taken']

/** Whatever a mail program makes a link of. */
const link = /:\/\/|www\.|@|href|\.(com|org|net)\b/i

const noticeIn = (language: Language, topic: NoticeTopic, more: Partial<NoticeFacts> = {}) =>
  composeMail(
    noticeOf(languages[language], topic, { ...facts, ...(operated.includes(topic) && { network: null }), ...more }),
    language,
  )

const linkIn = (language: Language, topic: LinkTopic, url: string | null = setPassword, lifeSeconds = 3_600) =>
  composeMail(linkMailOf(languages[language], topic, { app: 'Doorstep', link: url, lifeSeconds }), language)

const wordsIn = (text: string): number => text.split(/\s+/).length

t.test('a language is one file, which is in force', async (t) => {
  const folder = new URL('../../src/mail/words/', import.meta.url)
  const files = readdirSync(folder).filter((name) => !['facts.ts', 'index.ts'].includes(name))
  t.strictSame(files.sort(), names.map((name) => `${name}.ts`).sort())
  for (const name of names) {
    t.equal(languageOf(name), name)
    t.strictSame(Intl.DateTimeFormat.supportedLocalesOf(name), [name], 'dates are written in it')
  }
})

t.test('whoever adds a language forgets nothing: it is refused at the start', async (t) => {
  t.doesNotThrow(() => checkWords())
  const { en } = languages
  const without = (change: (words: Words) => void) => {
    const words: Words = { ...en, notices: { ...en.notices }, links: { ...en.links } }
    change(words)
    return () => checkWords({ en, xx: words })
  }
  const missing = (mail: string) => ({ message: `The words of the mail ${mail} are missing in the language xx` })
  for (const topic of noticeTopics)
    t.throws(
      without(({ notices }) => Reflect.deleteProperty(notices, topic)),
      missing(topic),
    )
  for (const topic of linkTopics)
    t.throws(
      without(({ links }) => Reflect.deleteProperty(links, topic)),
      missing(topic),
    )
  t.throws(
    without((words) => Reflect.deleteProperty(words, 'code')),
    missing('code'),
  )
  const empty: Told[] = [
    [' ', 'Something.'],
    ['Something', ''],
    ['Something', 'Something.', ' '],
  ]
  for (const told of empty) {
    t.throws(
      without(({ notices }) => Object.assign(notices, { 'device.new': () => told })),
      missing('device.new'),
    )
    t.throws(
      without(({ links }) => Object.assign(links, { forgot: () => [...told, 'Something.', ''] })),
      missing('forgot'),
    )
  }
  const late = without(({ notices }) =>
    Object.assign(notices, {
      'device.new': () => {
        throw new RangeError('no such time zone')
      },
    }),
  )
  t.throws(late, missing('device.new'), 'which cannot be written')
})

t.test('every mail of every language: whole, in one piece, and told apart by its subject', async (t) => {
  t.ok(names.length >= 2)
  for (const language of names) {
    const subjects: string[] = [
      composeMail(languages[language].code({ app: 'Doorstep', code: '012345', lifeSeconds: 600 }), language).subject,
    ]
    for (const topic of noticeTopics) {
      subjects.push(noticeIn(language, topic).subject)
      for (const factor of topic.startsWith('factor.') ? factors : (['totp'] as const)) {
        const { subject, text, html } = noticeIn(language, topic, { factor })
        t.match(subject, /^\S.+ – Doorstep$/, `${language} ${topic}`)
        t.match(text, /2030.*03:04 UTC/, 'when')
        t.equal(
          text.includes('203.0.113.0/24') && text.includes('Firefox, Windows'),
          !operated.includes(topic),
          'from where',
        )
        t.notMatch([subject, text, html].join('\n'), /undefined|null|NaN|\[object|\$\{/)
        t.notMatch(text, link, 'no link')
        t.match(html, new RegExp(`^<!doctype html><html lang="${language}">`))
      }
    }
    for (const topic of linkTopics) {
      const { subject, text, html } = linkIn(language, topic, null)
      subjects.push(subject)
      t.match(subject, /^\S.+ – Doorstep$/, `${language} ${topic}`)
      t.notMatch([subject, text, html].join('\n'), /undefined|null|NaN|\[object|\$\{/)
      t.notMatch(text, link, 'no link')
    }
    for (const topic of unlinked) t.notMatch(linkIn(language, topic).text, link, `${language} ${topic}`)
    t.equal(new Set(subjects).size, 1 + noticeTopics.length + linkTopics.length)
    t.ok(
      subjects.every((subject) => subject.length <= 70),
      'a subject that telephones show whole',
    )
  }
})

t.test('a mail with a link says one thing to do, how often and how long, and the link once in each part', async (t) => {
  for (const language of names) {
    const mails = [
      ...noticeTopics.map((topic) => ({ topic, url: notMe, mail: noticeIn(language, topic, { link: notMe }) })),
      ...linkTopics
        .filter((topic) => !unlinked.includes(topic))
        .map((topic) => ({ topic, url: setPassword, mail: linkIn(language, topic) })),
    ]
    for (const { topic, url, mail } of mails) {
      t.ok(mail.text.endsWith(`:\n\n${url}\n`), `${language} ${topic}: announced, and the last line`)
      t.equal(mail.text.split('://').length, 2)
      t.strictSame(mail.html.match(/<a\b[^>]*>[^<]*<\/a>/g), [`<a href="${url}">${url}</a>`])
      t.equal(mail.html.split('<a').length, 2)
      t.match(mail.text, /once|einmal/, `${topic}: how often`)
      t.ok(wordsIn(mail.text) <= 115, `${language} ${topic}: short enough to be read (${wordsIn(mail.text)} words)`)
      t.ok(mail.html.includes(mail.text.split('\n')[0] as string), 'both parts say the same')
    }
  }
})

t.test('how long a link works is said as it is', async (t) => {
  const lives: [Language, number, RegExp][] = [
    ['en', 3_600, /within 1 hour:/],
    ['en', 86_400, /within 24 hours:/],
    ['en', 604_800, /within 7 days:/],
    ['de', 3_600, /innerhalb von einer Stunde:/],
    ['de', 86_400, /innerhalb von 24 Stunden:/],
    ['de', 604_800, /innerhalb von 7 Tagen:/],
  ]
  for (const [language, seconds, said] of lives) t.match(linkIn(language, 'forgot', setPassword, seconds).text, said)
  for (const topic of noticeTopics) {
    for (const [language, week, day] of [
      ['en', /within seven days:/, /erased on 9 January 2030 at 03:04 UTC\.(.|\n)*before then(.|\n)*once:/],
      ['de', /sieben Tage lang:/, /am 9\. Januar 2030 um 03:04 UTC gelöscht\.(.|\n)*vorher(.|\n)*einmal:/],
    ] as const) {
      const { text } = noticeIn(language, topic, { link: notMe })
      t.match(text, topic === 'deletion.begun' ? day : week, `${language} ${topic}`)
    }
  }
})

t.test('what an operator did is said to be his, and that the link does not take it back', async (t) => {
  for (const topic of operated) {
    t.match(noticeIn('en', topic, { link: notMe }).text, /^Whoever runs Doorstep has /)
    t.match(noticeIn('de', topic, { link: notMe }).text, /^Der Betreiber von Doorstep hat /)
    if (topic === 'account.disabled') continue
    t.match(noticeIn('en', topic, { link: notMe }).text, /but not what the operator did/)
    t.match(noticeIn('de', topic, { link: notMe }).text, /aber nicht, was der Betreiber getan hat/)
  }
})

t.test('languages differ in every text', async (t) => {
  const [first, ...others] = names as [Language, ...Language[]]
  const bare = { ...facts, app: '', client: '', network: null, name: null }
  const differ = (write: (words: Words) => { subject: string; paragraphs: string[] }): void => {
    const ours = write(languages[first])
    for (const other of others) {
      const theirs = write(languages[other])
      t.not(theirs.subject, ours.subject)
      for (const text of theirs.paragraphs) t.notOk(ours.paragraphs.includes(text), text)
    }
  }
  differ((words) => words.code({ app: '', code: '', lifeSeconds: 600 }))
  for (const link of [null, notMe]) {
    for (const topic of noticeTopics) differ((words) => noticeOf(words, topic, { ...bare, link }))
    for (const topic of linkTopics) differ((words) => linkMailOf(words, topic, { app: '', link, lifeSeconds: 3_600 }))
  }
})

t.test('the whole mail with a code', async (t) => {
  const { subject, text, html } = composeMail(
    languages.en.code({ app: 'Doorstep', code: '012345', lifeSeconds: 599 }),
    'en',
  )
  t.equal(subject, 'Your Doorstep code', 'a subject is what lock screens and logs of mail servers show: no code in it')
  t.equal(
    text,
    'Your Doorstep code is:\n\n012345\n\nIt works for 10 minutes. Never share it with anyone, whoever asks for it.\n\n' +
      'If you are not signing in at this moment, somebody else knows your password: change it.\n',
  )
  t.match(html, '<strong>012345</strong>')
  for (const language of names) {
    const mail = composeMail(languages[language].code({ app: 'Doorstep', code: '012345', lifeSeconds: 599 }), language)
    t.strictSame(mail.text.match(/\d+/g), ['012345', '10'], `${language}: the code and its minutes`)
    t.notMatch(mail.text, link)
    t.notMatch(mail.subject, /\d/)
  }
})

t.test('a life in words: never more than is left, but for a moment', async (t) => {
  const lives = [1, 0.4, 59, 54, 60, 119, 299, 300, 595, 600].map((seconds) => lifeOf(seconds))
  t.strictSame(
    lives.map(({ count, unit }) => `${count} ${unit}`),
    [
      '1 second',
      '1 second',
      '1 minute',
      '54 second',
      '1 minute',
      '2 minute',
      '5 minute',
      '5 minute',
      '10 minute',
      '10 minute',
    ],
  )
  const told = (language: Language, lifeSeconds: number) =>
    languages[language].code({ app: '', code: '', lifeSeconds }).paragraphs[1]?.split('.')[0]
  t.strictSame(
    [60, 30, 1].map((it) => told('en', it)),
    ['It works for 1 minute', 'It works for 30 seconds', 'It works for 1 second'],
  )
  t.strictSame(
    [60, 30, 1].map((it) => told('de', it)),
    ['Er gilt 1 Minute', 'Er gilt 30 Sekunden', 'Er gilt 1 Sekunde'],
  )
})

t.test('what has no address says none, and of codes how many are left', async (t) => {
  for (const language of names) {
    t.notMatch(noticeIn(language, 'codes.failed', { network: null }).text, /203\.0|Firefox|Network:|Netz:/)
    t.match(noticeIn(language, 'device.new', { client: null }).text, /: (unknown|unbekannt)$/m)
  }
  for (const remaining of [9, 1, 0]) {
    t.match(noticeIn('en', 'recovery_code.used', { remaining }).text, `was used. Codes left: ${remaining};`)
    t.match(noticeIn('de', 'recovery_code.used', { remaining }).text, `benutzt. Noch übrig: ${remaining};`)
  }
  t.match(noticeIn('en', 'recovery_codes.renewed', { remaining: 10 }).text, /has 10 new recovery codes/)
})

t.test('a mailbox that has only just become the account’s is told another thing, and what to ask whom', async (t) => {
  t.match(noticeIn('en', 'email.changed', { isNew: true }).text, /from now on(.|\n)*ask whoever runs Doorstep\.\n$/)
  t.match(
    noticeIn('de', 'email.changed', { isNew: true }).text,
    /von jetzt an(.|\n)*fragen Sie den Betreiber von Doorstep\.\n$/,
  )
  t.match(noticeIn('en', 'email.changed', { link: notMe }).text, /no longer sign in with this one/)
})

t.test('the language of a locale', async (t) => {
  const locales = ['en', 'de', 'de-AT', 'DE_ch', 'en-GB', 'fr', '', 'constructor', 'de-DE-u-co-phonebk', '__proto__']
  t.strictSame(locales.map(languageOf), ['en', 'de', 'de', 'de', 'en', 'en', 'en', 'en', 'de', 'en'])
})

t.test('whatever a value is, it is text: no markup, no second line in a subject', async (t) => {
  const nasty = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.constantFrom('<script>', '"><b>', "' onload='", '\r\nBcc: x', '&lt;'),
  )
  const property = fc.property(
    nasty,
    nasty,
    fc.constantFrom(...noticeTopics),
    fc.constantFrom(...names),
    (app, name, topic, language) => {
      const { subject, html } = composeMail(noticeOf(languages[language], topic, { ...facts, app, name }), language)
      const tags = html.match(/<[^>]*>/g) ?? []
      const known =
        /^<(!doctype html|html lang="\w\w"|\/?(head|body|title|p|html)|meta charset="utf-8"|meta name="[\w-]+" content="[\w=,. -]+"|body style="[\w:;. -]+"|br)>$/
      return !/\p{Cc}/u.test(subject) && [...subject].length <= 150 && tags.every((tag) => known.test(tag))
    },
  )
  t.doesNotThrow(() => fc.assert(property))
})

t.test('a value of one line: nothing that breaks, hides or turns the text around it', async (t) => {
  t.equal(oneLine(' a\r\n\tb\u202ec\u200b\u2028d\u0000 ', 64), 'a b c d')
  t.equal(oneLine('x'.repeat(65), 64), `${'x'.repeat(63)}…`)
  t.equal([...oneLine('🔑'.repeat(100), 10)].length, 10)
  t.equal(oneLine('Ада’s Schlüssel 🔑', 64), 'Ада’s Schlüssel 🔑')
})

t.test('an address is shown so that its owner knows it, and nobody else its length', async (t) => {
  t.equal(maskEmail('ada@example.com'), 'a••@e••••••.com')
  t.equal(maskEmail('a@x.co.uk'), 'a••@x••••••.uk')
  t.equal(maskEmail(`${'ada'.repeat(20)}@xn--bcher-kva.example`), 'a••@x••••••.example')
  t.equal(maskEmail('𝒶da@localhost'), '𝒶••@l••••••')
})

t.test('programs are named in our words alone', async (t) => {
  const windows =
    'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36'
  const known: [string | null | undefined, string | null][] = [
    [windows, 'Chrome, Windows'],
    [`${windows} Edg/140.0.0.0`, 'Edge, Windows'],
    ['Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0', 'Firefox, Linux'],
    [
      'Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1',
      'Safari, iPhone',
    ],
    [
      'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Version/18.0 Safari/605.1.15',
      'Safari, macOS',
    ],
    [
      'Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 Chrome/140.0 Mobile Safari/537.36',
      'Chrome, Android',
    ],
    ['Doorstep/1.2 (iOS 18)', 'iPhone'],
    ['curl/8.5.0', null],
    ['Call +1 202 555 0123 at once, http://evil.example', null],
    ['', null],
    [null, null],
    [undefined, null],
  ]
  for (const [userAgent, words] of known) t.equal(describeUserAgent(userAgent), words, String(userAgent))
  const ours = /^[A-Za-z ]+(, [A-Za-z]+)?$/
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 200 }), (text) =>
        ours.test(describeUserAgent(`${text} Safari/1`) ?? ''),
      ),
    ),
  )
})
