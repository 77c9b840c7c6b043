import Type from 'typebox'

const uuidExample = '6f1c1f5e-7a52-4d3a-9a39-0a1f2b3c4d5e'
const time = (description: string) =>
  Type.String({ format: 'date-time', description, examples: ['2026-11-24T08:00:00.000Z'] })

export const AuthenticatedSchema = Type.Object(
  {
    status: Type.Literal('authenticated'),
    access_token: Type.String({ description: 'A JWT (RFC 9068); verify it with the JWKS.', examples: ['eyJhbGciOi…'] }),
    token_type: Type.Literal('Bearer'),
    expires_in: Type.Integer({ description: 'Seconds.', examples: [600] }),
    refresh_token: Type.String({ description: 'Opaque; each use gives the next one.', examples: ['dsr_k1.…'] }),
    refresh_expires_in: Type.Integer({ description: 'Seconds.', examples: [43_200] }),
    return_to: Type.Optional(Type.String({ examples: ['/orders/7'] })),
    device_token: Type.Optional(
      Type.String({
        description: 'Proves that this client has signed in before: keep it, and send it with the next logins.',
        examples: ['dsd_…'],
      }),
    ),
    device_expires_in: Type.Optional(Type.Integer({ description: 'Seconds.', examples: [7_776_000] })),
    trusted_until: Type.Optional(
      Type.String({
        format: 'date-time',
        description: 'Until then this device is asked for no second factor.',
        examples: ['2026-12-24T08:00:00.000Z'],
      }),
    ),
    recovery_codes: Type.Optional(
      Type.Array(Type.String(), {
        description: 'Ten, shown once: they came with the first second factor.',
        examples: [['7K3M9P-Q2R4ST-V6W8XY-Z01234']],
      }),
    ),
    recovery_codes_remaining: Type.Optional(
      Type.Integer({ description: 'After one was used: how many are left.', examples: [9] }),
    ),
  },
  { $id: 'Authenticated' },
)

export const RefreshBody = Type.Object(
  { refresh_token: Type.String({ minLength: 1, maxLength: 256 }) },
  { additionalProperties: false, examples: [{ refresh_token: 'dsr_k1.…' }] },
)

export const LogoutBody = Type.Object(
  {
    scope: Type.Optional(
      Type.Enum(['local', 'others', 'all'], { description: 'This session (default), the others, or all.' }),
    ),
  },
  { additionalProperties: false, examples: [{ scope: 'local' }] },
)

export const SessionListSchema = Type.Object({
  sessions: Type.Array(
    Type.Object({
      id: Type.String({ format: 'uuid', examples: [uuidExample] }),
      device_id: Type.Union([Type.String({ format: 'uuid' }), Type.Null()], {
        description: 'The device that it belongs to, see `GET /devices`.',
        examples: ['0d9a7a70-3c1f-4f1e-8a55-6c5e0d2b7f10'],
      }),
      created_at: time('When it began.'),
      last_used_at: time('When its tokens were last made.'),
      user_agent: Type.Union([Type.String(), Type.Null()], { examples: ['Mozilla/5.0'] }),
      address: Type.Union([Type.String(), Type.Null()], { examples: ['192.0.2.7'] }),
      current: Type.Boolean({ description: 'The one that asks.' }),
    }),
  ),
})

export const SessionParams = Type.Object({
  id: Type.String({ format: 'uuid', maxLength: 36, description: 'Of `GET /sessions`.', examples: [uuidExample] }),
})

export const IntrospectBody = Type.Object(
  {
    // As long as the form may be: whatever is no token is not active (RFC 7662 2.2).
    token: Type.String({ minLength: 1, maxLength: 8_192 }),
    token_type_hint: Type.Optional(Type.String({ maxLength: 64 })),
  },
  { examples: [{ token: 'eyJhbGciOi…' }] },
)

export const IntrospectionSchema = Type.Object({
  active: Type.Boolean({ description: 'Where it is false nothing else is told.' }),
  token_type: Type.Optional(Type.Literal('Bearer')),
  iss: Type.Optional(Type.String({ examples: ['https://login.example.com'] })),
  aud: Type.Optional(Type.String({ examples: ['https://api.example.com'] })),
  sub: Type.Optional(Type.String({ examples: [uuidExample] })),
  client_id: Type.Optional(Type.String({ examples: ['doorstep'] })),
  sid: Type.Optional(Type.String({ examples: ['0d9a7a70-3c1f-4f1e-8a55-6c5e0d2b7f10'] })),
  jti: Type.Optional(Type.String({ examples: ['5b1d1c1e-3f6c-4a57-9d5e-0c7a4f1f2a3b'] })),
  iat: Type.Optional(Type.Integer({ examples: [1_893_553_445] })),
  exp: Type.Optional(Type.Integer({ examples: [1_893_554_045] })),
  auth_time: Type.Optional(Type.Integer({ examples: [1_893_553_445] })),
  amr: Type.Optional(Type.Array(Type.String(), { examples: [['pwd', 'sms', 'mfa']] })),
  acr: Type.Optional(Type.String({ examples: ['aal2'] })),
  scope: Type.Optional(Type.String({ examples: ['account'] })),
})

export type Authenticated = Type.Static<typeof AuthenticatedSchema>
export type SessionList = Type.Static<typeof SessionListSchema>
export type Introspection = Type.Static<typeof IntrospectionSchema>

/** The answer by its name in the OpenAPI document; the schema itself is added to the app once. */
export const AuthenticatedRef = Type.Unsafe<Authenticated>({ $ref: 'Authenticated#' })
