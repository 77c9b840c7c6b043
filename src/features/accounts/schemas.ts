import Type from 'typebox'
import { methodNames } from '../../methods.ts'

export const MeSchema = Type.Object({
  id: Type.String({ format: 'uuid', examples: ['6f1c1f5e-7a52-4d3a-9a39-0a1f2b3c4d5e'] }),
  email: Type.String({ examples: ['ada@example.com'] }),
  email_confirmed: Type.Boolean({ description: 'Whether the mailbox has been proven.' }),
  locale: Type.String({ description: 'The language of mails.', examples: ['en'] }),
  phone: Type.Union([Type.String(), Type.Null()], {
    description: 'The number of the `sms` factor, masked.',
    examples: ['+44 •••••••• 23'],
  }),
  two_factor: Type.Enum(['required', 'optional', 'off'], {
    description: 'Whether a login asks for a second factor: always, if there is one, or never.',
  }),
  methods: Type.Array(Type.Enum([...methodNames]), {
    description: 'What can be the second factor of a login, best first.',
    examples: [['totp', 'sms', 'recovery_code']],
  }),
  amr: Type.Array(Type.String(), { examples: [['pwd', 'sms', 'mfa']] }),
  acr: Type.String({ examples: ['aal2'] }),
  auth_time: Type.Integer({
    description: 'When the session was authenticated, in seconds since 1970.',
    examples: [1_893_553_445],
  }),
})

export type Me = Type.Static<typeof MeSchema>
