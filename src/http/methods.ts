import { METHODS } from 'node:http'
import type { HTTPMethods } from 'fastify'
import { Problem } from '../errors.ts'
import type { App } from '../features/app-type.ts'

/** All that Node can read; CONNECT never becomes a request. */
const methods = METHODS.filter((method) => method !== 'CONNECT') as HTTPMethods[]

/** Remembers the routes that are registered after it; the function it returns then answers every other method with 405. */
export function registerMethods(app: App): () => void {
  const routes = new Map<string, Set<string>>()
  for (const method of methods) if (!app.supportedMethods.includes(method)) app.addHttpMethod(method)
  app.addHook('onRoute', ({ url, method }) => {
    const known = routes.get(url) ?? new Set()
    for (const one of [method].flat()) known.add(one)
    routes.set(url, known)
  })
  return () => {
    for (const [url, known] of routes) {
      const allow = [...known].sort().join(', ')
      app.route({
        url,
        method: methods.filter((method) => !known.has(method)),
        config: { access: 'public', limits: ['default'] },
        schema: { hide: true },
        // Before the body is looked at: whatever is in it, this is what is wrong.
        onRequest: async () => {
          throw new Problem('method_not_allowed', { headers: { Allow: allow } })
        },
        handler: () => {},
      })
    }
  }
}
