import type { Caller, Event } from '../../events.ts'
import { problemOf } from '../../security/challenge.ts'
import type { PendingClaims } from '../../security/tokens.ts'
import { announceSpend, sendCode } from '../sms-codes/send-code.ts'
import { describeChallenge } from './describe-challenge.ts'
import type { ChallengeServices } from './open-challenge.ts'
import type { ChallengeAnswer } from './schemas.ts'

/**
 * Sends the same code once more, so that a late first text stays usable; the tries that were used stay used. Throws
 * `invalid_token`, `resend_too_soon`, `sms_limit_reached`, `code_attempts_exhausted`, `second_factor_locked`,
 * `sms_unavailable`, `phone_unreachable`, `phone_not_allowed`.
 */
export async function resendCode(
  services: Omit<ChallengeServices, 'tokens' | 'random'>,
  pending: PendingClaims,
  { caller }: { caller: Caller },
): Promise<ChallengeAnswer> {
  const { store, challengeRules, events, sms, phoneNumbers } = services
  const { cid, sub: userId } = pending
  const event: Event = { type: 'code.resent', outcome: 'reserved', factor: 'sms', userId, caller }

  const begun = await store.challenges.read(cid, userId, challengeRules.limits)
  if (begun.outcome !== 'found') throw problemOf(begun)
  const { phone } = begun
  phoneNumbers.assertAllowed(phone)
  const policy = challengeRules.sending({ phone, address: caller.address, maySend: sms.isAvailable() })
  const challenge = await store.challenges.resend(cid, userId, policy, event)
  if (challenge.outcome !== 'sent') {
    await events.record({ ...event, type: 'sms.refused', outcome: challenge.outcome })
    throw problemOf(challenge)
  }
  events.announce(event)
  announceSpend(events, challenge.spend)

  const delivery = await sendCode(services, { messageId: challenge.message_id, userId, phone, challenge, caller })
  return describeChallenge(services, phone, { ...challenge, delivery })
}
