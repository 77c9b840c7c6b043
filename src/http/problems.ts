import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import { Problem, type ProblemCode, problemCatalogue } from '../errors.ts'
import type { App } from '../features/app-type.ts'
import { placesOf } from '../log.ts'
import { problemBody } from '../problem-body.ts'
import type { Services } from '../services.ts'
import { isDatabaseAway, sqlStateOf } from '../store/away.ts'

/** What Fastify itself refuses, as our problems. */
const frameworkProblems: Record<string, ProblemCode> = {
  FST_ERR_CTP_BODY_TOO_LARGE: 'payload_too_large',
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'unsupported_media_type',
  FST_ERR_CTP_EMPTY_TYPE: 'unsupported_media_type',
}

/** What can be wrong with a body. */
const bodyProblems: ProblemCode[] = ['invalid_request', 'payload_too_large', 'unsupported_media_type']

/** The framework's and the parser's ways to say that a body is not JSON. */
const jsonErrors = ['FST_ERR_CTP_INVALID_JSON_BODY', 'FST_ERR_CTP_EMPTY_JSON_BODY']

/**
 * Every failure leaves as RFC 9457 `application/problem+json`. What the client may know is in the Problem; everything
 * else is `internal_error` outside and a log line inside.
 */
export function registerProblems(app: App, { config, store }: Pick<Services, 'config' | 'store'>): void {
  const { publicUrl } = config
  app.setErrorHandler(async (error: FastifyError, request, reply) => {
    const problem = await judged(store, withType(asProblem(error, request), request), request)
    writeProblem(publicUrl, problem, request, reply)
    return reply
  })
  app.setNotFoundHandler((request, reply) => writeProblem(publicUrl, new Problem('not_found'), request, reply))
}

/** Where a call takes something else than JSON, that is told. */
function withType(problem: Problem, { routeOptions }: FastifyRequest): Problem {
  const [type] = routeOptions.schema?.consumes ?? []
  if (problem.code !== 'unsupported_media_type' || type === undefined) return problem
  return new Problem(problem.code, { detail: `Send \`${type}\`.` })
}

/**
 * The credential is judged before the body: what is wrong with a body is told only while the login that the pending
 * token is for still lives. Asked here and not in the guard, since the statement that counts a try finds out anyway.
 */
async function judged({ challenges }: Services['store'], problem: Problem, request: FastifyRequest): Promise<Problem> {
  if (request.overLimit && problem.code !== 'rate_limited') return request.overLimit()
  if (!bodyProblems.includes(problem.code) || request.auth?.kind !== 'pending') return problem
  const { claims } = request.auth
  // What is not stored does not end before its token does.
  if (claims.pur === 'passkey') return problem
  try {
    return (await challenges.isAlive(claims)) ? problem : new Problem('invalid_token')
  } catch (error) {
    return asProblem(error as FastifyError, request)
  }
}

/** For bytes that are not HTTP: there is no request to answer, only a socket, which is not kept. */
export function answerBrokenRequest(publicUrl: string, instance: string, error: Error, socket: Socket): void {
  const { code } = error as { code?: string }
  if (code === 'ECONNRESET' || !socket.writable) return void socket.destroy()
  const [status, detail] =
    code === 'ERR_HTTP_REQUEST_TIMEOUT'
      ? [408, 'The request did not arrive in time.']
      : code === 'HPE_HEADER_OVERFLOW'
        ? [431, 'The headers are larger than 16 KiB.']
        : [400, 'The request is not readable HTTP.']
  const problem = { ...problemBody(publicUrl, new Problem('invalid_request', { detail }), instance), status }
  const body = JSON.stringify(problem)
  const lines = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    'Connection: close',
    'Cache-Control: no-store',
    "Content-Security-Policy: default-src 'none';frame-ancestors 'none'",
    'X-Content-Type-Options: nosniff',
    'Content-Type: application/problem+json; charset=utf-8',
    `Content-Length: ${Buffer.byteLength(body)}`,
  ]
  // Closed on this side too: a client that never closes its own must not keep the socket.
  socket.end(`${lines.join('\r\n')}\r\n\r\n${body}`, () => socket.destroy())
}

function writeProblem(publicUrl: string, problem: Problem, request: FastifyRequest, reply: FastifyReply): void {
  const { retryAfter, headers } = problem.extras
  reply.header('Cache-Control', 'no-store')
  const { status } = problemCatalogue[problem.code]
  // RFC 9110 11.6.1, RFC 6750 3: with `error` where a token was sent. Where none was, or another scheme is asked for, or
  // more is wanted, the one who threw it has said so.
  if (status === 401) {
    const isToken = problem.code === 'invalid_token' || problem.code === 'refresh_token_reused'
    reply.header('WWW-Authenticate', isToken ? 'Bearer error="invalid_token"' : 'Bearer')
  }
  if (headers) reply.headers(headers)
  if (retryAfter != null) reply.header('Retry-After', String(retryAfter))
  reply
    .code(status)
    .type('application/problem+json; charset=utf-8')
    .serializer(JSON.stringify)
    .send(problemBody(publicUrl, problem, request.id))
}

function asProblem(error: FastifyError & { code?: string }, request: FastifyRequest): Problem {
  if (error instanceof Problem) return error
  if (error.validation) {
    return new Problem('invalid_request', {
      errors: error.validation.map(({ instancePath, keyword, params, message }) => ({
        pointer:
          keyword === 'additionalProperties'
            ? `${instancePath}/${escapePointer(String(params.additionalProperty))}`
            : pointerTo(instancePath, params),
        message: ownMessages[keyword] ?? message ?? 'is not valid',
      })),
    })
  }
  const known = frameworkProblems[error.code ?? '']
  if (known) return new Problem(known)
  if (error.statusCode !== undefined && error.statusCode < 500) {
    const isJson = error instanceof SyntaxError || jsonErrors.includes(error.code ?? '')
    return new Problem('invalid_request', {
      detail: isJson ? 'The body is not well-formed JSON.' : 'The request cannot be read.',
    })
  }
  if (isDatabaseAway(error)) {
    request.log.error(
      { requestId: request.id, reason: sqlStateOf(error) ?? error.code ?? error.name },
      'database unavailable',
    )
    return new Problem('unavailable', { retryAfter: 1 })
  }
  request.log.error(
    { requestId: request.id, name: error.name, code: error.code, sqlState: sqlStateOf(error), stack: placesOf(error) },
    'internal error',
  )
  return new Problem('internal_error')
}

/** Where Ajv's own words would say too little or, as with a pattern, too much. */
const ownMessages: Record<string, string> = {
  additionalProperties: 'is not a known field',
  pattern: 'does not have the right form',
}

/** A name as one step of a JSON pointer (RFC 6901). */
export function escapePointer(name: string): string {
  return name.replaceAll('~', '~0').replaceAll('/', '~1')
}

function pointerTo(instancePath: string, params: Record<string, unknown>): string {
  return typeof params.missingProperty === 'string' ? `${instancePath}/${params.missingProperty}` : instancePath
}
