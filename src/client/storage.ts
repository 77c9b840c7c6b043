/**
 * Where the client keeps what it must not forget: two strings, the tokens of the session and the device token. Anything
 * will do that can get and set, at once or later: `localStorage`, a keychain, a file, a row.
 */
export type TokenStorage = {
  get(key: string): string | null | Promise<string | null>
  /** `null` removes it. */
  set(key: string, value: string | null): void | Promise<void>
  /**
   * Other tabs or workers of this browser read and write the same. They then take turns at refreshing (Web Locks), and
   * hear of each other's signing in and out (BroadcastChannel).
   */
  isShared?: boolean
}

/**
 * Nothing outlives the page or the process. A script that an attacker gets into the page finds nothing to take along
 * beyond the life of the page, and a reload signs out.
 */
export function memoryStorage(): TokenStorage {
  const kept = new Map<string, string>()
  return {
    get: (key) => kept.get(key) ?? null,
    set: (key, value) => void (value === null ? kept.delete(key) : kept.set(key, value)),
  }
}

/** As much of the browser's own storage as is needed. */
type Web = {
  getItem(key: string): string | null
  setItem(key: string, value: string): void
  removeItem(key: string): void
}

/**
 * The browser's `localStorage` (all tabs, outlives the browser) or `sessionStorage` (this tab, until it is closed). Both
 * can be read by every script that runs in the page: a single injected one takes the refresh token away with it. Keep
 * foreign scripts out (a strict Content-Security-Policy) before you choose these. A tab that the browser duplicates has a
 * copy of `sessionStorage`, whose refresh token both then use: after 30 s the service takes that for theft, and ends the
 * session. `localStorage` has no such trouble.
 */
export const webStorage = (storage: Web): TokenStorage => ({
  get: (key) => storage.getItem(key),
  set: (key, value) => (value === null ? storage.removeItem(key) : storage.setItem(key, value)),
  isShared: storage !== (globalThis as { sessionStorage?: Web }).sessionStorage,
})
