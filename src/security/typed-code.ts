/**
 * What somebody typed or pasted, without what does not count: white space, line ends, hyphens and dashes (U+2212: the
 * minus that keyboards make of one), and the invisible marks that come along with what is pasted.
 */
export const withoutMarks = (typed: string): string => typed.replace(/[\s\u0085\p{Pd}\u2212\u2043\p{Cf}]/gu, '')

/** The digits of a typed code; null unless exactly `length` ASCII digits remain of it. */
export function readDigits(typed: string, length: number): string | null {
  const digits = withoutMarks(typed)
  return digits.length === length && /^[0-9]+$/.test(digits) ? digits : null
}
