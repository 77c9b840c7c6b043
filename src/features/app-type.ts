import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type {
  FastifyBaseLogger,
  FastifyInstance,
  RawReplyDefaultExpression,
  RawRequestDefaultExpression,
  RawServerDefault,
} from 'fastify'
import type { ProblemCode } from '../errors.ts'
import type { Method } from '../methods.ts'
import type { Scope } from '../scopes.ts'
import type { Assurance } from '../security/assurance.ts'
import type { PendingClaims } from '../security/claims.ts'
import type { LimitName } from '../security/request-limits.ts'

/** The Fastify instance that features add their routes to: schemas give the types of request and reply. */
export type App = FastifyInstance<
  RawServerDefault,
  RawRequestDefaultExpression,
  RawReplyDefaultExpression,
  FastifyBaseLogger,
  TypeBoxTypeProvider
>

/** Who may call a route; `nearby`: programs on this machine (security/nearby.ts). A route that does not say so stops the start. */
export type Access = 'public' | 'nearby' | 'pending' | 'access' | 'client'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** With several, whichever the token is of. */
    access?: Access | readonly Extract<Access, 'pending' | 'access'>[]
    /** What a pending token has to be for; without a word: a login, a step-up or an enrolment. */
    purposes?: readonly PendingClaims['pur'][]
    /** How strong and fresh the sign-in of an access token must be for this route. */
    assurance?: Assurance | 'fresh'
    /** What a client must be allowed for this route; one of clients that does not say so stops the start. */
    scope?: Scope
    limits?: LimitName[]
    /** The body may hold a `device_token`, which is then counted in place of the address. */
    mayShowDevice?: boolean
    /** The path is one that clients call: no browser's business. */
    isForClients?: boolean
    /** Which challenges it answers with, for the examples in the OpenAPI document; all without a word. */
    challenges?: (challenge: { method: Method; setup?: unknown }) => boolean
    /** Problem codes this route answers with, besides those that every route has. */
    problems?: ProblemCode[]
  }
}
