import type { Services } from '../../services.ts'
import type { App } from '../app-type.ts'
import { type PageFile, pageFiles, pagePolicy, readPageFile } from './page.ts'
import { InboxSchema, MailboxSchema } from './schemas.ts'

/**
 * The texts and mails of the console senders, so that a newcomer and a browser test can read the code (with real providers
 * there are none), and the page that signs in. Never in production, and for nobody who comes from elsewhere (SEC-110): the page
 * shows those texts and mails, and a form that takes passwords has no business at a name that somebody made to point here.
 */
export function developmentRoutes(
  app: App,
  { inbox, mailbox, config }: Pick<Services, 'inbox' | 'mailbox' | 'config'>,
): void {
  if (inbox) readTextsRoute(app, inbox)
  if (mailbox) readMailsRoute(app, mailbox)
  if (config.production) return
  for (const path of pagePaths) servePageFile(app, path, 'index.html')
  for (const name of ['page.css', 'page.js', 'logo.svg'] as const) servePageFile(app, `/page/${name}`, name)
}

/** The page, and where the links of mails lead while APP_URL is this service. */
const pagePaths = ['/', '/set-password', '/confirm-email', '/not-me']

function servePageFile(app: App, path: string, name: PageFile): void {
  app.get(
    path,
    { config: { access: 'nearby', limits: ['default'] }, schema: { hide: true } },
    async (_request, reply) => {
      reply.type(pageFiles[name]).header('Content-Security-Policy', pagePolicy)
      return readPageFile(name)
    },
  )
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
