import Type from 'typebox'

export const JwksSchema = Type.Object({
  keys: Type.Array(
    Type.Object({
      kty: Type.Literal('EC'),
      crv: Type.Literal('P-256'),
      x: Type.String({ examples: ['f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU'] }),
      y: Type.String({ examples: ['x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0'] }),
      kid: Type.String({
        description: 'RFC 7638 thumbprint.',
        examples: ['oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U'],
      }),
      alg: Type.Literal('ES256'),
      use: Type.Literal('sig'),
    }),
  ),
})

const url = (path: string) => Type.String({ format: 'uri', examples: [`https://login.example.com${path}`] })
const words = (...examples: string[]) => Type.Array(Type.String(), { examples: [examples] })

export const MetadataSchema = Type.Object({
  issuer: url(''),
  jwks_uri: url('/.well-known/jwks.json'),
  response_types_supported: words(),
  grant_types_supported: words(),
  acr_values_supported: words('aal1', 'aal2'),
  introspection_endpoint: Type.Optional(url('/token/introspect')),
  introspection_endpoint_auth_methods_supported: Type.Optional(words('client_secret_basic')),
  service_documentation: url('/docs'),
})

export type Metadata = Type.Static<typeof MetadataSchema>
