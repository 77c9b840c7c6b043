import { sessionOf } from './access-token.ts'
import { nowMs } from './clock.ts'
import { unkept } from './errors.ts'
import { parsed } from './json.ts'
import type { TokenStorage } from './storage.ts'
import type { Authenticated } from './types.ts'

/** A session as it is kept. `renewAtMs`: when its access token is as good as run out, by this machine's clock. */
export type Kept = { access_token: string; refresh_token: string; renewAtMs: number }
export type Vault = ReturnType<typeof createVault>

/** Whether the access token may be sent: not run out, and not the one that was `refused`. */
export const isGood = ({ access_token, renewAtMs }: Kept, refused?: string): boolean =>
  access_token !== refused && nowMs() < renewAtMs

/** Whether an answer brings the tokens of a session. */
export function isSession(answer: unknown): answer is Authenticated {
  const { status, access_token, refresh_token, expires_in } = Object(answer)
  const areTokens = typeof access_token === 'string' && typeof refresh_token === 'string'
  return status === 'authenticated' && areTokens && typeof expires_in === 'number'
}

function keptOf(text: string | null): Kept | null {
  const kept = Object(parsed(text ?? ''))
  return typeof kept.refresh_token === 'string' ? kept : null
}

/** The session and the device token in their storage. What is none of them is not there, nor is a session that `isOver`. */
export function createVault(storage: TokenStorage, name: string, isOver: (session: unknown) => boolean) {
  const [sessionKey, deviceKey] = [`${name}.session`, `${name}.device`]
  const get = async (key: string): Promise<string | null> => {
    try {
      return await storage.get(key)
    } catch (cause) {
      throw unkept(cause)
    }
  }
  const set = async (key: string, value: string | null): Promise<void> => {
    try {
      await storage.set(key, value)
    } catch (cause) {
      throw unkept(cause)
    }
  }
  return {
    read: async (): Promise<Kept | null> => {
      const kept = keptOf(await get(sessionKey))
      return kept !== null && isOver(sessionOf(kept.access_token)) ? null : kept
    },

    save: async ({ access_token, refresh_token, expires_in, device_token }: Authenticated): Promise<Kept> => {
      // A tenth of its life early: clocks run apart, and a request is under way for a while.
      const kept: Kept = { access_token, refresh_token, renewAtMs: nowMs() + expires_in * 900 }
      // Before the session: where this fails nobody is signed in.
      if (device_token !== undefined) await set(deviceKey, device_token)
      await set(sessionKey, JSON.stringify(kept))
      return kept
    },

    clear: (): Promise<void> => set(sessionKey, null),

    /** What every login is sent with. */
    device: async (): Promise<{ device_token?: string }> => {
      const device_token = await get(deviceKey)
      return device_token === null ? {} : { device_token }
    },
  }
}
