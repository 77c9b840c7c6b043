import { createHash } from 'node:crypto'
import type { Caller } from '../events.ts'

/**
 * The two classes of clients (SEC-101): `known` has shown a device token of this account, everybody else is a stranger.
 * Every budget exists once for each, so that what strangers do, with or without the password, never shuts out the owner's
 * own devices. An address makes nobody known. Whether a device is known is decided with the charge of a login
 * (prisma/functions/login.sql, begin_login).
 */
export type Standing = { known: boolean; deviceId: string | null }

/** Who a challenge belongs to: a known device, or the strangers at one address with one user agent (SEC-105). */
export function clientOf({ deviceId }: Standing, { address, userAgent }: Caller): string {
  if (deviceId !== null) return `device:${deviceId}`
  return createHash('sha256')
    .update(`${address}\n${userAgent ?? ''}`)
    .digest('base64url')
}
