import type { Mail, MailResult } from '../../mail/index.ts'
import type { Services } from '../../services.ts'
import type { ClaimedMail, MailEnd, TryResult } from '../../store/mails.ts'
import { compose } from './compose.ts'
import { type MailedLink, makeLink } from './make-link.ts'

/** What it takes to send a mail of the outbox. */
export type MailServices = Pick<
  Services,
  'oneTimeCodes' | 'mail' | 'store' | 'events' | 'background' | 'config' | 'log' | 'mailLinks' | 'linkRules'
>

/** The error of a mail that says nothing after all: its budgets are spent, or it was called off. Nothing has failed. */
const withheld = 'not_to_be_sent'

/** Milliseconds for a try: the first ends before a shutdown does, a later one before the 30 s that a mail is taken for. */
const firstTryMs = 8_000
const laterTryMs = 20_000

/**
 * Sends a mail of the outbox, after the commit that put it there. What is not taken now is tried again by the mail sender
 * of some replica (mail-sender.ts).
 * @param options.withinMs how long the provider may keep a reply waiting; a slower one is heard in the background
 * @returns `queued` while it is not known, or tried again; `failed` when it will never go. Never throws: it is in the outbox
 */
export async function sendMail(
  services: MailServices,
  mailId: number,
  { withinMs }: { withinMs: number },
): Promise<'sent' | 'queued' | 'failed'> {
  const { store, background, log } = services
  const trying = store.mails
    .claim(mailId)
    .then((mail) => mail && attempt(services, mail))
    .catch((error: Error) => {
      log.warn({ name: error.name }, 'a mail waits for its next try')
    })
  const end = await background.within(withinMs, trying)
  return end === 'sent' || end === 'failed' ? end : 'queued'
}

/** Makes one try with a mail that this process has taken, and writes down what became of it. Never throws. */
export async function attempt(services: MailServices, mail: ClaimedMail): Promise<MailEnd> {
  const { store, events } = services
  const { result, error } = await trySending(services, mail)
  // A mail that has gone is not undone by a database that cannot note it.
  const end = await store.mails.record(mail, result, error).catch(() => 'not_recorded' as const)
  events.announce({
    type: 'mail.delivery',
    outcome: error === withheld ? 'withheld' : end,
    ...(mail.user_id !== null && { userId: mail.user_id }),
    detail: error === null ? mail.topic : `${mail.topic}: ${error}`,
  })
  if (end === 'not_recorded') return result === 'sent' ? 'sent' : 'queued'
  return end
}

async function trySending(
  services: MailServices,
  claimed: ClaimedMail,
): Promise<{ result: TryResult; error: string | null }> {
  const link = await makeLink(services, claimed).catch(() => null)
  if (link === null) return { result: 'later', error: 'no_link' }
  if (link.topic === null) return { result: 'refused', error: withheld }
  const mail = write(services, claimed, link)
  if (mail === null) return { result: 'later', error: 'cannot_be_written' }
  const timeoutMs = claimed.tries === 1 ? firstTryMs : laterTryMs
  const answer = await services.mail.send(mail, { timeoutMs })
  return { result: resultOf(answer, claimed.kind), error: answer.outcome === 'sent' ? null : answer.error }
}

/** A mail that cannot be written keeps no other one back. */
function write(services: MailServices, claimed: ClaimedMail, link: MailedLink): Mail | null {
  try {
    return compose(services, claimed, link)
  } catch (error) {
    services.log.error({ name: (error as Error).name, topic: claimed.topic }, 'a mail cannot be written')
    return null
  }
}

/** A code does not wait for a provider that is down: whoever is signing in goes on with something else. */
function resultOf(answer: MailResult, kind: ClaimedMail['kind']): TryResult {
  if (answer.outcome === 'sent') return 'sent'
  if (answer.outcome === 'unknown') return 'unsure'
  return answer.isCertain || (answer.reason === 'provider' && kind === 'code') ? 'refused' : 'later'
}
