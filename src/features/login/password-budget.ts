import { Problem } from '../../errors.ts'
import type { Caller, Event } from '../../events.ts'
import type { Services } from '../../services.ts'
import { chargeDevice } from '../devices/trusted-devices.ts'

/** A failed password, charged before the password is looked at. */
export type PasswordBudget = {
  /** The trusted device that was charged, or null. */
  deviceId: string | null
  /** The counter of the e-mail that was charged, or null. */
  identifier: Buffer | null
  /** The password was wrong: the charge stays. */
  fail(event: Event): Promise<void>
  /** The password was not evaluated after all: the charge goes. */
  release(): Promise<void>
}

/**
 * Charges the budget that this login is counted in: the trusted device's own, which strangers cannot touch, or the
 * e-mail's, real or made up. Throws `login_locked` when it is spent.
 */
export async function chargePassword(
  services: Pick<Services, 'loginThrottle' | 'store' | 'events'>,
  login: { email: string; deviceToken: string | undefined; caller: Caller },
): Promise<PasswordBudget> {
  const { loginThrottle, store, events } = services
  const identifier = loginThrottle.identify(login.email)
  try {
    const deviceId = await chargeDevice(services, login.deviceToken, login.email)
    if (deviceId !== null) {
      return { deviceId, identifier: null, fail: events.record, release: () => store.devices.release(deviceId) }
    }
    await loginThrottle.charge(identifier)
  } catch (error) {
    if (error instanceof Problem) {
      events.announce({
        type: 'login.locked',
        outcome: 'refused',
        factor: 'password',
        identifier,
        caller: login.caller,
      })
    }
    throw error
  }
  return {
    deviceId: null,
    identifier,
    fail: async (event) => {
      await loginThrottle.fail(identifier, event)
      events.announce({ ...event, identifier })
    },
    release: () => loginThrottle.release(identifier),
  }
}
