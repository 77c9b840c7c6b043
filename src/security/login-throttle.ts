import { createHmac } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { Problem } from '../errors.ts'
import type { Event } from '../events.ts'
import type { Store } from '../store/index.ts'
import type { Secrets } from './secrets.ts'

/** How long in all a login waits for others of the same e-mail that are being evaluated. */
const patienceMs = 4_000

/** Its pauses: growing, so that a flood of logins that wait does not keep the database from those evaluated. */
const firstPauseMs = 40
const longestPauseMs = 400

export type LoginThrottle = ReturnType<typeof createLoginThrottle>

/**
 * Failed passwords in a row for one e-mail, real or made up alike, from every address and replica (SEC-11 to SEC-15,
 * SP 800-63B-4 throttling): 4 are free, the 5th starts a wait of 30 s that doubles up to an hour.
 */
export function createLoginThrottle({ store, secrets }: { store: Pick<Store, 'throttle'>; secrets: Secrets }) {
  const keyed = (email: string, key: Buffer): Buffer => createHmac('sha256', key).update(email).digest()

  return {
    /** The keyed hash under which an e-mail is counted: the table tells nobody who tried to sign in. */
    identify: (email: string): Buffer => keyed(email, secrets.current('identifier').key),

    /** The same under every key that still verifies. */
    identifyAll: (email: string): Buffer[] =>
      secrets.ids.map((id) => keyed(email, secrets.find('identifier', id) as Buffer)),

    /**
     * Counts a failure before the password is looked at. Throws `login_locked` while the e-mail is locked. A lock that
     * comes from passwords being evaluated at this moment is waited for: right ones lift it, and then a burst of
     * right logins all get through while a burst of wrong ones still gets five evaluations.
     */
    charge: async (identifier: Buffer): Promise<void> => {
      let pauseMs = firstPauseMs
      for (let waitedMs = 0; ; waitedMs += pauseMs, pauseMs = Math.min(pauseMs * 1.5, longestPauseMs)) {
        const charge = await store.throttle.charge(identifier)
        if (charge.outcome === 'charged') return
        if (charge.outcome === 'locked' || waitedMs >= patienceMs) {
          throw new Problem('login_locked', { retryAfter: charge.retry_after })
        }
        await sleep(pauseMs)
      }
    },

    /** The password was wrong. */
    fail: (identifier: Buffer, event: Event): Promise<void> => store.throttle.settleFailure(identifier, event),

    /** The password was not evaluated after all. */
    release: (identifier: Buffer): Promise<void> => store.throttle.release(identifier),
  }
}
