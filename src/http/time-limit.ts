import type { FastifyReply, FastifyRequest } from 'fastify'
import { Problem } from '../errors.ts'
import type { App } from '../features/app-type.ts'

/** Milliseconds after which a handler that has not answered is answered for. */
const handlerMs = 8_000

/**
 * Gives the handlers of the routes that are registered after it 8 s, then answers `unavailable` (SEC-71). What they do
 * after that goes on unheard. Fastify's own `handlerTimeout` is no help: it forgets a request as soon as its body is read.
 */
export function registerTimeLimit(app: App): void {
  app.addHook('onRoute', (route) => {
    const { handler } = route
    route.handler = async function (this: App, request: FastifyRequest, reply: FastifyReply) {
      let timer: NodeJS.Timeout | undefined
      const tooLate = new Promise<never>((_resolve, reject) => {
        timer = setTimeout(() => reject(new Problem('unavailable', { retryAfter: 1 })), handlerMs)
      })
      try {
        return await Promise.race([handler.call(this, request, reply), tooLate])
      } finally {
        clearTimeout(timer)
      }
    }
  })
}
