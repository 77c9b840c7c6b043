import { Problem } from '../../../errors.ts'
import type { Caller, Event } from '../../../events.ts'
import type { Services } from '../../../services.ts'
import { assertUrl } from './assert-url.ts'
import type { NewWebhookView, WebhookBody } from './schemas.ts'
import { viewOf } from './view.ts'

/** Endpoints of one service, disabled ones too. */
const mostWebhooks = 10

/**
 * Makes an endpoint, which hears of what happens from now on, and shows the secret that its receiver checks signatures
 * with, once. Throws `invalid_request`, `conflict` (there are ten).
 */
export async function createWebhook(
  services: Pick<Services, 'store' | 'events' | 'random' | 'webhookSecrets' | 'config'>,
  { url, events: wanted, description = null }: WebhookBody,
  caller: Caller,
): Promise<NewWebhookView> {
  const { store, events, random, webhookSecrets } = services
  const id = random.uuid()
  const { secret, sealed } = webhookSecrets.make(id)
  const webhook = { id, url: assertUrl(services, url), events: wanted, description, secret: sealed }
  const event: Event = { type: 'webhook.created', outcome: 'created', caller, detail: `webhook ${id}` }
  const created = await store.webhooks.create(webhook, mostWebhooks, event)
  if (created.outcome === 'too_many') {
    throw new Problem('conflict', { detail: `There are ${mostWebhooks} endpoints already: delete one first.` })
  }
  events.announce(event)
  return { ...viewOf(created.webhook), secret }
}
