import Type from 'typebox'
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

/** The keys that verify access tokens (RFC 7517). */
export function keyRoutes(app: App, { keyRing }: Pick<Services, 'keyRing'>): void {
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
      reply.header('Cache-Control', 'public, max-age=300')
      return keyRing.jwks()
    },
  )
}
