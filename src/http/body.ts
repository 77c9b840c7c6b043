import { isUtf8 } from 'node:buffer'
import { Problem } from '../errors.ts'
import type { App } from '../features/app-type.ts'
import { escapePointer } from './problems.ts'

/**
 * JSON in UTF-8 and nothing else (SEC-65), and no text that a column, hash or log would not take faithfully (SEC-68):
 * NUL, which Postgres cannot store, and lone surrogates, by which different strings would become the same bytes. A body of
 * length 0 is none, whatever type it is said to have: clients name one for every POST.
 */
export function registerBodyRules(app: App): void {
  app.removeAllContentTypeParsers()
  const parseJson = app.getDefaultJsonParser('error', 'error')
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request, bytes: Buffer, done) => {
    if (bytes.length === 0) return done(null, undefined)
    if (!isUtf8(bytes)) return done(new Problem('invalid_request', { detail: 'The body is not UTF-8.' }))
    void parseJson(request, bytes.toString(), done)
  })
  readNothing(app)
  app.addHook('preParsing', ({ headers }, _reply, payload, done) => {
    const hasBody = Number(headers['content-length'] ?? 0) > 0 || headers['transfer-encoding'] !== undefined
    if (!hasBody) delete headers['content-type']
    else if (headers['content-encoding'] !== undefined || !saysUtf8(headers['content-type'])) {
      return done(new Problem('unsupported_media_type'))
    }
    done(null, payload)
  })
  app.addHook('preValidation', (request, _reply, done) => {
    // No body at all is an empty one: what is missing is then told by name.
    if (request.body === undefined && request.method === 'POST') request.body = {}
    const pointer = findBadText(request.body)
    if (pointer === null) return done()
    done(
      new Problem('invalid_request', {
        errors: [{ pointer, message: 'must be well-formed Unicode without NUL' }],
      }),
    )
  })
}

/** Bodies of any other type: refused at their first byte. One that was announced without a length may have none. */
function readNothing(app: App): void {
  app.addContentTypeParser('*', ({ headers }, payload, done) => {
    if (headers['content-length'] !== undefined) return done(new Problem('unsupported_media_type'))
    payload.once('data', () => {
      payload.pause()
      done(new Problem('unsupported_media_type'))
    })
    payload.once('end', () => done(null, undefined))
    payload.once('error', done)
  })
}

/** Whether a media type has no parameter but, perhaps, `charset=utf-8`; the type itself is Fastify's to judge. */
function saysUtf8(mediaType = ''): boolean {
  const parameters = mediaType
    .split(';')
    .slice(1)
    .filter((it) => it.trim() !== '')
  const isCharset = /^\s*charset\s*=\s*(utf-?8|"utf-?8")\s*$/i
  return parameters.length < 2 && parameters.every((it) => isCharset.test(it))
}

/**
 * The JSON pointer of a text that is not acceptable; null if there is none. Without recursion: a body may be nested
 * deeper than the stack.
 */
function findBadText(body: unknown): string | null {
  const left: { value: unknown; pointer: string }[] = [{ value: body, pointer: '' }]
  for (let next = left.pop(); next !== undefined; next = left.pop()) {
    const { value, pointer } = next
    if (typeof value === 'string' && !isFaithful(value)) return pointer
    if (typeof value !== 'object' || value === null) continue
    for (const [name, member] of Object.entries(value)) {
      if (!isFaithful(name)) return pointer
      if (typeof member === 'string' && isFaithful(member)) continue
      left.push({ value: member, pointer: `${pointer}/${escapePointer(name)}` })
    }
  }
  return null
}

function isFaithful(text: string): boolean {
  return text.isWellFormed() && !text.includes('\u0000')
}
