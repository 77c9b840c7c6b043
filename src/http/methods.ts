import { METHODS } from 'node:http'
import type { HTTPMethods } from 'fastify'
import { Problem } from '../errors.ts'
import type { App } from '../features/app-type.ts'

/** All that Node can read; CONNECT never becomes a request. */
const methods = METHODS.filter((method) => method !== 'CONNECT') as HTTPMethods[]

/**
 * Remembers the routes that are registered after it; the function it returns then answers every other method with 405, and
 * the preflights that cors.ts has let through.
 */
export function registerMethods(app: App): () => void {
  const routes = new Map<string, { known: Set<string>; isForClients: boolean }>()
  for (const method of methods) if (!app.supportedMethods.includes(method)) app.addHttpMethod(method)
  app.addHook('onRoute', ({ url, method, config }) => {
    const route = routes.get(url) ?? { known: new Set(), isForClients: config?.access === 'client' }
    for (const one of [method].flat()) route.known.add(one)
    // Where there is HEAD there is GET, which is not told of the twin of a path with a slash at the end.
    if (method === 'HEAD') route.known.add('GET')
    routes.set(url, route)
  })
  return () => {
    for (const [url, { known, isForClients }] of routes) {
      const allow = [...known].sort().join(', ')
      app.route({
        url,
        method: methods.filter((method) => !known.has(method)),
        config: { access: 'public', limits: ['default'], isForClients },
        schema: { hide: true },
        // Before the body is looked at: whatever is in it, this is what is wrong.
        onRequest: async (request, reply) => {
          if (request.corsPreflightEnabled) return reply.code(204).send()
          throw new Problem('method_not_allowed', { headers: { Allow: allow } })
        },
        handler: () => {},
      })
    }
  }
}
