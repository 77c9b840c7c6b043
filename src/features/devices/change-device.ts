import { Problem } from '../../errors.ts'
import type { Caller, Event } from '../../events.ts'
import type { Services } from '../../services.ts'
import type { LiveSession } from '../../store/sessions.ts'
import { listDevices } from './list-devices.ts'
import type { DeviceView } from './schemas.ts'

/** Names a device anew, or ends its trust; the device as it is then. Throws `not_found` if the user has none with this id. */
export async function changeDevice(
  services: Pick<Services, 'store' | 'events'>,
  { session, deviceId, change, caller }: DeviceCall & { change: { name?: string; trusted?: false } },
): Promise<DeviceView> {
  const { store, events } = services
  const { user_id: userId } = session
  const edit = { name: change.name ?? null, endsTrust: change.trusted === false }
  const event: Event = { type: 'device.changed', outcome: 'named', userId, caller, detail: `device ${deviceId}` }
  const outcome = await store.devices.change(userId, deviceId, edit, event)
  if (outcome === null) throw new Problem('not_found')
  if (outcome !== 'nothing') events.announce({ ...event, outcome })
  const { devices } = await listDevices(services, session)
  const changed = devices.find(({ id }) => id === deviceId)
  if (changed === undefined) throw new Problem('not_found')
  return changed
}

/** A call about one device of the signed-in user. */
export type DeviceCall = { session: LiveSession; deviceId: string; caller: Caller }
