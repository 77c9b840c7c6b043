import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import Fastify, { type FastifyBaseLogger, LogController } from 'fastify'
import type { Config } from '../config.ts'
import type { App } from '../features/app-type.ts'
import type { Logger } from '../log.ts'
import type { Random } from '../system.ts'
import { answerBrokenRequest, writeFrameworkProblem } from './problems.ts'

/** The one Fastify instance with all its options (SEC-64 to SEC-71): what is allowed in, and for how long. */
export function createServer({ config, random, log }: { config: Config; random: Random; log: Logger }): App {
  const loggerInstance: FastifyBaseLogger = log
  return Fastify({
    loggerInstance,
    logController: new LogController({ disableRequestLogging: true }),
    genReqId: () => random.uuid(),
    trustProxy: config.trustProxy,
    bodyLimit: 16_384,
    requestTimeout: 10_000,
    handlerTimeout: 8_000,
    keepAliveTimeout: 5_000,
    maxRequestsPerSocket: 1_000,
    http: { headersTimeout: 5_000, connectionsCheckingInterval: 1_000 },
    forceCloseConnections: 'idle',
    return503OnClosing: false,
    exposeHeadRoutes: false,
    routerOptions: { maxParamLength: 128 },
    ajv: { customOptions: { coerceTypes: false, removeAdditional: false, useDefaults: false, allErrors: false } },
    frameworkErrors: writeFrameworkProblem,
    clientErrorHandler: answerBrokenRequest,
  }).withTypeProvider<TypeBoxTypeProvider>()
}
