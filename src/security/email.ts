import { Problem } from '../errors.ts'

/**
 * The one canonical form of an e-mail, used for lookup, uniqueness and every counter (SEC-10): NFKC, trimmed,
 * lower-cased once. Throws `invalid_request` unless it then has 3 to 254 characters, exactly one @ with something on
 * both sides, and no white space or control characters.
 */
export function canonicalEmail(text: string): string {
  const email = text.normalize('NFKC').trim().toLowerCase().normalize('NFKC')
  const [local, domain, ...rest] = email.split('@')
  const isWellFormed = Boolean(local) && Boolean(domain) && rest.length === 0
  if (email.length > 254 || !isWellFormed || /[\s\p{C}]/u.test(email)) {
    throw new Problem('invalid_request', { errors: [{ pointer: '/email', message: 'must be an e-mail address' }] })
  }
  return email
}
