import type { Caller } from '../../events.ts'
import { deviceLife } from '../../security/device-token.ts'
import type { Services } from '../../services.ts'
import type { NewDevice } from '../../store/devices.ts'

/** A device that becomes known with this login, unless it is already, and the token that tells its next logins apart. */
export function newDevice(
  { random, deviceTokens }: Pick<Services, 'random' | 'deviceTokens'>,
  { name, trust, caller }: { name: string | undefined; trust: boolean; caller: Caller },
): { device: NewDevice; token: string } {
  const { token, hash } = deviceTokens.make()
  const device = {
    id: random.uuid(),
    token_hash: hash.toString('hex'),
    name: name ?? null,
    address: caller.address,
    user_agent: caller.userAgent,
    life: deviceLife.known,
    trust,
    trust_life: deviceLife.trusted,
  }
  return { device, token }
}

/** Tells log and metrics what a finished login has changed about its device; the rows were written with it. */
export function announceDevice(
  { events }: Pick<Services, 'events'>,
  about: { userId: string; caller: Caller },
  fresh: NewDevice,
  state: { made: boolean; trusted_until: number | null },
): void {
  const event = { ...about, outcome: 'by sign-in' }
  if (state.made) events.announce({ ...event, type: 'device.added', detail: `device ${fresh.id}` })
  if (fresh.trust && state.trusted_until !== null) events.announce({ ...event, type: 'device.trusted' })
}
