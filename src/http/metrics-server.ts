import Fastify from 'fastify'
import type { Services } from '../services.ts'

/** `GET /metrics` for Prometheus, on a port of its own that the public does not reach. Returns what stops it. */
export async function startMetricsServer(
  { metrics, config }: Pick<Services, 'metrics' | 'config'>,
  port: number,
): Promise<() => Promise<void>> {
  // Whoever holds a connection open here keeps nothing else from closing.
  const server = Fastify({ logger: false, forceCloseConnections: true })
  server.get('/metrics', async (_request, reply) => {
    reply.type('text/plain; version=0.0.4; charset=utf-8')
    return metrics.scrape()
  })
  await server.listen({ host: config.host, port })
  return () => server.close()
}
