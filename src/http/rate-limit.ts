import type { FastifyRequest } from 'fastify'
import { Problem } from '../errors.ts'
import type { Events } from '../events.ts'
import type { App } from '../features/app-type.ts'
import { callerOf } from '../features/request.ts'
import { isReadable, type Network, networksOf } from '../security/client-address.ts'
import type { DeviceTokens } from '../security/device-token.ts'
import type { Charge, LimitName } from '../security/request-limits.ts'
import type { RequestLimits } from './request-limits.ts'

type LimitParts = { requestLimits: RequestLimits; events: Events; deviceTokens: DeviceTokens }

/**
 * Counts requests per address before anything else happens to them: also those that match no route, no method and no
 * schema (SEC-18, SEC-23). Where the body may hold a device token, the verdict waits until the body is read: a genuine one
 * is counted in place of the address, which strangers can use up (SEC-109). Whatever fails before that is answered with
 * the verdict on the address (problems.ts). Calls of clients are counted when it is known which (guards.ts).
 */
export function registerRateLimit(app: App, { requestLimits, events, deviceTokens }: LimitParts): void {
  const charge = async (request: FastifyRequest, names: LimitName[], keys: Network[]): Promise<void> => {
    const charged = await requestLimits.charge(request, names, keys)
    request.charge = charged
    request.overLimit = overLimit(events, request, charged)
  }

  app.decorateRequest('charge')
  app.decorateRequest('overLimit')
  app.decorateRequest('chargeAlso')
  app.addHook('onRequest', async (request) => {
    if (request.corsPreflightEnabled) return
    const caller = callerOf(request)
    if (!isReadable(caller.address)) events.announce({ type: 'address.unreadable', outcome: 'counted', caller })
    const { access, limits = ['default'], mayShowDevice } = request.routeOptions.config
    if (access === 'client') return
    await charge(request, limits, networksOf(caller.address))
    request.chargeAlso = async (name) => {
      const refuse = overLimit(events, request, await requestLimits.charge(request, [name], networksOf(caller.address)))
      if (refuse) throw refuse()
    }
    if (!mayShowDevice && request.overLimit) throw request.overLimit()
  })
  app.addHook('preValidation', async (request) => {
    const { limits = ['default'], mayShowDevice } = request.routeOptions.config
    if (!mayShowDevice) return
    const device = deviceTokens.read(tokenIn(request.body))
    if (device !== null) {
      request.charge?.giveBack()
      await charge(request, limits, [{ key: `device ${device.toString('base64url')}`, times: 1 }])
    }
    if (request.overLimit) throw request.overLimit()
  })
}

/** What refuses a request whose limit is spent, and says so; undefined for any other. */
export function overLimit(events: Events, request: FastifyRequest, { spent }: Charge): (() => Problem) | undefined {
  if (spent === null) return undefined
  return () => {
    events.announce({ type: 'request.limited', outcome: spent.name, caller: callerOf(request) })
    return new Problem('rate_limited', { retryAfter: spent.retryAfter })
  }
}

/** The device token in a body that no schema has seen yet. */
function tokenIn(body: unknown): string | undefined {
  const { device_token: token } = (body ?? {}) as { device_token?: unknown }
  return typeof token === 'string' ? token : undefined
}
