import { createAccount } from './account.ts'
import { createAuthorizedFetch } from './authorized-fetch.ts'
import { answerOf, createRepeat, createSend, type Fetch } from './calls.ts'
import { createFlow } from './flow.ts'
import { createKeeper, type Keeper } from './keeper.ts'
import { browserLocks, createQueue, type Locks } from './locks.ts'
import { createDoors, createFactors, createLogin } from './login.ts'
import { ask } from './requests.ts'
import type { StepUpChallenge } from './step-up.ts'
import { memoryStorage, type TokenStorage } from './storage.ts'
import { createTabs } from './tabs.ts'
import type { Authenticated } from './types.ts'
import { createVault, isSession } from './vault.ts'

export type DoorstepOptions = {
  /** Where the service is, with its path prefix if it has one: `https://login.example.com`. */
  baseUrl: string
  /** Where the tokens are kept; in memory by default. */
  storage?: TokenStorage | undefined
  /**
   * Called when a call wants a fresher or stronger proof (RFC 9470). Let the user step up (`stepUp`, then `finish`), and
   * answer true: the call is repeated, once. After false it fails with `insufficient_user_authentication`.
   */
  onStepUp?: ((challenge: StepUpChallenge) => Promise<boolean>) | undefined
  /** The origins, such as `https://api.example.com`, that `authorizedFetch` may show the access token to. */
  origins?: readonly string[] | undefined
  /** In place of the platform's own. */
  fetch?: Fetch | undefined
  /** Names what is kept and shared. Two clients on one page need two names. By default `doorstep`. */
  name?: string | undefined
  /** Seconds that an answer may take. By default 10. */
  timeout?: number | undefined
  /** In place of `navigator.locks`, for a storage that several processes share. */
  locks?: Locks | undefined
}

/** Milliseconds for each of three tries: the last of them has to begin before the service forgives no more, after 30 s. */
const refreshTimeoutMs = 8_000

export type Doorstep = ReturnType<typeof createDoorstep>

/**
 * A client of one Doorstep service, for one person. It runs wherever there is `fetch`: browsers, Node from 20, React
 * Native. Every function returns what the service answered, or throws a `DoorstepError`.
 */
export function createDoorstep({
  baseUrl,
  storage = memoryStorage(),
  onStepUp,
  origins = [],
  fetch = (request) => globalThis.fetch(request),
  name = 'doorstep',
  timeout = 10,
  locks = (storage.isShared && browserLocks()) || createQueue(),
}: DoorstepOptions) {
  const timeoutMs = timeout * 1_000
  const send = createSend({ baseUrl, fetch, timeoutMs })
  const sendSoon = createSend({ baseUrl, fetch, timeoutMs: Math.min(timeoutMs, refreshTimeoutMs) })
  const rotate = async (refresh_token: string): Promise<Authenticated> =>
    answerOf(await sendSoon(ask('post', '/token/refresh', { refresh_token })), isSession)

  const tabs = createTabs(name, storage.isShared === true)
  const keeper: Keeper = createKeeper({ name, vault: createVault(storage, name, tabs.isOver), locks, tabs, rotate })
  const repeat = createRepeat({ access: keeper.access, onStepUp })
  const flow = createFlow({ send, keeper, repeat })

  return {
    ...createLogin(flow),
    ...createDoors(flow),
    ...createAccount(flow),
    factors: createFactors(flow),
    authorizedFetch: createAuthorizedFetch({ origins, fetch, repeat }),

    /** Whether there is a session here. It may have ended at the service meanwhile. */
    isSignedIn: keeper.isSignedIn,
    /** An access token that is good for a while, for what `authorizedFetch` cannot do. Show it to your own API only. */
    accessToken: (): Promise<string> => keeper.access(),
    /** Calls `listener` after every signing in and out, in other tabs too; not when a session goes on. Returns what ends it. */
    onSession: tabs.listen,
    /** Stops hearing from other tabs; everything else works on. */
    close: tabs.close,
  }
}
