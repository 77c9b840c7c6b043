import type { ServerResponse } from 'node:http'
import t from 'tap'
import { createBreachedPasswords } from '../../src/security/breached-passwords.ts'
import { canariesIn } from '../helpers/canaries.ts'
import { otherEnd, rangeOf, sha1, startRangeStub } from '../helpers/range-stub.ts'

// Whoever answers for Have I Been Pwned, or listens on the way, must not learn a password, nor keep people from setting one.

const breached = 'seven grey herons by the lake'
const stub = await startRangeStub(t, (reply) => reply.end(rangeOf({ [breached]: 3 })))

// The first question loads what asks: it is not to be judged by the second that an answer has.
await (await fetch(stub.url)).text()
stub.asked.length = 0

const logged: string[] = []
const log = { warn: (...words: unknown[]) => logged.push(JSON.stringify(words)) }
const isBreached = createBreachedPasswords({ breachedPasswords: { source: 'hibp', url: stub.url } }, log)

t.test('only five hex digits of the hash leave, in a question that asks for padding', async (t) => {
  t.equal(await isBreached(breached), true)
  t.equal(stub.asked.length, 1)
  const [{ method, url, headers, body } = { headers: [] }] = stub.asked
  t.match({ method, url, body }, { method: 'GET', url: `/range/${sha1(breached).slice(0, 5)}`, body: '' })
  const sent = headers.join('\n')
  t.match(sent, /Add-Padding\ntrue/i)
  t.same(canariesIn(`${url}\n${sent}`.toUpperCase(), [{ name: 'the rest', value: sha1(breached).slice(5, 15) }]), [])
  t.same(canariesIn(`${url}\n${sent}`, [{ name: 'the password', value: breached }]), [])
  t.equal(await isBreached('eight grey herons by the lake'), false, 'which is not in its range')
  t.same(logged, [])
})

t.test('a line with the count 0 is padding, whatever hash it shows; the end of a hash is compared whole', async (t) => {
  const answers: [string, string, boolean][] = [
    ['seen once', rangeOf({ [breached]: 1 }), true],
    ['seen often', rangeOf({ [breached]: 10_000_000 }), true],
    ['a count with a 0 at its end', rangeOf({ [breached]: 10 }), true],
    ['with line ends as on Unix', rangeOf({ [breached]: 2 }).replaceAll('\r', ''), true],
    ['alone', `${sha1(breached).slice(5)}:1`, true],
    ['padding', rangeOf({ [breached]: 0 }), false],
    ['another', rangeOf({}), false],
  ]
  for (const [name, text, isFound] of answers) {
    stub.answerWith((reply) => reply.end(text))
    t.equal(await isBreached(breached), isFound, name)
  }
  t.same(logged, [])
})

const found = `${sha1(breached).slice(5)}:9\r\n`
const noAnswers: Record<string, { name: string; answer: (reply: ServerResponse) => void }> = {
  'no answer': { name: 'TimeoutError', answer: () => {} },
  'an answer that drips': {
    name: 'TimeoutError',
    answer: (reply) => {
      reply.write(found)
      const timer = setInterval(() => reply.write(`${otherEnd(1)}:1\r\n`), 50)
      reply.on('close', () => clearInterval(timer))
    },
  },
  'an error': { name: 'Status500', answer: (reply) => reply.writeHead(500).end(found) },
  'too many questions': { name: 'Status429', answer: (reply) => reply.writeHead(429).end(found) },
  nothing: { name: 'NoRange', answer: (reply) => reply.end() },
  'a page': { name: 'NoRange', answer: (reply) => reply.end('<html>Sign in to this Wi-Fi</html>') },
  'lines that are none': { name: 'NoRange', answer: (reply) => reply.end(`${rangeOf({})}\r\n${found}x:1`) },
  'another status without an error': { name: 'Status204', answer: (reply) => reply.writeHead(204).end() },
  'a way to elsewhere': {
    name: 'TypeError',
    answer: (reply) => reply.writeHead(302, { location: `${stub.url}/elsewhere` }).end(),
  },
  'an answer without an end': {
    name: 'TooLong',
    answer: (reply) => {
      const many = `${otherEnd(1)}:1\r\n`.repeat(2_000)
      const more = (): void => {
        while (!reply.destroyed && reply.write(many));
        if (!reply.destroyed) reply.once('drain', more)
      }
      reply.write(found)
      more()
    },
  },
  'a connection cut off': { name: 'TypeError', answer: (reply) => reply.destroy() },
}

for (const [what, { name, answer }] of Object.entries(noAnswers)) {
  t.test(`${what}: the password passes, and the log says so without it or its hash`, async (t) => {
    logged.length = 0
    stub.asked.length = 0
    stub.answerWith(answer)
    t.equal(await isBreached(breached), false)
    t.equal(stub.asked.length, 1, 'asked once')
    t.same(logged, [JSON.stringify([{ name }, 'breached passwords were not looked for'])])
  })
}

t.test('nobody there: the same', async (t) => {
  logged.length = 0
  await stub.close()
  t.equal(await isBreached(breached), false)
  t.same(logged, [JSON.stringify([{ name: 'TypeError' }, 'breached passwords were not looked for'])])
})

t.test('with the built-in list alone nobody is asked', async (t) => {
  logged.length = 0
  const source = { source: 'list' as const, url: 'http://127.0.0.1:9' }
  t.equal(await createBreachedPasswords({ breachedPasswords: source }, log)(breached), false)
  t.same(logged, [])
})
