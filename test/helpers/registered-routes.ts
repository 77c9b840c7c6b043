import type { App } from '../../src/features/app-type.ts'

export type RegisteredRoute = { method: string; url: string }

/** Every route and method that the application answers, read from its own router; parameters and wildcards as written. */
export function registeredRoutes(app: App): RegisteredRoute[] {
  const parents: string[] = []
  return app
    .printRoutes({ commonPrefix: false })
    .split('\n')
    .flatMap((line) => {
      const [, indent = '', path = '', methods = ''] = /^([│ ]*)[├└]── (\S*) \(([^)]+)\)$/.exec(line) ?? []
      if (methods === '') return []
      const depth = indent.length / 4
      parents.length = depth
      const url = parents.join('') + path
      parents.push(path)
      return methods.split(', ').map((method) => ({ method, url }))
    })
}

/** A path that this route matches. */
export const pathOf = ({ url }: RegisteredRoute): string => url.replace(/:\w+/g, 'example').replace('*', 'example')
