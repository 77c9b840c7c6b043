import fc from 'fast-check'
import t from 'tap'
import { loadConfig } from '../../src/config.ts'
import { Problem } from '../../src/errors.ts'
import { commonPasswords } from '../../src/security/common-passwords.ts'
import { assertGoodPassword, createPasswordPolicy } from '../../src/security/password-policy.ts'
import type { TwoFactor } from '../../src/store/accounts.ts'
import { anyText } from '../helpers/any-text.ts'
import { testKeys } from '../helpers/doorstep.ts'

const about = { email: 'ada.lovelace@example.com', appName: 'Acme Bank' }

/** Why a password is refused; undefined if it is good. */
async function reasonOf(judging: Promise<void>): Promise<string | undefined> {
  try {
    await judging
    return undefined
  } catch (error) {
    if (!(error instanceof Problem) || error.code !== 'invalid_request') throw error
    const [{ pointer, message } = { pointer: '', message: '' }, ...more] = error.extras.errors ?? []
    if (pointer !== '/password' || more.length > 0) throw new Error(JSON.stringify(error.extras))
    return message
  }
}

const reasonAgainst = (password: string, given: { email?: string; appName?: string } = {}) =>
  reasonOf(assertGoodPassword(password, { ...about, ...given }))

t.test('length is counted in code points, from 8 to 256 (SEC-05, SEC-06)', async (t) => {
  t.match(await reasonAgainst(''), /at least 8/)
  t.match(await reasonAgainst('sieben7'), /at least 8/)
  t.match(await reasonAgainst('🦉🦉🦉🦉🦉🦉🦉'), /at least 8/, '7 code points in 14 UTF-16 units')
  t.equal(await reasonAgainst('🦉🦊🐝🐙🦋🐬🦩🐢'), undefined)
  t.equal(await reasonAgainst('🦉x'.repeat(128)), undefined, '256 code points')
  t.match(await reasonAgainst(`${'🦉x'.repeat(128)}y`), /at most 256/)
  t.match(await reasonAgainst('x'.repeat(100_000)), /at most 256/)
})

const policyWith = (isBreached: (password: string) => Promise<boolean>) =>
  createPasswordPolicy({ config: { sms: loadConfig(testKeys).sms }, isBreached })

t.test('a password that may stand alone has at least 15 code points', async (t) => {
  const policy = policyWith(async () => false)
  const judge = (password: string, twoFactor: TwoFactor) =>
    reasonOf(policy.assertGood(password, { email: about.email, twoFactor }))
  for (const twoFactor of ['optional', 'off'] as const) {
    t.match(await judge('🦉'.repeat(14), twoFactor), /at least 15/)
    t.equal(await judge('🦉🦊🐝🐙🦋'.repeat(3), twoFactor), undefined)
  }
  t.match(await judge('sieben7', 'required'), /at least 8/)
  t.equal(await judge('four owl', 'required'), undefined)
})

t.test('one found in a breach is refused last: nothing leaves about what is refused anyway', async (t) => {
  const asked: string[] = []
  const policy = policyWith(async (password) => asked.push(password) > 0)
  const judge = (password: string) =>
    reasonOf(policy.assertGood(password, { email: about.email, twoFactor: 'required' }))
  for (const password of ['short', 'password1', 'ada.lovelace1815', 'on the doorstep']) t.ok(await judge(password))
  t.same(asked, [])
  t.match(await judge('seven grey herons'), /in a breach/)
  t.same(asked, ['seven grey herons'])
})

t.test('anything may be in it: no rules of composition, nothing is trimmed', async (t) => {
  const passphrase = 'four quiet owls 🦉🦉🦉🦉 sat on the old stone wall and said nothing '
  t.equal([...passphrase].length, 64)
  t.equal(await reasonAgainst(passphrase), undefined)
  t.equal(await reasonAgainst('onlylowercaseletters'), undefined)
  t.equal(await reasonAgainst('83625173940'), undefined, 'only digits')
  t.equal(await reasonAgainst('        x'), undefined, 'spaces count')
  t.equal(await reasonAgainst('пароль для входа'), undefined)
  t.equal(await reasonAgainst('tab\tand\nnew line'), undefined)
})

t.test('NUL and ill-formed Unicode are refused', async (t) => {
  for (const password of ['eight\0characters', 'lone \ud800 surrogate', 'lone surrogate \udfff']) {
    t.match(await reasonAgainst(password), /well-formed/)
  }
})

t.test('an attacker who tries the common passwords first cannot find one here', async (t) => {
  const common = await commonPasswords()
  const longEnough = [...common].filter((password) => [...password].length >= 8)
  t.ok(longEnough.length >= 3_000, `${longEnough.length} passwords that satisfy the length rule`)

  const everyNth = Math.floor(longEnough.length / 200)
  for (const password of longEnough.filter((_, at) => at % everyNth === 0)) {
    t.match(await reasonAgainst(password, { email: 'x@example.com', appName: 'xyz' }), /many people use/, password)
  }
  const wellKnown = [
    ...['password', 'Password1', 'PASSWORD123', '12345678', '1234567890', 'qwertyuiop', 'iloveyou', 'sunshine1'],
    ...['trustno1', 'passw0rd', 'letmein123', 'welcome1', 'administrator', '11111111', '1qaz2wsx', 'football'],
    ...['baseball', 'superman', 'q1w2e3r4t5', 'starwars'],
  ]
  for (const password of wellKnown) t.match(await reasonAgainst(password), /many people use/, password)
  t.equal(await reasonAgainst('password of the 3rd owl'), undefined, 'a common one inside a longer one')
})

t.test('an attacker who knows the e-mail cannot guess from it', async (t) => {
  const refused = ['ada.lovelace', 'ADA.LOVELACE', 'x-Ada.Lovelace-x', 'ada.lovelace1815']
  for (const password of refused) t.match(await reasonAgainst(password), /name in the e-mail/, password)
  t.equal(await reasonAgainst('ada and lovelace'), undefined, 'the parts may be in it')
  t.equal(await reasonAgainst('example.com owls'), undefined, 'so may the domain')
  t.match(await reasonAgainst('mary had a lamb', { email: 'mary@example.com' }), /name in the e-mail/, '4 characters')
  for (const password of ['al@example.com', 'Al@Example.COM', ' al@example.com!']) {
    t.match(await reasonAgainst(password, { email: 'al@example.com' }), /contain the e-mail address/, password)
  }
  t.equal(await reasonAgainst('the ace of spades', { email: 'ace@example.com' }), undefined, 'too short to be a hint')
})

t.test('an attacker who knows the service cannot guess from its name', async (t) => {
  for (const password of ['acme bank 1', 'my ACME BANK login', 'Doorstep2026', 'on the doorstep']) {
    t.match(await reasonAgainst(password), /name of this service/, password)
  }
  t.match(await reasonAgainst('ibm mainframe', { appName: 'IBM' }), /name of this service/)
  t.equal(await reasonAgainst('axolotl axis', { appName: 'X' }), undefined, 'a letter is not a name')
})

t.test('whatever is typed is judged, and the reason never repeats it', async (t) => {
  const typed = fc.oneof(
    anyText({ maxLength: 300 }),
    fc.string({ unit: 'grapheme', minLength: 6, maxLength: 12 }),
    fc.string({ unit: fc.constantFrom('\ud800', '\udc00', '\0', 'ß', 'İ', 'a'), maxLength: 12 }),
  )
  const property = fc.asyncProperty(typed, async (password) => {
    const reason = await reasonAgainst(password)
    const length = [...password].length
    if (reason === undefined) return password.isWellFormed() && !password.includes('\0') && length >= 8 && length <= 256
    return length < 8 || !reason.includes(password)
  })
  await t.resolves(fc.assert(property, { numRuns: 500 }))
})
