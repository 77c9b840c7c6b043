import pg from 'pg'
import type { Test } from 'tap'

type Query = (this: unknown, ...args: unknown[]) => unknown

/**
 * Sees every statement that the service sends to its database from now on, at the driver through which all of them go.
 * The statements of the test itself do not count: they come from connections without the service's name.
 */
export function watchStatements(t: Test): { taken(): string[] } {
  let seen: string[] = []
  const target = pg.Client.prototype as unknown as { query: Query }
  const query = target.query
  target.query = function (...args) {
    const { connectionParameters } = this as { connectionParameters?: { application_name?: string } }
    if (connectionParameters?.application_name === 'doorstep') seen.push(textOf(args[0]))
    return query.apply(this, args)
  }
  t.teardown(() => {
    target.query = query
  })
  return {
    /** What was sent since the last call, in order. */
    taken: () => {
      const texts = seen
      seen = []
      return texts
    },
  }
}

function textOf(query: unknown): string {
  if (typeof query === 'string') return query
  return String((query as { text?: unknown }).text)
}
