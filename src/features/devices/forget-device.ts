import { Problem } from '../../errors.ts'
import type { Event } from '../../events.ts'
import type { Services } from '../../services.ts'
import { assertFresh } from '../factors/assert-fresh.ts'
import type { DeviceCall } from './change-device.ts'

/**
 * Forgets a device and ends its sessions: its next login is a stranger's. Throws `insufficient_user_authentication` for
 * another device than one's own without a fresh sign-in (ASVS 7.5.2), `not_found` if the user has none with this id.
 */
export async function forgetDevice(
  services: Pick<Services, 'store' | 'events' | 'config'>,
  { session, deviceId, caller }: DeviceCall,
): Promise<void> {
  const { store, events } = services
  const { user_id: userId } = session
  if (deviceId !== session.device_id) assertFresh(services, session)
  const event: Event = { type: 'device.removed', outcome: 'by its owner', userId, caller, detail: `device ${deviceId}` }
  if (!(await store.devices.forget(userId, deviceId, event))) throw new Problem('not_found')
  events.announce(event)
}
