/** The kinds of second factors, in order of preference: a login begins with the first that its user has. */
export const methodNames = ['passkey', 'totp', 'sms', 'email', 'recovery_code'] as const

export type Method = (typeof methodNames)[number]
