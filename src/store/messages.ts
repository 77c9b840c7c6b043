import type { Delivery } from '../sms/index.ts'
import type { Database } from './client.ts'

/** What a text still counts for: see prisma/functions/texts.sql. */
export type TextState = 'open' | 'unsure' | 'refused'

export function createMessages(db: Database) {
  return {
    /** Writes what the provider answered to a reserved text; a receipt that came before it is not undone. */
    recordAnswer: async (
      id: number,
      answer: { delivery: Delivery; state: TextState; providerId: string | null; error: string | null },
    ): Promise<void> => {
      await db.decide('record_answer', id, answer.delivery, answer.state, answer.providerId, answer.error)
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
