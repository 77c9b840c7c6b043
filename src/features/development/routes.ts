import type { Services } from '../../services.ts'
import type { App } from '../app-type.ts'
import { InboxSchema, MailboxSchema } from './schemas.ts'

/**
 * The texts and mails of the console senders, so that a newcomer and a browser test can read the code; with real providers
 * there is no such page. Never in production, and for nobody who comes from elsewhere (SEC-110).
 */
export function developmentRoutes(app: App, { inbox, mailbox }: Pick<Services, 'inbox' | 'mailbox'>): void {
  if (inbox) readTextsRoute(app, inbox)
  if (mailbox) readMailsRoute(app, mailbox)
}

const description =
  'Newest first. Only with the console sender, which production refuses; answered to this machine and to ' +
  'DEVELOPMENT_NETWORKS.'

function readTextsRoute(app: App, inbox: NonNullable<Services['inbox']>): void {
  const schema = {
    operationId: 'readTexts',
    tags: ['development'],
    summary: 'Texts that were "sent"',
    description,
    response: { 200: InboxSchema },
  }
  app.get(
    '/dev/sms',
    { config: { access: 'nearby', limits: ['default'], problems: ['not_found'] }, schema },
    async () => ({ messages: inbox.sent() }),
  )
}

function readMailsRoute(app: App, mailbox: NonNullable<Services['mailbox']>): void {
  const schema = {
    operationId: 'readMails',
    tags: ['development'],
    summary: 'Mails that were "sent"',
    description,
    response: { 200: MailboxSchema },
  }
  app.get(
    '/dev/mail',
    { config: { access: 'nearby', limits: ['default'], problems: ['not_found'] }, schema },
    async () => ({ messages: mailbox.sent() }),
  )
}
