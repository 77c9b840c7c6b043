import Type from 'typebox'
import { MethodSchema, type RecoveryCodesIssued, type TwoFactorRequired } from './challenge-schemas.ts'

const uuidExample = '0d9a7a70-3c1f-4f1e-8a55-6c5e0d2b7f10'
const time = (description: string) =>
  Type.String({ format: 'date-time', description, examples: ['2026-11-24T08:00:00.000Z'] })

export const FactorSchema = Type.Object({
  id: Type.String({ description: 'A UUID; `recovery_code` for these.', examples: [uuidExample] }),
  method: MethodSchema,
  name: Type.Union([Type.String(), Type.Null()], { examples: ["Ada's laptop"] }),
  destination: Type.Optional(
    Type.String({ description: 'Of sms: the number, masked.', examples: ['+44 •••••••• 23'] }),
  ),
  credential_id: Type.Optional(
    Type.String({ description: 'Of a passkey.', examples: ['AdKXJEch1aV5Wo7bj7qLHskVY4OoNaj9'] }),
  ),
  backed_up: Type.Optional(Type.Boolean({ description: 'Of a passkey: it is in more than one place.' })),
  remaining: Type.Optional(Type.Integer({ description: 'Of recovery codes: how many are left.', examples: [10] })),
  created_at: time('When it was proven.'),
  last_used_at: Type.Union([Type.String({ format: 'date-time' }), Type.Null()], {
    examples: ['2026-11-24T08:00:00.000Z'],
  }),
})

export const FactorListSchema = Type.Object({
  factors: Type.Array(FactorSchema),
  available: Type.Array(MethodSchema, {
    description: 'What can be set up or, where it is there, replaced.',
    examples: [['passkey', 'totp', 'sms', 'recovery_code']],
  }),
  passkey: Type.Object(
    {
      rp_id: Type.String({ examples: ['example.com'] }),
      user_handle: Type.String({ examples: ['q5Pu0wN2Vn8x1tJr7ZsYb3KdLmGh6cAeXoWf9iUkT4E'] }),
    },
    { description: 'For `PublicKeyCredential.signalAllAcceptedCredentials()`.' },
  ),
})

export const EnrolBody = Type.Object(
  {
    method: MethodSchema,
    name: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 64,
        description: 'Of totp and passkey: how its owner will know it again.',
      }),
    ),
    phone: Type.Optional(Type.String({ maxLength: 40, description: 'Of sms: with + and country code.' })),
  },
  {
    additionalProperties: false,
    examples: [
      { method: 'passkey', name: "Ada's laptop" },
      { method: 'totp' },
      { method: 'sms', phone: '+44 7400 123456' },
      { method: 'recovery_code' },
    ],
  },
)

export const EnrolAnswerSchema = Type.Unsafe<EnrolAnswer>({
  oneOf: [{ $ref: 'TwoFactorRequired#' }, { $ref: 'RecoveryCodesIssued#' }],
  discriminator: {
    propertyName: 'status',
    mapping: {
      '2fa_required': '#/components/schemas/TwoFactorRequired',
      recovery_codes: '#/components/schemas/RecoveryCodesIssued',
    },
  },
})

export const FactorParams = Type.Object({
  id: Type.String({ format: 'uuid', maxLength: 36, description: 'Of `GET /factors`.', examples: [uuidExample] }),
})

export const RenameBody = Type.Object(
  { name: Type.String({ minLength: 1, maxLength: 64 }) },
  { additionalProperties: false, examples: [{ name: "Ada's phone" }] },
)

export type EnrolAnswer = TwoFactorRequired | RecoveryCodesIssued
export type FactorView = Type.Static<typeof FactorSchema>
export type FactorList = Type.Static<typeof FactorListSchema>
