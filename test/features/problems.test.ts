import { createHash } from 'node:crypto'
import t from 'tap'
import { Problem, type ProblemCode, problemCatalogue } from '../../src/errors.ts'
import { pageOf } from '../../src/features/problems/page.ts'
import { problemBody } from '../../src/problem-body.ts'
import { startDoorstep } from '../helpers/doorstep.ts'
import { call } from '../helpers/story.ts'

t.setTimeout(300_000)
const doorstep = await startDoorstep(t)
const codes = Object.keys(problemCatalogue) as ProblemCode[]

t.test('the type of every problem leads to a page that explains it', async (t) => {
  for (const code of codes) {
    const document = problemBody(doorstep.config.publicUrl, new Problem(code), 'a request')
    const { status, body } = await call(doorstep, new URL(String(document.type)).pathname)
    t.equal(status, 200, code)
    t.strictSame(Object.keys(body).sort(), ['advice', 'body', 'cause', 'code', 'status', 'title', 'type'])
    t.match(body, { type: document.type, code, title: document.title, status: document.status })
    t.match(body.advice, /\w.*\.$/s, 'it says what to do')
    t.match(body.cause, /\w.*\.$/s, 'and why it comes')
    t.not(body.cause, body.advice)
    t.match(
      body.body,
      { type: document.type, code, status: document.status, instance: String },
      'and what it looks like',
    )
    t.equal('retry_after' in body.body, [429, 503].includes(problemCatalogue[code].status), 'with the seconds to wait')
  }
})

t.test('what is no problem code has no page', async (t) => {
  for (const code of ['nothing', '__proto__', 'constructor', 'toString', 'BUSY', 'busy ', '%00', 'x'.repeat(64)]) {
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

t.test('a person who follows the type in a browser gets a page; a program gets JSON', async (t) => {
  const get = (accept?: string, url = '/problems/invalid_code') =>
    doorstep.app.inject({ method: 'GET', url, headers: accept === undefined ? {} : { accept } })
  const html = (type: unknown): boolean => String(type).startsWith('text/html')
  const pages = [
    'text/html',
    'text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8',
    'application/json;q=0.5, text/html;q=0.9',
    'TEXT/HTML; Q=1',
    'application/xhtml+xml, text/html ;q=0.2',
  ]
  for (const accept of pages) t.ok(html((await get(accept)).headers['content-type']), accept)
  const programs = [
    ...[undefined, '', '*/*', 'application/json', 'application/problem+json', 'application/json, text/plain, */*'],
    ...[
      'text/html;q=0',
      'text/html;q=0.5, application/json',
      'text/html, application/json',
      'text/*',
      'text/htmlx',
      ';;,,=',
    ],
    'text/html;q=nonsense',
  ]
  for (const accept of programs) {
    const reply = await get(accept)
    t.equal(reply.headers['content-type'], 'application/json; charset=utf-8', String(accept))
    t.equal(reply.json().code, 'invalid_code')
  }

  for (const code of codes) {
    const { statusCode, body, headers } = await get('text/html', `/problems/${code}`)
    t.equal(statusCode, 200, code)
    t.ok(body.includes(`<code>${code}</code>`))
    for (const heading of ['Why', 'What to do', 'What it looks like']) t.ok(body.includes(`<h2>${heading}</h2>`))
    const words = body.replace(/<pre.*<\/pre>/s, '')
    t.notMatch(words, /`|undefined|\[object/, 'what it says is for people, without signs of its own')
    t.equal(headers['cache-control'], 'no-store')
    t.equal(headers['x-content-type-options'], 'nosniff')
  }
})

t.test('the page can run, load and send nothing: its policy allows its own style sheet alone', async (t) => {
  const { body, headers } = await doorstep.app.inject({ url: '/problems/busy', headers: { accept: 'text/html' } })
  const policy = String(headers['content-security-policy'])
  const [, style = ''] = /<style>(.*?)<\/style>/s.exec(body) ?? []
  const hash = createHash('sha256').update(style).digest('base64')
  t.strictSame(policy.split(';').sort(), [
    "base-uri 'none'",
    "default-src 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    `style-src 'sha256-${hash}'`,
  ])
  t.notMatch(body, /<script|<img|<form|<iframe|\sstyle=|\son\w+=/, 'nor has it anything of the kind')
  const json = await doorstep.app.inject({ url: '/problems/busy' })
  t.equal(
    json.headers['content-security-policy'],
    "default-src 'none';frame-ancestors 'none'",
    'JSON has the usual one',
  )

  const odd = pageOf({
    ...{ code: 'x', title: `<b onload=x>"&'`, status: 400, advice: '`<script>`', type: 'https://x/"' },
    ...{ cause: '<b >', body: { detail: '<script>' } },
  })
  t.notMatch(odd, /<b |<script/)
  t.match(odd, /&#60;b onload=x&#62;&#34;&#38;&#39;/)
})
