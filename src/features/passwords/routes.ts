import type { Services } from '../../services.ts'
import type { App } from '../app-type.ts'
import { callerOf, sessionOf } from '../request.ts'
import { AuthenticatedRef } from '../sessions/schemas.ts'
import { changePassword } from './change-password.ts'
import { requestLink } from './request-link.ts'
import {
  ChangePasswordBody,
  LinkBody,
  MailSentSchema,
  PasswordSetSchema,
  SetPasswordAnswerSchema,
  SetPasswordBody,
} from './schemas.ts'
import { setPassword } from './set-password.ts'

/** How people get a password, and another one. Nothing of it is there where no mail is sent. */
export function passwordRoutes(app: App, services: Services): void {
  const { config } = services
  changePasswordRoute(app, services)
  if (config.mail.provider === 'none') return
  app.addSchema(PasswordSetSchema)
  if (config.registration === 'open') registerRoute(app, services)
  forgotRoute(app, services)
  setPasswordRoute(app, services)
}

const mailConfig = {
  access: 'public' as const,
  limits: ['mailMinute' as const, 'mailHour' as const],
  mayShowDevice: true,
  problems: ['mail_unavailable' as const],
}

function registerRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'register',
    tags: ['password'],
    summary: 'Ask for an account',
    description:
      'Mails a link by which an account is made, or one to set the password where the address has an account. The answer is the ' +
      'same for every address, and nothing is stored for it before its mailbox is proven.',
    body: LinkBody,
    response: { 202: MailSentSchema },
  }
  app.post('/register', { bodyLimit: 4_096, config: mailConfig, schema }, async (request, reply) => {
    const { email, locale, device_token: deviceToken } = request.body
    reply.code(202)
    return requestLink(services, 'register', { email, locale, deviceToken, caller: callerOf(request) })
  })
}

function forgotRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'forgotPassword',
    tags: ['password'],
    summary: 'Ask for a new password',
    description:
      'Mails a link to set it. The answer is the same for every address. The second factor is still asked for.',
    body: LinkBody,
    response: { 202: MailSentSchema },
  }
  app.post('/password/forgot', { bodyLimit: 4_096, config: mailConfig, schema }, async (request, reply) => {
    const { email, locale, device_token: deviceToken } = request.body
    reply.code(202)
    return requestLink(services, 'forgot', { email, locale, deviceToken, caller: callerOf(request) })
  })
}

function setPasswordRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'setPassword',
    tags: ['password'],
    summary: 'Set a password by a mailed link',
    description:
      'Makes the account, or replaces its password, and goes on exactly as `POST /login` after a right password. A password that ' +
      'is not good enough leaves the link alive.',
    body: SetPasswordBody,
    response: { 200: SetPasswordAnswerSchema },
  }
  app.post(
    '/password/set',
    {
      bodyLimit: 4_096,
      config: {
        access: 'public',
        limits: ['default'],
        mayShowDevice: true,
        problems: ['link_expired', 'busy'],
      },
      schema,
    },
    async (request) => {
      const { token, password, remember_me, return_to, device_token } = request.body
      const given = { token, password, rememberMe: remember_me ?? false, returnTo: return_to }
      return setPassword(services, { ...given, deviceToken: device_token, caller: callerOf(request) })
    },
  )
}

function changePasswordRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'changePassword',
    tags: ['password'],
    summary: 'Change the password',
    description: 'Wants a fresh sign-in. Every session ends, this one too: the answer is a new one of the same level.',
    body: ChangePasswordBody,
    response: { 200: AuthenticatedRef },
  }
  app.put(
    '/me/password',
    {
      // Two passwords of 256 characters, each of which may be written as twelve bytes.
      bodyLimit: 8_192,
      config: {
        access: 'access',
        assurance: 'fresh',
        limits: ['default'],
        problems: [
          'insufficient_user_authentication',
          'invalid_password',
          'password_reset_required',
          'conflict',
          'busy',
        ],
      },
      schema,
    },
    async (request) => {
      const { current_password: current, password } = request.body
      return changePassword(services, sessionOf(request), { current, password, caller: callerOf(request) })
    },
  )
}
