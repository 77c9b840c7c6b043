import { createHash } from 'node:crypto'
import type { Random } from '../system.ts'

/** How long a device is trusted, in seconds, counted from the login that trusted it. */
export const deviceLife = 30 * 86_400

/** A fresh token of 256 random bits; the database keeps its hash only. */
export function makeDeviceToken(random: Random): { token: string; hash: Buffer } {
  const token = `dsd_${random.bytes(32).toString('base64url')}`
  return { token, hash: hashDeviceToken(token) }
}

/** SHA-256: enough for 256 random bits, which nobody can search. */
export function hashDeviceToken(token: string): Buffer {
  return createHash('sha256').update(token).digest()
}
