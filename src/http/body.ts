import { Problem } from '../errors.ts'
import type { App } from '../features/app-type.ts'

/**
 * JSON in UTF-8 and nothing else (SEC-65), and no text that a column, hash or log would not take faithfully (SEC-68):
 * NUL, which Postgres cannot store, and lone surrogates, by which different strings would become the same bytes.
 */
export function registerBodyRules(app: App): void {
  app.removeContentTypeParser('text/plain')
  app.addHook('preParsing', async ({ headers }) => {
    const [, charset] = /;\s*charset\s*=\s*"?([^";\s]+)/i.exec(headers['content-type'] ?? '') ?? []
    if (headers['content-encoding'] !== undefined || (charset !== undefined && charset.toLowerCase() !== 'utf-8')) {
      throw new Problem('unsupported_media_type')
    }
  })
  app.addHook('preValidation', async (request) => {
    // No body at all is an empty one: what is missing is then told by name.
    if (request.body === undefined && request.method === 'POST') request.body = {}
    const { body } = request
    const pointer = findBadText(body, '')
    if (pointer !== null) {
      throw new Problem('invalid_request', {
        errors: [{ pointer, message: 'must be well-formed Unicode without NUL' }],
      })
    }
  })
}

/** The JSON pointer of the first text that is not acceptable; null if there is none. */
function findBadText(value: unknown, pointer: string): string | null {
  if (typeof value === 'string') return isFaithful(value) ? null : pointer
  if (typeof value !== 'object' || value === null) return null
  for (const [name, member] of Object.entries(value)) {
    if (!isFaithful(name)) return pointer
    const found = findBadText(member, `${pointer}/${name}`)
    if (found !== null) return found
  }
  return null
}

function isFaithful(text: string): boolean {
  return text.isWellFormed() && !text.includes('\u0000')
}
