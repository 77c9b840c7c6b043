import Type from 'typebox'
import { methodNames } from '../../methods.ts'
import { CreationOptionsSchema, RequestOptionsSchema } from './passkey/credential.ts'

const attempts_remaining = Type.Integer({ description: 'Answers that are left to this login.', examples: [5] })

/** A code that was sent. */
const sentCode = {
  code_length: Type.Integer({ examples: [6] }),
  code_expires_in: Type.Integer({ description: 'Seconds.', examples: [300] }),
  resend_after: Type.Union([Type.Integer(), Type.Null()], {
    description: 'Seconds until it can be asked for again; null when this login gets no further one.',
    examples: [60],
  }),
  attempts_remaining,
  delivery: Type.Enum(['queued', 'sent', 'delivered', 'failed'], {
    description: 'What the provider has said about the newest one.',
    examples: ['sent'],
  }),
}

const shownChallenge = 'q5Pu0wN2Vn8x1tJr7ZsYb3KdLmGh6cAeXoWf9iUkT4E'
const requestExample = {
  ...{ rpId: 'example.com', challenge: shownChallenge, timeout: 300_000 },
  ...{
    allowCredentials: [{ type: 'public-key', id: 'AdKXJEch1aV5Wo7bj7qLHskVY4OoNaj9' }],
    userVerification: 'preferred',
  },
}
const creationExample = {
  rp: { id: 'example.com', name: 'Doorstep' },
  user: {
    ...{ id: '7ZsYb3KdLmGh6cAeXoWf9iUkT4Eq5Pu0wN2Vn8x1tJr', name: 'ada@example.com', displayName: 'ada@example.com' },
  },
  ...{ challenge: shownChallenge, pubKeyCredParams: [{ type: 'public-key', alg: -7 }], timeout: 300_000 },
  excludeCredentials: [],
  authenticatorSelection: { residentKey: 'preferred', requireResidentKey: false, userVerification: 'preferred' },
  ...{ attestation: 'none', extensions: { credProps: true } },
}
const totpSetUpExample = {
  secret: 'JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP',
  uri: 'otpauth://totp/Doorstep:ada%40example.com?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP',
  qr: 'data:image/svg+xml;base64,PHN2Zy…',
}

const PasskeyChallengeSchema = Type.Object(
  {
    method: Type.Literal('passkey'),
    public_key: Type.Optional(RequestOptionsSchema),
    setup: Type.Optional(
      Type.Object({ public_key: CreationOptionsSchema }, { description: 'In an enrolment, in place of `public_key`.' }),
    ),
    attempts_remaining,
  },
  {
    $id: 'PasskeyChallenge',
    examples: [
      { method: 'passkey', public_key: requestExample, attempts_remaining: 5 },
      { method: 'passkey', setup: { public_key: creationExample }, attempts_remaining: 5 },
    ],
  },
)

const TotpChallengeSchema = Type.Object(
  {
    method: Type.Literal('totp'),
    code_length: Type.Integer({ examples: [6] }),
    attempts_remaining,
    setup: Type.Optional(
      Type.Object(
        {
          secret: Type.String({ description: 'Base 32.' }),
          uri: Type.String(),
          qr: Type.String({ description: 'The same as an image.' }),
        },
        { description: 'In an enrolment, until it ends.' },
      ),
    ),
  },
  {
    $id: 'TotpChallenge',
    examples: [
      { method: 'totp', code_length: 6, attempts_remaining: 5 },
      { method: 'totp', code_length: 6, attempts_remaining: 5, setup: totpSetUpExample },
    ],
  },
)

const SmsChallengeSchema = Type.Object(
  {
    method: Type.Literal('sms'),
    channel: Type.Literal('sms'),
    destination: Type.String({ description: 'The phone number, masked.', examples: ['+44 •••••••• 23'] }),
    ...sentCode,
  },
  { $id: 'SmsChallenge' },
)

const EmailChallengeSchema = Type.Object(
  {
    method: Type.Literal('email'),
    channel: Type.Literal('email'),
    destination: Type.String({ description: 'The address, masked.', examples: ['a••@e••••••.com'] }),
    ...sentCode,
  },
  { $id: 'EmailChallenge' },
)

const RecoveryCodeChallengeSchema = Type.Object(
  { method: Type.Literal('recovery_code'), attempts_remaining },
  { $id: 'RecoveryCodeChallenge' },
)

export type Challenge =
  | Type.Static<typeof PasskeyChallengeSchema>
  | Type.Static<typeof TotpChallengeSchema>
  | Type.Static<typeof SmsChallengeSchema>
  | Type.Static<typeof EmailChallengeSchema>
  | Type.Static<typeof RecoveryCodeChallengeSchema>

const challengeRefs = {
  passkey: 'PasskeyChallenge',
  totp: 'TotpChallenge',
  sms: 'SmsChallenge',
  email: 'EmailChallenge',
  recovery_code: 'RecoveryCodeChallenge',
}

/** One for each method, told apart by `method`, which generated clients switch on. */
const oneChallenge = {
  oneOf: Object.values(challengeRefs).map((name) => ({ $ref: `${name}#` })),
  discriminator: {
    propertyName: 'method',
    mapping: Object.fromEntries(
      Object.entries(challengeRefs).map(([method, name]) => [method, `#/components/schemas/${name}`]),
    ),
  },
}

const ChallengeSchema = Type.Unsafe<Challenge>(oneChallenge)

export const MethodSchema = Type.Enum([...methodNames])

const Methods = Type.Array(MethodSchema, {
  description: 'All that can finish it, best first.',
  examples: [['totp', 'sms', 'recovery_code']],
})

export const ChallengeAnswerSchema = Type.Object({
  challenge: Type.Unsafe<Challenge | null>({
    oneOf: [...oneChallenge.oneOf, { type: 'null' }],
    description: 'What it goes on with; null while it waits for the first second factor to be set up.',
  }),
  methods: Methods,
})

const pendingToken = (description: string) => ({
  pending_token: Type.String({ description, examples: ['eyJhbGciOi…'] }),
  token_type: Type.Literal('Bearer'),
  expires_in: Type.Integer({ description: 'Seconds.', examples: [600] }),
})

const TwoFactorRequiredSchema = Type.Object(
  {
    status: Type.Literal('2fa_required'),
    ...pendingToken('Proof of what came before; good for going on with this challenge only.'),
    challenge: ChallengeSchema,
    methods: Methods,
  },
  { $id: 'TwoFactorRequired' },
)

const EnrolmentRequiredSchema = Type.Object(
  {
    status: Type.Literal('2fa_enrolment_required'),
    ...pendingToken('Opens `POST /factors` and `GET /login/2fa`, and nothing else.'),
    methods: Type.Array(MethodSchema, {
      description: 'All that can be set up, best first.',
      examples: [['passkey', 'totp', 'sms']],
    }),
  },
  { $id: 'EnrolmentRequired' },
)

const RecoveryCodesIssuedSchema = Type.Object(
  {
    status: Type.Literal('recovery_codes'),
    recovery_codes: Type.Array(Type.String(), {
      description: 'Ten, shown once.',
      examples: [['7K3M9P-Q2R4ST-V6W8XY-Z01234']],
    }),
  },
  { $id: 'RecoveryCodesIssued' },
)

/** What other schemas name, added to the app once. */
export const namedSchemas = [
  ...[PasskeyChallengeSchema, TotpChallengeSchema, SmsChallengeSchema, EmailChallengeSchema],
  ...[RecoveryCodeChallengeSchema, TwoFactorRequiredSchema, EnrolmentRequiredSchema, RecoveryCodesIssuedSchema],
]

export type ChallengeAnswer = Type.Static<typeof ChallengeAnswerSchema>
export type TwoFactorRequired = Type.Static<typeof TwoFactorRequiredSchema>
export type EnrolmentRequired = Type.Static<typeof EnrolmentRequiredSchema>
export type RecoveryCodesIssued = Type.Static<typeof RecoveryCodesIssuedSchema>
