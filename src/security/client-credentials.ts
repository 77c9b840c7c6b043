import { createHash, timingSafeEqual } from 'node:crypto'
import type { Random } from '../system.ts'

/** A client's id, and the hash of its secret. */
export type ClientKey = { id: string; hash: Buffer }

const digest = (text: string | Buffer): Buffer => createHash('sha256').update(text).digest()

/** A new id. */
export const newClientId = (random: Random): string => `dsc_${random.bytes(16).toString('base64url')}`

/** A new secret of 256 random bits, shown once, and the SHA-256 that is kept of it. */
export function newClientSecret(random: Random): { secret: string; hash: Buffer } {
  const secret = `dss_${random.bytes(32).toString('base64url')}`
  return { secret, hash: digest(secret) }
}

/**
 * The pairs `id:secret` that HTTP Basic credentials (RFC 7617) may stand for: as they were sent and, since OAuth's libraries
 * encode them so, as a form is decoded (RFC 6749 2.3.1).
 */
export function pairsIn(header = ''): Buffer[] {
  const [, encoded = ''] = /^Basic +([A-Za-z0-9+/=]{1,1024})$/i.exec(header) ?? []
  const sent = Buffer.from(encoded, 'base64')
  return [sent, Buffer.from(formDecoded(sent.toString()))]
}

/** The pair that has the form of a client's that the command line made; null where none has, which is nobody's then. */
export function clientKeyIn(pairs: readonly Buffer[]): ClientKey | null {
  for (const pair of pairs) {
    const [, id, secret] = /^(dsc_[\w-]{22}):(dss_[\w-]{43})$/.exec(pair.toString()) ?? []
    if (id !== undefined && secret !== undefined) return { id, hash: digest(secret) }
  }
  return null
}

/** Whose pair it is, compared in constant time against every client that we know; null if it is nobody's. */
export function knownClient(pairs: readonly Buffer[], known: readonly { id: string; secret: string }[]): string | null {
  const given = pairs.map(digest)
  const matching = known.filter(({ id, secret }) => {
    const right = digest(`${id}:${secret}`)
    return given.filter((one) => timingSafeEqual(one, right)).length > 0
  })
  return matching[0]?.id ?? null
}

/** Text as application/x-www-form-urlencoded has it; the text itself where it is not in that form. */
function formDecoded(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '))
  } catch {
    return text
  }
}
