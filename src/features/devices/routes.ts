import Type from 'typebox'
import type { Services } from '../../services.ts'
import type { App } from '../app-type.ts'
import { callerOf, sessionOf } from '../request.ts'
import { changeDevice } from './change-device.ts'
import { forgetDevice } from './forget-device.ts'
import { listDevices } from './list-devices.ts'
import { DeviceBody, DeviceListSchema, DeviceParams, DeviceSchema } from './schemas.ts'

/** The clients that have signed in to the account before: seen, named and forgotten by their owner. */
export function deviceRoutes(app: App, services: Services): void {
  listDevicesRoute(app, services)
  changeDeviceRoute(app, services)
  forgetDeviceRoute(app, services)
}

function listDevicesRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'listDevices',
    tags: ['devices'],
    summary: 'Known devices',
    description: 'The devices that have signed in to the account before, the one used last first.',
    response: { 200: DeviceListSchema },
  }
  app.get('/devices', { config: { access: 'access', limits: ['default'], problems: [] }, schema }, async (request) =>
    listDevices(services, sessionOf(request)),
  )
}

function changeDeviceRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'changeDevice',
    tags: ['devices'],
    summary: 'Name a device, or end its trust',
    description: 'A device that is trusted no longer is asked for the second factor again; it stays known.',
    params: DeviceParams,
    body: DeviceBody,
    response: { 200: DeviceSchema },
  }
  app.patch(
    '/devices/:id',
    { config: { access: 'access', limits: ['default'], problems: ['not_found'] }, schema },
    async (request) => {
      const call = { session: sessionOf(request), deviceId: request.params.id, caller: callerOf(request) }
      return changeDevice(services, { ...call, change: request.body })
    },
  )
}

function forgetDeviceRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'forgetDevice',
    tags: ['devices'],
    summary: 'Forget a device',
    description:
      "Its sessions end, and its next login counts as a stranger's. Another than the own one wants a fresh sign-in.",
    params: DeviceParams,
    response: { 204: Type.Null({ description: 'Forgotten.' }) },
  }
  app.delete(
    '/devices/:id',
    {
      config: {
        access: 'access',
        limits: ['default'],
        problems: ['invalid_request', 'insufficient_user_authentication', 'not_found'],
      },
      schema,
    },
    async (request, reply) => {
      await forgetDevice(services, {
        session: sessionOf(request),
        deviceId: request.params.id,
        caller: callerOf(request),
      })
      reply.code(204)
      return null
    },
  )
}
