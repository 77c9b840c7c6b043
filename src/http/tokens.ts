import jwt, { type JWT } from '@fastify/jwt'
import Fastify, { type FastifyRequest } from 'fastify'
import type { Config } from '../config.ts'
import type { App } from '../features/app-type.ts'
import { leewaySeconds } from '../security/claims.ts'
import type { KeyRing } from '../security/key-ring.ts'
import type { Secrets } from '../security/secrets.ts'
import type { SigningKey } from '../security/signing-key.ts'
import { audienceOf, type Signers, type TokenKind, tokenKinds } from '../security/tokens.ts'

type TokenParts = { config: Config; secrets: Secrets; keyRing: KeyRing }
type Decoded = { header: { kid?: unknown } }

declare module '@fastify/jwt' {
  interface FastifyJWT {
    namespaces: TokenKind
  }
}

declare module 'fastify' {
  interface FastifyRequest {
    pendingJwtVerify(): Promise<Record<string, unknown>>
    accessJwtVerify(): Promise<Record<string, unknown>>
  }
}

/**
 * Registers @fastify/jwt once per kind of token, each with its own key, algorithm, `typ`, audience and required
 * claims, and returns what signs with them. Verifying is `request.pendingJwtVerify()` and `request.accessJwtVerify()`,
 * which keep a verifier for each key that the ring or the secrets have named.
 */
export async function registerTokens(app: App, { config, secrets, keyRing }: TokenParts): Promise<Signers> {
  // HMAC keys go in as text: @fastify/jwt keeps a verifier per key only for strings.
  const asText = (key: Buffer): string => key.toString('base64url')
  const pendingKey = secrets.current('pending-token')
  await app.register(jwt, {
    namespace: 'pending',
    secret: {
      private: asText(pendingKey.key),
      public: async (_request: FastifyRequest, token: unknown) => {
        const key = secrets.find('pending-token', String((token as Decoded).header.kid))
        return key ? asText(key) : refuse()
      },
    },
    sign: signAs('pending', pendingKey.id),
    ...verifyAs('pending', config),
  })
  await app.register(jwt, {
    namespace: 'access',
    secret: {
      public: async (_request: FastifyRequest, token: unknown) =>
        keyRing.find((token as Decoded).header.kid)?.publicPem ?? refuse(),
    },
    ...verifyAs('access', config),
  })

  const { pending, access } = app.jwt
  const jwtOf = createJwtPerKey(config)
  return {
    pending: (claims) => pending.sign(claims),
    access: (claims) => jwtOf(keyRing.active()).sign(claims),
    verifyAccess: (token) => {
      const { header } = access.decode<Decoded>(token) ?? refuse()
      return jwtOf(keyRing.find(header.kid) ?? refuse()).verify(token)
    },
  }
}

const signAs = (kind: TokenKind, kid: string) => ({
  algorithm: tokenKinds[kind].algorithm,
  typ: tokenKinds[kind].typ,
  kid,
})

const verifyAs = (kind: TokenKind, config: Config) => ({
  decode: { complete: true },
  verify: {
    // RFC 9110 11.4: one or more spaces after the scheme. The guard has seen to the form.
    extractToken: ({ headers }: FastifyRequest) => headers.authorization?.split(/ +/)[1],
    algorithms: [tokenKinds[kind].algorithm],
    checkTyp: tokenKinds[kind].typ,
    allowedIss: config.issuer,
    allowedAud: audienceOf(kind, config),
    requiredClaims: [...tokenKinds[kind].required],
    clockTolerance: leewaySeconds * 1_000,
    cache: false,
  },
})

/**
 * Gives each signing key a @fastify/jwt of its own, for as long as the key is in the ring. The plugin makes its signer
 * and its verifier once only for the keys that it is registered with; a key that is named at the call it parses at every
 * call, ten times the work of a signature. Keys come while the service runs, when its app takes no more plugins: so
 * each is registered on an instance that does nothing else.
 */
function createJwtPerKey(config: Config): (key: SigningKey) => JWT {
  const made = new WeakMap<SigningKey, JWT>()
  return (key) => {
    const known = made.get(key)
    if (known !== undefined) return known
    const instance = Fastify()
    const secret = { private: key.privatePem, public: key.publicPem }
    const options = { namespace: 'access', secret, sign: signAs('access', key.kid), ...verifyAs('access', config) }
    jwt(instance, options, (error) => {
      if (error) throw error
    })
    made.set(key, instance.jwt.access)
    return instance.jwt.access
  }
}

function refuse(): never {
  throw new Error('unknown kid')
}
