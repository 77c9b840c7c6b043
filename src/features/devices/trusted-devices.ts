import { Problem } from '../../errors.ts'
import type { Caller, Event } from '../../events.ts'
import { deviceLife, hashDeviceToken, makeDeviceToken } from '../../security/device-token.ts'
import type { Services } from '../../services.ts'
import type { NewDevice } from '../../store/devices.ts'
import type { DeviceList } from './schemas.ts'

/** Failed passwords that a trusted device may bring within the window, whatever strangers do to the account. */
const failures = { max: 10, windowSeconds: 15 * 60 }

/** A device about to be trusted, and what tells its owner's next logins apart. */
export function newDevice(
  { random }: Pick<Services, 'random'>,
  { name, caller }: { name: string | undefined; caller: Caller },
): { device: NewDevice; answer: { device_token: string; device_expires_in: number } } {
  const { token, hash } = makeDeviceToken(random)
  return {
    device: {
      id: random.uuid(),
      token_hash: hash.toString('hex'),
      name: name ?? null,
      address: caller.address,
      ttl: deviceLife,
    },
    answer: { device_token: token, device_expires_in: deviceLife },
  }
}

/**
 * Whether a login comes from a device that the account with `email` trusts; its id then, and one failure charged to its
 * own budget before the password is looked at. Null for any other token. Throws `login_locked` when that budget is spent.
 */
export async function chargeDevice(
  { store }: Pick<Services, 'store'>,
  deviceToken: string | undefined,
  email: string,
): Promise<string | null> {
  if (deviceToken === undefined) return null
  const charge = await store.devices.charge(hashDeviceToken(deviceToken), email, failures)
  if (charge.outcome === 'locked') throw new Problem('login_locked', { retryAfter: charge.retry_after })
  return charge.outcome === 'charged' ? charge.id : null
}

/** The devices a user trusts, the one used last first. */
export async function listDevices({ store }: Pick<Services, 'store'>, userId: string): Promise<DeviceList> {
  const devices = await store.devices.list(userId)
  return {
    trusted_devices: devices.map((device) => ({
      id: device.id,
      name: device.name,
      created_at: device.createdAt.toISOString(),
      last_used_at: device.lastUsedAt.toISOString(),
      expires_at: device.expiresAt.toISOString(),
      address: device.address,
    })),
  }
}

/** Stops trusting a device. Throws `not_found` if the user has none with this id. */
export async function removeDevice(
  { store, events }: Pick<Services, 'store' | 'events'>,
  { userId, deviceId, caller }: { userId: string; deviceId: string; caller: Caller },
): Promise<void> {
  const event: Event = { type: 'device.removed', outcome: 'by its owner', userId, caller, detail: `device ${deviceId}` }
  if (!(await store.devices.remove(userId, deviceId, event))) throw new Problem('not_found')
  events.announce(event)
}
