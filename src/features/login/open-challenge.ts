import type { Caller, Event } from '../../events.ts'
import { problemOf } from '../../security/challenge.ts'
import { clientOf } from '../../security/standing.ts'
import type { Services } from '../../services.ts'
import type { Account } from '../../store/accounts.ts'
import type { Opened, Purpose } from '../../store/challenges.ts'
import { announceSpend, type SendingServices, sendCode } from '../sms-codes/send-code.ts'
import { describeChallenge } from './describe-challenge.ts'
import type { TwoFactorRequired } from './schemas.ts'

/** What it takes to ask for a second factor. */
export type ChallengeServices = SendingServices & Pick<Services, 'challengeRules' | 'random' | 'tokens'>

/** Somebody who has proven the first factor, or who is signed in and steps up. */
export type ChallengedUser = {
  account: Pick<Account, 'id' | 'epoch' | 'phone'>
  purpose: Purpose
  caller: Caller
  known: boolean
  deviceId: string | null
  /** The counters of failed passwords that a right one gives its charge back to; null where there are none. */
  throttleKeys: Buffer[] | null
  rememberMe?: boolean
  returnTo?: string | undefined
  /** The session that steps up. */
  sessionId?: string
}

/**
 * Joins the live challenge of this client or opens one, and reserves the text that is due: one decision. Throws
 * `second_factor_locked`, `resend_too_soon`, `sms_limit_reached`, `sms_unavailable`, `phone_not_allowed`.
 */
export async function openChallenge(services: ChallengeServices, user: ChallengedUser): Promise<Opened> {
  const { oneTimeCodes, challengeRules, store, events, random, sms, phoneNumbers } = services
  const { account, purpose, caller, known, deviceId, sessionId } = user
  const { id: userId, phone } = account
  const fresh = { challengeId: random.uuid(), userId, purpose }
  const { mac, keyId } = oneTimeCodes.issue({ ...fresh, method: 'sms' })
  const challenge = {
    id: fresh.challengeId,
    purpose,
    client: sessionId === undefined ? clientOf({ known, deviceId }, caller) : `session:${sessionId}`,
    known,
    device_id: deviceId,
    code_mac: mac.toString('hex'),
    key_id: keyId,
  }
  const maySend = phoneNumbers.isAllowed(phone) && sms.isAvailable()
  const policy = challengeRules.sending({ phone, address: caller.address, maySend })
  const event: Event = { type: 'login.challenged', outcome: 'opened', factor: 'sms', userId, caller }

  const opened = await store.challenges.open(account, user.throttleKeys, challenge, policy, event)
  if (!('challenge_id' in opened)) {
    await events.record({ ...event, type: 'sms.refused', outcome: opened.outcome })
    if (opened.outcome === 'sms_unavailable') phoneNumbers.assertAllowed(phone)
    throw problemOf(opened)
  }
  events.announce({ ...event, outcome: opened.outcome })
  announceSpend(events, opened.spend)
  return opened
}

/**
 * Sends the text that is due and hands out the pending token. Throws `sms_unavailable`, `phone_unreachable`,
 * `phone_not_allowed`.
 */
export async function beginChallenge(
  services: ChallengeServices,
  { account, caller, rememberMe = false, returnTo, sessionId }: ChallengedUser,
  challenge: Opened,
): Promise<TwoFactorRequired> {
  const { id: userId, phone } = account
  const { message_id: messageId, challenge_id: challengeId, expires_in: expiresIn } = challenge
  const delivery =
    messageId === null ? challenge.delivery : await sendCode(services, { messageId, userId, phone, challenge, caller })
  return {
    status: '2fa_required',
    ...services.tokens.pending({ userId, challengeId, expiresIn, rememberMe, returnTo, sessionId }),
    ...describeChallenge(services, phone, { ...challenge, delivery }),
  }
}
