import pg from 'pg'
import type { Test } from 'tap'

type Query = (this: unknown, ...args: unknown[]) => unknown

/**
 * Puts `around` in the way of every statement that the service sends to its database from now on, at the driver through
 * which all of them go; it returns what `run` returns, or something in its place. The statements of the test itself do
 * not count: they come from connections without the service's name. Nor does what a new connection is set up with: when the
 * pool opens one is not for a test to know.
 */
export function interceptStatements(t: Test, around: (text: string, run: () => unknown) => unknown): void {
  const target = pg.Client.prototype as unknown as { query: Query }
  const query = target.query
  target.query = function (...args) {
    const { connectionParameters } = this as { connectionParameters?: { application_name?: string } }
    const answer = args.at(-1)
    // The pool asks with a callback, others for a promise.
    const given = typeof answer === 'function' ? args.slice(0, -1) : args
    const isOpening = textOf(args[0]).startsWith('SET ')
    if (connectionParameters?.application_name !== 'doorstep' || isOpening) return query.apply(this, args)
    const result = around(textOf(args[0]), () => query.apply(this, given))
    if (typeof answer !== 'function') return result
    Promise.resolve(result).then(
      (rows) => answer(null, rows),
      (error: unknown) => answer(error),
    )
  }
  t.teardown(() => {
    target.query = query
  })
}

/** Sees every statement that the service sends to its database from now on. */
export function watchStatements(t: Test): { taken(): string[] } {
  let seen: string[] = []
  interceptStatements(t, (text, run) => {
    seen.push(text)
    return run()
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
