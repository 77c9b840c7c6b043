import { jwksMaxAge } from '../../security/key-ring.ts'
import type { Services } from '../../services.ts'
import type { App } from '../app-type.ts'
import { describeIssuer } from './describe-issuer.ts'
import { JwksSchema, MetadataSchema } from './schemas.ts'

const mayBeCached = `public, max-age=${jwksMaxAge}`

/** What backends need to verify access tokens (RFC 7517, RFC 8414). */
export function keyRoutes(app: App, services: Services): void {
  readJwksRoute(app, services)
  readMetadataRoute(app, services)
}

function readJwksRoute(app: App, { keyRing }: Services): void {
  const schema = {
    operationId: 'readJwks',
    tags: ['keys'],
    summary: 'Public keys of access tokens',
    description: 'Cache them for five minutes; fetch again when a token names a key that you do not have.',
    response: { 200: JwksSchema },
  }
  app.get(
    '/.well-known/jwks.json',
    { config: { access: 'public', limits: ['default'], problems: [] }, schema },
    async (_request, reply) => {
      reply.header('Cache-Control', mayBeCached)
      return keyRing.jwks()
    },
  )
}

function readMetadataRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'readMetadata',
    tags: ['keys'],
    summary: 'What this issuer offers',
    description: 'RFC 8414, only what is true: there is no authorization endpoint, and no grant but our own login.',
    response: { 200: MetadataSchema },
  }
  app.get(
    '/.well-known/oauth-authorization-server',
    { config: { access: 'public', limits: ['default'], problems: [] }, schema },
    async (_request, reply) => {
      reply.header('Cache-Control', mayBeCached)
      return describeIssuer(services)
    },
  )
}
