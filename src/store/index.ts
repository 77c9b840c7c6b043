import { createAccounts } from './accounts.ts'
import { createAudit } from './audit.ts'
import { createChallenges } from './challenges.ts'
import type { Database } from './client.ts'
import { createDevices } from './devices.ts'
import { createFactors } from './factors.ts'
import { createHealth } from './health.ts'
import { createMails } from './mails.ts'
import { createMessages } from './messages.ts'
import { createPurge } from './purge.ts'
import { createSessions } from './sessions.ts'
import { createSigningKeys } from './signing-keys.ts'
import { createThrottle } from './throttle.ts'

export type Store = ReturnType<typeof createStore>

/**
 * Everything the service keeps, as verbs. Whatever decides under concurrency is one statement that says who won; the
 * rules behind those statements are the SQL functions in prisma/functions.
 */
export function createStore(db: Database) {
  return {
    accounts: createAccounts(db),
    audit: createAudit(db),
    challenges: createChallenges(db),
    devices: createDevices(db),
    factors: createFactors(db),
    health: createHealth(db),
    mails: createMails(db),
    messages: createMessages(db),
    purge: createPurge(db),
    sessions: createSessions(db),
    signingKeys: createSigningKeys(db),
    throttle: createThrottle(db),
  }
}
