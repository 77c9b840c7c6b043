import Type from 'typebox'

export const MeSchema = Type.Object({
  id: Type.String({ format: 'uuid', examples: ['6f1c1f5e-7a52-4d3a-9a39-0a1f2b3c4d5e'] }),
  email: Type.String({ examples: ['ada@example.com'] }),
  phone: Type.String({ description: 'Masked.', examples: ['+44 •••••••• 23'] }),
  two_factor_enabled: Type.Boolean(),
  amr: Type.Array(Type.String(), { examples: [['pwd', 'sms', 'mfa']] }),
  acr: Type.String({ examples: ['aal2'] }),
  auth_time: Type.Integer({
    description: 'When the session was authenticated, in seconds since 1970.',
    examples: [1_893_553_445],
  }),
})

export type Me = Type.Static<typeof MeSchema>
