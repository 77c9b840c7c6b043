import type { Config } from '../config.ts'
import { Problem } from '../errors.ts'
import type { ChallengePolicy, Refusal } from '../store/challenges.ts'
import { budgetRules, budgetTotals } from './sms-budget.ts'

/** Codes that may be compared for one challenge, and texts that may be sent for it (contract, lockout numbers). */
export const maxAttempts = 5
export const maxSends = 3

export type ChallengeRules = ReturnType<typeof createChallengeRules>

/** The limits of a challenge, as the database decides by them. */
export function createChallengeRules(config: Pick<Config, 'code' | 'tokens' | 'sms'>) {
  const limits: ChallengePolicy = {
    code_ttl: config.code.ttl,
    challenge_ttl: config.tokens.pendingTtl,
    max_attempts: maxAttempts,
    max_sends: maxSends,
    cooldown: config.sms.cooldown,
  }
  return {
    /** To read or charge a challenge. */
    limits,

    /** To send a text: with every budget that it is charged to. */
    sending: (text: { userId: string; phone: string; address: string; maySend: boolean }): ChallengePolicy => ({
      ...limits,
      may_send: text.maySend,
      rules: budgetRules(config.sms, text),
      totals: budgetTotals(config.sms),
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
      return new Problem('sms_unavailable', { retryAfter: refusal.retry_after ?? 30 })
    default:
      return new Problem(refusal.outcome, { retryAfter: refusal.retry_after ?? null })
  }
}
