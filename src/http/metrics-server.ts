import Fastify from 'fastify'
import { createReadiness, type ReadinessParts } from '../features/health/readiness.ts'
import type { Services } from '../services.ts'

/**
 * What operators read, on a port of its own that the public does not reach: `GET /metrics` for Prometheus, and
 * `GET /health`, which says in words what `/health/ready` only sums up. Returns what stops it.
 */
export async function startMetricsServer(
  { metrics, ...parts }: Pick<Services, 'metrics'> & ReadinessParts,
  port: number,
): Promise<() => Promise<void>> {
  const readiness = createReadiness(parts)
  // Whoever holds a connection open here keeps nothing else from closing.
  const server = Fastify({ logger: false, exposeHeadRoutes: true, forceCloseConnections: true })
  server.get('/metrics', async (_request, reply) => {
    reply.type('text/plain; version=0.0.4; charset=utf-8')
    return metrics.scrape()
  })
  server.get('/health', async (_request, reply) => {
    const state = await readiness()
    reply.code(state.status === 'ready' ? 200 : 503)
    return state
  })
  await server.listen({ host: parts.config.metricsHost, port })
  return () => server.close()
}
