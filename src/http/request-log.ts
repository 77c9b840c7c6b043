import type { App } from '../features/app-type.ts'
import { callerOf } from '../features/request.ts'
import type { Services } from '../services.ts'

/** One line and one measurement per answer. The route's pattern, never the URL: a URL can hold anything. */
export function registerRequestLog(app: App, { log, metrics }: Pick<Services, 'log' | 'metrics'>): void {
  app.decorateRequest('caller')
  app.addHook('onResponse', (request, reply, done) => {
    const route = request.routeOptions.url ?? 'none'
    metrics.timeRequest(route, reply.statusCode, reply.elapsedTime / 1_000)
    const { requestId, address } = callerOf(request)
    log.info(
      {
        requestId,
        address,
        method: request.method,
        route,
        status: reply.statusCode,
        ms: Math.round(reply.elapsedTime),
      },
      'answered',
    )
    done()
  })
}
