import type { SmsSender } from './index.ts'

/** Sends nothing: for a service whose METHODS list no texts, and which has nobody to send them. */
export const noTexts: SmsSender = {
  send: async () => ({ outcome: 'refused', reason: 'ours', isCertain: true, error: 'no SMS_PROVIDER' }),
  isAvailable: () => false,
  close: () => {},
}
