import type { Database } from './client.ts'

/** Rows deleted by one statement; small, so that no login waits for it. */
const batchSize = 1_000

const kinds = [
  ...([
    'throttles',
    'challenges',
    'starts',
    'texts',
    'mails',
    'sessions',
    'devices',
    'changes',
    'links',
    'accounts',
    'forgotten',
    'deliveries',
  ] as const),
  ...(['events', 'unknown_logins'] as const),
] as const

export type Purged = Record<(typeof kinds)[number], number>

export function createPurge(db: Database) {
  return {
    /**
     * Deletes everything that has run out, in batches (ASVS 14.2.7), and events after `eventDays`. Rows deleted, by kind.
     * `notices`: whether an owner can be told of logins that nobody finished.
     */
    expired: async ({ eventDays, notices }: { eventDays: number; notices: boolean }): Promise<Purged> => {
      const deleted = Object.fromEntries(kinds.map((kind) => [kind, 0])) as Purged
      for (const kind of kinds) {
        let count = batchSize
        while (count === batchSize) {
          count = await db.decide('purge', kind, batchSize, eventDays, notices)
          deleted[kind] += count
        }
      }
      return deleted
    },
  }
}
