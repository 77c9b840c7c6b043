import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import { Problem, type ProblemCode, problemCatalogue } from '../errors.ts'
import type { App } from '../features/app-type.ts'

/** What Fastify itself refuses, as our problems. */
const frameworkProblems: Record<string, ProblemCode> = {
  FST_ERR_CTP_BODY_TOO_LARGE: 'payload_too_large',
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'unsupported_media_type',
  FST_ERR_CTP_EMPTY_TYPE: 'unsupported_media_type',
  FST_ERR_HANDLER_TIMEOUT: 'unavailable',
}

/**
 * Every failure leaves as RFC 9457 `application/problem+json`. What the client may know is in the Problem; everything
 * else is `internal_error` outside and a log line inside.
 */
export function registerProblems(app: App, { publicUrl }: { publicUrl: string }): void {
  app.setErrorHandler((error: FastifyError, request, reply) =>
    writeProblem(publicUrl, asProblem(error, request), request, reply),
  )
  app.setNotFoundHandler((request, reply) => writeProblem(publicUrl, new Problem('not_found'), request, reply))
}

/** The body of a problem document. */
export function problemBody(publicUrl: string, problem: Problem, instance: string): Record<string, unknown> {
  const { status, title, advice } = problemCatalogue[problem.code]
  const { detail = advice, retryAfter, attemptsRemaining, errors } = problem.extras
  return {
    type: `${publicUrl}/problems/${problem.code}`,
    title,
    status,
    detail,
    instance,
    code: problem.code,
    ...(retryAfter != null && { retry_after: retryAfter }),
    ...(attemptsRemaining !== undefined && { attempts_remaining: attemptsRemaining }),
    ...(errors && { errors }),
  }
}

/** For errors that Fastify raises before a request has a route. */
export function writeFrameworkProblem(_error: FastifyError, request: FastifyRequest, reply: FastifyReply): void {
  writeProblem('', new Problem('invalid_request', { detail: 'The path cannot be read.' }), request, reply)
}

/** For bytes that are not HTTP: there is no request to answer, only a socket. */
export function answerBrokenRequest(error: Error & { code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) return
  const timedOut = error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
  const status = timedOut ? 408 : error.code === 'HPE_HEADER_OVERFLOW' ? 431 : 400
  const body = JSON.stringify({ type: 'about:blank', title: STATUS_CODES[status], status, code: 'invalid_request' })
  socket.end(
    [
      `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
      'Connection: close',
      'Cache-Control: no-store',
      'Content-Type: application/problem+json; charset=utf-8',
      `Content-Length: ${Buffer.byteLength(body)}`,
      '',
      body,
    ].join('\r\n'),
  )
}

function writeProblem(publicUrl: string, problem: Problem, request: FastifyRequest, reply: FastifyReply): void {
  const { retryAfter, headers } = problem.extras
  // RFC 6750 3: without `error` only where no token was sent; the guard says so itself.
  if (problem.code === 'invalid_token') reply.header('WWW-Authenticate', 'Bearer error="invalid_token"')
  if (headers) reply.headers(headers)
  if (retryAfter != null) reply.header('Retry-After', String(retryAfter))
  reply
    .code(problemCatalogue[problem.code].status)
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
            ? `${instancePath}/${params.additionalProperty}`
            : pointerTo(instancePath, params),
        message: keyword === 'additionalProperties' ? 'is not a known field' : (message ?? 'is not valid'),
      })),
    })
  }
  const known = frameworkProblems[error.code ?? '']
  if (known) return new Problem(known, known === 'unavailable' ? { retryAfter: 1 } : {})
  if (isDatabaseAway(error)) {
    request.log.error({ requestId: request.id, reason: error.code ?? error.name }, 'database unavailable')
    return new Problem('unavailable', { retryAfter: 1 })
  }
  if (error.statusCode !== undefined && error.statusCode < 500) {
    return new Problem('invalid_request', { detail: 'The body is not well-formed JSON.' })
  }
  request.log.error(
    { requestId: request.id, name: error.name, code: error.code, sqlState: sqlStateOf(error), stack: stackOf(error) },
    'internal error',
  )
  return new Problem('internal_error')
}

function pointerTo(instancePath: string, params: Record<string, unknown>): string {
  return typeof params.missingProperty === 'string' ? `${instancePath}/${params.missingProperty}` : instancePath
}

/** The places in our code, without the message: a library's message may quote what it was given. */
function stackOf(error: Error): string | undefined {
  return error.stack
    ?.split('\n')
    .filter((line) => /^\s+at /.test(line))
    .slice(0, 12)
    .join('\n')
}

function sqlStateOf(error: Error & { meta?: unknown }): string | undefined {
  const meta = error.meta as { driverAdapterError?: { cause?: { originalCode?: string } } } | undefined
  return meta?.driverAdapterError?.cause?.originalCode
}

/** No connection, no answer in time, no lock in time, or a server that is going away (findings: some carry no code). */
function isDatabaseAway(error: Error & { code?: string; meta?: unknown }): boolean {
  if (!/^Prisma|^DriverAdapter/.test(error.name)) return false
  if (['P1001', 'P1002', 'P1008', 'P1017', 'P2024', 'P2034', 'P2037'].includes(error.code ?? '')) return true
  const text = `${error.message} ${JSON.stringify(error.meta ?? {})}`
  return /timeout|timed out|ECONN|EPIPE|connection|terminat|(?:57P0\d|57014|55P03|53\d{3}|40001|40P01|08\d{3}|25006)/i.test(
    text,
  )
}
