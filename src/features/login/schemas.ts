import Type from 'typebox'
import type { Authenticated } from '../sessions/schemas.ts'

export const LoginBody = Type.Object(
  {
    email: Type.String({
      minLength: 3,
      maxLength: 320,
      description: 'Trimmed, NFKC, lower-cased; then 3 to 254 characters.',
    }),
    password: Type.String({ minLength: 1, maxLength: 256, description: 'Taken exactly as sent.' }),
    remember_me: Type.Optional(
      Type.Boolean({ description: 'Keep the session for up to 30 days instead of 12 hours.' }),
    ),
    device_token: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 128,
        description:
          'Of a known device: limits of its own, and no text while it is trusted. Never in place of the password.',
      }),
    ),
    return_to: Type.Optional(
      Type.String({
        maxLength: 512,
        pattern: '^/(?![/\\\\])[^\\u0000-\\u001f\\u007f]*$',
        description: 'A local path that comes back with the tokens.',
      }),
    ),
  },
  {
    additionalProperties: false,
    examples: [{ email: 'ada@example.com', password: 'correct horse battery staple', return_to: '/orders/7' }],
  },
)

export const ChallengeSchema = Type.Object({
  method: Type.Literal('sms', { description: 'What this login goes on with.' }),
  channel: Type.Literal('sms'),
  destination: Type.String({ description: 'The phone number, masked.', examples: ['+44 •••••••• 23'] }),
  code_length: Type.Integer({ examples: [6] }),
  code_expires_in: Type.Integer({ description: 'Seconds.', examples: [300] }),
  resend_after: Type.Union([Type.Integer(), Type.Null()], {
    description: 'Seconds until another text can be asked for; null when this login gets no further text.',
    examples: [60],
  }),
  attempts_remaining: Type.Integer({ examples: [5] }),
  delivery: Type.Enum(['queued', 'sent', 'delivered', 'failed'], {
    description: 'What the provider has said about the newest text.',
    examples: ['sent'],
  }),
})

const Methods = Type.Array(Type.Literal('sms'), {
  description: 'The second factors that can finish this login.',
  examples: [['sms']],
})

export const ChallengeAnswerSchema = Type.Object({ challenge: ChallengeSchema, methods: Methods })

export const TwoFactorRequiredSchema = Type.Object(
  {
    status: Type.Literal('2fa_required'),
    pending_token: Type.String({
      description: 'Proof of the password; good for finishing this login only.',
      examples: ['eyJhbGciOi…'],
    }),
    token_type: Type.Literal('Bearer'),
    expires_in: Type.Integer({ description: 'Seconds.', examples: [600] }),
    challenge: ChallengeSchema,
    methods: Methods,
  },
  { $id: 'TwoFactorRequired' },
)

/** One of two, told apart by `status`, which generated clients switch on. */
export const LoginAnswerSchema = Type.Unsafe<LoginAnswer>({
  oneOf: [{ $ref: 'TwoFactorRequired#' }, { $ref: 'Authenticated#' }],
  discriminator: {
    propertyName: 'status',
    mapping: {
      '2fa_required': '#/components/schemas/TwoFactorRequired',
      authenticated: '#/components/schemas/Authenticated',
    },
  },
})

export const CodeBody = Type.Object(
  {
    code: Type.String({ maxLength: 64, description: 'The digits from the text; spaces and hyphens are dropped.' }),
    trust_device: Type.Optional(Type.Boolean({ description: 'Ask this device for no more texts, for 30 days.' })),
    device_name: Type.Optional(
      Type.String({ minLength: 1, maxLength: 64, description: 'How its owner will know it again.' }),
    ),
  },
  { additionalProperties: false, examples: [{ code: '123 456', trust_device: true, device_name: "Ada's phone" }] },
)

export const StepUpBody = Type.Object({}, { additionalProperties: false, examples: [{}] })

export const ResendBody = Type.Object(
  { channel: Type.Optional(Type.Literal('sms')) },
  { additionalProperties: false, examples: [{}] },
)

export type ChallengeAnswer = Type.Static<typeof ChallengeAnswerSchema>
export type TwoFactorRequired = Type.Static<typeof TwoFactorRequiredSchema>
export type LoginAnswer = TwoFactorRequired | Authenticated
