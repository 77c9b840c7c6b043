import type { Delivery } from '../sms/index.ts'
import type { Database } from './client.ts'

export function createMessages(db: Database) {
  return {
    /** Writes what the provider answered to a reserved text. */
    recordAnswer: async (
      id: string,
      answer: { delivery: Delivery; providerId: string | null; error: string | null },
    ): Promise<void> => {
      await db.$executeRaw`
        UPDATE sms_messages SET delivery = ${answer.delivery}, provider_id = ${answer.providerId}, error = ${answer.error}
        WHERE id = ${id}::uuid AND delivery = 'queued'`
    },

    /** Writes a later word of the provider; false if the text is not ours or its end is known already. */
    recordReceipt: async (
      providerId: string,
      receipt: { delivery: Delivery; error: string | null },
    ): Promise<boolean> => {
      const changed = await db.$executeRaw`
        UPDATE sms_messages SET delivery = ${receipt.delivery}, error = ${receipt.error}
        WHERE provider_id = ${providerId} AND delivery IN ('queued', 'sent') AND delivery <> ${receipt.delivery}`
      return changed === 1
    },
  }
}
