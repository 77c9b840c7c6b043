import { Problem } from '../../../errors.ts'
import type { Event } from '../../../events.ts'
import type { Services } from '../../../services.ts'
import { noSuchUser } from '../../accounts/no-such-user.ts'
import type { UserCall } from './call.ts'

/** Forgets one device of a user or, where none is named, all, and ends their sessions. Throws `not_found`: no such user or device. */
export async function forgetUserDevices(
  { store, events }: Pick<Services, 'store' | 'events'>,
  { id, caller }: UserCall,
  deviceId: string | null,
): Promise<void> {
  const event: Event = {
    ...{ type: 'device.removed' as const, outcome: 'by a client', userId: id, caller },
    ...(deviceId !== null && { detail: `device ${deviceId}` }),
  }
  const forgotten = await store.admin.forgetDevices(id, deviceId, event)
  if (forgotten === null) throw noSuchUser('id')
  if (forgotten === 0 && deviceId !== null) throw new Problem('not_found', { detail: 'The user has no such device.' })
  events.announce(event)
}
