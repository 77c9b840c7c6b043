import Type from 'typebox'

export const InboxSchema = Type.Object({
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

export const MailboxSchema = Type.Object({
  messages: Type.Array(
    Type.Object({
      to: Type.String({ examples: ['ada@example.com'] }),
      subject: Type.String({ examples: ['Your Doorstep code'] }),
      text: Type.String({
        examples: [
          'Your Doorstep code is:\n\n123456\n\nIt works for 10 minutes. Never share it with anyone, whoever asks for it.\n',
        ],
      }),
      html: Type.String({ examples: ['<p>Your Doorstep code is:</p><p><strong>123456</strong></p>'] }),
      sent_at: Type.String({ format: 'date-time', examples: ['2030-01-02T03:04:05.678Z'] }),
    }),
  ),
})
