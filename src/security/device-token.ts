import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import type { Random } from '../system.ts'
import type { Secrets } from './secrets.ts'

/** How long a device is known, counted from its last use, and trusted, counted from the login that said so; in seconds. */
export const deviceLife = { known: 90 * 86_400, trusted: 30 * 86_400 }

export type DeviceTokens = ReturnType<typeof createDeviceTokens>

const form = /^dsd_([\w-]{1,32})\.([\w-]{43})\.([\w-]{43})$/

/**
 * Tokens that prove that a client has signed in here before: 256 random bits, of which the database keeps a hash only, and
 * an HMAC-SHA-256 under a key outside it, so that what nobody was given is told without asking the database.
 */
export function createDeviceTokens({ secrets, random }: { secrets: Secrets; random: Random }) {
  const macOf = (key: Buffer, text: string): string =>
    createHmac('sha256', key).update(`device:v1|${text}`).digest('base64url')

  return {
    /** A fresh one, with what the database keeps of it. */
    make: (): { token: string; hash: Buffer } => {
      const { id, key } = secrets.current('device-token')
      const text = random.bytes(32).toString('base64url')
      const token = `dsd_${id}.${text}.${macOf(key, text)}`
      return { token, hash: hashOf(token) }
    },

    /** The hash of a token that was made here; null for anything else. */
    read: (token: string | undefined): Buffer | null => {
      const [, keyId = '', text = '', mac = ''] = form.exec(token ?? '') ?? []
      const key = secrets.find('device-token', keyId)
      if (token === undefined || key === undefined) return null
      return timingSafeEqual(Buffer.from(macOf(key, text)), Buffer.from(mac)) ? hashOf(token) : null
    },
  }
}

/** SHA-256: enough for 256 random bits, which nobody can search. */
function hashOf(token: string): Buffer {
  return createHash('sha256').update(token).digest()
}
