// This part alone: the whole library is large, and loaded only where it sends.
import { validateRequest } from 'twilio/lib/webhooks/webhooks.js'

/** A receipt of Twilio: its form fields, the query of the address it came to, and the `X-Twilio-Signature` over both. */
export type SignedReceipt = { signature: string; query: string; fields: Record<string, string> }

/**
 * Whether a receipt comes from Twilio: an HMAC-SHA-1 over the address that was called and the sorted form fields, under
 * the auth token, compared in constant time (Twilio's webhook security).
 * @param called.url as it was given to Twilio, but for the query
 */
export function isSignedByTwilio(called: { authToken: string; url: string }, receipt: SignedReceipt): boolean {
  return validateRequest(called.authToken, receipt.signature, called.url + receipt.query, receipt.fields)
}
