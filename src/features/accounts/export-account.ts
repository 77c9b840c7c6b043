import { Problem } from '../../errors.ts'
import type { Caller, Event } from '../../events.ts'
import { maskEmail } from '../../security/masked-email.ts'
import type { Services } from '../../services.ts'
import type { LiveSession } from '../../store/sessions.ts'
import { isoTime } from '../iso-time.ts'
import type { Exported } from './schemas.ts'

/** Exports that one account may have in 24 hours. */
const exportsDay = 5

/**
 * Everything that is known of a user, for the user: no secret, addresses as they are shown elsewhere. Throws `rate_limited`, by
 * account.
 */
export async function exportAccount(
  { store, phoneNumbers, events }: Pick<Services, 'store' | 'phoneNumbers' | 'events'>,
  session: LiveSession,
  caller: Caller,
): Promise<Exported> {
  const event: Event = { type: 'user.exported', outcome: 'exported', userId: session.user_id, caller }
  const all = await store.selfService.export(session.user_id, exportsDay, event)
  if (all.outcome === 'ended') throw new Problem('invalid_token')
  if (all.outcome === 'too_many') throw new Problem('rate_limited', { retryAfter: all.retry_after })
  events.announce(event)
  const { profile, factors, recovery_codes, sessions, devices, texts, mails } = all
  return {
    profile: { ...profile, created_at: isoTime(profile.created_at) },
    factors: factors.map(({ phone, created_at, last_used_at, ...factor }) => ({
      ...factor,
      phone: phone === null ? null : phoneNumbers.mask(phone),
      created_at: isoTime(created_at),
      last_used_at: last_used_at === null ? null : isoTime(last_used_at),
    })),
    recovery_codes,
    sessions: sessions.map(withMoments),
    devices: devices.map(withMoments),
    events: all.events.map(({ at, ...event }) => ({ at: isoTime(at), ...event })),
    texts: texts.map(({ at, phone, delivery }) => ({ at: isoTime(at), phone: phoneNumbers.mask(phone), delivery })),
    mails: mails.map(({ at, address, ...mail }) => ({ at: isoTime(at), address: maskEmail(address), ...mail })),
  }
}

const withMoments = <Row extends { created_at: number; last_used_at: number }>(row: Row) => ({
  ...row,
  created_at: isoTime(row.created_at),
  last_used_at: isoTime(row.last_used_at),
})
