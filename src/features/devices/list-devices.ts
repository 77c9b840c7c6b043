import type { Services } from '../../services.ts'
import type { LiveSession } from '../../store/sessions.ts'
import { isoTime } from '../iso-time.ts'
import type { DeviceView } from './schemas.ts'

/** The devices that a user is known by, the one used last first; the one that the session belongs to is `current`. */
export async function listDevices(
  { store }: Pick<Services, 'store'>,
  session: Pick<LiveSession, 'user_id' | 'device_id'>,
): Promise<{ devices: DeviceView[] }> {
  const devices = await store.devices.list(session.user_id)
  return {
    devices: devices.map((device) => ({
      id: device.id,
      name: device.name,
      created_at: isoTime(device.created_at),
      last_used_at: isoTime(device.last_used_at),
      address: device.address,
      user_agent: device.user_agent,
      trusted_until: device.trusted_until === null ? null : isoTime(device.trusted_until),
      current: device.id === session.device_id,
    })),
  }
}
