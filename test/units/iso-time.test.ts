import t from 'tap'
import { isoTime, readMoment } from '../../src/features/iso-time.ts'

const read = (text: string): string | null => {
  const ms = readMoment(text)
  return ms === null ? null : isoTime(ms / 1_000)
}

t.test('a moment (RFC 3339) is read, in any of its spellings', async (t) => {
  const moments = [
    ['2026-02-28T08:00:00Z', '2026-02-28T08:00:00.000Z'],
    ['2026-02-28t08:00:00z', '2026-02-28T08:00:00.000Z'],
    ['2026-02-28 08:00:00.5+02:30', '2026-02-28T05:30:00.500Z'],
    ['2026-02-28T08:00:00.123456789-00:00', '2026-02-28T08:00:00.123Z'],
    ['2028-02-29T23:59:59-23:59', '2028-03-01T23:58:59.000Z'],
    ['0000-02-29T00:00:00Z', '0000-02-29T00:00:00.000Z'],
  ] as const
  for (const [text, moment] of moments) t.equal(read(text), moment, text)
})

t.test('what no calendar or clock has is no moment, and is not moved to another', async (t) => {
  const days = [
    '2027-02-29',
    '2027-02-30',
    '2026-04-31',
    '1900-02-29',
    '2026-13-01',
    '2026-00-10',
    '2026-01-00',
    '2026-01-32',
  ]
  const times = [
    '24:00:00Z',
    '23:60:00Z',
    '23:59:60Z',
    '08:00Z',
    '08:00:00',
    '08:00:00.Z',
    '08:00:00+24:00',
    '08:00:00+0200',
  ]
  const wrong = [...days.map((day) => `${day}T08:00:00Z`), ...times.map((time) => `2026-02-28T${time}`)]
  for (const text of [
    ...wrong,
    '',
    '2026-02-28',
    '2026-02-28_08:00:00Z',
    ' 2026-02-28T08:00:00Z',
    '2026-02-28T08:00:00Z\n',
  ]) {
    t.equal(read(text), null, text)
  }
})
