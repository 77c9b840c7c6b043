import fc from 'fast-check'
import t from 'tap'
import { composeMail, oneLine } from '../../src/mail/message.ts'
import { lifeOf } from '../../src/mail/words/facts.ts'
import {
  type FactorName,
  type Language,
  languageOf,
  languages,
  type NoticeFacts,
  noticeTopics,
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
}

/** Whatever a mail program makes a link of. */
const link = /:\/\/|www\.|@|href|\.(com|org|net)\b/i

t.test('every language has every text, whole and in one piece', async (t) => {
  t.ok(names.length >= 2)
  t.equal(new Set(noticeTopics).size, noticeTopics.length)
  for (const language of names) {
    t.strictSame(Object.keys(languages[language].notices).sort(), [...noticeTopics].sort(), language)
    const subjects = new Set<string>()
    for (const topic of noticeTopics) {
      for (const factor of factors) {
        const { subject, text, html } = composeMail(languages[language].notices[topic]({ ...facts, factor }), language)
        subjects.add(subject)
        t.match(subject, /^\S.+ – Doorstep$/, `${language} ${topic}`)
        t.ok(text.includes('203.0.113.0/24') && text.includes('Firefox, Windows'), 'from where')
        t.match(text, /2030.*03:04 UTC/, 'when')
        for (const part of [subject, text, html]) t.notMatch(part, /undefined|null|NaN|\[object|\$\{/)
        t.notMatch(text, link, 'no link')
        t.match(html, new RegExp(`^<!doctype html><html lang="${language}">`))
      }
    }
    t.equal(subjects.size, noticeTopics.length, 'told apart by their subjects')
  }
})

t.test('languages differ in every text', async (t) => {
  const [first, ...others] = names as [Language, ...Language[]]
  const bare = { ...facts, app: '', client: '', network: null, name: null }
  for (const other of others) {
    for (const topic of noticeTopics) {
      const theirs = languages[other].notices[topic](bare)
      const ours = languages[first].notices[topic](bare)
      t.not(theirs.subject, ours.subject)
      for (const text of theirs.paragraphs) t.notOk(ours.paragraphs.includes(text), text)
    }
    const code = { app: '', code: '', lifeSeconds: 600 }
    t.not(languages[other].code(code).subject, languages[first].code(code).subject)
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

t.test('what an operator did has no address, and one code that is left is one', async (t) => {
  for (const language of names) {
    const { text } = composeMail(languages[language].notices['account.disabled']({ ...facts, network: null }), language)
    t.notMatch(text, /203\.0|Firefox|From:|Von wo:/)
    const unknown = composeMail(languages[language].notices['device.new']({ ...facts, client: null }), language)
    t.match(unknown.text, /unknown program|unbekanntes Programm/)
  }
  const left = (remaining: number) => languages.en.notices['recovery_code.used']({ ...facts, remaining }).paragraphs[0]
  t.match(left(1), / 1 recovery code is left/)
  t.match(left(0), / 0 recovery codes are left/)
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
      const { subject, html } = composeMail(languages[language].notices[topic]({ ...facts, app, name }), language)
      const tags = html.match(/<[^>]*>/g) ?? []
      const known =
        /^<(!doctype html|html lang="\w\w"|\/?(head|body|title|p|html)|meta charset="utf-8"|body style="[\w:;.-]+"|br)>$/
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
