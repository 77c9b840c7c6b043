import swagger from '@fastify/swagger'
import type { FastifyContextConfig, FastifySchema, RouteOptions } from 'fastify'
import type { Config } from '../config.ts'
import { type ProblemCode, problemCatalogue } from '../errors.ts'
import type { App } from '../features/app-type.ts'
import { exampleProblem, saysWhen } from '../problem-body.ts'
import { registerDocs } from './docs.ts'
import { type DocumentedSchema, examplesOf, examplesWith, namedExamples } from './openapi-examples.ts'
import { tags, typed } from './openapi-words.ts'
import { problemSchema } from './problem-schema.ts'

/** What every operation can answer with. */
const everywhere: ProblemCode[] = ['rate_limited', 'internal_error', 'unavailable']
const withBody: ProblemCode[] = ['invalid_request', 'payload_too_large', 'unsupported_media_type']

/** What a problem says in headers too, for clients that look there. */
const problemHeaders = {
  'Retry-After': { type: 'integer', description: 'Seconds to wait: `retry_after`.' },
  'WWW-Authenticate': { type: 'string', description: 'What is asked for (RFC 9110, RFC 6750, RFC 9470).' },
}

const securitySchemes = {
  pending: {
    type: 'http',
    scheme: 'bearer',
    bearerFormat: 'JWT',
    description: 'The `pending_token` of an answer that asks for more; opens nothing but that.',
  },
  access: {
    type: 'http',
    scheme: 'bearer',
    bearerFormat: 'JWT',
    description: 'The `access_token` of a finished login.',
  },
  client: {
    type: 'http',
    scheme: 'basic',
    description:
      'Of backends: id and secret that whoever operates the service has made; what it must be allowed stands with each operation. ' +
      'One of `INTROSPECTION_CLIENTS` may introspect.',
  },
} as const

/**
 * The OpenAPI 3.1 document, made from the same schemas that validate: `GET /openapi.json`, and a page to read and try it
 * at `GET /docs`. Problem answers and security come from each route's `config`, so that nothing is said twice.
 */
export async function registerOpenApi(app: App, config: Config): Promise<void> {
  app.addSchema(problemSchema(config.publicUrl))
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Doorstep',
        version: '1.0.0',
        summary: 'Sign-in protected by a second factor.',
        description:
          'Two steps: `POST /login` with e-mail and password, `POST /login/2fa` with a code or a passkey. Errors are problem ' +
          'documents (RFC 9457) whose `code` is stable. Of a JSON name given twice the last one counts. SMS codes resist neither phishing nor SIM swap: NIST SP 800-63B calls them a ' +
          'restricted authenticator.',
        license: { name: 'MIT', identifier: 'MIT' },
      },
      servers: [{ url: config.publicUrl }],
      tags,
      components: { securitySchemes },
    },
    transformObject: (document) => typed('openapiObject' in document ? document.openapiObject : document.swaggerObject),
    refResolver: { buildLocalReference: (json, _base, _fragment, index) => String(json.$id ?? `def-${index}`) },
    transform: ({ schema, url, route }) => ({
      url,
      schema: documented(schema, route, { publicUrl: config.publicUrl, named: app.getSchemas() as Named }),
    }),
  })

  app.get(
    '/openapi.json',
    { config: { access: 'public', limits: ['default'] }, schema: { hide: true } },
    async (_request, reply) => {
      reply.header('Cache-Control', 'public, max-age=300')
      return app.swagger()
    },
  )
  await registerDocs(app, config)
}

type Named = Record<string, DocumentedSchema>
type Media = { schema: object; examples: Record<string, object> }
/** `type: 'null'`: an answer without a body. */
type Answer = { description: string; content?: Record<string, Media>; headers?: object; type?: 'null' }
type Documented = FastifySchema & {
  description?: string
  security?: Record<string, string[]>[]
  response?: Record<string, unknown>
}

function documented(
  schema: FastifySchema | undefined,
  route: RouteOptions,
  { publicUrl, named }: { publicUrl: string; named: Named },
): Documented {
  const { access, scope, problems, challenges } = route.config ?? {}
  const own = (schema ?? {}) as Documented
  if (own.hide) return own
  const codes = [
    ...(problems ?? []),
    ...(tokensOf(access).length > 0 ? (['invalid_token'] as const) : []),
    ...(scope === undefined ? [] : (['invalid_credentials', 'insufficient_scope'] as const)),
    ...(own.body ? withBody : []),
    ...(own.params || own.querystring ? (['invalid_request'] as const) : []),
    ...everywhere,
  ]
  return {
    ...own,
    ...(scope !== undefined && { description: `${own.description} Scope: \`${scope}\`.` }),
    security: securityOf(access, scope),
    response: answersOf(own.response as Named | undefined, [...new Set(codes)], {
      ...{ publicUrl, named, challenges },
      field: [own.body, own.params, own.querystring].flatMap((it) => Object.keys(fieldsOf(it)))[0],
    }),
  }
}

/** The fields of what is sent, or of its first alternative. */
function fieldsOf(schema: unknown): object {
  const { properties, anyOf } = (schema ?? {}) as DocumentedSchema
  return properties ?? (anyOf ? fieldsOf(anyOf[0]) : {})
}

type RouteAccess = FastifyContextConfig['access']

const kindsOf = (access: RouteAccess): readonly string[] =>
  access === undefined ? [] : typeof access === 'string' ? [access] : access

const tokensOf = (access: RouteAccess): string[] => kindsOf(access).filter((it) => it === 'pending' || it === 'access')

/** Of clients with the scope that they need (OpenAPI 3.1: a list of roles). */
const securityOf = (access: RouteAccess, scope: string | undefined): Record<string, string[]>[] =>
  kindsOf(access)
    .filter((it) => it in securitySchemes)
    .map((it) => ({ [it]: scope === undefined ? [] : [scope] }))

/** Every answer by its status: the route's own, with examples, and its problems. A status may have both. */
function answersOf(
  own: Named = {},
  codes: ProblemCode[],
  context: {
    publicUrl: string
    named: Named
    challenges: FastifyContextConfig['challenges']
    field: string | undefined
  },
): Record<string, Answer> {
  const { publicUrl, named, challenges, field } = context
  const answers: Record<string, Answer> = {}
  for (const [status, schema] of Object.entries(own)) {
    const examples = namedExamples(examplesWith(examplesOf(schema, named), challenges))
    const description = status.startsWith('2') ? 'Done.' : 'Not now.'
    const content = { 'application/json': { schema, examples } }
    answers[status] = status === '204' ? { description, type: 'null' } : { description, content }
  }
  for (const code of codes) {
    const { status, title } = problemCatalogue[code]
    const { description, content = {}, headers } = answers[status] ?? { description: '' }
    const media = content['application/problem+json'] ?? { schema: { $ref: 'Problem#' }, examples: {} }
    media.examples[code] = { value: exampleProblem(publicUrl, code, field) }
    content['application/problem+json'] = media
    answers[status] = {
      description: [description, `\`${code}\`: ${title}.`].filter(Boolean).join(' '),
      content,
      headers: {
        ...headers,
        ...(saysWhen(code) && { 'Retry-After': problemHeaders['Retry-After'] }),
        ...(status === 401 && { 'WWW-Authenticate': problemHeaders['WWW-Authenticate'] }),
      },
    }
  }
  return answers
}
