import { timingSafeEqual } from 'node:crypto'

/** Whether a password made the hash that was read. All of its cost is in here, and none of it on the event loop. */
export type Judge = (password: string) => Promise<boolean>

/**
 * A kind of hash that users may bring along. `begins`: how one is told; `bounds`: what is accepted of it, for people;
 * `read`: null for what is malformed or beyond its bounds, before any work is done for it.
 */
export type HashKind = { begins: string[]; bounds: string; read(text: string): Judge | null }

/** The numbers of a hash are written plainly: no signs, no zeros before them, and never more digits than a bound has. */
export const isWithin = (written: string | undefined, most: number): boolean =>
  /^[1-9]\d{0,6}$/.test(written ?? '') && Number(written) <= most

export const sizes = 'a salt of 8 to 64 bytes and a key of 16 to 64'

/** A salt has 8 to 64 bytes. */
export const isSalt = (bytes: Buffer | null): bytes is Buffer =>
  bytes !== null && bytes.length >= 8 && bytes.length <= 64

/** What a password was made into has 16 to 64 bytes: fewer would fit many passwords. */
export const isKey = (bytes: Buffer | null): bytes is Buffer =>
  bytes !== null && bytes.length >= 16 && bytes.length <= 64

/** In constant time; both were made of equal length. */
export const areSame = (made: Buffer, stored: Buffer): boolean =>
  made.length === stored.length && timingSafeEqual(made, stored)

/**
 * The bytes of base64 in the spellings of hashes: RFC 4648's, the URL-safe one, and the one with `.` in place of `+`; with
 * padding or without. Null for any other text, and for one that has spare bits set.
 */
export function bytesOfBase64(text = ''): Buffer | null {
  if (!/^[\w+/.-]{1,200}={0,2}$/.test(text)) return null
  const plain = text.replaceAll('=', '').replaceAll(/[.-]/g, '+').replaceAll('_', '/')
  const bytes = Buffer.from(plain, 'base64')
  return bytes.toString('base64').replaceAll('=', '') === plain ? bytes : null
}
