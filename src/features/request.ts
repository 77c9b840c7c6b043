import type { FastifyRequest } from 'fastify'
import type { Problem } from '../errors.ts'
import type { Caller } from '../events.ts'
import type { Scope } from '../scopes.ts'
import type { ChallengeClaims, PendingClaims } from '../security/claims.ts'
import { addressKey } from '../security/client-address.ts'
import type { Charge, LimitName } from '../security/request-limits.ts'
import type { LiveSession } from '../store/sessions.ts'

/** Who is calling, as the guard of the route found out. */
export type Auth =
  | { kind: 'public' }
  | { kind: 'pending'; claims: PendingClaims }
  | { kind: 'access'; session: LiveSession }
  | { kind: 'client'; id: string; scopes: readonly Scope[] }

declare module 'fastify' {
  interface FastifyRequest {
    auth: Auth
    caller?: Caller
    /** How it was counted by the limits of requests. */
    charge?: Charge
    /** Counts it by one more limit, for what it turns out to do. Throws `rate_limited`. */
    chargeAlso?: (name: LimitName) => Promise<void>
    /** Refuses it, when a limit is spent: nothing else is to be said of it. */
    overLimit?: (() => Problem) | undefined
  }
}

/** Where the request comes from, for limits, budgets and records; worked out once per request. */
export function callerOf(request: FastifyRequest): Caller {
  request.caller ??= {
    requestId: request.id,
    address: addressKey(request.ips ?? [request.ip ?? '']),
    userAgent: request.headers['user-agent']?.slice(0, 256) ?? null,
  }
  return request.caller
}

/** The pending token's claims on a route with `access: 'pending'`. */
export function pendingOf({ auth }: FastifyRequest): PendingClaims {
  if (auth.kind !== 'pending') throw new Error('This route has no pending guard')
  return auth.claims
}

/** The same, of a challenge that is stored. */
export function challengeOf(request: FastifyRequest): ChallengeClaims {
  const claims = pendingOf(request)
  if (claims.pur === 'passkey') throw new Error('This route takes no token of a passkey start')
  return claims
}

/** The session on a route with `access: 'access'`. */
export function sessionOf({ auth }: FastifyRequest): LiveSession {
  if (auth.kind !== 'access') throw new Error('This route has no access guard')
  return auth.session
}

/** What the client may do, on a route with `access: 'client'`. */
export function clientOf({ auth }: FastifyRequest): { id: string; scopes: readonly Scope[] } {
  if (auth.kind !== 'client') throw new Error('This route has no client guard')
  return auth
}
