import fc from 'fast-check'
import t from 'tap'
import { createPhoneNumbers, isPhoneCountry } from '../../src/security/phone-number.ts'

const everywhere = createPhoneNumbers({ allowedCountries: '*' })
const few = createPhoneNumbers({ allowedCountries: ['US', 'GB', 'DE', 'SE', 'AU'] })
const usOnly = createPhoneNumbers({ allowedCountries: ['US'] })

const accepted: [string, string][] = [
  ['+12025550123', '+12025550123'],
  ['+1 (202) 555-0199', '+12025550199'],
  ['  +1-415-555-0100  ', '+14155550100'],
  ['+447400123456', '+447400123456'],
  ['+44 7400 123456', '+447400123456'],
  ['+44 (0)7400 123456', '+447400123456'],
  ['+4917139200 00', '+491713920000'],
  ['+49 176 040690 99', '+4917604069099'],
  ['+46 70 174 06 05', '+46701740605'],
  ['+61 491 570 156', '+61491570156'],
]

// With every country allowed: what is refused here is refused by its form or its type.
const refusedEverywhere: [string, string][] = [
  ['+881612345678', 'satellite: Globalstar, which the metadata calls mobile'],
  ['+881212345678', 'satellite'],
  ['+88213300655', 'international network'],
  ['+88216123456789', 'satellite: Thuraya'],
  ['+883510012345', 'international network'],
  ['+870773111632', 'satellite: Inmarsat'],
  ['+878101234567890', 'universal personal number'],
  ['+888123456789', 'disaster relief'],
  ['+979123456789', 'international premium rate'],
  ['+80012345678', 'international toll free'],
  ['+80812345678', 'international shared cost'],
  ['+18002345678', 'US toll free'],
  ['+19002345678', 'US premium rate'],
  ['+15005550006', 'US personal number'],
  ['+442079460123', 'GB landline'],
  ['+448001234567', 'GB toll free'],
  ['+449012345678', 'GB premium rate'],
  ['+448431234567', 'GB special rate'],
  ['+445612345678', 'GB voice over IP'],
  ['+447012345678', 'GB personal number'],
  ['+447640123456', 'GB pager'],
  ['+493012345678', 'DE landline'],
  ['+499001234567', 'DE premium rate'],
  ['+491801234567', 'DE shared cost'],
  ['+33199001234', 'FR landline'],
  ['+33891123456', 'FR premium rate'],
  ['+33912345678', 'FR voice over IP'],
  ['+393210', 'too short'],
  ['+1202555012', 'one digit short'],
  ['+120255501234', 'one digit long'],
  ['+11025550123', 'no such area code'],
  ['+447700900123', 'GB drama numbers are not assigned'],
  ['+999123456789', 'no such country code'],
  ['+44', 'a country code'],
]

const badlyWritten: [string, string][] = [
  ['', 'nothing'],
  ['+', 'a plus sign'],
  ['12025550123', 'no plus sign'],
  ['07400123456', 'no country code'],
  ['0012025550123', 'an international prefix'],
  ['++12025550123', 'two plus signs'],
  ['tel:+12025550123', 'a link'],
  ['+12025550123 ext. 5', 'an extension'],
  ['+12025550123;ext=5', 'an extension'],
  ['call +12025550123', 'text around'],
  ['+1202555CALL', 'letters'],
  ['+１２０２５５５０１２３', 'full-width digits'],
  ['+١٢٠٢٥٥٥٠١٢٣', 'Arabic digits'],
  ['+1202555\u00000123', 'NUL'],
  ['+12025550123\n+12025550124', 'two lines'],
  ['+1 202\t5550123', 'a tab'],
  [`+1202555${' '.repeat(5000)}0123`, 'very long'],
  [`+${'1'.repeat(5000)}`, 'very long'],
]

// Good mobile numbers, each of them, of countries that `few` does not name.
const otherCountries: [string, string][] = [
  ['+18765550123', 'Jamaica'],
  ['+18682911234', 'Trinidad and Tobago'],
  ['+18095550123', 'Dominican Republic'],
  ['+12684641234', 'Antigua'],
  ['+12423591234', 'Bahamas'],
  ['+14413701234', 'Bermuda'],
  ['+12843001234', 'British Virgin Islands'],
  ['+14734031234', 'Grenada'],
  ['+16644921234', 'Montserrat'],
  ['+17875550123', 'Puerto Rico'],
  ['+14165550123', 'Canada'],
  ['+447911123456', 'Guernsey, under the code of GB'],
  ['+447624123456', 'Isle of Man, under the code of GB'],
  ['+33612345678', 'France'],
  ['+5355551234', 'Cuba'],
]

const problem = { name: 'Problem', code: 'phone_not_allowed' }

t.test('accepted, and brought to E.164', async (t) => {
  for (const [text, e164] of accepted) {
    t.equal(few.parse(text), e164, text)
    t.doesNotThrow(() => few.assertAllowed(e164))
  }
})

t.test('refused although every country is allowed (attack: premium and satellite numbers cost us money)', async (t) => {
  for (const [text, why] of refusedEverywhere) {
    t.throws(() => everywhere.parse(text), problem, `${text} ${why}`)
    t.throws(() => everywhere.assertAllowed(text), problem)
  }
})

t.test('badly written', async (t) => {
  for (const [text, why] of badlyWritten) t.throws(() => everywhere.parse(text), problem, why)
})

t.test('other countries, also those that share a calling code', async (t) => {
  for (const [text, country] of otherCountries) {
    t.throws(() => few.parse(text), { ...problem, extras: { detail: /country/ } }, country)
    t.throws(() => usOnly.parse(text), problem, country)
    t.equal(everywhere.parse(text), text)
  }
  t.throws(() => usOnly.parse('+447400123456'), problem)
  t.throws(() => usOnly.assertAllowed('+447400123456'), problem, 'a stored number whose country is no longer allowed')
  t.throws(() => createPhoneNumbers({ allowedCountries: [] }).parse('+12025550123'), problem, 'no country: no number')
})

t.test('the refusal says why and never repeats the number', async (t) => {
  const refused = [...refusedEverywhere, ...badlyWritten].filter(([text]) => text.length > 4)
  const details = new Set<string>()
  for (const [text] of refused) {
    try {
      everywhere.parse(text)
    } catch (error) {
      const told = JSON.stringify(error)
      t.equal(told.includes(text), false)
      details.add(/"detail":"([^"]+)"/.exec(told)?.[1] ?? '')
    }
  }
  t.equal(details.size, 4)
  const noSuch = { ...problem, extras: { detail: 'There is no such phone number.' } }
  t.throws(() => everywhere.parse('+1202555'), noSuch, 'told apart from a number that is not mobile')
  t.throws(() => everywhere.parse('+18685550123'), noSuch, 'Trinidad and Tobago, but never given out')
})

t.test('the fictional numbers of the test suite are mobile numbers', async (t) => {
  const areaCodes = ['202', '212', '213', '305', '312', '404', '415', '503', '617', '702']
  const us = areaCodes.flatMap((area) => Array.from({ length: 100 }, (_, line) => `+1${area}5550${100 + line}`))
  const se = Array.from({ length: 95 }, (_, line) => `+467017406${String(line + 5).padStart(2, '0')}`)
  t.same([...us, ...se].map(few.parse), [...us, ...se])
})

t.test('mask', async (t) => {
  t.equal(everywhere.mask('+447700900123'), '+44 •••••••• 23')
  t.equal(everywhere.mask('+12025550123'), '+1 •••••••• 23')
  t.equal(everywhere.mask('+3581234567'), '+358 •••••••• 67')
  t.equal(everywhere.mask('+999123456789'), '•••••••• 89', 'no such country code: nothing of it is shown')
})

t.test('mask never shows more than the country code and two digits, and never how long the number is', async (t) => {
  const callingCodes = ['1', '7', '44', '49', '61', '353', '358', '599', '881', '979', '999', '0']
  const number = fc.tuple(fc.constantFrom(...callingCodes), fc.stringMatching(/^\d{4,12}$/))
  const property = fc.property(number, ([callingCode, rest]) => {
    const masked = everywhere.mask(`+${callingCode}${rest}`)
    const shape = /^(?:\+(\d{1,3}) )?•{8} (\d\d)$/.exec(masked)
    return shape !== null && shape[2] === rest.slice(-2) && (shape[1] ?? callingCode) === callingCode
  })
  t.doesNotThrow(() => fc.assert(property, { numRuns: 2000 }))
})

t.test('prefix', async (t) => {
  t.equal(everywhere.prefix('+12025550123'), '+1202555')
  t.equal(everywhere.prefix('+447400123456'), '+44740012')
})

t.test('country codes', async (t) => {
  t.same(['GB', 'US', 'DE'].map(isPhoneCountry), [true, true, true])
  t.same(['UK', 'gb', '', '*', '001', 'toString'].map(isPhoneCountry), Array(6).fill(false))
})
