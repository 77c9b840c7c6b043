import { Problem } from '../errors.ts'
import type { LiveSession } from '../store/sessions.ts'

/** How a session was authenticated: RFC 8176 methods, and the assurance level of NIST SP 800-63B. */
export type AuthenticationLevel = { amr: string[]; acr: 'aal1' | 'aal2' }

export const passwordLevel: AuthenticationLevel = { amr: ['pwd'], acr: 'aal1' }
export const smsLevel: AuthenticationLevel = { amr: ['pwd', 'sms', 'mfa'], acr: 'aal2' }

/** How strong and how fresh (whole seconds) a sign-in must be (RFC 9470). */
export type Assurance = { acr: 'aal2'; maxAgeSeconds: number }

/** What changes to an account want (ASVS 7.5): the best that the account can reach, at most ten minutes ago. */
const fresh: Assurance = { acr: 'aal2', maxAgeSeconds: 600 }

/** Throws `insufficient_user_authentication`, whose header says what would be enough (RFC 9470 3). */
export function assertFresh(session: Pick<LiveSession, 'acr' | 'age'>, wanted: Assurance = fresh): void {
  if (session.acr === wanted.acr && session.age <= wanted.maxAgeSeconds) return
  throw new Problem('insufficient_user_authentication', {
    headers: {
      'WWW-Authenticate':
        'Bearer error="insufficient_user_authentication", error_description="A fresher or stronger sign-in is needed", ' +
        `acr_values="${wanted.acr}", max_age="${wanted.maxAgeSeconds}"`,
    },
  })
}
