import { createHmac, timingSafeEqual } from 'node:crypto'
import type { Secrets } from './secrets.ts'

/** Which session a refresh token belongs to, and how often that session was refreshed before. */
export type RefreshClaim = { sessionId: string; generation: number }

export type RefreshTokens = ReturnType<typeof createRefreshTokens>

const form = /^dsr_([\w-]{1,32})\.([\w-]{27})\.([\w-]{43})$/

/**
 * Refresh tokens that are derived, never stored: session id, generation, and an HMAC-SHA-256 of both under a key
 * outside the database (RFC 9700 4.14). The same generation always gives the same token, which is how a lost reply is
 * answered again; a dump of the database gives none.
 */
export function createRefreshTokens({ secrets }: { secrets: Secrets }) {
  const macOf = (key: Buffer, payload: string): string =>
    createHmac('sha256', key).update(`refresh:v1|${payload}`).digest('base64url')

  return {
    /** The token of a session's generation. */
    make: ({ sessionId, generation }: RefreshClaim): string => {
      const { id, key } = secrets.current('refresh-token')
      const payload = Buffer.alloc(20)
      payload.write(sessionId.replaceAll('-', ''), 'hex')
      payload.writeUInt32BE(generation, 16)
      const text = payload.toString('base64url')
      return `dsr_${id}.${text}.${macOf(key, text)}`
    },

    /** What a token claims, if it is one of ours; otherwise null. */
    read: (token: string): RefreshClaim | null => {
      const [, keyId = '', text = '', mac = ''] = form.exec(token) ?? []
      const key = secrets.find('refresh-token', keyId)
      // Compared as text: base64url has spare bits, and a token has one spelling only.
      if (key === undefined || !timingSafeEqual(Buffer.from(macOf(key, text)), Buffer.from(mac))) return null
      const payload = Buffer.from(text, 'base64url')
      const sessionId = payload.toString('hex', 0, 16).replace(/(.{8})(.{4})(.{4})(.{4})(.{12})/, '$1-$2-$3-$4-$5')
      return { sessionId, generation: payload.readUInt32BE(16) }
    },
  }
}
