import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import type { FastifyContextConfig, FastifySchema, RouteOptions } from 'fastify'
import type { Config } from '../config.ts'
import { Problem, type ProblemCode, problemCatalogue } from '../errors.ts'
import type { App } from '../features/app-type.ts'
import { type DocumentedSchema, examplesOf, examplesWith, namedExamples } from './openapi-examples.ts'
import { problemBody } from './problems.ts'

/** What every operation can answer with. */
const everywhere: ProblemCode[] = ['rate_limited', 'internal_error', 'unavailable']
const withBody: ProblemCode[] = ['invalid_request', 'payload_too_large', 'unsupported_media_type']

const problemSchema = {
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
  client: { type: 'http', scheme: 'basic', description: 'One of `INTROSPECTION_CLIENTS`.' },
} as const

const tags = [
  { name: 'login', description: 'The two steps of a login.' },
  { name: 'factors', description: 'What proves more than a password does.' },
  { name: 'sessions', description: 'Staying signed in, and ending it.' },
  { name: 'devices', description: 'Devices that have signed in before.' },
  { name: 'account', description: 'The signed-in user.' },
  { name: 'keys', description: 'For backends that verify access tokens.' },
  { name: 'health', description: 'For load balancers.' },
  { name: 'webhooks', description: 'For the SMS provider.' },
  { name: 'problems', description: 'What the error codes mean.' },
  { name: 'development', description: 'Never in production.' },
]

/**
 * The OpenAPI 3.1 document, made from the same schemas that validate: `GET /openapi.json`, and a page to read and try it
 * at `GET /docs`. Problem answers and security come from each route's `config`, so that nothing is said twice.
 */
export async function registerOpenApi(app: App, config: Config): Promise<void> {
  app.addSchema(problemSchema)
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Doorstep',
        version: '0.1.0',
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
  await app.register(async (docs) => {
    docs.addHook('onRoute', (route) => {
      route.config = { ...route.config, access: 'public', limits: ['default'] }
    })
    docs.addHook('onRequest', async (_request, reply) => {
      reply.header('Cache-Control', 'public, max-age=300')
    })
    // Its one redirect, from /docs/static/index.html: relative too.
    docs.addHook('onSend', async (_request, reply) => {
      if (reply.hasHeader('Location')) reply.header('Location', '../')
    })
    await docs.register(swaggerUi, {
      routePrefix: '/docs',
      staticCSP: true,
      // Served over http in development, its own files are meant to come over http.
      transformStaticCSP: (header) => header.replace(/;?\s*upgrade-insecure-requests;?/, ''),
      uiConfig: { tryItOutEnabled: true },
      // Relative: also behind a proxy that serves all this under a path of its own.
      indexPrefix: '.',
    })
  })
}

type Named = Record<string, DocumentedSchema>
type Media = { schema: object; examples: Record<string, object> }
/** `type: 'null'`: an answer without a body. */
type Answer = { description: string; content?: Record<string, Media>; type?: 'null' }
type Documented = FastifySchema & { security?: Record<string, string[]>[]; response?: Record<string, unknown> }

function documented(
  schema: FastifySchema | undefined,
  route: RouteOptions,
  { publicUrl, named }: { publicUrl: string; named: Named },
): Documented {
  const { access, problems, challenges } = route.config ?? {}
  const own = (schema ?? {}) as Documented
  if (own.hide) return own
  const codes = [
    ...(problems ?? []),
    ...(tokensOf(access).length > 0 ? (['invalid_token'] as const) : []),
    ...(own.body ? withBody : []),
    ...(own.params || own.querystring ? (['invalid_request'] as const) : []),
    ...everywhere,
  ]
  return {
    ...own,
    security: securityOf(access),
    response: answersOf(own.response as Named | undefined, [...new Set(codes)], { publicUrl, named, challenges }),
  }
}

type RouteAccess = FastifyContextConfig['access']

const kindsOf = (access: RouteAccess): readonly string[] =>
  access === undefined ? [] : typeof access === 'string' ? [access] : access

const tokensOf = (access: RouteAccess): string[] => kindsOf(access).filter((it) => it === 'pending' || it === 'access')

const securityOf = (access: RouteAccess): Record<string, string[]>[] =>
  kindsOf(access)
    .filter((it) => it in securitySchemes)
    .map((it) => ({ [it]: [] }))

/** Every answer by its status: the route's own, with examples, and its problems. A status may have both. */
function answersOf(
  own: Named = {},
  codes: ProblemCode[],
  context: { publicUrl: string; named: Named; challenges: FastifyContextConfig['challenges'] },
): Record<string, Answer> {
  const { publicUrl, named, challenges } = context
  const answers: Record<string, Answer> = {}
  for (const [status, schema] of Object.entries(own)) {
    const examples = namedExamples(examplesWith(examplesOf(schema, named), challenges))
    const description = status.startsWith('2') ? 'Done.' : 'Not now.'
    const content = { 'application/json': { schema, examples } }
    answers[status] = status === '204' ? { description, type: 'null' } : { description, content }
  }
  for (const code of codes) {
    const { status, title } = problemCatalogue[code]
    const { description, content = {} } = answers[status] ?? { description: '' }
    const media = content['application/problem+json'] ?? { schema: { $ref: 'Problem#' }, examples: {} }
    media.examples[code] = { value: exampleProblem(code, publicUrl) }
    content['application/problem+json'] = media
    answers[status] = { description: [description, `\`${code}\`: ${title}.`].filter(Boolean).join(' '), content }
  }
  return answers
}

function exampleProblem(code: ProblemCode, publicUrl: string): object {
  return problemBody(publicUrl, new Problem(code, exampleExtras(code)), '5b1d1c1e-3f6c-4a57-9d5e-0c7a4f1f2a3b')
}

function exampleExtras(code: ProblemCode): ConstructorParameters<typeof Problem>[1] {
  const { status } = problemCatalogue[code]
  return {
    ...((status === 429 || status === 503) && { retryAfter: 30 }),
    ...(code === 'invalid_code' && { attemptsRemaining: 4 }),
    ...(code === 'invalid_request' && { errors: [{ pointer: '/code', message: 'must be 6 digits' }] }),
  }
}
