/** The kinds of second factors, in order of preference: a login begins with the first that its user has. */
export const methodNames = ['passkey', 'totp', 'sms', 'email', 'recovery_code'] as const

export type Method = (typeof methodNames)[number]

/** Those that count as the second factor of an account; the others are fallbacks next to one. */
export const factorMethods = ['passkey', 'totp', 'sms'] as const satisfies Method[]

/**
 * What can be the second factor at a login, best first; nothing without a factor that `listed` (METHODS) has.
 * @param enrolled methods that the account has a factor of, and `recovery_code` where codes are left
 */
export function usableMethods(
  enrolled: readonly string[],
  isEmailConfirmed: boolean,
  listed: readonly Method[],
): Method[] {
  const factors: Method[] = factorMethods.filter((it) => enrolled.includes(it) && listed.includes(it))
  if (factors.length === 0) return []
  const isUsable: Record<string, boolean> = {
    email: isEmailConfirmed && listed.includes('email'),
    recovery_code: enrolled.includes('recovery_code'),
  }
  return methodNames.filter((it) => isUsable[it] ?? factors.includes(it))
}
