import jwt from '@fastify/jwt'
import type { FastifyRequest } from 'fastify'
import type { Config } from '../config.ts'
import type { App } from '../features/app-type.ts'
import type { KeyRing } from '../security/key-ring.ts'
import type { Secrets } from '../security/secrets.ts'
import { audienceOf, leewaySeconds, type Signers, type TokenKind, tokenKinds } from '../security/tokens.ts'

type TokenParts = { config: Config; secrets: Secrets; keyRing: KeyRing }
type Decoded = { header: { kid?: unknown } }

declare module 'fastify' {
  interface FastifyRequest {
    pendingJwtVerify(): Promise<Record<string, unknown>>
    accessJwtVerify(): Promise<Record<string, unknown>>
  }
}

/**
 * Registers @fastify/jwt once per kind of token, each with its own key, algorithm, `typ`, audience and required
 * claims, and returns what signs with them. Verifying is `request.pendingJwtVerify()` and `request.accessJwtVerify()`.
 */
export async function registerTokens(app: App, { config, secrets, keyRing }: TokenParts): Promise<Signers> {
  const sign = (kind: TokenKind, kid?: string) => ({
    algorithm: tokenKinds[kind].algorithm,
    typ: tokenKinds[kind].typ,
    ...(kid !== undefined && { kid }),
  })
  const verify = (kind: TokenKind) => ({
    algorithms: [tokenKinds[kind].algorithm],
    checkTyp: tokenKinds[kind].typ,
    allowedIss: config.issuer,
    allowedAud: audienceOf(kind, config),
    requiredClaims: [...tokenKinds[kind].required],
    clockTolerance: leewaySeconds * 1_000,
    cache: false,
  })

  // HMAC keys go in as text: @fastify/jwt keeps a verifier per key only for strings.
  const asText = (key: Buffer): string => key.toString('base64url')
  const pendingKey = secrets.current('pending-token')
  await app.register(jwt, {
    namespace: 'pending',
    decode: { complete: true },
    secret: {
      private: asText(pendingKey.key),
      public: async (_request: FastifyRequest, token: unknown) => {
        const key = secrets.find('pending-token', String((token as Decoded).header.kid))
        return key ? asText(key) : refuse()
      },
    },
    sign: sign('pending', pendingKey.id),
    verify: verify('pending'),
  })
  const first = keyRing.active()
  await app.register(jwt, {
    namespace: 'access',
    decode: { complete: true },
    secret: {
      private: first.privatePem,
      public: async (_request: FastifyRequest, token: unknown) =>
        keyRing.publicPem((token as Decoded).header.kid) ?? refuse(),
    },
    sign: sign('access', first.kid),
    verify: verify('access'),
  })

  const { pending, access } = app.jwt as unknown as Record<TokenKind, typeof app.jwt>
  return {
    pending: (claims) => pending.sign(claims),
    access: (claims) => {
      const { kid, privatePem } = keyRing.active()
      // The library parses a key that is named at the call each time, which takes ten times as long as the signature.
      return kid === first.kid ? access.sign(claims) : access.sign(claims, { key: privatePem, kid })
    },
    verifyAccess: (token) => {
      const { header } = access.decode<Decoded>(token, { complete: true }) ?? refuse()
      return access.verify(token, { key: keyRing.publicPem(header.kid) ?? refuse() })
    },
  }
}

function refuse(): never {
  throw new Error('unknown kid')
}
