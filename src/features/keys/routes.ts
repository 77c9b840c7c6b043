import Type from 'typebox'
import { jwksMaxAge } from '../../security/key-ring.ts'
import type { Services } from '../../services.ts'
import type { App } from '../app-type.ts'

const JwksSchema = Type.Object({
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
const MetadataSchema = Type.Object({
  issuer: url(''),
  jwks_uri: url('/.well-known/jwks.json'),
  response_types_supported: words(),
  grant_types_supported: words(),
  acr_values_supported: words('aal1', 'aal2'),
  introspection_endpoint: Type.Optional(url('/token/introspect')),
  introspection_endpoint_auth_methods_supported: Type.Optional(words('client_secret_basic')),
  service_documentation: url('/docs'),
})

/** What backends need to verify access tokens (RFC 7517, RFC 8414). */
export function keyRoutes(app: App, { keyRing, config }: Pick<Services, 'keyRing' | 'config'>): void {
  app.get(
    '/.well-known/jwks.json',
    {
      config: { access: 'public', limits: ['default'], problems: [] },
      schema: {
        operationId: 'readJwks',
        tags: ['keys'],
        summary: 'Public keys of access tokens',
        description: 'Cache them for five minutes; fetch again when a token names a key that you do not have.',
        response: { 200: JwksSchema },
      },
    },
    async (_request, reply) => {
      reply.header('Cache-Control', `public, max-age=${jwksMaxAge}`)
      return keyRing.jwks()
    },
  )

  app.get(
    '/.well-known/oauth-authorization-server',
    {
      config: { access: 'public', limits: ['default'], problems: [] },
      schema: {
        operationId: 'readMetadata',
        tags: ['keys'],
        summary: 'What this issuer offers',
        description: 'RFC 8414, only what is true: there is no authorization endpoint, and no grant but our own login.',
        response: { 200: MetadataSchema },
      },
    },
    async () => ({
      issuer: config.issuer,
      jwks_uri: `${config.publicUrl}/.well-known/jwks.json`,
      response_types_supported: [],
      grant_types_supported: [],
      acr_values_supported: ['aal1', 'aal2'],
      ...(config.introspectionClients.length > 0 && {
        introspection_endpoint: `${config.publicUrl}/token/introspect`,
        introspection_endpoint_auth_methods_supported: ['client_secret_basic'],
      }),
      service_documentation: `${config.publicUrl}/docs`,
    }),
  )
}
