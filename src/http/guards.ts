import type { FastifyRequest, RouteOptions } from 'fastify'
import Type from 'typebox'
import Value from 'typebox/value'
import { Problem } from '../errors.ts'
import type { App } from '../features/app-type.ts'
import { type Auth, callerOf } from '../features/request.ts'
import { type AccessClaims, leewaySeconds, maxTokenLength, type PendingClaims } from '../security/tokens.ts'
import type { Services } from '../services.ts'

const common = { sub: Type.String({ format: 'uuid' }), jti: Type.String(), iat: Type.Integer(), exp: Type.Integer() }
const PendingShape = Type.Object({
  ...common,
  cid: Type.String({ format: 'uuid' }),
  remember_me: Type.Optional(Type.Literal(true)),
  return_to: Type.Optional(Type.String()),
})
const AccessShape = Type.Object({ ...common, sid: Type.String({ format: 'uuid' }), auth_time: Type.Integer() })

/**
 * One gate for every route. Each route says in its `config.access` who may call it, or the service does not start.
 * The credential is judged before the body is read.
 */
export function registerGuards(app: App, services: Pick<Services, 'store' | 'events' | 'clock'>): void {
  const routes: RouteOptions[] = []
  app.addHook('onRoute', (route) => void routes.push(route))
  app.addHook('onReady', async () => {
    for (const { url, config } of routes) {
      if (!config?.access) throw new Error(`Route ${url} does not say who may call it (config.access)`)
    }
  })
  app.decorateRequest('auth')
  app.addHook('onRequest', async (request) => {
    const { headers, raw } = request
    // RFC 9112 3.2; asked for here and not by Node, whose own answer would have none of our headers.
    if (headers.host === undefined && raw.httpVersion === '1.1') {
      throw new Problem('invalid_request', { detail: 'The request has no Host header.' })
    }
    if (request.is404) throw new Problem('not_found')
    const { access = 'public' } = request.routeOptions.config
    request.auth = access === 'public' ? { kind: 'public' } : await judge(services, request, access)
  })
}

async function judge(
  services: Pick<Services, 'store' | 'events' | 'clock'>,
  request: FastifyRequest,
  access: 'pending' | 'access',
): Promise<Auth> {
  const reject = (outcome: string): Problem => {
    services.events.announce({ type: 'token.rejected', outcome, caller: callerOf(request) })
    return new Problem('invalid_token', outcome === 'missing' ? { headers: { 'WWW-Authenticate': 'Bearer' } } : {})
  }
  const header = request.headers.authorization
  if (header === undefined) throw reject('missing')
  if (header.length > maxTokenLength + 7 || !/^Bearer [\w-]+\.[\w-]+\.[\w-]+$/i.test(header)) throw reject('malformed')

  if (access === 'pending') {
    const claims = await claimsOf(() => request.pendingJwtVerify())
    if (!Value.Check(PendingShape, claims) || isFromTheFuture(services, claims)) throw reject('pending')
    return { kind: 'pending', claims: claims as PendingClaims }
  }
  const claims = await claimsOf(() => request.accessJwtVerify())
  if (!Value.Check(AccessShape, claims) || isFromTheFuture(services, claims)) throw reject('access')
  const { sid, sub } = claims as AccessClaims
  const session = await services.store.sessions.findLive(sid, sub)
  if (session === null) throw reject('ended')
  return { kind: 'access', session }
}

/** The verified claims, or null: whatever the library has against a token, the client gets one and the same 401. */
async function claimsOf(verify: () => Promise<Record<string, unknown>>): Promise<unknown> {
  try {
    return await verify()
  } catch {
    return null
  }
}

function isFromTheFuture({ clock }: Pick<Services, 'clock'>, { iat }: { iat: number }): boolean {
  return iat > clock.nowMs() / 1_000 + leewaySeconds
}
