/** The second factors that can finish a login. */
export const methods = ['sms'] as const
