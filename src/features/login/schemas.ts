import Type from 'typebox'
import { methodNames } from '../../methods.ts'
import { type EnrolmentRequired, MethodSchema, type TwoFactorRequired } from '../factors/challenge-schemas.ts'
import { CredentialSchema } from '../factors/passkey/credential.ts'
import type { Authenticated } from '../sessions/schemas.ts'
import { byStatus, device_token, email, password, remember_me, return_to } from './fields.ts'

export const LoginBody = Type.Object(
  {
    email,
    password,
    remember_me,
    device_token,
    return_to,
  },
  {
    additionalProperties: false,
    examples: [{ email: 'ada@example.com', password: 'correct horse battery staple', return_to: '/orders/7' }],
  },
)

export const PasskeyStartBody = Type.Object(
  { remember_me, device_token, return_to },
  { additionalProperties: false, examples: [{ return_to: '/orders/7' }] },
)

/** How a login may go on, by `status`. */
export const loginAnswers = {
  '2fa_required': 'TwoFactorRequired',
  authenticated: 'Authenticated',
  '2fa_enrolment_required': 'EnrolmentRequired',
}
const twoFactor = { '2fa_required': 'TwoFactorRequired' }
const authenticated = { authenticated: 'Authenticated' }
const enrolment = { '2fa_enrolment_required': 'EnrolmentRequired' }

export const LoginAnswerSchema = byStatus<LoginAnswer>(loginAnswers)

export const FinishAnswerSchema = byStatus<Authenticated | EnrolmentRequired>({ ...authenticated, ...enrolment })

export const StepUpAnswerSchema = byStatus<TwoFactorRequired | Authenticated>({ ...twoFactor, ...authenticated })

export const TwoFactorRequiredRef = Type.Unsafe<TwoFactorRequired>({ $ref: 'TwoFactorRequired#' })

export const ProofBody = Type.Object(
  {
    code: Type.Optional(
      Type.String({
        maxLength: 64,
        description: 'As it was sent, shown or written down; spaces and hyphens are dropped.',
      }),
    ),
    credential: Type.Optional(CredentialSchema),
    method: Type.Optional(
      Type.Enum([...methodNames], {
        description: 'What this is an answer to; by default what the login goes on with.',
      }),
    ),
    trust_device: Type.Optional(
      Type.Boolean({
        description: 'Ask this device for no second factor, for 30 days. Not heard after email and recovery_code.',
      }),
    ),
    device_name: Type.Optional(
      Type.String({ minLength: 1, maxLength: 64, description: 'How its owner will know it again.' }),
    ),
  },
  {
    additionalProperties: false,
    description: '`code` or `credential`.',
    examples: [
      { code: '123 456', trust_device: true, device_name: "Ada's phone" },
      { method: 'recovery_code', code: '7K3M9P-Q2R4ST-V6W8XY-Z01234' },
    ],
  },
)

export const StepUpBody = Type.Object(
  {
    method: Type.Optional(MethodSchema),
    password: Type.Optional(
      Type.String({ minLength: 1, maxLength: 256, description: 'Of an account without a second factor.' }),
    ),
  },
  { additionalProperties: false, examples: [{}, { method: 'totp' }, { password: 'correct horse battery staple' }] },
)

export const ResendBody = Type.Object(
  { channel: Type.Optional(Type.Enum(['sms', 'email'])) },
  { additionalProperties: false, examples: [{}] },
)

export const SwitchBody = Type.Object(
  { method: MethodSchema },
  { additionalProperties: false, examples: [{ method: 'sms' }] },
)

export type LoginAnswer = TwoFactorRequired | EnrolmentRequired | Authenticated
