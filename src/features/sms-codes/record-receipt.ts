import twilio from 'twilio'
import { Problem } from '../../errors.ts'
import type { Services } from '../../services.ts'
import type { Delivery } from '../../sms/index.ts'

/** What a delivery receipt of the provider means; other words (queued, sending …) tell nothing new. */
const deliveries: Record<string, Delivery> = {
  sent: 'sent',
  delivered: 'delivered',
  undelivered: 'failed',
  failed: 'failed',
}

/**
 * Takes a delivery receipt of Twilio: an HMAC-SHA-1 over the address we gave it and the sorted form fields, under the
 * auth token, judged before anything in it. Receipts may come twice, late or in any order: one that says less than is
 * known changes nothing. Throws `invalid_signature`.
 */
export async function recordReceipt(
  { store, config, events }: Pick<Services, 'store' | 'config' | 'events'>,
  receipt: { signature: string; fields: Record<string, string> },
): Promise<void> {
  const { signature, fields } = receipt
  const url = `${config.publicUrl}/webhooks/twilio/status`
  if (!twilio.validateRequest(config.sms.twilio?.authToken ?? '', signature, url, fields)) {
    throw new Problem('invalid_signature')
  }
  const { MessageSid = '', MessageStatus = '', ErrorCode } = fields
  const delivery = deliveries[MessageStatus]
  if (delivery === undefined) return
  if (await store.messages.recordReceipt(MessageSid, { delivery, error: ErrorCode ?? null })) {
    events.announce({
      type: 'sms.delivery',
      outcome: delivery,
      factor: 'sms',
      ...(ErrorCode !== undefined && { detail: ErrorCode }),
    })
  }
}
