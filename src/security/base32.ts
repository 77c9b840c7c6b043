/** RFC 4648 section 6: what authenticator apps read. */
const rfc4648 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'

/** Crockford's: no I, L, O and U, so that what is read aloud or copied from paper comes out right. */
export const crockford = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'

/** The bits of `bytes` in fives, the most significant first, without padding. */
export function toBase32(bytes: Uint8Array, alphabet = rfc4648): string {
  const bits = Array.from(bytes, (byte) => byte.toString(2).padStart(8, '0')).join('')
  return bits.replace(/.{1,5}/g, (five) => alphabet.charAt(Number.parseInt(five.padEnd(5, '0'), 2)))
}

/** The bytes that `toBase32` wrote in RFC 4648's alphabet. Throws on anything that is not of it. */
export function fromBase32(text: string): Buffer {
  if (!/^[A-Z2-7]*$/.test(text)) throw new Error('That is not base 32')
  const bits = Array.from(text, (it) => rfc4648.indexOf(it).toString(2).padStart(5, '0')).join('')
  return Buffer.from(Array.from(bits.match(/.{8}/g) ?? [], (eight) => Number.parseInt(eight, 2)))
}
