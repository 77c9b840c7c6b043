import type { Webhook } from '../../../store/webhooks.ts'
import { isoTime } from '../../iso-time.ts'
import type { WebhookView } from './schemas.ts'

const timeOrNull = (seconds: number | null): string | null => (seconds === null ? null : isoTime(seconds))

/** An endpoint as answers give it. */
export const viewOf = (webhook: Webhook): WebhookView => ({
  ...webhook,
  created_at: isoTime(webhook.created_at),
  failing_since: timeOrNull(webhook.failing_since),
  last_delivered_at: timeOrNull(webhook.last_delivered_at),
})
