import type { Method } from '../methods.ts'

/**
 * The limits that a statement decides by; made in security/challenge.ts. `guarded`: refused while codes are locked;
 * `factors`: count as a second factor; `notices`: whether users are told of what happens by mail.
 */
export type ChallengePolicy = {
  code_ttl: number
  challenge_ttl: number
  max_attempts: number
  max_sends: number
  cooldown: number
  /** Between mails, where it is another. */
  mail_cooldown?: number
  enrolments_day: number
  guarded: Method[]
  factors: Method[]
  notices: boolean
}

/** What a text is counted by, and how many there may be in an hour, a day; `cooldown` in seconds. */
export type TextBudget = {
  address: string
  cooldown: number
  user_hour: number
  user_day: number
  phone_day: number
  address_hour: number
  address_day: number
  prefix_hour: number
  service_hour: number
  service_day: number
  spend_day: number
}

/** Where a mailed code goes, and how many there may be in an hour, a day. */
export type MailBudget = { address: string; locale: string; cooldown: number; hour: number; day: number }

/**
 * A method that a challenge can go on with. `in_cooldown`: also where only the cooldown keeps a better one from sending;
 * `code`: of what it sends; `may_send` is false while its provider is away or its address is not accepted.
 */
export type Candidate = {
  method: Method
  in_cooldown: boolean
  at_most: number
  sends: 'sms' | 'mail' | null
  may_send?: boolean
  code?: { mac: string; key_id: string }
  text?: TextBudget & { phone: string }
  mail?: MailBudget
}
