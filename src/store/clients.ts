import { auditRow, type Event } from '../events.ts'
import type { Scope } from '../scopes.ts'
import type { Database } from './client.ts'

/** A client to be stored; `expires_at`: seconds since 1970, null: never; `networks`: CIDRs, none: from everywhere. */
export type NewClient = { id: string; name: string; scopes: Scope[]; networks: string[]; expires_at: number | null }

/** What an operator sees of a client: never a secret, but when each was made and runs out. Moments in seconds since 1970. */
export type ClientSummary = NewClient & {
  created_at: number
  disabled_at: number | null
  last_used_at: number | null
  secrets: { created_at: number; expires_at: number | null }[]
}

/** `reason`: for the records alone; the caller is told the same whatever it is. */
export type ClientUse =
  | { outcome: 'accepted'; id: string; scopes: Scope[] }
  | { outcome: 'refused'; reason: 'wrong id or secret' | 'disabled' | 'expired' | 'wrong network' }

export function createClients(db: Database) {
  return {
    create: async (client: NewClient, secretHash: Uint8Array, event: Event): Promise<void> => {
      await db.decide('create_client', JSON.stringify(client), secretHash, auditRow(event))
    },

    /** Who calls: one statement, whatever comes of it. `address`: null where it cannot be read. */
    use: async (id: string, secretHash: Uint8Array, address: string | null): Promise<ClientUse> => {
      return await db.decide('use_client', id, secretHash, address)
    },

    /** One more secret; the one before it works for another 24 hours. */
    rotate: async (
      id: string,
      secretHash: Uint8Array,
      event: Event,
    ): Promise<{ outcome: 'rotated'; old_expires_at: number } | { outcome: 'unknown' } | { outcome: 'disabled' }> => {
      return await db.decide('rotate_client', id, secretHash, auditRow(event))
    },

    /** False if there is no such client. */
    disable: async (id: string, event: Event): Promise<boolean> =>
      await db.decide('disable_client', id, auditRow(event)),

    /** Oldest first. */
    list: async (): Promise<ClientSummary[]> => await db.decide('list_clients'),
  }
}
