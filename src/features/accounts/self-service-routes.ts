import Type from 'typebox'
import type { Services } from '../../services.ts'
import type { App } from '../app-type.ts'
import { callerOf, sessionOf } from '../request.ts'
import { confirmEmail, requestEmailChange } from './change-email.ts'
import { deleteAccount } from './delete-account.ts'
import { exportAccount } from './export-account.ts'
import { readMe } from './read-me.ts'
import { ConfirmEmailBody, EmailBody, ExportSchema, LocaleBody, MeSchema, SecureBody } from './schemas.ts'
import { secureAccount } from './secure-account.ts'
import { setLocale } from './set-locale.ts'

const fresh = { access: 'access' as const, assurance: 'fresh' as const, limits: ['default' as const] }

/** What signed-in users do with their account, and how its owner takes back what somebody else has done. */
export function selfServiceRoutes(app: App, services: Services): void {
  setLocaleRoute(app, services)
  exportRoute(app, services)
  deleteRoute(app, services)
  if (services.config.mail.provider === 'none') return
  changeEmailRoute(app, services)
  confirmEmailRoute(app, services)
  secureRoute(app, services)
}

function setLocaleRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'changeMe',
    tags: ['account'],
    summary: 'Choose the language of mails',
    description: 'Mails are in English where there is none in that language.',
    body: LocaleBody,
    response: { 200: MeSchema },
  }
  app.patch('/me', { config: { access: 'access', limits: ['default'], problems: [] }, schema }, async (request) => {
    const { locale } = request.body
    return readMe(services, await setLocale(services, sessionOf(request), { locale, caller: callerOf(request) }))
  })
}

function changeEmailRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'changeEmail',
    tags: ['account'],
    summary: 'Ask for another e-mail',
    description:
      'Wants a fresh sign-in. Mails a link to the new address and a notice to the old one; the link before it ends. Whether the new ' +
      'address is taken only its mailbox learns.',
    body: EmailBody,
    response: { 202: Type.Object({ status: Type.Literal('mail_sent') }) },
  }
  const config = { ...fresh, problems: ['insufficient_user_authentication' as const, 'mail_limit_reached' as const] }
  app.put('/me/email', { bodyLimit: 4_096, config, schema }, async (request, reply) => {
    await requestEmailChange(services, sessionOf(request), { email: request.body.email, caller: callerOf(request) })
    reply.code(202)
    return { status: 'mail_sent' as const }
  })
}

function confirmEmailRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'confirmEmail',
    tags: ['account'],
    summary: 'Confirm the new e-mail',
    description: 'By the link that was mailed to it, in a session of the same user. Other sessions end.',
    body: ConfirmEmailBody,
    response: { 200: MeSchema },
  }
  const config = { access: 'access' as const, limits: ['default' as const], problems: ['link_expired' as const] }
  app.post('/me/email/confirm', { bodyLimit: 4_096, config, schema }, async (request) => {
    const given = { token: request.body.token, caller: callerOf(request) }
    return readMe(services, await confirmEmail(services, sessionOf(request), given))
  })
}

function exportRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'exportMe',
    tags: ['account'],
    summary: 'Everything that is known of the user',
    description: 'Wants a fresh sign-in; at most five times in 24 hours. Nothing secret is in it.',
    response: { 200: ExportSchema },
  }
  const config = { ...fresh, problems: ['insufficient_user_authentication' as const] }
  app.get('/me/export', { config, schema }, async (request) =>
    exportAccount(services, sessionOf(request), callerOf(request)),
  )
}

function deleteRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'deleteMe',
    tags: ['account'],
    summary: 'Leave',
    description:
      'Wants a fresh sign-in. The account is disabled at once and erased later; until then the mail about it can take it back.',
    response: {
      202: Type.Object({ erases_at: Type.String({ format: 'date-time', examples: ['2030-01-09T03:04:05.000Z'] }) }),
    },
  }
  const config = { ...fresh, problems: ['insufficient_user_authentication' as const] }
  app.delete('/me', { config, schema }, async (request, reply) => {
    reply.code(202)
    return deleteAccount(services, sessionOf(request), callerOf(request))
  })
}

function secureRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'secureAccount',
    tags: ['account'],
    summary: '“That was not me”',
    description:
      'By the link of a notice: takes back what the sessions of the account have changed since, ends all of them, and has the ' +
      'password set anew by another mail.',
    body: SecureBody,
    response: { 200: Type.Object({ status: Type.Literal('secured') }) },
  }
  const config = {
    access: 'public' as const,
    limits: ['default' as const],
    problems: ['link_expired' as const],
  }
  app.post('/account/secure', { bodyLimit: 4_096, config, schema }, async (request) =>
    secureAccount(services, { token: request.body.token, caller: callerOf(request) }),
  )
}
