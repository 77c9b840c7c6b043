import { Problem } from '../errors.ts'
import type { Scope } from '../scopes.ts'

/** Throws `insufficient_scope`, which names what is missing. */
export function assertScope({ scopes }: { scopes: readonly Scope[] }, scope: Scope): void {
  if (scopes.includes(scope)) return
  throw new Problem('insufficient_scope', {
    scope,
    detail: `This client may not do this: it lacks the scope ${scope}.`,
    headers: { 'WWW-Authenticate': `Basic realm="clients", error="insufficient_scope", scope="${scope}"` },
  })
}
