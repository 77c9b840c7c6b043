import { Problem } from '../errors.ts'
import type { App } from '../features/app-type.ts'
import { escapePointer } from './problems.ts'

/**
 * JSON in UTF-8 and nothing else (SEC-65), and no text that a column, hash or log would not take faithfully (SEC-68):
 * NUL, which Postgres cannot store, and lone surrogates, by which different strings would become the same bytes.
 */
export function registerBodyRules(app: App): void {
  app.removeContentTypeParser('text/plain')
  app.addHook('preParsing', async ({ headers }) => {
    const hasBody = headers['content-length'] !== undefined || headers['transfer-encoding'] !== undefined
    if (hasBody && (headers['content-encoding'] !== undefined || !isUtf8(headers['content-type']))) {
      throw new Problem('unsupported_media_type')
    }
  })
  app.addHook('preValidation', async (request) => {
    // No body at all is an empty one: what is missing is then told by name.
    if (request.body === undefined && request.method === 'POST') request.body = {}
    const pointer = findBadText(request.body)
    if (pointer !== null) {
      throw new Problem('invalid_request', {
        errors: [{ pointer, message: 'must be well-formed Unicode without NUL' }],
      })
    }
  })
}

/** Whether a media type has no parameter but, perhaps, one `charset=utf-8`; the type itself is Fastify's to judge. */
function isUtf8(mediaType = ''): boolean {
  const parameters = mediaType.split(';').slice(1)
  return parameters.length < 2 && parameters.every((it) => /^\s*(charset\s*=\s*(utf-8|"utf-8")\s*)?$/i.test(it))
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
      left.push({ value: member, pointer: `${pointer}/${escapePointer(name)}` })
    }
  }
  return null
}

function isFaithful(text: string): boolean {
  return text.isWellFormed() && !text.includes('\u0000')
}
