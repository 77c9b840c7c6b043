import { checkWords } from '../../mail/words/index.ts'
import type { Services } from '../../services.ts'
import { attempt, type MailServices } from './send-mail.ts'

const everyMs = 5_000

/** Mails that one replica sends at the same time. */
const batchSize = 10

/**
 * Sends what is due, until nothing is; returns how many tries were made. With several replicas each mail is one's. While
 * the provider is down nothing is tried, and nothing loses a try by it.
 */
export async function sendDueMails(services: MailServices): Promise<number> {
  let tried = 0
  while (services.mail.isAvailable()) {
    const mails = await services.store.mails.claimDue(batchSize)
    await Promise.all(mails.map((mail) => attempt(services, mail)))
    tried += mails.length
    if (mails.length < batchSize) break
  }
  return tried
}

/**
 * On every replica: looks into the outbox each few seconds, and at once when the bell is rung after a commit of this
 * process. A failure is logged and tried again. Returns what stops it, once the mails under way are done. Throws where a mail
 * cannot be written in one of its languages.
 */
export function startMailSender(services: MailServices & Pick<Services, 'mailBell'>): () => Promise<void> {
  const { log, mailBell } = services
  checkWords()
  let running: Promise<void> | undefined
  let isAsked = false
  let isStopped = false

  const work = async (): Promise<void> => {
    while (isAsked && !isStopped) {
      isAsked = false
      await sendDueMails(services).catch((error: Error) => log.warn({ name: error.name }, 'mails were not looked for'))
    }
    running = undefined
  }
  const wake = (): void => {
    isAsked = true
    if (!isStopped) running ??= work()
  }

  const timer = setInterval(wake, everyMs)
  timer.unref()
  mailBell.answerWith(wake)
  return async () => {
    isStopped = true
    clearInterval(timer)
    await running
  }
}
