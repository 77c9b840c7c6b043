import type { Clock } from '../system.ts'
import type { SmsMessage, SmsSender } from './index.ts'

const keptTexts = 100

/** One text that was "sent", as `GET /dev/sms` shows it; `sent_at` is RFC 3339. */
export type ConsoleText = { to: string; body: string; sent_at: string }

export type ConsoleSender = SmsSender & {
  /** The last 100 texts, newest first. */
  sent(): ConsoleText[]
}

/**
 * A sender that prints each text on one line and keeps it in memory. For development only: it shows numbers and codes.
 * @param options.print writes one line, without a line break of its own
 */
export function createConsoleSender(options: { clock: Clock; print: (line: string) => void }): ConsoleSender {
  const { clock, print } = options
  const texts: ConsoleText[] = []
  let count = 0

  const send = async ({ to, body }: SmsMessage) => {
    const nowMs = clock.nowMs()
    texts.unshift({ to, body, sent_at: new Date(nowMs).toISOString() })
    texts.length = Math.min(texts.length, keptTexts)
    count += 1
    print(`SMS to ${to}: ${body.replace(/\p{Cc}+/gu, ' | ')}`)
    // With the time, because ids are unique in the database, which outlives this process.
    return { outcome: 'sent' as const, providerId: `console-${nowMs}-${count}` }
  }

  return { send, isAvailable: () => true, close: () => {}, sent: () => [...texts] }
}
