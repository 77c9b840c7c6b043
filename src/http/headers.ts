import helmet from '@fastify/helmet'
import type { App } from '../features/app-type.ts'

/** Headers of every answer (SEC-70): nothing is cached, framed, sniffed or run. Pages that need more say so themselves. */
export async function registerHeaders(
  app: App,
  { isDraining, https }: { isDraining: () => boolean; https: boolean },
): Promise<void> {
  await app.register(helmet, {
    contentSecurityPolicy: {
      useDefaults: false,
      directives: { 'default-src': ["'none'"], 'frame-ancestors': ["'none'"] },
    },
    hsts: https && { maxAge: 31_536_000 },
    xXssProtection: false,
    xDownloadOptions: false,
    xDnsPrefetchControl: false,
    xPermittedCrossDomainPolicies: false,
    originAgentCluster: false,
  })
  app.addHook('onRequest', async (_request, reply) => {
    reply.header('Cache-Control', 'no-store')
  })
  // Decided when the answer goes out, so that a request that was under way at SIGTERM gives its connection back too.
  app.addHook('onSend', async (_request, reply) => {
    if (isDraining()) reply.header('Connection', 'close')
  })
}
