import type { Event } from '../../../events.ts'
import type { Services } from '../../../services.ts'
import type { StoredFactor } from '../../../store/factors.ts'
import { noSuchUser } from '../../accounts/no-such-user.ts'
import { findUser } from '../../accounts/whom.ts'
import { isoTime } from '../../iso-time.ts'
import type { UserCall } from './call.ts'
import type { WholeUser } from './schemas.ts'
import { shownPhone, timeOrNull, viewOf } from './user-view.ts'

/** Everything about a user that helps to help. Throws `not_found`. */
export async function readUser(
  services: Pick<Services, 'store' | 'events' | 'phoneNumbers' | 'config' | 'loginThrottle'>,
  call: UserCall,
): Promise<WholeUser> {
  const { store, events, loginThrottle } = services
  const { id, email } = await findUser(services, call)
  const event: Event = { type: 'user.read', outcome: 'read', userId: id, caller: call.caller }
  const user = await store.admin.read(id, loginThrottle.identifyAll(email), event)
  if (user === null) throw noSuchUser('id')
  events.announce(event)
  const codes = user.recovery_codes
  return {
    ...viewOf(services, user, call),
    factors: [
      ...user.factors.map((factor) => factorView(services, factor, call)),
      ...(codes === null
        ? []
        : [
            {
              ...{ id: 'recovery_code', method: 'recovery_code' as const, name: null, remaining: codes.remaining },
              ...{ created_at: isoTime(codes.created_at), last_used_at: null },
            },
          ]),
    ],
    sessions: user.sessions.map((session) => ({ ...session, ...usedTimes(session) })),
    devices: user.devices.map((device) => ({
      ...{ ...device, ...usedTimes(device) },
      trusted_until: timeOrNull(device.trusted_until),
    })),
    login_locked_until: timeOrNull(user.login_locked_until),
    second_factor_locked_until: timeOrNull(user.second_factor_locked_until),
  }
}

const usedTimes = ({ created_at, last_used_at }: { created_at: number; last_used_at: number }) => ({
  created_at: isoTime(created_at),
  last_used_at: isoTime(last_used_at),
})

function factorView(services: Parameters<typeof shownPhone>[0], factor: StoredFactor, call: UserCall) {
  const { id, method, name, phone, created_at, last_used_at } = factor
  return {
    ...{ id, method, name, ...(phone !== null && { destination: shownPhone(services, phone, call) }) },
    created_at: isoTime(created_at),
    last_used_at: timeOrNull(last_used_at),
  }
}
