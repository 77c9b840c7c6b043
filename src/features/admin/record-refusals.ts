import type { FastifyError } from 'fastify'
import { Problem } from '../../errors.ts'
import type { Services } from '../../services.ts'
import type { App } from '../app-type.ts'
import { callerOf } from '../request.ts'

/**
 * A call that is refused changes nothing that would be recorded: it leaves an event of its own, with what was called and why it
 * was refused. Not so what nobody known has sent, what is over its limit, and what failed here: these are in the log alone.
 */
export function recordRefusals(app: App, { events, log }: Pick<Services, 'events' | 'log'>): void {
  app.addHook('onError', async (request, _reply, error: FastifyError | Problem) => {
    const caller = callerOf(request)
    const outcome = reasonOf(error)
    if (caller.client === undefined || outcome === null) return
    const detail = `${request.method} ${request.routeOptions.url}`
    await events
      .record({ type: 'client.refused', outcome, caller, detail })
      .catch(({ name }: Error) => log.warn({ requestId: request.id, name }, 'a refusal was not recorded'))
  })
}

function reasonOf(error: FastifyError | Problem): string | null {
  if (error instanceof Problem) return ['rate_limited', 'unavailable'].includes(error.code) ? null : error.code
  return (error.statusCode ?? 500) < 500 ? 'invalid_request' : null
}
