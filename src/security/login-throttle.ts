import { createHmac } from 'node:crypto'
import { Problem } from '../errors.ts'
import type { Event } from '../events.ts'
import type { Account } from '../store/accounts.ts'
import type { TextBudget } from '../store/candidates.ts'
import type { Store } from '../store/index.ts'
import type { Secrets } from './secrets.ts'
import type { Standing } from './standing.ts'

/** A login whose failure is counted already. `throttleKeys`: the counters, of the e-mail or of the device. */
export type BegunLogin = Standing & { account: Account | null; isTrusted: boolean; throttleKeys: Buffer[] }

export type LoginThrottle = ReturnType<typeof createLoginThrottle>

/**
 * Failed passwords in a row (SEC-11 to SEC-15, SEC-101, SP 800-63B-4 throttling), on every replica: for strangers per
 * e-mail, real or made up alike, for a known device its own. 4 are free, the 5th starts a wait of 30 s that doubles up to
 * an hour, and one is forgotten with each hour.
 */
export function createLoginThrottle({ store, secrets }: { store: Pick<Store, 'throttle'>; secrets: Secrets }) {
  const keyed = (email: string, key: Buffer): Buffer => createHmac('sha256', key).update(email).digest()

  /**
   * The keyed hashes under which an e-mail is counted: one under every key that verifies, so that replicas count as one
   * while SECRET_KEYS changes. In order, in which all of them take the rows, whatever the order of their keys is.
   */
  const identifyAll = (email: string): Buffer[] =>
    secrets.ids.map((id) => keyed(email, secrets.find('identifier', id) as Buffer)).sort(Buffer.compare)

  return {
    identifyAll,

    /**
     * Counts a failure before the password is looked at. `deviceHash`: of a genuine device token, perhaps of another
     * account. Throws `login_locked`; `rate_limited` for a stranger where strangers have no texts left (SEC-107).
     */
    begin: async (
      email: string,
      deviceHash: Buffer | null,
      text: TextBudget,
      onLocked: () => void,
    ): Promise<BegunLogin> => {
      const identifiers = identifyAll(email)
      const begun = await store.throttle.begin(email, identifiers, deviceHash, text)
      if (begun.outcome === 'charged') {
        const { account, device } = begun
        const throttleKeys = device !== null && deviceHash !== null ? [deviceHash] : identifiers
        const deviceId = device?.id ?? null
        return { account, known: device !== null, deviceId, isTrusted: device?.trusted === true, throttleKeys }
      }
      onLocked()
      const code = begun.outcome === 'locked' ? 'login_locked' : 'rate_limited'
      throw new Problem(code, { retryAfter: begun.retry_after })
    },

    /** The password was wrong. */
    fail: ({ account, deviceId }: BegunLogin, event: Event): Promise<void> =>
      store.throttle.fail(account?.id ?? null, deviceId, event),

    /** The password was not evaluated after all. */
    giveBack: ({ throttleKeys, deviceId }: BegunLogin): Promise<void> =>
      store.throttle.giveBack(throttleKeys, deviceId),
  }
}
