import type { Event } from '../../../events.ts'
import type { Services } from '../../../services.ts'
import { noSuchClient } from './no-such-client.ts'

/** From now on no secret of the client works, for good; at a command line only. Throws `not_found`. */
export async function disableClient(
  { store, events }: Pick<Services, 'store' | 'events'>,
  id: string,
): Promise<{ id: string; disabled: true }> {
  const event: Event = { type: 'client.disabled', outcome: 'disabled', detail: id, byOperator: true }
  if (!(await store.clients.disable(id, event))) throw noSuchClient()
  events.announce(event)
  return { id, disabled: true }
}
