import type { HTTPMethods } from 'fastify'
import { Problem } from '../errors.ts'
import type { App } from '../features/app-type.ts'

const methods: HTTPMethods[] = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE']

/** Remembers the routes that are registered after it; the function it returns then answers every other method with 405. */
export function registerMethods(app: App): () => void {
  const routes = new Map<string, Set<string>>()
  app.addHook('onRoute', ({ url, method }) => {
    const known = routes.get(url) ?? new Set()
    for (const one of [method].flat()) known.add(one)
    routes.set(url, known)
  })
  return () => {
    for (const [url, known] of [...routes].filter(([path]) => !path.includes('*'))) {
      const allow = [...known].sort().join(', ')
      app.route({
        url,
        method: methods.filter((method) => !known.has(method)),
        config: { access: 'public', limits: ['default'] },
        schema: { hide: true },
        handler: async () => {
          throw new Problem('method_not_allowed', { headers: { Allow: allow } })
        },
      })
    }
  }
}
