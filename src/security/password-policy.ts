import type { Config } from '../config.ts'
import { Problem } from '../errors.ts'
import type { TwoFactor } from '../store/accounts.ts'
import { commonPasswords } from './common-passwords.ts'

/** Unicode code points (SP 800-63B-4: 8 for a password that is one of two factors, 15 for one that may stand alone). */
const minPasswordLength = 8
const minPasswordAlone = 15
const maxPasswordLength = 256

/** Shorter names are found in too many good passwords by chance. */
const minLocalPartLength = 4
const minProductNameLength = 3

/**
 * Judges a password that somebody wants to set (SEC-05, SEC-06; ASVS 6.2.1, 6.2.4, 6.2.5, 6.2.9, 6.2.11): its length,
 * and that it is not among the first that a guesser tries. No rules of composition.
 * @param about.email canonical
 * @param about.appName the name that users know the service by
 * @param about.minLength in code points
 * @throws Problem `invalid_request` that says what is wrong and never repeats the password
 */
export async function assertGoodPassword(
  password: string,
  about: { email: string; appName: string; minLength?: number },
): Promise<void> {
  const { minLength = minPasswordLength } = about
  if (!password.isWellFormed() || password.includes('\0')) throw refuse('must be well-formed Unicode without NUL')
  const length = [...password].length
  if (length < minLength) throw refuse(`must have at least ${minLength} characters`)
  if (length > maxPasswordLength) throw refuse(`must have at most ${maxPasswordLength} characters`)

  const lower = password.toLowerCase()
  const contains = (name: string, minLength: number): boolean =>
    [...name].length >= minLength && lower.includes(name.toLowerCase())
  if (lower.includes(about.email.toLowerCase())) throw refuse('must not contain the e-mail address')
  if (contains(about.email.slice(0, about.email.indexOf('@')), minLocalPartLength)) {
    throw refuse('must not contain the name in the e-mail address')
  }
  if ([about.appName, 'doorstep'].some((name) => contains(name, minProductNameLength))) {
    throw refuse('must not contain the name of this service')
  }
  if ((await commonPasswords()).has(lower)) throw refuse('must not be one of the passwords that many people use')
}

export type PasswordPolicy = ReturnType<typeof createPasswordPolicy>

/** What people may have as a password; `isBreached`: whether it has been seen in a breach. */
export function createPasswordPolicy({
  config,
  isBreached,
}: {
  config: Pick<Config, 'sms'>
  isBreached: (password: string) => Promise<boolean>
}) {
  return {
    /** Longer where it may stand alone. Throws as assertGoodPassword. */
    assertGood: async (
      password: string,
      { email, twoFactor }: { email: string; twoFactor: TwoFactor },
    ): Promise<void> => {
      const minLength = twoFactor === 'required' ? minPasswordLength : minPasswordAlone
      await assertGoodPassword(password, { email, appName: config.sms.appName, minLength })
      if (await isBreached(password)) throw refuse('must not be one that was found in a breach of another service')
    },
  }
}

const refuse = (message: string) => new Problem('invalid_request', { errors: [{ pointer: '/password', message }] })
