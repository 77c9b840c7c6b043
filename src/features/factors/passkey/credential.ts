import Type from 'typebox'
import { passkeyLimits } from '../../../security/passkey-response.ts'

const idLength = Math.ceil((passkeyLimits.idBytes * 4) / 3)
const base64Url = (maxLength: number, description?: string) =>
  Type.String({ minLength: 1, maxLength, pattern: '^[A-Za-z0-9_-]+$', ...(description && { description }) })
const anySize = base64Url(passkeyLimits.credentialBytes)

/** What both kinds have. Browsers add members of their own, which nobody reads. */
const frame = {
  id: base64Url(idLength, 'The credential id, in base64url.'),
  rawId: base64Url(idLength, 'The same once more.'),
  type: Type.Literal('public-key'),
  authenticatorAttachment: Type.Optional(Type.Union([Type.String({ maxLength: 32 }), Type.Null()])),
  clientExtensionResults: Type.Optional(Type.Object({}, { additionalProperties: true })),
}

const AuthenticationResponseSchema = Type.Object(
  {
    ...frame,
    response: Type.Object({
      clientDataJSON: anySize,
      authenticatorData: anySize,
      signature: anySize,
      userHandle: Type.Optional(Type.Union([base64Url(86), Type.Null()])),
    }),
  },
  { description: 'What `toJSON()` gives of the result of `navigator.credentials.get()`.' },
)

const RegistrationResponseSchema = Type.Object(
  {
    ...frame,
    response: Type.Object({
      clientDataJSON: anySize,
      attestationObject: anySize,
      transports: Type.Optional(Type.Array(Type.String({ maxLength: 32 }), { maxItems: passkeyLimits.transports })),
    }),
  },
  { description: 'What `toJSON()` gives of the result of `navigator.credentials.create()`.' },
)

/** `credential` in a body. */
export const CredentialSchema = Type.Union([AuthenticationResponseSchema, RegistrationResponseSchema])

const PublicKey = Type.Literal('public-key')
const challenge = Type.String({ description: '32 bytes in base64url.' })
const timeout = Type.Integer({ description: 'Milliseconds.', examples: [300_000] })
const Descriptors = Type.Array(
  Type.Object({ type: PublicKey, id: Type.String(), transports: Type.Optional(Type.Array(Type.String())) }),
)
const UserVerification = Type.Enum(['required', 'preferred'])

export const RequestOptionsSchema = Type.Object(
  {
    rpId: Type.String({ examples: ['example.com'] }),
    challenge,
    timeout,
    allowCredentials: Descriptors,
    userVerification: UserVerification,
  },
  { description: 'For `PublicKeyCredential.parseRequestOptionsFromJSON()`.' },
)

export const CreationOptionsSchema = Type.Object(
  {
    rp: Type.Object({ id: Type.String({ examples: ['example.com'] }), name: Type.String() }),
    user: Type.Object({ id: Type.String(), name: Type.String(), displayName: Type.String() }),
    challenge,
    pubKeyCredParams: Type.Array(Type.Object({ type: PublicKey, alg: Type.Integer({ examples: [-7] }) })),
    timeout,
    excludeCredentials: Descriptors,
    authenticatorSelection: Type.Object({
      residentKey: Type.Literal('preferred'),
      requireResidentKey: Type.Boolean(),
      userVerification: UserVerification,
    }),
    attestation: Type.Literal('none'),
    extensions: Type.Object({ credProps: Type.Boolean() }),
  },
  { description: 'For `PublicKeyCredential.parseCreationOptionsFromJSON()`.' },
)
