/** How a session was authenticated: RFC 8176 methods, and the assurance level of NIST SP 800-63B. */
export type AuthenticationLevel = { amr: string[]; acr: 'aal1' | 'aal2' }

export const passwordLevel: AuthenticationLevel = { amr: ['pwd'], acr: 'aal1' }
export const smsLevel: AuthenticationLevel = { amr: ['pwd', 'sms', 'mfa'], acr: 'aal2' }
