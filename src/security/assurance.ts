import { Problem } from '../errors.ts'
import type { LiveSession } from '../store/sessions.ts'

/** How a session was authenticated: RFC 8176 methods, and the assurance level of NIST SP 800-63B. */
export type AuthenticationLevel = { amr: string[]; acr: 'aal1' | 'aal2' }

export const passwordLevel: AuthenticationLevel = { amr: ['pwd'], acr: 'aal1' }

/** How strong and how fresh (whole seconds) a sign-in must be (RFC 9470). */
export type Assurance = { acr: 'aal1' | 'aal2'; maxAgeSeconds: number }

/** How old a sign-in may be that changes something of the account (ASVS 7.5). */
export const freshSeconds = 600

/** `insufficient_user_authentication`, whose header says what would be enough (RFC 9470 3). */
export const notAssured = (wanted: Assurance): Problem =>
  new Problem('insufficient_user_authentication', {
    headers: {
      'WWW-Authenticate':
        'Bearer error="insufficient_user_authentication", error_description="A fresher or stronger sign-in is needed", ' +
        `acr_values="${wanted.acr}", max_age="${wanted.maxAgeSeconds}"`,
    },
  })

/** Throws `insufficient_user_authentication`. */
export function assertAssured(session: Pick<LiveSession, 'acr' | 'age'>, wanted: Assurance): void {
  const isStrong = session.acr === wanted.acr || wanted.acr === 'aal1'
  if (!isStrong || session.age > wanted.maxAgeSeconds) throw notAssured(wanted)
}
