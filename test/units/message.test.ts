import fc from 'fast-check'
import t from 'tap'
import { composeText, messageFits } from '../../src/sms/message.ts'

const usual = { appName: 'Doorstep', origin: 'login.example.com', code: '012345', lifeSeconds: 300 }
const usualSettings = { appName: 'Doorstep', origin: 'login.example.com', codeLength: 6 }

t.test('the whole text', async (t) => {
  t.equal(
    composeText(usual),
    '012345 is your Doorstep code. It works for 5 minutes; never share it with anyone.\n@login.example.com #012345',
  )
})

t.test('what SEC-33 asks for, whatever the code and the lifetime', async (t) => {
  const code = fc.stringMatching(/^\d{6,10}$/)
  const property = fc.property(code, fc.integer({ min: 1, max: 600 }), (code, lifeSeconds) => {
    const text = composeText({ ...usual, code, lifeSeconds })
    const lines = text.split('\n')
    return (
      lines.length === 2 &&
      lines[1] === `@login.example.com #${code}` &&
      text.length <= 160 &&
      /\bcode\b/.test(text) &&
      /never share/.test(text) &&
      /\b\d+ (minute|second)s?\b/.test(text) &&
      !/https?:|www\.|[^\n]@/.test(text)
    )
  })
  t.doesNotThrow(() => fc.assert(property))
})

t.test('the lifetime in words never promises more than 5 s too much', async (t) => {
  const cases: [number, string][] = [
    [600, '10 minutes'],
    [300, '5 minutes'],
    [295, '5 minutes'],
    [294, '4 minutes'],
    [114, '1 minute'],
    [60, '1 minute'],
    [59, '59 seconds'],
    [3, '3 seconds'],
    [1, '1 second'],
    [0.4, '1 second'],
  ]
  for (const [lifeSeconds, words] of cases) {
    t.match(composeText({ ...usual, lifeSeconds }), new RegExp(`for ${words};`), `${lifeSeconds} s`)
  }
})

t.test('settings that fit in one segment', async (t) => {
  t.equal(messageFits(usualSettings), true)
  t.equal(messageFits({ ...usualSettings, codeLength: 10 }), true)
  t.equal(messageFits({ ...usualSettings, origin: 'localhost:3000' }), true)
  t.equal(messageFits({ ...usualSettings, appName: 'Crème Ångström £' }), true, 'these are GSM-7')
})

t.test('exactly 160 septets fit and 161 do not; extension characters take two', async (t) => {
  const shortest = composeText({ ...usual, appName: '', lifeSeconds: 600 }).length
  const room = 160 - shortest
  t.equal(messageFits({ ...usualSettings, appName: 'n'.repeat(room) }), true)
  t.equal(messageFits({ ...usualSettings, appName: 'n'.repeat(room + 1) }), false)
  t.equal(messageFits({ ...usualSettings, appName: `${'n'.repeat(room - 2)}€` }), true)
  t.equal(messageFits({ ...usualSettings, appName: `${'n'.repeat(room - 1)}€` }), false)
  t.equal(messageFits({ ...usualSettings, appName: 'n'.repeat(room - 4), codeLength: 8 }), true, 'the code comes twice')
  t.equal(messageFits({ ...usualSettings, appName: 'n'.repeat(room - 3), codeLength: 8 }), false)
})

t.test('settings that do not fit', async (t) => {
  const names = ['', ' ', 'Дверь', 'Door“step”', '🚪', 'Door\nstep', 'a@b.example', 'http://x.example', 'www.x.example']
  for (const appName of names) t.equal(messageFits({ ...usualSettings, appName }), false, JSON.stringify(appName))
  const origins = ['', 'two words', 'a@b', 'a#b', 'https://login.example.com', 'bücher.example\n', 'пример.example']
  for (const origin of origins) t.equal(messageFits({ ...usualSettings, origin }), false, JSON.stringify(origin))
})

t.test('the alphabet is GSM 03.38: 127 characters of the basic table, 10 of the extension', async (t) => {
  const fits = (character: string) => messageFits({ ...usualSettings, appName: `x${character}` })
  const all = Array.from({ length: 0x3000 }, (_, point) => String.fromCharCode(point)).filter(fits)
  // Less @ and line breaks, which a name may not have.
  t.equal(all.length, 127 + 10 - 4)
  t.equal(all.includes('`'), false)
  t.equal(all.includes('ç'), false, 'only the capital is in the table')
})
