import { problemCatalogue } from '../errors.ts'
import { exampleProblem } from '../problem-body.ts'

/** A problem document, by its name in the OpenAPI document. */
export const problemSchema = (publicUrl: string) => ({
  $id: 'Problem',
  type: 'object',
  description: 'RFC 9457. `code` is the stable machine value.',
  required: ['type', 'title', 'status', 'detail', 'instance', 'code'],
  properties: {
    type: { type: 'string', format: 'uri' },
    title: { type: 'string' },
    status: { type: 'integer' },
    detail: { type: 'string' },
    instance: { type: 'string', description: 'The id of the request; give it when you report a problem.' },
    code: { type: 'string', enum: Object.keys(problemCatalogue) },
    retry_after: { type: 'integer', description: 'Seconds; also the `Retry-After` header.' },
    attempts_remaining: { type: 'integer' },
    scope: { type: 'string', description: 'Of `insufficient_scope`: what the client lacks.' },
    user_id: {
      type: 'string',
      format: 'uuid',
      description: 'Of a `conflict` of clients: the user that is there already.',
    },
    errors: {
      type: 'array',
      items: {
        type: 'object',
        required: ['pointer', 'message'],
        properties: {
          pointer: { type: 'string', description: 'JSON pointer into the body.' },
          message: { type: 'string' },
        },
      },
    },
  },
  examples: [exampleProblem(publicUrl, 'link_expired')],
})
