import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import Fastify, { type FastifyBaseLogger, LogController } from 'fastify'
import type { Config } from '../config.ts'
import type { App } from '../features/app-type.ts'
import type { Logger } from '../log.ts'
import { matcherOf } from '../security/client-address.ts'
import type { Random } from '../system.ts'
import { closeConnectionsGently } from './drain.ts'
import { answerBrokenRequest } from './problems.ts'

/**
 * The one Fastify instance with all its options (SEC-64 to SEC-71): what is allowed in, for how long, and how it closes.
 * `isDraining` is true from SIGTERM on.
 */
export function createServer(
  { config, random, log }: { config: Config; random: Random; log: Logger },
  isDraining: () => boolean = () => false,
): App {
  const loggerInstance: FastifyBaseLogger = log
  const app = Fastify({
    loggerInstance,
    logController: new LogController({ disableRequestLogging: true }),
    genReqId: () => random.uuid(),
    // Our own matcher: with theirs a proxy that is written with its port is a stranger.
    trustProxy: config.trustProxy && matcherOf(config.trustProxy),
    bodyLimit: 16_384,
    requestTimeout: 10_000,
    keepAliveTimeout: 5_000,
    maxRequestsPerSocket: 1_000,
    http: { headersTimeout: 5_000, connectionsCheckingInterval: 1_000, requireHostHeader: false },
    return503OnClosing: false,
    exposeHeadRoutes: true,
    // Lengths are for the schemas to judge, and an unreadable path is one where nothing is: so both are counted, logged
    // and answered like any other request, which Fastify's own answers to them are not.
    routerOptions: { maxParamLength: 16_384 },
    rewriteUrl: ({ url = '/' }) => (isReadable(url) ? url : '/unreadable'),
    ajv: { customOptions: { coerceTypes: false, removeAdditional: false, useDefaults: false, allErrors: false } },
    clientErrorHandler: (error, socket) => answerBrokenRequest(config.publicUrl, random.uuid(), error, socket),
  }).withTypeProvider<TypeBoxTypeProvider>()
  // An expectation that we do not know is ignored (RFC 9110 10.1.1); Node's own 417 would have none of our headers.
  app.server.on('checkExpectation', (request, response) => app.server.emit('request', request, response))
  closeConnectionsGently(app.server, isDraining)
  return app
}

/** Whether the path of a request target can be decoded. */
function isReadable(url: string): boolean {
  if (!url.includes('%')) return true
  try {
    return decodeURIComponent(url.split(/[?#]/, 1)[0] ?? '') !== ''
  } catch {
    return false
  }
}
