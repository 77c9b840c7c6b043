import type { Config } from '../config.ts'
import type { Clock, Random } from '../system.ts'

/** Seconds by which two honest clocks may differ. */
export const leewaySeconds = 30

/** Longer tokens are refused before anything is computed on them. */
export const maxTokenLength = 4_096

/**
 * The kinds of JWT. They differ in key, `typ` and `aud`, so that one is never accepted in another's place (RFC 8725
 * 3.11, 3.12); algorithm and required claims are fixed per kind (RFC 8725 3.1, RFC 9068 4).
 */
export const tokenKinds = {
  pending: {
    algorithm: 'HS256',
    typ: '2fa-pending+jwt',
    required: ['iss', 'aud', 'sub', 'cid', 'jti', 'iat', 'exp', 'amr'],
  },
  access: {
    algorithm: 'ES256',
    typ: 'at+jwt',
    required: [
      ...['iss', 'aud', 'sub', 'client_id', 'sid', 'jti', 'iat', 'exp'],
      ...['auth_time', 'amr', 'acr', 'scope'],
    ],
  },
} as const

export type TokenKind = keyof typeof tokenKinds

/** Who a token of this kind is for. */
export function audienceOf(kind: TokenKind, config: Pick<Config, 'issuer' | 'tokens'>): string {
  return kind === 'pending' ? `${config.issuer}/login/2fa` : config.tokens.audience
}

type CommonClaims = { iss: string; aud: string; sub: string; jti: string; iat: number; exp: number; amr: string[] }

/** `cid`: the challenge; `remember_me` and `return_to` wait here for the end of the login; `sid`: a session that steps up. */
export type PendingClaims = CommonClaims & { cid: string; remember_me?: true; return_to?: string; sid?: string }

/** RFC 9068 access token; `amr` as RFC 8176, `acr` is aal1 or aal2. */
export type AccessClaims = CommonClaims & {
  client_id: string
  sid: string
  auth_time: number
  acr: string
  scope: string
}

/** Signs claims with the key of their kind, and verifies them; http/tokens.ts binds it to @fastify/jwt. */
export type Signers = {
  pending(claims: PendingClaims): string
  access(claims: AccessClaims): string
  /** The claims that the signature, `typ`, issuer, audience and times vouch for; throws for any other token. */
  verifyAccess(token: string): unknown
}

type Claims = Record<string, unknown>

const isText = (value: unknown): boolean => typeof value === 'string'
const isUuid = (value: unknown): boolean =>
  typeof value === 'string' && /^[\da-f]{8}-(?:[\da-f]{4}-){3}[\da-f]{12}$/i.test(value)
const isOptional = (value: unknown, is: (value: unknown) => boolean): boolean => value === undefined || is(value)

/** Whether verified claims have what every kind of ours has, and are not from the future. */
function isOurs(claims: unknown, nowMs: number): claims is Claims {
  if (typeof claims !== 'object' || claims === null) return false
  const { sub, jti, iat, exp, amr } = claims as Claims
  return (
    isUuid(sub) &&
    isText(jti) &&
    Number.isInteger(iat) &&
    Number.isInteger(exp) &&
    Array.isArray(amr) &&
    amr.every(isText) &&
    Number(iat) <= nowMs / 1_000 + leewaySeconds
  )
}

/** Whether verified claims also have the form that we give them, and are not from the future. */
export function isPending(claims: unknown, nowMs: number): claims is PendingClaims {
  return (
    isOurs(claims, nowMs) &&
    isUuid(claims.cid) &&
    isOptional(claims.remember_me, (value) => value === true) &&
    isOptional(claims.return_to, isText) &&
    isOptional(claims.sid, isUuid)
  )
}

/** The same for an access token. */
export function isAccess(claims: unknown, nowMs: number): claims is AccessClaims {
  return (
    isOurs(claims, nowMs) &&
    isUuid(claims.sid) &&
    Number.isInteger(claims.auth_time) &&
    isText(claims.acr) &&
    isText(claims.scope)
  )
}

/** Who has proven the password, and what waits for the end of the login. */
type PendingLogin = {
  userId: string
  challengeId: string
  /** Seconds that the challenge has left. */
  expiresIn: number
  rememberMe: boolean
  returnTo: string | undefined
  sessionId?: string | undefined
}

/** `authenticatedAt` in whole seconds. */
type AuthenticatedSession = { id: string; userId: string; authenticatedAt: number; amr: string[]; acr: string }

type TokenParts = { config: Pick<Config, 'issuer' | 'tokens'>; clock: Clock; random: Random; sign: Signers }

export type Tokens = ReturnType<typeof createTokens>

/** Makes tokens. All times in whole seconds. */
export function createTokens(parts: TokenParts) {
  const { config, clock, sign } = parts
  const { accessTtl } = config.tokens

  return {
    /** Proof of the password, good for nothing but finishing this login. */
    pending: ({ userId, challengeId, expiresIn, rememberMe, returnTo, sessionId }: PendingLogin) => ({
      pending_token: sign.pending({
        ...commonClaims(parts, 'pending', { userId, ttl: expiresIn, amr: ['pwd'] }),
        cid: challengeId,
        ...(rememberMe && { remember_me: true as const }),
        ...(returnTo !== undefined && { return_to: returnTo }),
        ...(sessionId !== undefined && { sid: sessionId }),
      }),
      token_type: 'Bearer' as const,
      expires_in: expiresIn,
    }),

    /** What resource servers accept. Only ever called after the session is committed. */
    access: ({ id, userId, authenticatedAt, amr, acr }: AuthenticatedSession) => ({
      access_token: sign.access({
        ...commonClaims(parts, 'access', { userId, ttl: accessTtl, amr }),
        client_id: 'doorstep',
        sid: id,
        auth_time: authenticatedAt,
        acr,
        scope: 'account',
      }),
      token_type: 'Bearer' as const,
      expires_in: accessTtl,
    }),

    /** The claims of a valid access token; null for anything else. */
    readAccess: (token: string): AccessClaims | null => {
      if (token.length > maxTokenLength) return null
      try {
        const claims = sign.verifyAccess(token)
        return isAccess(claims, clock.nowMs()) ? claims : null
      } catch {
        return null
      }
    },
  }
}

/** What every token of ours says; it is good from now on for `ttl` seconds. */
function commonClaims(
  { config, clock, random }: TokenParts,
  kind: TokenKind,
  { userId, ttl, amr }: { userId: string; ttl: number; amr: string[] },
): CommonClaims {
  const iat = Math.floor(clock.nowMs() / 1_000)
  return {
    iss: config.issuer,
    aud: audienceOf(kind, config),
    sub: userId,
    jti: random.uuid(),
    iat,
    exp: iat + ttl,
    amr,
  }
}
