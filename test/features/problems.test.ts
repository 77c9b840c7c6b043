import t from 'tap'
import { Problem, type ProblemCode, problemCatalogue } from '../../src/errors.ts'
import { problemBody } from '../../src/http/problems.ts'
import { startDoorstep } from '../helpers/doorstep.ts'
import { call } from '../helpers/story.ts'

t.setTimeout(120_000)
const doorstep = await startDoorstep(t)
const codes = Object.keys(problemCatalogue) as ProblemCode[]

t.test('the type of every problem leads to a page that explains it', async (t) => {
  for (const code of codes) {
    const document = problemBody(doorstep.config.publicUrl, new Problem(code), 'a request')
    const { status, body } = await call(doorstep, new URL(String(document.type)).pathname)
    t.equal(status, 200, code)
    t.strictSame(Object.keys(body).sort(), ['advice', 'code', 'status', 'title', 'type'])
    t.match(body, { type: document.type, code, title: document.title, status: document.status })
    t.match(body.advice, /\w.*\.$/s, 'it says what to do')
  }
})

t.test('what is no problem code has no page', async (t) => {
  for (const code of [
    'nothing',
    '__proto__',
    'constructor',
    'toString',
    'BUSY',
    'busy ',
    '%00',
    '..',
    'x'.repeat(64),
  ]) {
    const { status, body } = await call(doorstep, `/problems/${encodeURIComponent(code)}`)
    t.match({ status, code: body.code }, { status: 404, code: 'not_found' }, code)
  }
  t.match(await call(doorstep, `/problems/${'x'.repeat(65)}`), { status: 400, body: { code: 'invalid_request' } })
})

t.test('a problem carries what it is given and nothing more', async (t) => {
  const bare = problemBody('https://login.example.com', new Problem('invalid_code'), 'id')
  t.strictSame(Object.keys(bare), ['type', 'title', 'status', 'detail', 'instance', 'code'])
  t.equal(bare.type, 'https://login.example.com/problems/invalid_code')
  const errors = [{ pointer: '/code', message: 'must be 6 digits' }]
  const full = new Problem('invalid_code', {
    detail: 'x',
    retryAfter: 0,
    attemptsRemaining: 0,
    errors,
    headers: { 'X-Y': 'z' },
  })
  t.match(problemBody('', full, 'id'), { detail: 'x', retry_after: 0, attempts_remaining: 0, errors })
  t.notOk('headers' in problemBody('', full, 'id'))
  t.notOk(
    'retry_after' in problemBody('', new Problem('second_factor_locked', { retryAfter: null }), 'id'),
    'locked for good',
  )
})

t.test('every title and status is of the catalogue, once', async (t) => {
  const titles = codes.map((code) => problemCatalogue[code].title)
  t.equal(new Set(titles).size, codes.length, 'no two problems are called the same')
  for (const code of codes) t.match(String(problemCatalogue[code].status), /^(4\d\d|50[03])$/, code)
})
