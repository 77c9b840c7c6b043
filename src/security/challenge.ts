import type { Config } from '../config.ts'
import { Problem } from '../errors.ts'
import type { ChallengePolicy, Refusal, TextBudget } from '../store/challenges.ts'
import { textBudget } from './sms-budget.ts'

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
    /** To read or answer a challenge. */
    limits,

    /** What the texts of an address are counted by. */
    textBudget: (address: string): TextBudget => textBudget(config.sms, address),

    /** To send a text, with all that it is counted by. */
    sending: (text: { phone: string; address: string; maySend: boolean }): ChallengePolicy => ({
      ...limits,
      may_send: text.maySend,
      text: { ...textBudget(config.sms, text.address), phone: text.phone },
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
