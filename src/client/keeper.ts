import { differIn, sessionOf } from './access-token.ts'
import { pause } from './clock.ts'
import { DoorstepError, signedOut } from './errors.ts'
import type { Locks } from './locks.ts'
import type { Tabs } from './tabs.ts'
import type { Authenticated } from './types.ts'
import { isGood, isSession, type Kept, type Vault } from './vault.ts'

type Parts = {
  name: string
  vault: Vault
  locks: Locks
  tabs: Tabs
  /** One try to exchange a refresh token. */
  rotate: (refreshToken: string) => Promise<Authenticated>
}

/** Milliseconds before each try to refresh: all begin within the 30 s in which the service forgives a lost reply. */
const triesAfterMs = [0, 300, 1_000]

/** Nothing is decided: the request or its reply was lost, or the service could not decide. */
const isOpen = (error: unknown): boolean =>
  error instanceof DoorstepError && (error.code === 'network' || error.status >= 500)

/** The session is over. Being offline, a limit or a broken service do not end it. */
const isDefinite = (error: unknown): error is DoorstepError =>
  error instanceof DoorstepError && (error.code === 'invalid_token' || error.code === 'refresh_token_reused')

/** The same token again until the service has answered: what was lost may have been the reply. */
async function insist<T>(attempt: () => Promise<T>): Promise<T> {
  let last: unknown
  for (const afterMs of triesAfterMs) {
    await pause(afterMs)
    try {
      return await attempt()
    } catch (error) {
      if (!isOpen(error)) throw error
      last = error
    }
  }
  throw last
}

export type Keeper = ReturnType<typeof createKeeper>

/** What is done to the session that is kept while nobody else, in whatever tab, does anything to it. */
function createChanges({ vault, tabs, rotate }: Pick<Parts, 'vault' | 'tabs' | 'rotate'>) {
  const end = async (kept: Kept | null, error?: DoorstepError): Promise<void> => {
    await vault.clear()
    tabs.tell({ isSignedIn: false, error }, kept && sessionOf(kept.access_token))
  }

  const refresh = async (refused?: string): Promise<Kept> => {
    const kept = await vault.read()
    if (kept === null) throw signedOut()
    // Another tab was first.
    if (isGood(kept, refused)) return kept
    const outcome = await insist(() => rotate(kept.refresh_token)).catch((error: unknown) => error)
    const now = await vault.read()
    // Emptied meanwhile, by the application or by the person: then nothing is put there again.
    if (now === null) throw signedOut()
    // Where there are no locks another tab may have been first, even after a failure.
    if (now.refresh_token !== kept.refresh_token) return now
    if (isSession(outcome)) return vault.save(outcome)
    if (isDefinite(outcome)) await end(kept, outcome)
    throw outcome
  }

  return { end, refresh }
}

/** Keeps the session fresh, for all callers and tabs. */
export function createKeeper({ name, locks, ...parts }: Parts) {
  const { vault, tabs } = parts
  const { end, refresh } = createChanges(parts)
  let refreshing: Promise<Kept> | undefined

  /** One at a time, over all tabs, whatever puts other tokens in the place of those that are kept. */
  const exclusive = <T>(job: () => Promise<T>): Promise<T> => locks.request(name, () => job())

  return {
    exclusive,
    /** The access token of the session that is kept, be it good or not. */
    current: async (): Promise<string | undefined> => (await vault.read())?.access_token,
    /** Forgets the session of an access token, and none that somebody has begun meanwhile. */
    end: (token: string | undefined): Promise<void> =>
      exclusive(async () => {
        const kept = await vault.read()
        const isMine = kept === null || (token !== undefined && !differIn('sid', token, kept.access_token))
        if (isMine) await end(kept)
      }),
    isSignedIn: async (): Promise<boolean> => (await vault.read()) !== null,
    device: vault.device,

    /**
     * Keeps the tokens of a finished login, and tells of it where that is another session than before; keeps nothing of any
     * other answer. To be called inside `exclusive`.
     */
    keep: async (answer: unknown): Promise<void> => {
      if (!isSession(answer)) return
      const before = await vault.read()
      await vault.save(answer)
      const isOther = before === null || differIn('sid', before.access_token, answer.access_token)
      if (isOther) tabs.tell({ isSignedIn: true })
    },

    /** Puts new tokens in the place of those of a session that goes on. To be called inside `exclusive`. */
    replace: async (answer: unknown): Promise<void> => {
      if (isSession(answer)) await vault.save(answer)
    },

    /** An access token that is good; another one than `refused`. Throws `signed_out`, or why it cannot be had. */
    access: async (refused?: string): Promise<string> => {
      const kept = await vault.read()
      if (kept === null) throw signedOut()
      if (isGood(kept, refused)) return kept.access_token
      refreshing ??= exclusive(() => refresh(refused)).finally(() => {
        refreshing = undefined
      })
      return (await refreshing).access_token
    },
  }
}
