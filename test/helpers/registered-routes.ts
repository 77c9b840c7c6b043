import type { App } from '../../src/features/app-type.ts'

export type RegisteredRoute = { method: string; url: string }

/**
 * Every route and method that the application answers, read from its own router; parameters and wildcards as written.
 * Without HEAD, which is GET without a body (http-clients.test.ts proves it), and without what the CORS plugin answers
 * everywhere, as if nothing were there.
 */
export function registeredRoutes(app: App): RegisteredRoute[] {
  return allRoutes(app).filter(({ method, url }) => method !== 'HEAD' && url !== '*')
}

/** All of them. */
export function allRoutes(app: App): RegisteredRoute[] {
  const parents: string[] = []
  // The tree as it is: with `commonPrefix: false` Fastify prints a wildcard without the prefix it stands under.
  return app
    .printRoutes()
    .split('\n')
    .flatMap((line) => {
      const [, indent = '', path = '', methods] = /^([│ ]*)[├└]── (\S*)(?: \(([^)]+)\))?$/.exec(line) ?? []
      if (path === '') return []
      parents.length = indent.length / 4
      parents.push(path)
      return (methods?.split(', ') ?? []).map((method) => ({ method, url: parents.join('') }))
    })
}

/** A path that this route matches. */
export const pathOf = ({ url }: RegisteredRoute): string => url.replace(/:\w+/g, 'example').replace('*', 'example')

/** Reviewed routes with those that come along: wherever there is GET, there is HEAD. */
export const withHead = (routes: readonly string[]): string[] =>
  routes.flatMap((route) => (route.startsWith('GET ') ? [route, route.replace('GET', 'HEAD')] : [route]))
