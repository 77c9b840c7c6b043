import type { FastifyContextConfig, FastifyRequest, RouteOptions } from 'fastify'
import { Problem } from '../errors.ts'
import type { Access, App } from '../features/app-type.ts'
import { assertFresh } from '../features/factors/assert-fresh.ts'
import { type Auth, callerOf } from '../features/request.ts'
import { assertAssured } from '../security/assurance.ts'
import { isAccess, isPending, maxTokenLength, type PendingClaims } from '../security/claims.ts'
import { isNearby } from '../security/nearby.ts'
import type { Services } from '../services.ts'
import { judgeClient } from './clients.ts'
import type { RequestLimits } from './request-limits.ts'

type GuardServices = Pick<Services, 'store' | 'events' | 'clock' | 'config'> & { requestLimits: RequestLimits }

/**
 * One gate for every route. Each route says in its `config.access` who may call it, or the service does not start.
 * The credential is judged before the body is read.
 */
export function registerGuards(app: App, services: GuardServices): void {
  const routes: RouteOptions[] = []
  app.addHook('onRoute', (route) => void routes.push(route))
  app.addHook('onReady', async () => {
    for (const { url, config } of routes) {
      if (!config?.access) throw new Error(`Route ${url} does not say who may call it (config.access)`)
      if (config.access === 'client' && !config.scope) {
        throw new Error(`Route ${url} does not say what a client must be allowed (config.scope)`)
      }
    }
  })
  app.decorateRequest('auth')
  app.addHook('onRequest', async (request) => {
    const { headers, raw } = request
    // RFC 9112 3.2; asked for here and not by Node, whose own answer would have none of our headers and which takes the first of two.
    if (headers.host === undefined && raw.httpVersion === '1.1') {
      throw new Problem('invalid_request', { detail: 'The request has no Host header.' })
    }
    if (isTwice(raw.rawHeaders, 'host')) {
      throw new Problem('invalid_request', { detail: 'The request has more than one Host header.' })
    }
    if (request.is404) throw new Problem('not_found')
    const { access = 'public' } = request.routeOptions.config
    request.auth = isOpen(services, request, access) ? { kind: 'public' } : await judge(services, request, access)
  })
}

/** Whether a header has more than one line; `lines`: names and values by turns. */
const isTwice = (lines: string[], name: string): boolean =>
  lines.filter((line, at) => at % 2 === 0 && line.toLowerCase() === name).length > 1

type Credential = Exclude<Access, 'public' | 'nearby'>
type TokenAccess = Exclude<Credential, 'client'>
type RouteAccess = NonNullable<FastifyContextConfig['access']>

/** What a pending token is for where a route does not say. */
const usualPurposes: readonly PendingClaims['pur'][] = ['login', 'step_up', 'enrol']

/** Whether the route asks for no credential. Where only those nearby are answered, nothing is there for others. */
function isOpen(
  { config }: GuardServices,
  request: FastifyRequest,
  access: RouteAccess,
): access is 'public' | 'nearby' {
  const approach = { peer: request.socket.remoteAddress, headers: request.headers }
  if (access === 'nearby' && !isNearby(approach, config.developmentNetworks)) throw new Problem('not_found')
  return access === 'public' || access === 'nearby'
}

async function judge(
  services: GuardServices,
  request: FastifyRequest,
  access: Credential | readonly TokenAccess[],
): Promise<Auth> {
  if (access === 'client') return judgeClient(services, request)
  const reject = (outcome: string): Problem => {
    services.events.announce({ type: 'token.rejected', outcome, caller: callerOf(request) })
    return new Problem('invalid_token', outcome === 'missing' ? { headers: { 'WWW-Authenticate': 'Bearer' } } : {})
  }
  const header = request.headers.authorization
  if (header === undefined) throw reject('missing')
  if (header.length > maxTokenLength + 7 || !/^Bearer +[\w-]+\.[\w-]+\.[\w-]+$/i.test(header)) throw reject('malformed')

  const kinds = typeof access === 'string' ? [access] : access
  let outcome = ''
  for (const kind of kinds) {
    const judged = await judges[kind](services, request)
    if (typeof judged !== 'string') return judged
    outcome = judged
  }
  throw reject(outcome)
}

/** Who the token is of; for the records, why it is refused. */
const judges: Record<TokenAccess, (services: GuardServices, request: FastifyRequest) => Promise<Auth | string>> = {
  pending: async ({ clock }, request) => {
    const claims = await claimsOf(() => request.pendingJwtVerify())
    if (!isPending(claims, clock.nowMs())) return 'pending'
    const { purposes = usualPurposes } = request.routeOptions.config
    return purposes.includes(claims.pur) ? { kind: 'pending', claims } : 'purpose'
  },

  access: async (services, request) => {
    const claims = await claimsOf(() => request.accessJwtVerify())
    if (!isAccess(claims, services.clock.nowMs())) return 'access'
    const session = await services.store.sessions.findLive(claims.sid, claims.sub)
    if (session === null) return 'ended'
    const { assurance } = request.routeOptions.config
    if (assurance === 'fresh') assertFresh(services, session)
    else if (assurance !== undefined) assertAssured(session, assurance)
    return { kind: 'access', session }
  },
}

/** The verified claims, or null: whatever the library has against a token, the client gets one and the same 401. */
async function claimsOf(verify: () => Promise<Record<string, unknown>>): Promise<unknown> {
  try {
    return await verify()
  } catch {
    return null
  }
}
