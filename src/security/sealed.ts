import { createCipheriv, createDecipheriv } from 'node:crypto'
import type { Random } from '../system.ts'
import type { Purpose, Secrets } from './secrets.ts'

const nonceBytes = 12
const tagBytes = 16

export type Sealer = ReturnType<typeof createSealer>

/**
 * Values that the database keeps without being able to read them: AES-256-GCM (NIST SP 800-38D) under the key of a
 * purpose. A sealed value names its key and opens only with the words it was bound to, such as its user and factor, so
 * that none passes for another.
 */
export function createSealer({ secrets, random }: { secrets: Secrets; random: Random }) {
  const aboutOf = (keyId: string, boundTo: string): string => `sealed:v1|${keyId}|${boundTo}`

  return {
    /** Seals a JSON value, with the current key; in base64url: length of the key's id, the id, nonce, tag, ciphertext. */
    seal: (purpose: Purpose, value: object | string, boundTo: string): string => {
      const { id, key } = secrets.current(purpose)
      const sealed = encrypt(key, Buffer.from(JSON.stringify(value)), aboutOf(id, boundTo), random)
      return Buffer.concat([Buffer.of(id.length), Buffer.from(id), sealed]).toString('base64url')
    },

    /** The value again; null when its key is gone, it was altered, or it was bound to something else. */
    open: (purpose: Purpose, text: string, boundTo: string): unknown => {
      const bytes = Buffer.from(text, 'base64url')
      const idEnd = 1 + (bytes[0] ?? 0)
      const id = bytes.toString('utf8', 1, idEnd)
      const key = secrets.find(purpose, id)
      // Base64url has spare bits, and a sealed value has one spelling only.
      if (key === undefined || bytes.toString('base64url') !== text) return null
      const opened = decrypt(key, bytes.subarray(idEnd), aboutOf(id, boundTo))
      return opened && JSON.parse(opened.toString())
    },
  }
}

/** AES-256-GCM under a random nonce of 96 bits, with `about` as additional data: nonce, tag, ciphertext. */
export function encrypt(key: Buffer, plain: Buffer, about: string, random: Random): Buffer {
  const nonce = random.bytes(nonceBytes)
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(Buffer.from(about))
  const ciphertext = Buffer.concat([cipher.update(plain), cipher.final()])
  return Buffer.concat([nonce, cipher.getAuthTag(), ciphertext])
}

/** What `encrypt` was given; null unless it was this key and these words, and nothing was altered. */
export function decrypt(key: Buffer, sealed: Buffer, about: string): Buffer | null {
  if (sealed.length < nonceBytes + tagBytes) return null
  const nonce = sealed.subarray(0, nonceBytes)
  const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: tagBytes })
  decipher.setAAD(Buffer.from(about)).setAuthTag(sealed.subarray(nonceBytes, nonceBytes + tagBytes))
  const plain = decipher.update(sealed.subarray(nonceBytes + tagBytes))
  try {
    return Buffer.concat([plain, decipher.final()])
  } catch {
    return null
  }
}
