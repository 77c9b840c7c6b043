import { isIP } from 'node:net'
import ipaddr from 'ipaddr.js'
import { getCountries } from 'libphonenumber-js'
import { factorMethods } from '../methods.ts'
import { rangeOf } from '../security/client-address.ts'
import { isLoopback } from '../security/nearby.ts'

/** The parts of a comma list; spaces around the commas do not count. */
export const listOf = (text: string): string[] => text.split(',').map((part) => part.trim())

/** `id:value` pairs of a comma list. A part without a colon gives an empty value. */
export function pairsOf(text: string): { id: string; value: string }[] {
  return listOf(text).map((part) => {
    const [id = '', ...rest] = part.split(':')
    return { id, value: rest.join(':') }
  })
}

/** The bytes of base64 or base64url text, with or without padding; nothing for any other text. */
export function bytesOf(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64')
  const plain = text
    .replaceAll('+', '-')
    .replaceAll('/', '_')
    .replace(/={1,2}$/, '')
  return plain !== '' && bytes.toString('base64url') === plain ? bytes : undefined
}

/** The master keys of a well-formed `SECRET_KEYS`, each also as it is written. */
export function keysOf(list: string | undefined): { id: string; key: Buffer; text: string }[] {
  if (!list) return []
  return pairsOf(list).flatMap(({ id, value }) => {
    const key = bytesOf(value)
    return key ? [{ id, key, text: value }] : []
  })
}

/** The clients of a well-formed `INTROSPECTION_CLIENTS`. */
export const clientsOf = (list: string | undefined): { id: string; secret: string }[] =>
  list ? pairsOf(list).map(({ id, value }) => ({ id, secret: value })) : []

export const isUniqueList = (list: readonly string[]): boolean => new Set(list).size === list.length

/**
 * False for bytes that no random source gives: fewer than 8 different values, a pattern that repeats, or equal steps
 * (all the same, counting up or down). 32 random bytes fail this once in more than 10^30.
 */
export function looksRandom(bytes: Uint8Array): boolean {
  const repeats = (period: number) => bytes.every((byte, at) => at < period || byte === bytes[at - period])
  const periods = Array.from({ length: Math.floor(bytes.length / 2) }, (_, at) => at + 1)
  const steps = new Set(bytes.slice(1).map((byte, at) => byte - (bytes[at] ?? 0)))
  return new Set(bytes).size >= 8 && steps.size > 1 && !periods.some(repeats)
}

/** An http or https address with nothing but a host, perhaps a port and a path. */
export function isPlainUrl(text: string): boolean {
  return /^https?:\/\/[^\s/?#@\\]+(\/[^\s?#\\]*)?$/i.test(text) && URL.canParse(text)
}

/** Exactly what a browser sends as `Origin`, of any scheme; never `null`, which every sandboxed page sends. */
export function isOrigin(text: string): boolean {
  if (!/^[a-z][a-z0-9+.-]*:\/\/[^\s/?#@\\*,]+$/.test(text) || !URL.canParse(text)) return false
  const { protocol, host, origin } = new URL(text)
  return text === (origin === 'null' ? `${protocol}//${host}` : origin)
}

/** The address in its usual spelling, without slashes at the end. */
export const withoutSlash = (url: string): string => new URL(url).href.replace(/\/+$/, '')

export const isHttps = (url: string): boolean => new URL(url).protocol === 'https:'

/** True when the address can only be this machine. */
export const isLoopbackUrl = (url: string): boolean => isLoopback(new URL(url).hostname)

/** The password inside a connection URL, or empty. */
export const passwordIn = (url: string | undefined): string => (url ? new URL(url).password : '')

const countries: ReadonlySet<string> = new Set(getCountries())

/** `*`, or ISO 3166 alpha-2 codes whose phone numbers are known. */
export const isCountryList = (text: string): boolean => text === '*' || listOf(text).every((it) => countries.has(it))

/**
 * One address or CIDR range of proxies, not so wide that strangers fall into it: /8 or narrower for IPv4 (also when
 * written inside IPv6), /7 or narrower for IPv6.
 */
export function isProxyRange(text: string): boolean {
  const [address = '', prefix, ...rest] = text.split('/')
  if (rest.length > 0 || !/^[0-9a-f:.]+$/i.test(address)) return false
  const four = ipaddr.IPv4.isValidFourPartDecimal(address)
  if (!four && !(address.includes(':') && ipaddr.IPv6.isValid(address))) return false
  if (prefix === undefined) return true
  if (!/^(0|[1-9]\d{0,2})$/.test(prefix)) return false
  const bits = Number(prefix)
  if (four) return bits >= 8 && bits <= 32
  const coversMapped = bits <= 104 && ipaddr.parse('::ffff:0:0').match(ipaddr.parse(address), Math.min(bits, 96))
  return bits >= (coversMapped ? 104 : 7) && bits <= 128
}

/** RFC 1918, RFC 3927, RFC 4193, and the link-local addresses of RFC 4291. */
const privateRanges = ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '169.254.0.0/16', 'fc00::/7', 'fe80::/10']

/** One address or CIDR range of which every address is private. */
export function isPrivateRange(text: string): boolean {
  if (!isProxyRange(text)) return false
  const [base, bits] = rangeOf(text)
  return privateRanges
    .map(rangeOf)
    .some(([start, least]) => base.kind() === start.kind() && bits >= least && base.match(start, least))
}

/** An IP address or a host name, without a port. */
export const isHost = (text: string): boolean => isIP(text) !== 0 || /^[\w.-]{1,255}$/.test(text)

/** A domain name as a relying party may have it (WebAuthn Level 3, 5.4.2): no address, no port. */
export const isDomain = (text: string): boolean =>
  text.length <= 253 && isIP(text) === 0 && /^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.(?!$)|$))+$/i.test(text)

/** Whether `domain` is the host itself or above it; one label alone is above nothing. */
export const isAtOrBelow = (host: string, domain: string): boolean =>
  host === domain || (domain.includes('.') && host.endsWith(`.${domain}`))

export const isAndroidApp = (origin: string): boolean => /^android:apk-key-hash:[\w-]{43}$/.test(origin)

/** What WebAuthn clients send as `origin`: that of a page, or the hash of an Android app's certificate. */
export const isPasskeyOrigin = (text: string): boolean =>
  isAndroidApp(text) || (/^https?:/.test(text) && isOrigin(text))

/** Methods of which one can be the second factor of an account, perhaps with `email`. */
export function isMethodList(text: string): boolean {
  const listed = listOf(text)
  const known: readonly string[] = [...factorMethods, 'email']
  return listed.every((it) => known.includes(it)) && isUniqueList(listed) && listed.some((it) => it !== 'email')
}

/** A mail server, perhaps with credentials; what would change how it is spoken to is refused. */
export const isSmtpUrl = (text: string): boolean =>
  /^smtps?:\/\/([^\s/?#@\\]+@)?[^\s/?#@\\]+\/?$/.test(text) && URL.canParse(text)

/** `ada@example.com` or `Ada Lovelace <ada@example.com>` (RFC 5322 mailbox, the name without signs that need quotes). */
export function isMailbox(text: string): boolean {
  const [, name = 'no name', named, bare = named ?? ''] = /^(?:([^<>]+) <([^<>]+)>|([^<>]+))$/.exec(text) ?? []
  const isName = /^[^\p{C}\p{Zl}\p{Zp}<>()[\]\\,;:@"]{1,80}$/u.test(name)
  return isName && bare.length <= 254 && /^[\w.!#$%&'*+/=?^`{|}~-]{1,64}@[a-z0-9.-]+$/i.test(bare)
}
