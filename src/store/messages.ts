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
  }
}
