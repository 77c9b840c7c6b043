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
