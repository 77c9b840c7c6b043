import type { Method } from '../methods.ts'
import type { Delivery } from '../sms/index.ts'
import type { ChallengePolicy } from './candidates.ts'
import type { ChallengeState } from './challenges.ts'
import type { Database } from './client.ts'

/** What a text still counts for: see prisma/functions/texts.sql. */
export type TextState = 'open' | 'unsure' | 'refused'

/** A challenge that goes on without the method that could not send: with the first of `methods`, which send nothing. */
export type Leaving = { challenge: string; user: string; method: Method; methods: Method[]; policy: ChallengePolicy }

export function createMessages(db: Database) {
  return {
    /**
     * Writes what the provider answered to a reserved text; a receipt that came before it is not undone. `leaves`: what its
     * challenge goes on with where the text did not go; that challenge then, or null.
     */
    recordAnswer: async (
      id: number,
      answer: { delivery: Delivery; state: TextState; providerId: string | null; error: string | null },
      leaves: Leaving | null,
    ): Promise<ChallengeState | null> => {
      const { delivery, state, providerId, error } = answer
      const left = leaves && JSON.stringify(leaves)
      return await db.decide('record_answer', id, delivery, state, providerId, error, left)
    },

    /** Writes a later word of the provider, about the text `id` or, where that is null, the one that it calls `providerId`; false if the text is not ours or its end is known already. */
    recordReceipt: async (
      id: number | null,
      receipt: { providerId: string; delivery: Delivery; error: string | null },
    ): Promise<boolean> => {
      return await db.decide('record_receipt', id, receipt.providerId, receipt.delivery, receipt.error)
    },

    /** Texts that led to no sign-in of the last hour and 24 hours, and all of 24 hours. */
    used: async (): Promise<{ hour: number; day: number; spent: number }> => await db.decide('texts_used'),
  }
}
