import type { FastifyRequest } from 'fastify'
import type { Caller } from '../../../events.ts'
import type { Scope } from '../../../scopes.ts'
import { callerOf, clientOf } from '../../request.ts'

/** Which backend calls, and what it may. */
export type ClientCall = { caller: Caller; scopes: readonly Scope[] }

/** The same of one user. */
export type UserCall = ClientCall & { id: string }

export const callOf = (request: FastifyRequest): ClientCall => ({
  caller: callerOf(request),
  scopes: clientOf(request).scopes,
})

export const userCallOf = (request: FastifyRequest<{ Params: { id: string } }>): UserCall => ({
  ...callOf(request),
  id: request.params.id,
})
