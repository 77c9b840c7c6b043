import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import Fastify from 'fastify'
import { createReadiness, type ReadinessParts } from '../features/health/readiness.ts'
import type { Services } from '../services.ts'
import { registerProblems } from './problems.ts'

/**
 * What operators read, on a port of its own that the public does not reach: `GET /metrics` for Prometheus, and
 * `GET /health/ready`, or `/health` for short, which says in words what the public's only sums up. Whatever else is asked for is
 * answered as everywhere, with a problem. Returns what stops it.
 */
export async function startMetricsServer(
  { metrics, random, ...parts }: Pick<Services, 'metrics' | 'random'> & ReadinessParts,
  port: number,
): Promise<() => Promise<void>> {
  const readiness = createReadiness(parts)
  // Whoever holds a connection open here keeps nothing else from closing.
  const server = Fastify({
    logger: false,
    genReqId: () => random.uuid(),
    exposeHeadRoutes: true,
    forceCloseConnections: true,
  }).withTypeProvider<TypeBoxTypeProvider>()
  registerProblems(server, parts)
  server.get('/metrics', async (_request, reply) => {
    reply.type('text/plain; version=0.0.4; charset=utf-8')
    return metrics.scrape()
  })
  for (const path of ['/health', '/health/ready']) {
    server.get(path, async (_request, reply) => {
      const state = await readiness()
      reply.code(state.status === 'ready' ? 200 : 503)
      return state
    })
  }
  await server.listen({ host: parts.config.metricsHost, port })
  return () => server.close()
}
