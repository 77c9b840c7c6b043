import type { FastifyRequest } from 'fastify'
import { Problem } from '../errors.ts'
import { assertScope } from '../features/assert-scope.ts'
import { type Auth, callerOf } from '../features/request.ts'
import { fullAddress, networksOf } from '../security/client-address.ts'
import { clientKeyIn, knownClient, pairsIn } from '../security/client-credentials.ts'
import type { Services } from '../services.ts'
import { overLimit } from './rate-limit.ts'
import type { RequestLimits } from './request-limits.ts'

type ClientServices = Pick<Services, 'store' | 'events' | 'config'> & { requestLimits: RequestLimits }
type ClientAuth = Extract<Auth, { kind: 'client' }>

/**
 * Who calls a route of clients, and whether that one may (SEC-118). Counts a client's calls by the client, and what proves to be
 * none by its address: nobody's wrong secrets shut out a backend, even one behind the same address. Throws `rate_limited`,
 * `invalid_credentials`, the same whatever is wrong with them, `insufficient_scope`.
 */
export async function judgeClient(services: ClientServices, request: FastifyRequest): Promise<ClientAuth> {
  const { events, requestLimits } = services
  const judged = await clientOf(services, request)
  const { limits = ['clientMinute'], scope } = request.routeOptions.config
  const caller = callerOf(request)
  const charge = await (typeof judged === 'string'
    ? requestLimits.charge(request, ['default'], networksOf(caller.address))
    : requestLimits.charge(request, limits, [{ key: `client ${judged.id}`, times: 1 }]))
  if (typeof judged === 'string') events.announce({ type: 'client.rejected', outcome: judged, caller })
  const refuse = overLimit(events, request, charge)
  if (refuse) throw refuse()
  if (typeof judged === 'string') {
    throw new Problem('invalid_credentials', {
      detail: 'The client id or secret is wrong.',
      headers: { 'WWW-Authenticate': 'Basic realm="clients", charset="UTF-8"' },
    })
  }
  caller.client = judged.id
  if (scope !== undefined) assertScope(judged, scope)
  return judged
}

/** The client, or why the credentials are nobody's, for the records: first those of INTROSPECTION_CLIENTS, who may do just that. */
async function clientOf(
  { config, store }: ClientServices,
  { headers, ips, ip }: FastifyRequest,
): Promise<ClientAuth | string> {
  const pairs = pairsIn(headers.authorization)
  const known = knownClient(pairs, config.introspectionClients)
  if (known !== null) return { kind: 'client', id: known, scopes: ['introspect'] }
  const key = clientKeyIn(pairs)
  if (key === null) return 'wrong id or secret'
  const used = await store.clients.use(key.id, key.hash, fullAddress(ips ?? [ip ?? '']))
  return used.outcome === 'accepted' ? { kind: 'client', id: used.id, scopes: used.scopes } : used.reason
}
