import fc, { type Arbitrary, type StringConstraints } from 'fast-check'

// What UTF-16 keeps for its pairs is no character.
const [firstSurrogate, surrogates, characters] = [0xd800, 0x800, 0x110000]

/** Any character of Unicode, control characters too. fast-check's own `binary` unit takes two seconds to make a table. */
const anyCharacter = fc.nat({ max: characters - surrogates - 1 }).map(
  (n) => String.fromCodePoint(n < firstSurrogate ? n : n + surrogates),
  (character) => {
    const point = String(character).codePointAt(0) ?? 0
    if (character !== String.fromCodePoint(point)) throw new Error('not one character')
    return point < firstSurrogate ? point : point - surrogates
  },
)

/** Text of any characters, and of strings that are known to make trouble. */
export const anyText = (constraints: Omit<StringConstraints, 'unit'> = {}): Arbitrary<string> =>
  fc.string({ ...constraints, unit: anyCharacter })

/** The path of a URL, of segments of any text: escaped where a path ends otherwise, and only there. */
export const anyPath = (): Arbitrary<string> =>
  fc.array(anyText({ maxLength: 20 }), { minLength: 1, maxLength: 5 }).map((segments) => {
    return segments.map((segment) => `/${encodeURI(segment).replace(/[/?#]/g, encodeURIComponent)}`).join('')
  })
