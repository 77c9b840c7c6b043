import { Problem } from '../../errors.ts'
import type { Services } from '../../services.ts'
import type { Delivery } from '../../sms/index.ts'
import { isSignedByTwilio, type SignedReceipt } from '../../sms/twilio-signature.ts'

/** What a delivery receipt of the provider means; other words (queued, sending …) tell nothing new. */
const deliveries: Record<string, Delivery> = {
  sent: 'sent',
  delivered: 'delivered',
  undelivered: 'failed',
  failed: 'failed',
}

/** Throws `invalid_signature` for a receipt that is not Twilio's; without Twilio none is, not even by an empty key. */
export function assertSigned({ config }: Pick<Services, 'config'>, receipt: SignedReceipt): void {
  const { publicUrl, sms } = config
  const url = `${publicUrl}/webhooks/twilio/status`
  if (!sms.twilio || !isSignedByTwilio({ authToken: sms.twilio.authToken, url }, receipt)) {
    throw new Problem('invalid_signature')
  }
}

/**
 * Takes a delivery receipt, its signature judged before anything in it. Receipts may come twice, late, in any order, and
 * before the provider's answer: one that says less than is known changes nothing. Throws `invalid_signature`.
 */
export async function recordReceipt(
  services: Pick<Services, 'store' | 'config' | 'events'>,
  receipt: SignedReceipt,
): Promise<void> {
  assertSigned(services, receipt)
  const { store, events } = services
  const { fields } = receipt
  const { MessageSid = '', MessageStatus = '', ErrorCode } = fields
  const delivery = Object.hasOwn(deliveries, MessageStatus) ? deliveries[MessageStatus] : undefined
  if (delivery === undefined) return
  const [, text] = /^\?text=(\d{1,15})$/.exec(receipt.query) ?? []
  const told = { providerId: MessageSid, delivery, error: ErrorCode ?? null }
  if (await store.messages.recordReceipt(text === undefined ? null : Number(text), told)) {
    events.announce({
      type: 'sms.delivery',
      outcome: delivery,
      factor: 'sms',
      ...(ErrorCode !== undefined && { detail: ErrorCode }),
    })
  }
}
