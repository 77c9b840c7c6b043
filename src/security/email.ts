import { domainToASCII, domainToUnicode } from 'node:url'
import { Problem } from '../errors.ts'

/**
 * The one canonical form of an e-mail, used for lookup, uniqueness and every counter (SEC-10): NFKC, trimmed,
 * lower-cased once, the domain in ASCII (UTS 46) without the root's dot, as browsers send it. Throws `invalid_request`
 * unless it then has 3 to 254 characters, exactly one @ with something on both sides, a domain that has such a form, and
 * no white space or control characters.
 */
export function canonicalEmail(text: string): string {
  const folded = text.normalize('NFKC').trim().toLowerCase().normalize('NFKC')
  const [local, written = '', ...rest] = folded.split('@')
  const domain = rest.length === 0 ? asciiDomain(written) : ''
  const email = `${local}@${domain}`
  if (!local || domain === '' || email.length > 254 || /[\s\p{C}]/u.test(folded)) {
    throw new Problem('invalid_request', { errors: [{ pointer: '/email', message: 'must be an e-mail address' }] })
  }
  return email
}

/**
 * The domain as it is looked up; empty where there is none. Of ASCII only what names are made of: `domainToASCII` reads
 * the rest as parts of a URL, and `example.com/x` would be another way to write `example.com`. A label that only looks
 * encoded (`xn--a`) is none on every Node: from 24 on `domainToASCII` lets it pass, and nothing comes of it in Unicode.
 */
function asciiDomain(written: string): string {
  if (!/^[a-z\d._\u0080-\u{10ffff}-]+$/u.test(written)) return ''
  const domain = domainToASCII(written).replace(/\.$/, '')
  const isEncodedOnly = domainToUnicode(domain)
    .split('.')
    .some((label) => label.startsWith('xn--'))
  return isEncodedOnly || domain.split('.').includes('') ? '' : domain
}
