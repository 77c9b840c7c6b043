import { Problem } from '../../../errors.ts'
import type { Caller, Event } from '../../../events.ts'
import type { Services } from '../../../services.ts'
import type { NewWebhookView } from './schemas.ts'
import { viewOf } from './view.ts'

/** Gives an endpoint a new secret, shown once; the one before it signs beside it for 24 hours. Throws `not_found`. */
export async function rotateSecret(
  { store, events, webhookSecrets }: Pick<Services, 'store' | 'events' | 'webhookSecrets'>,
  id: string,
  caller: Caller,
): Promise<NewWebhookView> {
  const { secret, sealed } = webhookSecrets.make(id)
  const event: Event = { type: 'webhook.secret_rotated', outcome: 'rotated', caller, detail: `webhook ${id}` }
  const rotated = await store.webhooks.rotate(id, sealed, event)
  if (rotated === null) throw new Problem('not_found')
  events.announce(event)
  return { ...viewOf(rotated), secret }
}
