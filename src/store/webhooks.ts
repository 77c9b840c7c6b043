import { auditRow, type Event, pushedTypes } from '../events.ts'
import type { LoggedEvent } from './audit.ts'
import type { Database } from './client.ts'

/** An endpoint as its owners see it; moments in seconds since 1970. */
export type Webhook = {
  id: string
  url: string
  events: string[]
  description: string | null
  status: 'active' | 'disabled'
  disabled_reason: 'gone' | 'failing' | 'by_hand' | null
  created_at: number
  failing_since: number | null
  last_delivered_at: number | null
  last_error: string | null
  /** Events that it is still to hear of; 10,000 stands for more. */
  waiting: number
}

export type NewWebhook = { id: string; url: string; events: string[]; description: string | null; secret: string }

/** What changes; null for a description: none. */
export type WebhookChange = {
  url?: string
  events?: string[]
  description?: string | null
  status?: 'active' | 'disabled'
}

/** An event to be told; `tries`: which try this is, from 1. */
export type ClaimedDelivery = LoggedEvent & { tries: number }

/** Deliveries that this process has taken for 30 seconds, and where they go: secrets are sealed, the newest first. */
export type Claimed = {
  webhook: { id: string; url: string; secrets: string[] } | null
  deliveries: ClaimedDelivery[]
}

export type DeliveryResult = 'delivered' | 'failed' | 'gone' | 'interrupted'

/** What becomes of a delivery; `disabled`: why the endpoint is, from now on. */
export type DeliveryEnd = {
  outcome: 'delivered' | 'queued' | 'gave_up' | 'late'
  disabled: 'gone' | 'failing' | null
}

export type Redelivery =
  | { outcome: 'queued'; after: string }
  | { outcome: 'too_old' }
  | { outcome: 'disabled' }
  | { outcome: 'unknown' }

export function createWebhooks(db: Database) {
  return {
    list: (event: Event | null): Promise<Webhook[]> => db.decide('list_webhooks', event && auditRow(event)),

    /** Whether one was given up since somebody last enabled it. */
    anyGivenUp: (): Promise<boolean> => db.decide('any_webhook_given_up'),

    create: (
      webhook: NewWebhook,
      most: number,
      event: Event,
    ): Promise<{ outcome: 'created'; webhook: Webhook } | { outcome: 'too_many' }> =>
      db.decide('create_webhook', JSON.stringify(webhook), most, auditRow(event)),

    /** Null if there is none. */
    change: (id: string, change: WebhookChange, event: Event): Promise<Webhook | null> =>
      db.decide('change_webhook', id, JSON.stringify(change), auditRow(event)),

    /** False if there is none. */
    remove: (id: string, event: Event): Promise<boolean> => db.decide('delete_webhook', id, auditRow(event)),

    /** Null if there is none. */
    rotate: (id: string, secret: string, event: Event): Promise<Webhook | null> =>
      db.decide('rotate_webhook', id, secret, auditRow(event)),

    /** Everything after an event (its number in digits) or a moment (seconds since 1970), at most `days` back, once more. */
    redeliver: (id: string, after: { id: string } | { at: number }, days: number, event: Event): Promise<Redelivery> =>
      db.decide('redeliver_webhook', id, JSON.stringify(after), days, auditRow(event)),

    /** Makes the deliveries of up to `batch` events for each endpoint; `due`: those with something to send. */
    makeDeliveries: (batch: number): Promise<{ more: boolean; due: string[] }> =>
      db.decide('make_deliveries', pushedTypes, batch),

    claim: (id: string, limit: number): Promise<Claimed> => db.decide('claim_deliveries', id, limit),

    /** Writes down how a try ended. `retryAfter`: seconds that the endpoint wants to be left alone, 0 for none. */
    recordDelivery: (
      id: string,
      delivery: Pick<ClaimedDelivery, 'id' | 'tries'>,
      end: { result: DeliveryResult; error: string | null; retryAfter: number },
      event: Event,
    ): Promise<DeliveryEnd> => {
      const number = delivery.id.replace(/^evt_/, '')
      const { result, error, retryAfter } = end
      return db.decide('record_delivery', id, number, delivery.tries, result, error, retryAfter, auditRow(event))
    },
  }
}
