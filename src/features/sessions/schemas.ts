import Type from 'typebox'

export const AuthenticatedSchema = Type.Object(
  {
    status: Type.Literal('authenticated'),
    access_token: Type.String({ description: 'A JWT (RFC 9068); verify it with the JWKS.', examples: ['eyJhbGciOi…'] }),
    token_type: Type.Literal('Bearer'),
    expires_in: Type.Integer({ description: 'Seconds.', examples: [600] }),
    return_to: Type.Optional(Type.String({ examples: ['/orders/7'] })),
  },
  { $id: 'Authenticated' },
)

export type Authenticated = Type.Static<typeof AuthenticatedSchema>

/** The answer by its name in the OpenAPI document; the schema itself is added to the app once. */
export const AuthenticatedRef = Type.Unsafe<Authenticated>({ $ref: 'Authenticated#' })
