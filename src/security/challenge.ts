import type { Config } from '../config.ts'
import { Problem } from '../errors.ts'
import type { Method } from '../methods.ts'
import type { ChallengePolicy, MailBudget, TextBudget } from '../store/candidates.ts'
import type { Refusal } from '../store/challenges.ts'
import { textBudget } from './sms-budget.ts'

/** Codes that may be compared for one challenge, and texts that may be sent for it (contract, lockout numbers). */
export const maxAttempts = 5
const maxSends = 3

export type ChallengeRules = ReturnType<typeof createChallengeRules>

/** The limits of a challenge, as the database decides by them. */
export function createChallengeRules(config: Pick<Config, 'code' | 'tokens' | 'sms' | 'mail' | 'enrolmentsDay'>) {
  return {
    /** To open, read or answer a challenge. `guarded`, `factors`: see ChallengePolicy. */
    policy: ({ guarded, factors }: { guarded: Method[]; factors: Method[] }): ChallengePolicy => ({
      code_ttl: config.code.ttl,
      challenge_ttl: config.tokens.pendingTtl,
      max_attempts: maxAttempts,
      max_sends: maxSends,
      cooldown: config.sms.cooldown,
      mail_cooldown: config.mail.cooldown,
      enrolments_day: config.enrolmentsDay,
      guarded,
      factors,
      notices: config.mail.provider !== 'none',
    }),

    /** What the texts of an address are counted by. */
    textBudget: (address: string): TextBudget => textBudget(config.sms, address),

    /** What mailed codes are counted by: per user the same numbers as texts, with a cooldown of their own (contract, lockout numbers). */
    mailBudget: (): Pick<MailBudget, 'cooldown' | 'hour' | 'day'> => ({
      cooldown: config.mail.cooldown,
      hour: config.sms.perUserHour,
      day: config.sms.perUserDay,
    }),
  }
}

/** What the client is told when no code can be sent or tried. Only ever used after the password was proven. */
export function problemOf(refusal: Refusal): Problem {
  switch (refusal.outcome) {
    case 'stale':
      return new Problem('invalid_credentials')
    case 'invalid':
      return new Problem('invalid_token', { detail: 'This login is over. Sign in again.' })
    case 'expired':
      return new Problem('code_expired')
    case 'locked':
      return new Problem('second_factor_locked', { retryAfter: refusal.retry_after ?? null })
    case 'exhausted':
      return new Problem('code_attempts_exhausted', { retryAfter: refusal.retry_after ?? null, attemptsRemaining: 0 })
    case 'sms_unavailable':
    case 'mail_unavailable':
      return new Problem(refusal.outcome, { retryAfter: refusal.retry_after ?? 30 })
    case 'too_many':
      return new Problem('rate_limited', {
        retryAfter: refusal.retry_after ?? null,
        detail: 'Too many factors were begun for this account. Wait `retry_after` seconds.',
      })
    default:
      return new Problem(refusal.outcome, { retryAfter: refusal.retry_after ?? null })
  }
}
