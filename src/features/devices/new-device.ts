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
