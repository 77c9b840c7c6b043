import type { Event } from '../../events.ts'
import { problemOf } from '../../security/challenge.ts'
import type { Services } from '../../services.ts'
import type { Purpose } from '../../store/challenges.ts'
import { sendCode } from '../sms-codes/send-code.ts'
import { describeChallenge } from './describe-challenge.ts'
import type { TwoFactorRequired } from './schemas.ts'
import type { ProvenLogin } from './start-login.ts'

const purpose: Purpose = 'login'

/**
 * The password was right: joins the account's live challenge or opens one, sends the text that is due, and hands out
 * the pending token. Throws `second_factor_locked`, `resend_too_soon`, `sms_limit_reached`, `sms_unavailable`,
 * `phone_unreachable`, `phone_not_allowed`.
 */
export async function openChallenge(
  services: Pick<
    Services,
    | 'oneTimeCodes'
    | 'challengeRules'
    | 'store'
    | 'events'
    | 'random'
    | 'sms'
    | 'phoneNumbers'
    | 'background'
    | 'tokens'
    | 'config'
  >,
  { account, identifier, rememberMe, returnTo, caller }: ProvenLogin,
): Promise<TwoFactorRequired> {
  const { oneTimeCodes, challengeRules, store, events, random, sms, phoneNumbers } = services
  const fresh = { challengeId: random.uuid(), userId: account.id, purpose }
  const { mac, keyId } = oneTimeCodes.issue(fresh)
  const messageId = random.uuid()
  const event: Event = { type: 'login.challenged', outcome: 'opened', factor: 'sms', userId: account.id, caller }

  const challenge = await store.challenges.open(
    account,
    identifier,
    { id: fresh.challengeId, purpose, code_mac: mac.toString('hex'), key_id: keyId, message_id: messageId },
    challengeRules.sending({
      userId: account.id,
      phone: account.phone,
      address: caller.address,
      maySend: phoneNumbers.isAllowed(account.phone) && sms.isAvailable(),
    }),
    event,
  )
  if (!('challenge_id' in challenge)) {
    await events.record({ ...event, type: 'sms.refused', outcome: challenge.outcome })
    if (challenge.outcome === 'sms_unavailable') phoneNumbers.assertAllowed(account.phone)
    throw problemOf(challenge)
  }
  events.announce({ ...event, outcome: challenge.outcome })

  const delivery = challenge.send
    ? await sendCode(services, { messageId, userId: account.id, phone: account.phone, challenge, purpose, caller })
    : challenge.delivery
  return {
    status: '2fa_required',
    ...services.tokens.pending({
      userId: account.id,
      challengeId: challenge.challenge_id,
      rememberMe,
      returnTo,
    }),
    ...describeChallenge(services, account.phone, { ...challenge, delivery }),
  }
}
