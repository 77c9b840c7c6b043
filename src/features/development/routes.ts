import Type from 'typebox'
import type { ConsoleSender } from '../../sms/console.ts'
import type { App } from '../app-type.ts'

const InboxSchema = Type.Object({
  messages: Type.Array(
    Type.Object({
      to: Type.String({ examples: ['+12025550123'] }),
      body: Type.String({
        examples: [
          '123456 is your Doorstep code. It works for 5 minutes; never share it with anyone.\n@localhost #123456',
        ],
      }),
      sent_at: Type.String({ format: 'date-time', examples: ['2030-01-02T03:04:05.678Z'] }),
    }),
  ),
})

/** The texts of the console sender, so that a newcomer and a browser test can read the code. Never in production. */
export function developmentRoutes(app: App, inbox: ConsoleSender): void {
  app.get(
    '/dev/sms',
    {
      config: { access: 'public', limits: ['default'], problems: [] },
      schema: {
        operationId: 'readTexts',
        tags: ['development'],
        summary: 'Texts that were "sent"',
        description: 'Newest first. Only with the console sender, which production refuses.',
        response: { 200: InboxSchema },
      },
    },
    async () => ({ messages: inbox.sent() }),
  )
}
