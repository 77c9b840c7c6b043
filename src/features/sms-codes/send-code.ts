import { Problem } from '../../errors.ts'
import type { Caller } from '../../events.ts'
import type { Services } from '../../services.ts'
import type { Delivery, SmsResult } from '../../sms/index.ts'
import { composeChangeNotice, composeText } from '../../sms/message.ts'
import type { ChallengeState, CodeState } from '../../store/challenges.ts'
import type { Leaving } from '../../store/messages.ts'

/** What it takes to send a code. */
export type SendingServices = Pick<Services, 'oneTimeCodes' | 'sms' | 'store' | 'events' | 'background' | 'config'>

/** How long a provider may keep a reply waiting; a slower one is heard in the background. */
const patienceMs = 3_000

/** How long a notice is worth delivering. */
const noticeLifeSeconds = 14_400

/** A text that is reserved and committed, about to be sent. */
export type DueText = { messageId: number; userId: string; phone: string; caller: Caller }

/** One with the code of a challenge; `leaves`: what that goes on with where the text does not go. */
export type DueCode = DueText & { challengeId: string; code: CodeState; leaves: Leaving | null }

/** How it went, or why the text was not sent, and the challenge if that has gone on with something else since. */
export type SentCode = { delivery: Delivery } | { problem: Problem; left: ChallengeState | null }

/**
 * Sends the code of a challenge, after the commit and outside any transaction, since a text cannot be rolled back.
 * Returns what is known of the delivery after 3 s at most.
 */
export async function sendCode(services: SendingServices, text: DueCode): Promise<SentCode> {
  const { oneTimeCodes, background, config } = services
  const { key_id: keyId, code_expires_in: lifeSeconds } = text.code
  const code = oneTimeCodes.again({ challengeId: text.challengeId, method: 'sms' }, keyId)
  if (code === null) throw new Error(`The key "${keyId}" of a live code is not in SECRET_KEYS`)
  const body = composeText({ appName: config.sms.appName, origin: config.sms.origin, code, lifeSeconds })
  const sent = await background.within(patienceMs, sendText(services, text, { body, lifeSeconds }, text.leaves))
  if (sent === undefined || sent.answer.outcome !== 'refused') {
    return { delivery: sent?.answer.outcome === 'sent' ? 'sent' : 'queued' }
  }
  const { reason } = sent.answer
  const problem =
    reason === 'phone' ? new Problem('phone_unreachable') : new Problem('sms_unavailable', { retryAfter: 30 })
  return { problem, left: sent.left }
}

/** Tells a number that it is no longer the one that codes go to; nobody waits for it. */
export function sendChangeNotice(services: SendingServices, text: DueText): void {
  const { background, config, events } = services
  const body = composeChangeNotice(config.sms.appName)
  const sent = sendText(services, text, { body, lifeSeconds: noticeLifeSeconds }, null).catch(() =>
    events.announce({ type: 'sms.delivery', outcome: 'failed', userId: text.userId, caller: text.caller }),
  )
  void background.within(0, sent)
}

/** Half, four fifths or all of the texts of a day are used up: whoever watches the log is to know while there is time. */
export function announceSpend(events: Services['events'], spend: string | null | undefined): void {
  if (spend != null) events.announce({ type: 'sms.spend', outcome: spend })
}

async function sendText(
  services: SendingServices,
  text: DueText,
  { body, lifeSeconds }: { body: string; lifeSeconds: number },
  leaves: Leaving | null,
): Promise<{ answer: SmsResult; left: ChallengeState | null }> {
  const validForSeconds = Math.max(1, lifeSeconds)
  const answer = await services.sms.send({ id: text.messageId, to: text.phone, body, validForSeconds })
  return { answer, left: await recordAnswer(services, text, answer, leaves) }
}

/** Writes down what the provider answered. A text that has gone is not undone by a database that cannot note it. */
async function recordAnswer(
  { store, events }: Pick<Services, 'store' | 'events'>,
  { messageId, userId, caller }: DueText,
  answer: SmsResult,
  leaves: Leaving | null,
): Promise<ChallengeState | null> {
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
  const told = {
    delivery: delivery[answer.outcome],
    state:
      answer.outcome !== 'refused' ? ('open' as const) : answer.isCertain ? ('refused' as const) : ('unsure' as const),
    providerId: answer.outcome === 'sent' ? answer.providerId : null,
    error,
  }
  const isOver = answer.outcome === 'refused'
  return await store.messages.recordAnswer(messageId, told, isOver ? leaves : null).catch(() => {
    events.announce({ type: 'sms.delivery', outcome: 'not_recorded', userId, caller })
    return null
  })
}
