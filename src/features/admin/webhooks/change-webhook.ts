import { Problem } from '../../../errors.ts'
import type { Caller, Event } from '../../../events.ts'
import type { Services } from '../../../services.ts'
import { assertUrl } from './assert-url.ts'
import type { WebhookChangeBody, WebhookView } from './schemas.ts'
import { viewOf } from './view.ts'

/** Changes an endpoint; what is absent stays. Throws `invalid_request`, `not_found`. */
export async function changeWebhook(
  services: Pick<Services, 'store' | 'events' | 'config'>,
  id: string,
  { change, caller }: { change: WebhookChangeBody; caller: Caller },
): Promise<WebhookView> {
  const { store, events } = services
  const edit = { ...change, ...(change.url !== undefined && { url: assertUrl(services, change.url) }) }
  const about = { caller, detail: `webhook ${id}` }
  const event: Event =
    change.status === 'disabled'
      ? { type: 'webhook.disabled', outcome: 'by_hand', ...about }
      : { type: 'webhook.changed', outcome: change.status === 'active' ? 'enabled' : 'changed', ...about }
  const changed = await store.webhooks.change(id, edit, event)
  if (changed === null) throw new Problem('not_found')
  events.announce(event)
  return viewOf(changed)
}

/** Takes an endpoint away, with all that waits for it. Throws `not_found`. */
export async function deleteWebhook(
  { store, events }: Pick<Services, 'store' | 'events'>,
  id: string,
  caller: Caller,
): Promise<void> {
  const event: Event = { type: 'webhook.deleted', outcome: 'deleted', caller, detail: `webhook ${id}` }
  if (!(await store.webhooks.remove(id, event))) throw new Problem('not_found')
  events.announce(event)
}
