import { isUtf8 } from 'node:buffer'
import { parse } from 'node:querystring'
import type { FastifyRequest } from 'fastify'
import Type from 'typebox'
import { Problem } from '../../errors.ts'
import type { Services } from '../../services.ts'
import type { App } from '../app-type.ts'
import { callerOf, sessionOf } from '../request.ts'
import { endOneSession, endSessions } from './end-session.ts'
import { introspectToken } from './introspect-token.ts'
import { listSessions } from './list-sessions.ts'
import { refreshSession } from './refresh-session.ts'
import {
  AuthenticatedSchema,
  IntrospectBody,
  IntrospectionSchema,
  LogoutBody,
  RefreshBody,
  SessionListSchema,
  SessionParams,
} from './schemas.ts'

/** What keeps a user signed in, what ends that, and how a backend asks. */
export async function sessionRoutes(app: App, services: Services): Promise<void> {
  refreshSessionRoute(app, services)
  logoutRoute(app, services)
  listSessionsRoute(app, services)
  endSessionRoute(app, services)
  await app.register(async (scope) => {
    readForms(scope as App)
    introspectTokenRoute(scope as App, services)
  })
}

function refreshSessionRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'refreshSession',
    tags: ['sessions'],
    summary: 'New tokens for a refresh token',
    description:
      'Each refresh token works once. For 30 seconds after that it is answered with the same successor, so that two tabs and a ' +
      'lost reply are harmless; later than that it is taken for stolen, and the session ends.',
    body: RefreshBody,
    response: { 200: AuthenticatedSchema },
  }
  app.post(
    '/token/refresh',
    {
      bodyLimit: 4_096,
      config: { access: 'public', limits: ['refreshMinute'], problems: ['invalid_token', 'refresh_token_reused'] },
      schema,
    },
    async (request) =>
      refreshSession(services, { refreshToken: request.body.refresh_token, caller: callerOf(request) }),
  )
}

function logoutRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'logout',
    tags: ['sessions'],
    summary: 'End sessions',
    description:
      'Ends this session, the others, or all. Here their access tokens are refused at once. Others than this one want a fresh ' +
      'sign-in.',
    body: LogoutBody,
    response: { 204: Type.Null({ description: 'Ended.' }) },
  }
  app.post(
    '/logout',
    {
      config: { access: 'access', limits: ['default'], problems: ['insufficient_user_authentication'] },
      schema,
    },
    async (request, reply) => {
      const { scope = 'local' } = request.body
      await endSessions(services, { session: sessionOf(request), scope, caller: callerOf(request) })
      reply.code(204)
      return null
    },
  )
}

function listSessionsRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'listSessions',
    tags: ['sessions'],
    summary: 'Where the user is signed in',
    description: 'The live sessions, the one used last first.',
    response: { 200: SessionListSchema },
  }
  app.get('/sessions', { config: { access: 'access', limits: ['default'], problems: [] }, schema }, async (request) => {
    const { id: sessionId, user_id: userId } = sessionOf(request)
    return listSessions(services, { userId, sessionId })
  })
}

function endSessionRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'endSession',
    tags: ['sessions'],
    summary: 'End one session',
    description: 'Ends a session of the signed-in user. Another than this one wants a fresh sign-in.',
    params: SessionParams,
    response: { 204: Type.Null({ description: 'Ended.' }) },
  }
  app.delete(
    '/sessions/:id',
    {
      config: {
        access: 'access',
        limits: ['default'],
        problems: ['invalid_request', 'insufficient_user_authentication', 'not_found'],
      },
      schema,
    },
    async (request, reply) => {
      const ending = { session: sessionOf(request), sessionId: request.params.id, caller: callerOf(request) }
      await endOneSession(services, ending)
      reply.code(204)
      return null
    },
  )
}

/** A form, as RFC 7662 has it: the one exception to JSON, and for introspection only. */
function readForms(scope: App): void {
  scope.removeAllContentTypeParsers()
  scope.addContentTypeParser<Buffer>(
    'application/x-www-form-urlencoded',
    { parseAs: 'buffer', bodyLimit: 8_192 },
    async (_request: FastifyRequest, bytes: Buffer) => {
      const form = bytes.toString()
      if (!isUtf8(bytes) || !isDecodable(form)) {
        throw new Problem('invalid_request', { detail: 'The body is not UTF-8.' })
      }
      // A field that comes twice becomes a list, which no schema takes (RFC 6749 3.1).
      return { ...parse(form) }
    },
  )
}

/** Whether what is written with % stands for UTF-8 too. */
function isDecodable(form: string): boolean {
  try {
    return decodeURIComponent(form) !== null
  } catch {
    return false
  }
}

function introspectTokenRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'introspectToken',
    tags: ['sessions'],
    summary: 'Whether an access token is alive at this moment',
    description:
      'For backends (RFC 7662, HTTP Basic). Tells at once about ended sessions and disabled users; verifying offline with the ' +
      'JWKS learns of them when the token runs out.',
    consumes: ['application/x-www-form-urlencoded'],
    body: IntrospectBody,
    response: { 200: IntrospectionSchema },
  }
  app.post(
    '/token/introspect',
    { config: { access: 'client', scope: 'introspect', limits: ['introspectMinute'], problems: [] }, schema },
    async (request) => introspectToken(services, request.body.token),
  )
}
