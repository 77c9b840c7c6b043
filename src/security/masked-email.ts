const bullet = '•'

/**
 * `a••@e••••••.com`: the first character of the name and of the domain, and the top-level domain; always as many bullets,
 * whatever the length (SEC-37, ASVS 14.2.6).
 * @param email in the canonical form
 */
export function maskEmail(email: string): string {
  const at = email.lastIndexOf('@')
  const [name = ''] = email.slice(0, at)
  const domain = email.slice(at + 1)
  const [first = ''] = domain
  const end = domain.includes('.') ? domain.slice(domain.lastIndexOf('.')) : ''
  return `${name}${bullet.repeat(2)}@${first}${bullet.repeat(6)}${end}`
}
