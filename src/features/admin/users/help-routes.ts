import Type from 'typebox'
import type { Services } from '../../../services.ts'
import { resetPassword } from '../../accounts/invite-user.ts'
import { unlockAccount } from '../../accounts/unlock-account.ts'
import type { App } from '../../app-type.ts'
import { userCallOf } from './call.ts'
import { endUserSessions } from './end-sessions.ts'
import { forgetUserDevices } from './forget-devices.ts'
import { removeFactors, removeOneFactor } from './remove-factors.ts'
import { PartParams, ResetBody, UnlockBody, UserParams } from './schemas.ts'

const config = { access: 'client' as const, scope: 'users:security' as const, problems: ['not_found' as const] }

/** What backends do for users who do not get in, or whose account somebody else got into. */
export function userHelpRoutes(app: App, services: Services): void {
  if (services.config.mail.provider !== 'none') resetPasswordRoute(app, services)
  unlockUserRoute(app, services)
  removeFactorsRoute(app, services)
  removeFactorRoute(app, services)
  endSessionsRoute(app, services)
  endSessionRoute(app, services)
  forgetDevicesRoute(app, services)
  forgetDeviceRoute(app, services)
}

function resetPasswordRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'resetUserPassword',
    tags: ['admin'],
    summary: 'Have a new password set',
    description:
      'Mails the user a link; nobody else sees it. To somebody without a password it is an invitation. Said again within a minute or so ' +
      '(`MAIL_COOLDOWN`), nothing more is mailed while the link of that mail lives.',
    params: UserParams,
    body: ResetBody,
    response: { 202: Type.Object({ status: Type.Literal('mail_sent') }) },
  }
  app.post('/admin/users/:id/password-reset', { config, schema }, async (request, reply) => {
    const { force = false } = request.body
    await resetPassword(services, { ...userCallOf(request), force })
    reply.code(202)
    return { status: 'mail_sent' as const }
  })
}

function unlockUserRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'unlockUser',
    tags: ['admin'],
    summary: 'End the locks of a user',
    description: 'Those after wrong passwords and wrong codes, for known devices and for strangers.',
    params: UserParams,
    body: UnlockBody,
    response: { 204: Type.Null({ description: 'Unlocked.' }) },
  }
  app.post('/admin/users/:id/unlock', { config, schema }, async (request, reply) => {
    const { all = false } = request.body
    await unlockAccount(services, { ...userCallOf(request), all })
    reply.code(204)
    return null
  })
}

function removeFactorsRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'removeUserFactors',
    tags: ['admin'],
    summary: 'Take all second factors away',
    description:
      'Recovery codes too, for somebody who has lost them. Sessions end, and the user is told. Where a factor is required, the next login ' +
      'sets one up, behind a code by mail.',
    params: UserParams,
    response: { 204: Type.Null({ description: 'There are none.' }) },
  }
  app.delete('/admin/users/:id/factors', { config, schema }, async (request, reply) => {
    await removeFactors(services, userCallOf(request))
    reply.code(204)
    return null
  })
}

function removeFactorRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'removeUserFactor',
    tags: ['admin'],
    summary: 'Take one second factor away',
    description: 'Be it the last, with which the recovery codes go. Sessions end, and the user is told.',
    params: PartParams,
    response: { 204: Type.Null({ description: 'Removed.' }) },
  }
  app.delete('/admin/users/:id/factors/:part', { config, schema }, async (request, reply) => {
    await removeOneFactor(services, request.params.part, userCallOf(request))
    reply.code(204)
    return null
  })
}

function endSessionsRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'endUserSessions',
    tags: ['admin'],
    summary: 'End all sessions of a user',
    description: 'Their access tokens are refused here at once; where they are verified offline, when they run out.',
    params: UserParams,
    response: { 204: Type.Null({ description: 'There are none.' }) },
  }
  app.delete('/admin/users/:id/sessions', { config, schema }, async (request, reply) => {
    await endUserSessions(services, userCallOf(request), null)
    reply.code(204)
    return null
  })
}

function endSessionRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'endUserSession',
    tags: ['admin'],
    summary: 'End one session of a user',
    description: 'As above, and the others stay.',
    params: PartParams,
    response: { 204: Type.Null({ description: 'Ended.' }) },
  }
  app.delete('/admin/users/:id/sessions/:part', { config, schema }, async (request, reply) => {
    await endUserSessions(services, userCallOf(request), request.params.part)
    reply.code(204)
    return null
  })
}

function forgetDevicesRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'forgetUserDevices',
    tags: ['admin'],
    summary: 'Forget all devices of a user',
    description: "Their sessions end, and the next login of each counts as a stranger's.",
    params: UserParams,
    response: { 204: Type.Null({ description: 'There are none.' }) },
  }
  app.delete('/admin/users/:id/devices', { config, schema }, async (request, reply) => {
    await forgetUserDevices(services, userCallOf(request), null)
    reply.code(204)
    return null
  })
}

function forgetDeviceRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'forgetUserDevice',
    tags: ['admin'],
    summary: 'Forget one device of a user',
    description: "Its sessions end, and its next login counts as a stranger's.",
    params: PartParams,
    response: { 204: Type.Null({ description: 'Forgotten.' }) },
  }
  app.delete('/admin/users/:id/devices/:part', { config, schema }, async (request, reply) => {
    await forgetUserDevices(services, userCallOf(request), request.params.part)
    reply.code(204)
    return null
  })
}
