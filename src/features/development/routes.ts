import type { ConsoleSender } from '../../sms/console.ts'
import type { App } from '../app-type.ts'
import { InboxSchema } from './schemas.ts'

/**
 * The texts of the console sender, so that a newcomer and a browser test can read the code. Never in production, and for
 * nobody who comes from elsewhere (SEC-110).
 */
export function developmentRoutes(app: App, inbox: ConsoleSender): void {
  readTextsRoute(app, inbox)
}

function readTextsRoute(app: App, inbox: ConsoleSender): void {
  const schema = {
    operationId: 'readTexts',
    tags: ['development'],
    summary: 'Texts that were "sent"',
    description:
      'Newest first. Only with the console sender, which production refuses; answered to this machine and to ' +
      'DEVELOPMENT_NETWORKS.',
    response: { 200: InboxSchema },
  }
  app.get(
    '/dev/sms',
    { config: { access: 'nearby', limits: ['default'], problems: ['not_found'] }, schema },
    async () => ({ messages: inbox.sent() }),
  )
}
