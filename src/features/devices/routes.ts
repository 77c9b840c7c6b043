import Type from 'typebox'
import type { Services } from '../../services.ts'
import type { App } from '../app-type.ts'
import { callerOf, sessionOf } from '../request.ts'
import { DeviceListSchema, DeviceParams } from './schemas.ts'
import { listDevices, removeDevice } from './trusted-devices.ts'

/** The devices that skip the text: seen and ended by their owner. */
export function deviceRoutes(app: App, services: Services): void {
  listDevicesRoute(app, services)
  removeDeviceRoute(app, services)
}

function listDevicesRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'listTrustedDevices',
    tags: ['devices'],
    summary: 'Devices that skip the text',
    description: 'The devices that the signed-in user trusts, the one used last first.',
    response: { 200: DeviceListSchema },
  }
  app.get(
    '/trusted-devices',
    { config: { access: 'access', limits: ['default'], problems: [] }, schema },
    async (request) => listDevices(services, sessionOf(request).userId),
  )
}

function removeDeviceRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'removeTrustedDevice',
    tags: ['devices'],
    summary: 'Stop trusting a device',
    description: 'Its next login is asked for a code again. Sessions that it has stay; end them at `/sessions`.',
    params: DeviceParams,
    response: { 204: Type.Null({ description: 'Removed.' }) },
  }
  app.delete(
    '/trusted-devices/:id',
    { config: { access: 'access', limits: ['default'], problems: ['invalid_request', 'not_found'] }, schema },
    async (request, reply) => {
      const { userId } = sessionOf(request)
      await removeDevice(services, { userId, deviceId: request.params.id, caller: callerOf(request) })
      reply.code(204)
      return null
    },
  )
}
