import fc from 'fast-check'
import t from 'tap'
import { Problem } from '../../src/errors.ts'
import { canonicalEmail } from '../../src/security/email.ts'
import { anyText } from '../helpers/any-text.ts'

/** The canonical form, or null for what is refused; any other failure is a failure of the test. */
function read(text: string): string | null {
  try {
    return canonicalEmail(text)
  } catch (error) {
    if (error instanceof Problem && error.code === 'invalid_request') return null
    throw error
  }
}

t.test('one person, one identifier, however it is written (SEC-10)', async (t) => {
  const spellings = [
    'alice@example.com',
    'ALICE@EXAMPLE.COM',
    ' Alice@Example.com ',
    '\talice@example.com\r\n',
    '\u00a0alice@example.com\u3000',
    'ａｌｉｃｅ＠ｅｘａｍｐｌｅ．ｃｏｍ',
    'ＡＬＩＣＥ@example.com',
    'ⓐlice@example.com',
    '𝒶𝓁𝒾𝒸ℯ@example.com',
  ]
  for (const spelling of spellings) t.equal(read(spelling), 'alice@example.com', JSON.stringify(spelling))
  t.equal(read('e\u0301va@example.com'), read('\u00c9va@example.com'), 'composed and decomposed')
  t.equal(read('™@example.com'), 'tm@example.com', 'a sign that becomes capitals')
  t.equal(read('\u0130\u0327@example.com'), 'i\u0327\u0307@example.com', 'marks that lower case puts out of order')
  t.equal(read('STRASSE@example.com'), 'strasse@example.com')
  t.not(read('straße@example.com'), read('strasse@example.com'), 'other letters are other people')
  t.not(read('alice+x@example.com'), read('alice@example.com'), 'nothing is stripped')
  t.not(read('a.lice@example.com'), read('alice@example.com'))
})

t.test('what is refused', async (t) => {
  const refused: [string, string][] = [
    ['', 'nothing'],
    ['   ', 'white space'],
    ['alice', 'no @'],
    ['@', 'only @'],
    ['alice@', 'no domain'],
    ['@example.com', 'no local part'],
    ['a@b@c', 'two @'],
    ['a＠b@c', 'two @, one of them full-width'],
    ['alice@@example.com', 'two @ in a row'],
    ['al ice@example.com', 'a space inside'],
    ['al\u00a0ice@example.com', 'a no-break space inside'],
    ['al\u2028ice@example.com', 'a line separator inside'],
    ['al\u0000ice@example.com', 'NUL'],
    ['\u0000alice@example.com', 'NUL in front: not white space'],
    ['al\u200bice@example.com', 'an invisible character'],
    ['al\u202eice@example.com', 'a character that turns the line around'],
    ['alice@exam\ufeffple.com', 'a byte order mark'],
    ['alice\u00ad@example.com', 'a soft hyphen'],
    ['al\ud800ice@example.com', 'half of a surrogate pair'],
    ['alice\u00a8@example.com', 'becomes a space by NFKC'],
    [`${'a'.repeat(243)}@example.com`, '255 characters'],
    [`${'\ufdfa'.repeat(20)}@example.com`, '360 characters, and spaces, by NFKC'],
  ]
  for (const [text, why] of refused) t.equal(read(text), null, why)
  t.equal(read('a@b'), 'a@b', 'the shortest')
  t.equal(read(`${'a'.repeat(242)}@example.com`)?.length, 254, 'the longest')
})

t.test('an attacker cannot write one e-mail in two ways that count apart (SEC-10, CVE-2025-6004)', async (t) => {
  const part = fc.string({
    unit: fc.oneof(
      { weight: 20, arbitrary: fc.constantFrom(...'abzABZ019.+-_ＡａＺ０ⒶﬁΣσςßẞİıÉé™㎒𝒜') },
      {
        weight: 1,
        arbitrary: fc.constantFrom(
          '\u0301',
          '\u0307',
          '\u0327',
          '\u00a8',
          '\u037a',
          '\u1e9b\u0323',
          '\ud800',
          '\u200d',
        ),
      },
      { weight: 1, arbitrary: anyText({ minLength: 1, maxLength: 1 }) },
    ),
    minLength: 1,
    maxLength: 8,
  })
  const at = fc.constantFrom('@', '@', '@', '＠', '﹫', '@@', '')
  const around = fc.constantFrom('', '', ' ', '\t', '\u3000', '\n')
  const email = fc
    .tuple(around, part, at, part, around)
    .map((parts) => parts.join(''))
    .chain((text) => fc.constantFrom(text, text.toUpperCase(), text.toLowerCase(), text.normalize('NFD')))
  let accepted = 0

  const property = fc.property(email, (text) => {
    const canonical = read(text)
    if (canonical === null) return true
    accepted += 1
    return (
      canonical.length >= 3 &&
      canonical.length <= 254 &&
      canonical.split('@').length === 2 &&
      !canonical.startsWith('@') &&
      !canonical.endsWith('@') &&
      canonical.isWellFormed() &&
      !/[\s\p{C}]/u.test(canonical) &&
      canonical === canonical.normalize('NFKC') &&
      canonical === canonical.toLowerCase() &&
      canonical === read(canonical) &&
      canonical === read(` ${canonical}\n`) &&
      canonical === read(canonical.normalize('NFD'))
    )
  })
  t.doesNotThrow(() => fc.assert(property, { numRuns: 5_000 }))
  t.ok(accepted > 1_000, `${accepted} of 5,000 were accepted`)
})

t.test('letters of ASCII: upper case, full width and any mixture are one identifier', async (t) => {
  const spelledTwice = fc
    .array(fc.tuple(fc.constantFrom(...'abcxyz0189.-_+'), fc.constantFrom('plain', 'upper', 'wide', 'wide upper')), {
      minLength: 1,
      maxLength: 30,
    })
    .map((letters) => ({
      plain: letters.map(([letter]) => letter).join(''),
      spelled: letters.map(([letter, how]) => spell(letter, how)).join(''),
    }))
  const property = fc.property(spelledTwice, ({ plain, spelled }) => {
    return read(`${spelled}@${domainOf(spelled)}`) === `${plain}@${domainOf(plain)}`
  })
  t.doesNotThrow(() => fc.assert(property, { numRuns: 2_000 }))
})

/** As a domain: with no plus and no empty label. */
const domainOf = (text: string): string => `a${text.replace(/[.+．＋]/g, '')}.example`

function spell(letter: string, how: string): string {
  const cased = how.includes('upper') ? letter.toUpperCase() : letter
  return how.includes('wide') ? String.fromCodePoint((cased.codePointAt(0) ?? 0) + 0xfee0) : cased
}

t.test('any text at all: a canonical form or invalid_request, in time', async (t) => {
  const property = fc.property(anyText({ maxLength: 400 }), (text) => {
    const canonical = read(text)
    return canonical === null || canonical.includes('@')
  })
  t.doesNotThrow(() => fc.assert(property, { numRuns: 2_000 }))
  t.equal(read(`${'@'.repeat(100_000)}`), null)
  t.equal(read(`${' '.repeat(100_000)}a`), null)
})

t.test('a domain is one domain in every spelling: letters, punycode, dots, case (UTS 46)', async (t) => {
  const spellings: Record<string, string[]> = {
    'ada@xn--mnchen-3ya.example': [
      ...['ada@münchen.example', 'ada@MÜNCHEN.example', 'ada@mu\u0308nchen.example', 'ada@xn--mnchen-3ya.example'],
      ...['ada@XN--MNCHEN-3YA.EXAMPLE', 'ada@münchen.example.', 'ada@münchen。example', 'ada@ｍünchen．example'],
    ],
    'ada@xn--strae-oqa.example': ['ada@straße.example', 'ada@STRAẞE.example', 'ada@xn--strae-oqa.example'],
    'ada@xn--fiqs8s.xn--0zwm56d': ['ada@中国.测试', 'ada@中国。测试', 'ada@中国.测试.'],
    'ada@example.com': ['ada@example.com.', 'ada@example.com。', 'ada@EXAMPLE｡COM'],
    'ada@sub_domain.example': ['ada@sub_domain.example'],
    'ada@[x]': [],
  }
  for (const [canonical, list] of Object.entries(spellings)) {
    for (const spelling of list) t.equal(read(spelling), canonical, JSON.stringify(spelling))
  }
  t.equal(read('ädä@münchen.example'), 'ädä@xn--mnchen-3ya.example', 'the local part is its own')
  t.not(read('ada@münchen.example'), read('ada@munchen.example'), 'other letters are other domains')
})

t.test('a domain that would be read as a part of a URL is no second way to write another (SEC-10)', async (t) => {
  const refused = [
    ...[
      'example.com/x',
      'example.com?x',
      'example.com#x',
      'example.com:80',
      'example.com\\x',
      'ex%61mple.com',
      'a b.com',
    ],
    ...['user:pw@example.com', '[::1]', '[127.0.0.1]', 'exa\u00admple.com', 'example..com', '.example.com', '.', '..'],
    ...['example.com..', 'xn--a.example', 'xn--.example', '\u2100.example', 'exam!ple.com', "a'b.example", '<x>'],
    ...['㏂.example/x', '／example.com', 'example.com／x', '⁇.example', '％41.example'],
  ]
  for (const domain of refused) t.equal(read(`ada@${domain}`), null, domain)
})
