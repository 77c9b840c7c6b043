/** What became of a text, as far as the provider has said (contract: `delivery`). */
export type Delivery = 'queued' | 'sent' | 'delivered' | 'failed'

/** One text to send. */
export type SmsMessage = {
  /** Our own number of it: receipts that come before the provider's answer are known by it. */
  id: number
  /** E.164. */
  to: string
  body: string
  /** Whole seconds after which the text is worthless; the provider drops it then. */
  validForSeconds: number
}

/**
 * What the provider answered.
 * - `sent`: accepted, under the provider's own id.
 * - `unknown`: no answer, or one that does not tell; the text may have gone, so it is never sent again by itself.
 * - `refused`: not sent; `isCertain` is false where the provider failed in a way that may hide a text that went. `phone`: this number cannot be reached; `policy`: the text or region is not
 *   allowed; `ours`: credentials, sender or account; `transient`: the provider is down or overloaded.
 * `error` is the provider's error number, or a word such as `timeout`; never a phone number or a code.
 */
export type SmsResult =
  | { outcome: 'sent'; providerId: string }
  | { outcome: 'unknown'; error: string }
  | { outcome: 'refused'; reason: 'phone' | 'policy' | 'ours' | 'transient'; isCertain: boolean; error: string }

/** A way to send texts: `twilio`, `console`, or none. */
export type SmsSender = {
  /** Never throws and never retries; ends within 5 seconds. */
  send(message: SmsMessage): Promise<SmsResult>
  /** False while the circuit breaker is open: a text would certainly fail. */
  isAvailable(): boolean
  /** Frees sockets. */
  close(): void
}
