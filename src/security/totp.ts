import { createHmac, timingSafeEqual } from 'node:crypto'
import type { Random } from '../system.ts'
import { fromBase32, toBase32 } from './base32.ts'

/** Digits of a code, and how long each one is shown: what every authenticator app takes for granted. */
export const totpLength = 6
const stepMs = 30_000

/** A new secret of 160 bits, as long as the hash is (RFC 4226 section 4, R6), in base 32. */
export const newSecret = (random: Random): string => toBase32(random.bytes(20))

/** RFC 4226 section 5.3: the code of `length` digits (at most 9) that `key` shows at `counter`. */
export function hotp(key: Buffer, counter: number, length = totpLength): string {
  const moving = Buffer.alloc(8)
  moving.writeBigInt64BE(BigInt(counter))
  const digest = createHmac('sha1', key).update(moving).digest()
  const number = digest.readUInt32BE(digest.readUInt8(19) & 0xf) & 0x7fffffff
  return (number % 10 ** length).toString().padStart(length, '0')
}

/**
 * The step (30 s each since 1970) whose code `digits` is, by RFC 6238: the current one or the one before it, for digits
 * that were typed just as they changed. Null for any other, for what is not six ASCII digits, and for steps up to
 * `lastStep`, the last that was used: a code works once (ASVS 6.5.1). Both codes are always made and compared, each in
 * constant time.
 *
 * @param secret In base 32.
 * @param nowMs Milliseconds since 1970 by the server's clock.
 */
export function matchingStep(secret: string, digits: string, nowMs: number, lastStep: number): number | null {
  if (!/^[0-9]{6}$/.test(digits)) return null
  const key = fromBase32(secret)
  const isCodeOf = (step: number): boolean => timingSafeEqual(Buffer.from(hotp(key, step)), Buffer.from(digits))
  const current = Math.floor(nowMs / stepMs)
  const matches = [current, current - 1].map((step) => ({ step, isRight: isCodeOf(step) }))
  // The newer one, should both have the same code: with the older, it would work again.
  const step = matches.find(({ isRight }) => isRight)?.step
  return step !== undefined && step > lastStep ? step : null
}

/**
 * What an authenticator app reads (the key URI format): `otpauth://totp/<issuer>:<account>?…`, everything
 * percent-encoded. Without colons in the names, which would end the issuer, and with the first 64 characters of the
 * account: nothing depends on it, and the longest address would not fit a QR code.
 */
export function uri({ secret, issuer, account }: { secret: string; issuer: string; account: string }): string {
  const nameOf = (text: string): string => encodeURIComponent([...text.replaceAll(':', '')].slice(0, 64).join(''))
  const label = `${nameOf(issuer)}:${nameOf(account)}`
  return `otpauth://totp/${label}?secret=${secret}&issuer=${nameOf(issuer)}&algorithm=SHA1&digits=${totpLength}&period=${stepMs / 1000}`
}
