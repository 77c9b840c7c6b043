import { createHash, timingSafeEqual } from 'node:crypto'
import type { FastifyContextConfig, FastifyRequest, RouteOptions } from 'fastify'
import type { Config } from '../config.ts'
import { Problem } from '../errors.ts'
import type { Access, App } from '../features/app-type.ts'
import { assertFresh } from '../features/factors/assert-fresh.ts'
import { type Auth, callerOf } from '../features/request.ts'
import { assertAssured } from '../security/assurance.ts'
import { isAccess, isPending, maxTokenLength, type PendingClaims } from '../security/claims.ts'
import { networksOf } from '../security/client-address.ts'
import { isNearby } from '../security/nearby.ts'
import type { Services } from '../services.ts'
import { overLimit } from './rate-limit.ts'
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
    request.auth = isOpen(services, request, access) ? { kind: 'public' } : await judge(services, request, access)
  })
}

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
  if (access === 'client') return { kind: 'client', id: await judgeClient(services, request) }
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

/**
 * Counts a client's calls by the client, and what proves to be none by its address: nobody's wrong secrets shut out a
 * backend, even one behind the same address.
 */
async function judgeClient(services: GuardServices, request: FastifyRequest): Promise<string> {
  const { config, events, requestLimits } = services
  const id = clientOf(config, request.headers.authorization)
  const { limits = ['clientMinute'] } = request.routeOptions.config
  const caller = callerOf(request)
  const charge = await (id === null
    ? requestLimits.charge(request, ['default'], networksOf(caller.address))
    : requestLimits.charge(request, limits, [{ key: `client ${id}`, times: 1 }]))
  if (id === null) events.announce({ type: 'client.rejected', outcome: 'wrong id or secret', caller })
  const refuse = overLimit(events, request, charge)
  if (refuse) throw refuse()
  if (id !== null) return id
  throw new Problem('invalid_credentials', {
    detail: 'The client id or secret is wrong.',
    headers: { 'WWW-Authenticate': 'Basic realm="clients", charset="UTF-8"' },
  })
}

/**
 * The backend team behind HTTP Basic credentials (RFC 7617), compared in constant time against every one we know: as they
 * were sent and, since OAuth's libraries encode them so, as a form is decoded (RFC 6749 2.3.1). Null if it is none.
 */
function clientOf({ introspectionClients }: Pick<Config, 'introspectionClients'>, header = ''): string | null {
  const [, encoded = ''] = /^Basic +([A-Za-z0-9+/=]{1,1024})$/i.exec(header) ?? []
  const sent = Buffer.from(encoded, 'base64')
  const given = [digest(sent), digest(Buffer.from(formDecoded(sent.toString())))]
  const matching = introspectionClients.filter(({ id, secret }) => {
    const known = digest(Buffer.from(`${id}:${secret}`))
    return given.filter((one) => timingSafeEqual(one, known)).length > 0
  })
  return matching[0]?.id ?? null
}

/** Text as application/x-www-form-urlencoded has it; the text itself where it is not in that form. */
function formDecoded(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '))
  } catch {
    return text
  }
}

const digest = (bytes: Buffer): Buffer => createHash('sha256').update(bytes).digest()
