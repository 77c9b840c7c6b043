import { createAccounts } from './accounts.ts'
import { createAdmin } from './admin.ts'
import { createAudit } from './audit.ts'
import { createChallenges } from './challenges.ts'
import type { Database } from './client.ts'
import { createClients } from './clients.ts'
import { createDevices } from './devices.ts'
import { createFactors } from './factors.ts'
import { createHealth } from './health.ts'
import { createImports } from './imports.ts'
import { createLinks } from './links.ts'
import { createMails } from './mails.ts'
import { createMessages } from './messages.ts'
import { createPasswords } from './passwords.ts'
import { createPurge } from './purge.ts'
import { createSelfService } from './self-service.ts'
import { createSessions } from './sessions.ts'
import { createSigningKeys } from './signing-keys.ts'
import { createThrottle } from './throttle.ts'
import { createWebhooks } from './webhooks.ts'

export type Store = ReturnType<typeof createStore>

/**
 * Everything the service keeps, as verbs. Whatever decides under concurrency is one statement that says who won; the
 * rules behind those statements are the SQL functions in prisma/functions.
 */
export function createStore(db: Database) {
  return {
    accounts: createAccounts(db),
    admin: createAdmin(db),
    audit: createAudit(db),
    challenges: createChallenges(db),
    clients: createClients(db),
    devices: createDevices(db),
    factors: createFactors(db),
    health: createHealth(db),
    imports: createImports(db),
    links: createLinks(db),
    mails: createMails(db),
    messages: createMessages(db),
    passwords: createPasswords(db),
    purge: createPurge(db),
    selfService: createSelfService(db),
    sessions: createSessions(db),
    signingKeys: createSigningKeys(db),
    throttle: createThrottle(db),
    webhooks: createWebhooks(db),
  }
}
