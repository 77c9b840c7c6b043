import t from 'tap'
import { type Method, usableMethods } from '../../src/methods.ts'

const listed: Method[] = ['passkey', 'totp', 'sms']

t.test('what a login can go on with is of METHODS, best first', async (t) => {
  const cases: [enrolled: Method[], isEmailConfirmed: boolean, listed: Method[], usable: Method[]][] = [
    [[], true, [...listed, 'email'], []],
    [['sms', 'recovery_code', 'passkey'], false, listed, ['passkey', 'sms', 'recovery_code']],
    [['sms'], true, listed, ['sms']],
    [['sms'], true, [...listed, 'email'], ['sms', 'email']],
    [['sms', 'recovery_code'], false, [...listed, 'email'], ['sms', 'recovery_code']],
    [['totp', 'recovery_code'], true, ['email', 'totp'], ['totp', 'email', 'recovery_code']],
  ]
  for (const [enrolled, isEmailConfirmed, all, usable] of cases) {
    t.strictSame(usableMethods(enrolled, isEmailConfirmed, all), usable, `${enrolled} of ${all}`)
  }
})

t.test('who has only factors that METHODS does not list has none, nor a fallback in its place', async (t) => {
  t.strictSame(usableMethods(['sms', 'recovery_code'], true, ['passkey', 'totp', 'email']), [])
})
