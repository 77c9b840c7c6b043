import {
  type CountryCode,
  getCountries,
  getCountryCallingCode,
  isSupportedCountry,
  parsePhoneNumberFromString,
} from 'libphonenumber-js/max'
import { Problem } from '../errors.ts'

// Bounded, and no letters: the library would also read extensions, `tel:` links and numbers inside other text.
const writtenForm = /^\+[0-9][0-9 ()-]{5,38}$/
const bullets = '••••••••'

/** Whether this is an ISO 3166-1 alpha-2 code that has telephone numbers, in capitals, such as `GB`. */
export const isPhoneCountry = (code: string): code is CountryCode => isSupportedCountry(code)

const callingCodes = new Set<string>(getCountries().map((country) => getCountryCallingCode(country)))

/** One to three digits, none of which begins another (E.164). */
const callingCodeOf = (e164: string): string | undefined =>
  [1, 2, 3].map((digits) => e164.slice(1, 1 + digits)).find((code) => callingCodes.has(code))

const refuse = (detail: string) => new Problem('phone_not_allowed', { detail })

/**
 * What counts as an acceptable phone number: default-deny by country and by type, against texts to premium numbers
 * (SEC-36, OWASP API6:2023), and how a number is shown (SEC-37, ASVS 14.2.6).
 * @param options.allowedCountries ISO 3166-1 alpha-2 codes, or `*` for every country; never satellite or global services
 */
export function createPhoneNumbers(options: { allowedCountries: '*' | string[] }) {
  const { allowedCountries } = options

  /**
   * Reads a number written with + and country code; spaces, hyphens and parentheses are dropped.
   * @returns E.164
   * @throws Problem `phone_not_allowed`, whose detail says why and never repeats the number
   */
  const parse = (text: string): string => {
    if (!writtenForm.test(text.trim())) throw refuse('Write the number with + and its country code, in digits.')
    const number = parsePhoneNumberFromString(text.trim(), { extract: false })
    if (!number?.isValid()) throw refuse('There is no such phone number.')
    // Satellite and global services (+870, +881, +882, +979 …) have no country, and some call themselves mobile.
    const isAllowed = number.country && (allowedCountries === '*' || allowedCountries.includes(number.country))
    if (!isAllowed) throw refuse('Numbers of this country are not accepted.')
    const type = number.getType()
    if (type !== 'MOBILE' && type !== 'FIXED_LINE_OR_MOBILE') throw refuse('Only mobile numbers are accepted.')
    return number.number
  }

  return {
    parse,

    /**
     * The same check for a stored number, before each text: the allowed countries may have changed since.
     * @throws Problem `phone_not_allowed`
     */
    assertAllowed: (e164: string): void => {
      parse(e164)
    },

    /** The same as a question. */
    isAllowed: (e164: string): boolean => {
      try {
        parse(e164)
        return true
      } catch {
        return false
      }
    },

    /** `+44 •••••••• 23`: the country calling code and the last two digits; always eight bullets, whatever the length. */
    mask: (e164: string): string => {
      const code = callingCodeOf(e164)
      return `${code ? `+${code} ` : ''}${bullets} ${e164.slice(-2)}`
    },

    /** The number without its last four digits: the block that traffic pumping runs through (SEC-38). */
    prefix: (e164: string): string => e164.slice(0, -4),
  }
}

export type PhoneNumbers = ReturnType<typeof createPhoneNumbers>
