import cors from '@fastify/cors'
import type { FastifyRequest } from 'fastify'
import type { Config } from '../config.ts'
import type { App } from '../features/app-type.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** A preflight of an origin that may call. */
    corsPreflightEnabled: boolean
  }
}

/** Seconds that a browser may remember what it was allowed. */
const preflightMaxAge = 600

/** A page that this machine serves: developers' pages come from many ports. */
const localhost = /^[a-z][a-z0-9+.-]*:\/\/([a-z0-9-]+\.)*(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?$/

/**
 * Lets the pages of `CORS_ORIGINS` call what people call, and nobody else's pages anything (SEC-73). Without credentials:
 * there are no cookies, and a page has to hold a token to send it. What clients call is no page's business. Registered
 * before limiter and guards, so that a page can read their refusals too; preflights pass both (methods.ts answers them).
 */
export async function registerCors(app: App, { corsOrigins }: Pick<Config, 'corsOrigins'>): Promise<void> {
  const isAllowed = (origin: string): boolean =>
    corsOrigins === 'localhost' ? localhost.test(origin) : corsOrigins.includes(origin)
  await app.register(cors, {
    preflightContinue: true,
    delegator: (request: FastifyRequest, done) => {
      const { access, isForClients } = request.routeOptions.config
      const { origin = '', 'access-control-request-method': preflight } = request.headers
      const isOpen = access !== 'client' && isForClients !== true && isAllowed(origin)
      done(null, {
        origin: isOpen && origin,
        methods: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'],
        allowedHeaders: ['Authorization', 'Content-Type'],
        exposedHeaders: ['Retry-After', 'WWW-Authenticate'],
        maxAge: preflightMaxAge,
        preflight: preflight !== undefined,
        preflightContinue: true,
      })
    },
  })
}
