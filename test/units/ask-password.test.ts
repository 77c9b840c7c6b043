import { PassThrough } from 'node:stream'
import t from 'tap'
import { askForPassword, readPassword } from '../../src/cli/password.ts'

/** A terminal: `raw` holds every switch of echo, `shown` what a person would see. */
function createTerminal() {
  const raw: boolean[] = []
  const shown: string[] = []
  const input = Object.assign(new PassThrough(), {
    isTTY: true,
    setRawMode: (isRaw: boolean) => {
      raw.push(isRaw)
      return input
    },
  })
  const output = new PassThrough().on('data', (chunk) => void shown.push(String(chunk)))
  return { input, output, raw, shown: () => shown.join('') }
}

t.test('asks twice, and someone who looks over the shoulder sees nothing of it', async (t) => {
  const terminal = createTerminal()
  const asked = askForPassword(terminal)
  t.same(terminal.raw, [true], 'the terminal itself does not echo')
  for (const key of ' ä pass🦉word ') terminal.input.write(key)
  terminal.input.write('\r')
  for (const key of ' ä pass🦉wordx') terminal.input.write(key)
  terminal.input.write('\u007f \r')
  t.equal(await asked, ' ä pass🦉word ', 'spaces stay, backspace works')
  t.equal(terminal.shown(), 'Password: \nThe same again: \n')
  t.same(terminal.raw, [true, false], 'and echoes again afterwards')
})

t.test('a paste of both lines is two answers', async (t) => {
  const terminal = createTerminal()
  terminal.input.write('four quiet owls\nfour quiet owls\n')
  t.equal(await askForPassword(terminal), 'four quiet owls')
})

t.test('two different answers, and going away', async (t) => {
  const different = createTerminal()
  different.input.write('four quiet owls\nfour quiet ow1s\n')
  await t.rejects(askForPassword(different), { name: 'Refusal', message: 'The two passwords differ.' })
  t.same(different.raw, [true, false])

  for (const key of ['\u0003', '\u0004']) {
    const left = createTerminal()
    left.input.write(key)
    await t.rejects(askForPassword(left), { name: 'Refusal', message: 'No password was given.' }, JSON.stringify(key))
    t.same(left.raw, [true, false])
  }
})

t.test('without a terminal nobody is asked', async (t) => {
  const { output, shown } = createTerminal()
  const asked = askForPassword({ input: new PassThrough(), output })
  await t.rejects(asked, { name: 'UsageError', message: /--password-stdin/ })
  t.equal(shown(), '')
})

t.test('from a pipe: a byte order mark and one line end are dropped, nothing else', async (t) => {
  const read = (...chunks: (string | Uint8Array)[]) => {
    const input = new PassThrough()
    for (const chunk of chunks) input.write(chunk)
    input.end()
    return readPassword(input)
  }
  const expected: [string, string][] = [
    ['four quiet owls\n', 'four quiet owls'],
    ['four quiet owls', 'four quiet owls'],
    ['four quiet owls\n\n', 'four quiet owls\n'],
    [' four quiet owls \n', ' four quiet owls '],
    ['four\nquiet\nowls', 'four\nquiet\nowls'],
    ['\ufefffour quiet owls\r\n', 'four quiet owls'],
    ['\ufeff\ufefffour quiet owls', '\ufefffour quiet owls'],
    ['four quiet owls\ufeff', 'four quiet owls\ufeff'],
    ['four quiet owls\r\n', 'four quiet owls'],
    ['four quiet owls\r\n\r\n', 'four quiet owls\r\n'],
    ['four quiet owls\r', 'four quiet owls\r'],
    ['four quiet owls\n\r', 'four quiet owls\n\r'],
    ['e\u0301\u00e9', 'e\u0301\u00e9'],
    ['', ''],
    ['\n', ''],
    ['\r\n', ''],
    ['\ufeff', ''],
  ]
  for (const [sent, password] of expected) t.equal(await read(sent), password, JSON.stringify(sent))
  const owl = Buffer.from('🦉')
  t.equal(await read(owl.subarray(0, 2), owl.subarray(2)), '🦉', 'a character in two parts')

  const refused = { code: 'invalid_request', extras: { errors: [{ pointer: '/password' }] } }
  await t.rejects(read(Uint8Array.of(0x70, 0xff, 0x71)), refused, 'not UTF-8')
  await t.rejects(
    read(Buffer.from('\ufefffour quiet owls\r\n', 'utf16le')),
    refused,
    'UTF-16, as an old PowerShell pipes it',
  )
  await t.rejects(read('x'.repeat(5_000)), refused, 'far too long to be one')
})
