import { Problem } from '../../../errors.ts'
import type { Event } from '../../../events.ts'
import { newClientSecret } from '../../../security/client-credentials.ts'
import type { Services } from '../../../services.ts'
import { isoTime } from '../../iso-time.ts'
import { noSuchClient } from './no-such-client.ts'

/**
 * Gives a client another secret, at a command line only; the one before it works for another 24 hours, any older one no more. Throws
 * `not_found`, `conflict` (the client is disabled).
 */
export async function rotateClient(
  { store, events, random }: Pick<Services, 'store' | 'events' | 'random'>,
  id: string,
): Promise<{ id: string; secret: string; old_secret_expires_at: string }> {
  const { secret, hash } = newClientSecret(random)
  const event: Event = { type: 'client.rotated', outcome: 'rotated', detail: id, byOperator: true }
  const rotated = await store.clients.rotate(id, hash, event)
  if (rotated.outcome === 'unknown') throw noSuchClient()
  if (rotated.outcome === 'disabled')
    throw new Problem('conflict', { detail: 'This client is disabled: make another.' })
  events.announce(event)
  return { id, secret, old_secret_expires_at: isoTime(rotated.old_expires_at) }
}
