import type { Content } from '../message.ts'

/** What users are told of their account by mail (contract, section 6). */
export const noticeTopics = [
  'factor.added',
  'factor.replaced',
  'factor.removed',
  'factors.reset',
  'factor.reset',
  'phone.set',
  'recovery_codes.renewed',
  'recovery_code.used',
  'codes.locked',
  'codes.failed',
  'passkey.counter_back',
  'email_code.used',
  'device.new',
  'account.disabled',
  'password.set',
  'password.changed',
  'password.reset',
  'email.change_asked',
  'email.changed',
  'email.set',
  'deletion.begun',
] as const

/** Mails that somebody asked for, most of them with a link to go on with. */
export const linkTopics = [
  'register',
  'have_account',
  'forgot',
  'no_account',
  'closed',
  'invite',
  'reset',
  'reset_forced',
  'secured',
  'confirm_email',
  'email_taken',
] as const

export type LinkTopic = (typeof linkTopics)[number]

export type NoticeTopic = (typeof noticeTopics)[number]

/** The kinds of factors as they are named to people. */
export type FactorName = 'passkey' | 'totp' | 'sms' | 'email' | 'recovery_code' | 'other'

/** What a notice can tell. All of it is plain text of one line. */
export type NoticeFacts = {
  /** The service, as its users know it. */
  app: string
  /** When it happened. */
  at: Date
  /** From where, such as `203.0.113.0/24`; null when an operator did it, or nobody did anything. */
  network: string | null
  /** With what, such as `Firefox, Windows`; null if it is not known. */
  client: string | null
  factor: FactorName
  /** What the user calls the factor. */
  name: string | null
  /** Recovery codes that are left. */
  remaining: number
  /** Of a changed e-mail: whether this is the new mailbox. */
  isNew: boolean
  /** When an account that its user has left is erased. */
  erasesAt: Date
  /** By which its owner says “that was not me”; null where there is none, as in a mailbox that may be a thief's. */
  link: string | null
}

/** `link`: null where there is none to follow; seconds that it lives. */
export type LinkFacts = { app: string; link: string | null; lifeSeconds: number }

export type CodeFacts = { app: string; code: string; lifeSeconds: number }

/** What a notice says: what happened, and what announces its link where that is not `notMe`. */
export type Told = [subject: string, told: string, announced?: string]

/** What a mail with a link says: what was asked for, what to do about it, and what announces the link, if there is one. */
export type Asked = [subject: string, told: string, advice: string, announced?: string]

/** One language: a file beside this one, and its line in `languages`. In a text `\n` begins a new line. */
export type Words = {
  code(facts: CodeFacts): Content
  notice: {
    when(at: Date): string
    where(network: string, client: string | null): string
    /** Announces the link by which the owner says “that was not me”. */
    notMe: string
    /** Says what to do where there is no link. */
    unlinked(app: string): string
  }
  notices: Record<NoticeTopic, (facts: NoticeFacts) => Told>
  /** How often and how long a link works. */
  lasts(seconds: number): string
  links: Record<LinkTopic, (app: string) => Asked>
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
