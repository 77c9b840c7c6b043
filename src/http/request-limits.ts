import rateLimit, { type FastifyRateLimitStoreCtor } from '@fastify/rate-limit'
import type { FastifyRequest } from 'fastify'
import type { App } from '../features/app-type.ts'
import type { Network } from '../security/client-address.ts'
import { type Charge, createRequestCounts, type LimitName, type Window } from '../security/request-limits.ts'
import type { Services } from '../services.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** What the limiter that is asked next counts it by. */
    countedBy: Network
  }
}

/** What finished requests get in place of the numbers of a limit. */
const finishedTimes = 10

export type RequestLimits = Awaited<ReturnType<typeof createRequestLimits>>

/**
 * Counts requests in all the networks that they come from (SEC-18, SEC-109). A request that one of them refuses counts in
 * none: whoever is over his own limit uses up nothing of his neighbours'. The limiters of @fastify/rate-limit are called
 * by hand, since the plugin runs only one of its own hooks per request, and over a store that can take back.
 */
export async function createRequestLimits(app: App, { config, clock }: Pick<Services, 'config' | 'clock'>) {
  const counts = createRequestCounts(clock)
  // The plugin wants a constructor; what that returns is what it then has.
  function Store() {
    return counts
  }
  await app.register(rateLimit, { global: false, store: Store as unknown as FastifyRateLimitStoreCtor })
  app.decorateRequest('countedBy')
  const limiters = limitersOf(app, config.rate)

  return {
    /** Counts one request by all of `keys` under all of `names`, or by none of them. */
    charge: async (request: FastifyRequest, names: readonly LimitName[], keys: readonly Network[]): Promise<Charge> => {
      const places = names.flatMap((name) => keys.map((key) => ({ name, key, ...limiters[name] })))
      const windows: Window[] = []
      const giveBack = (): boolean => {
        const taken = windows.splice(0)
        for (const window of taken) window.used -= 1
        return taken.length > 0
      }
      let spent: { name: LimitName; retryAfter: number } | null = null
      for (const { name, key, counted, finished } of places) {
        request.countedBy = key
        const old = await finished?.(request, { increment: false })
        const now = await counted(request)
        const window = counts.windowOf(now.key)
        if (window !== undefined) windows.push(window)
        const wait = Math.max(now.isExceeded ? now.ttlInSeconds : 0, old?.remaining === 0 ? old.ttlInSeconds : 0)
        if (wait > (spent?.retryAfter ?? 0)) spent = { name, retryAfter: wait }
      }
      if (spent !== null) giveBack()
      const finish = async (): Promise<void> => {
        if (!giveBack()) return
        for (const { key, finished } of places) {
          request.countedBy = key
          await finished?.(request)
        }
      }
      return { spent, giveBack, finish }
    },
  }
}

function limitersOf(app: App, rate: Services['config']['rate']) {
  const limiter = (name: string, most: number, seconds: number) => {
    const ask = app.createRateLimit({
      max: ({ countedBy }) => most * countedBy.times,
      timeWindow: seconds * 1_000,
      keyGenerator: ({ countedBy }) => `${name} ${countedBy.key}`,
    })
    return async (request: FastifyRequest, options?: { increment: false }) => {
      const count = await ask(request, options)
      // Only a list of exceptions lets a request pass uncounted, and there is none.
      if (count.isAllowed) throw new Error('a request was not counted')
      return count
    }
  }
  type Limit = { counted: ReturnType<typeof limiter>; finished?: ReturnType<typeof limiter> }
  const limit = (name: LimitName, most: number, seconds: number): Limit => ({ counted: limiter(name, most, seconds) })
  // Only a login is ever finished: a right password.
  const login = (name: LimitName, most: number, seconds: number): Limit => ({
    ...limit(name, most, seconds),
    finished: limiter(`finished ${name}`, most * finishedTimes, seconds),
  })
  return {
    loginMinute: login('loginMinute', rate.loginMinute, 60),
    loginHour: login('loginHour', rate.loginHour, 3_600),
    verifyMinute: limit('verifyMinute', rate.verifyMinute, 60),
    resendHour: limit('resendHour', rate.resendHour, 3_600),
    refreshMinute: limit('refreshMinute', rate.refreshMinute, 60),
    mailMinute: limit('mailMinute', rate.mailMinute, 60),
    mailHour: limit('mailHour', rate.mailHour, 3_600),
    default: limit('default', rate.defaultMinute, 60),
    clientMinute: limit('clientMinute', rate.clientMinute, 60),
    introspectMinute: limit('introspectMinute', rate.introspectMinute, 60),
  }
}
