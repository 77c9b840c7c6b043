import rateLimit from '@fastify/rate-limit'
import type { FastifyRequest } from 'fastify'
import type { Config } from '../config.ts'
import { Problem } from '../errors.ts'
import type { Events } from '../events.ts'
import type { App, LimitName } from '../features/app-type.ts'
import { callerOf } from '../features/request.ts'

/** Addresses remembered per limit. This is the shield in front; the budgets that must hold are in the database. */
const rememberedAddresses = 50_000

const minuteMs = 60_000
const hourMs = 3_600_000

/**
 * Counts requests per address before anything else happens to them: also those that match no route, no method and no
 * schema (SEC-18, SEC-23). The counters are called by hand, since the plugin runs only one of its own hooks per request.
 */
export async function registerRateLimit(
  app: App,
  { config, events }: { config: Config; events: Events },
): Promise<void> {
  await app.register(rateLimit, { global: false })
  const limit = (name: LimitName, max: number, timeWindow: number) => {
    const keyGenerator = (request: FastifyRequest): string => `${name}|${callerOf(request).address}`
    const options = { max, timeWindow, keyGenerator, cache: rememberedAddresses }
    return app.createRateLimit(options)
  }
  const { rate } = config
  const limits: Record<LimitName, ReturnType<typeof limit>> = {
    loginMinute: limit('loginMinute', rate.loginMinute, minuteMs),
    loginHour: limit('loginHour', rate.loginHour, hourMs),
    verifyMinute: limit('verifyMinute', rate.verifyMinute, minuteMs),
    resendHour: limit('resendHour', rate.resendHour, hourMs),
    refreshMinute: limit('refreshMinute', rate.refreshMinute, minuteMs),
    default: limit('default', rate.defaultMinute, minuteMs),
  }

  app.addHook('onRequest', async (request: FastifyRequest) => {
    for (const name of request.routeOptions.config.limits ?? ['default']) {
      const count = await limits[name](request)
      if (!count.isAllowed && count.isExceeded) {
        events.announce({ type: 'request.limited', outcome: name, caller: callerOf(request) })
        throw new Problem('rate_limited', { retryAfter: Math.max(1, count.ttlInSeconds) })
      }
    }
  })
}
