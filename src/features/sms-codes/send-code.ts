import { Problem } from '../../errors.ts'
import type { Caller } from '../../events.ts'
import type { Services } from '../../services.ts'
import type { Delivery, SmsResult } from '../../sms/index.ts'
import { composeText } from '../../sms/message.ts'
import type { ChallengeState } from '../../store/challenges.ts'

/** What it takes to send a code. */
export type SendingServices = Pick<
  Services,
  'oneTimeCodes' | 'phoneNumbers' | 'sms' | 'store' | 'events' | 'background' | 'config'
>

/** How long a provider may keep a reply waiting; a slower one is heard in the background. */
const patienceMs = 3_000

/** A text that is reserved and committed, about to be sent. */
export type DueText = {
  messageId: number
  userId: string
  phone: string
  challenge: ChallengeState
  caller: Caller
}

/**
 * Sends the code of a challenge, after the commit and outside any transaction, since a text cannot be rolled back.
 * Returns what is known of the delivery after 3 s at most. Throws `phone_not_allowed`, `phone_unreachable` or
 * `sms_unavailable` when it was not sent; the challenge stays.
 */
export async function sendCode(services: SendingServices, text: DueText): Promise<Delivery> {
  const { oneTimeCodes, phoneNumbers, sms, background, config } = services
  const { challenge, phone } = text
  const code = oneTimeCodes.again({ challengeId: challenge.challenge_id, method: 'sms' }, challenge.key_id)
  if (code === null) throw new Error(`The key "${challenge.key_id}" of a live code is not in SECRET_KEYS`)
  phoneNumbers.assertAllowed(phone)

  const lifeSeconds = challenge.code_expires_in
  const body = composeText({ appName: config.sms.appName, origin: config.sms.origin, code, lifeSeconds })
  const answered = sms
    .send({ id: text.messageId, to: phone, body, validForSeconds: Math.max(1, lifeSeconds) })
    .then((answer) => recordAnswer(services, text, answer))
  const answer = await background.within(patienceMs, answered)
  if (answer?.outcome === 'sent') return 'sent'
  if (answer?.outcome !== 'refused') return 'queued'
  throw answer.reason === 'phone'
    ? new Problem('phone_unreachable')
    : new Problem('sms_unavailable', { retryAfter: 30 })
}

/** Half, four fifths or all of the texts of a day are used up: whoever watches the log is to know while there is time. */
export function announceSpend(events: Services['events'], spend: string | null): void {
  if (spend !== null) events.announce({ type: 'sms.spend', outcome: spend })
}

/** Writes down what the provider answered. A text that has gone is not undone by a database that cannot note it. */
async function recordAnswer(
  { store, events }: Pick<Services, 'store' | 'events'>,
  { messageId, userId, caller }: DueText,
  answer: SmsResult,
): Promise<SmsResult> {
  const delivery = { sent: 'sent', unknown: 'queued', refused: 'failed' } as const
  const error = answer.outcome === 'sent' ? null : answer.error
  events.announce({
    type: 'sms.delivery',
    outcome: answer.outcome === 'refused' ? answer.reason : answer.outcome,
    factor: 'sms',
    userId,
    caller,
    ...(error !== null && { detail: error }),
  })
  await store.messages
    .recordAnswer(messageId, {
      delivery: delivery[answer.outcome],
      state: answer.outcome !== 'refused' ? 'open' : answer.isCertain ? 'refused' : 'unsure',
      providerId: answer.outcome === 'sent' ? answer.providerId : null,
      error,
    })
    .catch(() => events.announce({ type: 'sms.delivery', outcome: 'not_recorded', userId, caller }))
  return answer
}
