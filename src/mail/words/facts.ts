import type { Content } from '../message.ts'

/** What users are told by mail of the factors, devices and codes of their account (contract, section 6). */
export const noticeTopics = [
  ...(['factor.added', 'factor.replaced', 'factor.removed', 'factors.reset'] as const),
  ...([
    'recovery_codes.renewed',
    'recovery_code.used',
    'codes.locked',
    'codes.failed',
    'passkey.counter_back',
  ] as const),
  ...(['email_code.used', 'device.new', 'account.disabled'] as const),
]

export type NoticeTopic = (typeof noticeTopics)[number]

/** The kinds of factors as they are named to people. */
export type FactorName = 'passkey' | 'totp' | 'sms' | 'email' | 'recovery_code' | 'other'

/** What a notice can tell. All of it is plain text of one line. */
export type NoticeFacts = {
  /** The service, as its users know it. */
  app: string
  /** When it happened. */
  at: Date
  /** From where, such as `203.0.113.0/24`; null when an operator did it. */
  network: string | null
  /** With what, such as `Firefox, Windows`; null if it is not known. */
  client: string | null
  factor: FactorName
  /** What the user calls the factor or device. */
  name: string | null
  /** Recovery codes that are left. */
  remaining: number
}

export type CodeFacts = { app: string; code: string; lifeSeconds: number }

/** One language: a file beside this one, and its line in `languages`. */
export type Words = {
  code(facts: CodeFacts): Content
  notices: Record<NoticeTopic, (facts: NoticeFacts) => Content>
}

const graceSeconds = 5

/** How long a code lives, for people: rounded down, but 599 s, a moment after the start, still are 10 minutes. */
export function lifeOf(seconds: number): { count: number; unit: 'minute' | 'second' } {
  const count = Math.floor((seconds + graceSeconds) / 60)
  return count >= 1 ? { count, unit: 'minute' } : { count: Math.max(1, Math.floor(seconds)), unit: 'second' }
}

/** A moment with its day and minute in UTC. */
export function momentOf(at: Date, language: string): string {
  const format = new Intl.DateTimeFormat(language, { dateStyle: 'long', timeStyle: 'short', timeZone: 'UTC' })
  return `${format.format(at)} UTC`
}
