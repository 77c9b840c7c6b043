import type { Caller, Event } from '../../events.ts'
import { problemOf } from '../../security/challenge.ts'
import type { Services } from '../../services.ts'
import type { Account } from '../../store/accounts.ts'
import type { Purpose } from '../../store/challenges.ts'
import { sendCode } from '../sms-codes/send-code.ts'
import { describeChallenge } from './describe-challenge.ts'
import type { TwoFactorRequired } from './schemas.ts'

/** Somebody who has proven the first factor, or who is signed in and steps up. */
export type ChallengedUser = {
  account: Pick<Account, 'id' | 'epoch' | 'phone'>
  purpose: Purpose
  caller: Caller
  /** The counter of failed passwords that a right one ends; null where there is none. */
  identifier: Buffer | null
  rememberMe?: boolean
  returnTo?: string | undefined
  /** The session that steps up. */
  sessionId?: string
}

/**
 * Joins the account's live challenge or opens one, sends the text that is due, and hands out the pending token. Throws
 * `second_factor_locked`, `resend_too_soon`, `sms_limit_reached`, `sms_unavailable`, `phone_unreachable`,
 * `phone_not_allowed`.
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
  { account, purpose, caller, identifier, rememberMe = false, returnTo, sessionId }: ChallengedUser,
): Promise<TwoFactorRequired> {
  const { oneTimeCodes, challengeRules, store, events, random, sms, tokens, phoneNumbers } = services
  const { id: userId, phone } = account
  const fresh = { challengeId: random.uuid(), userId, purpose }
  const { mac, keyId } = oneTimeCodes.issue(fresh)
  const messageId = random.uuid()
  const event: Event = { type: 'login.challenged', outcome: 'opened', factor: 'sms', userId, caller }

  const challenge = await store.challenges.open(
    account,
    identifier,
    { id: fresh.challengeId, purpose, code_mac: mac.toString('hex'), key_id: keyId, message_id: messageId },
    challengeRules.sending({
      userId,
      phone,
      address: caller.address,
      maySend: phoneNumbers.isAllowed(phone) && sms.isAvailable(),
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
    ? await sendCode(services, { messageId, userId, phone, challenge, caller })
    : challenge.delivery
  return {
    status: '2fa_required',
    ...tokens.pending({ userId, challengeId: challenge.challenge_id, rememberMe, returnTo, sessionId }),
    ...describeChallenge(services, phone, { ...challenge, delivery }),
  }
}
