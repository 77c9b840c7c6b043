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

/** The form fields of a receipt, and the `X-Twilio-Signature` that came with them. */
export type SignedReceipt = { signature: string; fields: Record<string, string> }

/**
 * Whether a receipt comes from Twilio: an HMAC-SHA-1 over the address we gave it and the sorted form fields, under the
 * auth token, compared in constant time. Throws `invalid_signature`.
 */
export function assertSigned({ config }: Pick<Services, 'config'>, { signature, fields }: SignedReceipt): void {
  const url = `${config.publicUrl}/webhooks/twilio/status`
  if (!twilio.validateRequest(config.sms.twilio?.authToken ?? '', signature, url, fields)) {
    throw new Problem('invalid_signature')
  }
}

/**
 * Takes a delivery receipt, its signature judged before anything in it. Receipts may come twice, late or in any order:
 * one that says less than is known changes nothing. Throws `invalid_signature`.
 */
export async function recordReceipt(
  services: Pick<Services, 'store' | 'config' | 'events'>,
  receipt: SignedReceipt,
): Promise<void> {
  assertSigned(services, receipt)
  const { store, events } = services
  const { fields } = receipt
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
