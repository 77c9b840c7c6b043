import type { Config } from '../config.ts'
import type { Purpose } from '../store/challenges.ts'
import type { Clock, Random } from '../system.ts'
import {
  type AccessClaims,
  type Carried,
  type CommonClaims,
  isAccess,
  maxTokenLength,
  type PasskeyStartClaims,
  type PendingClaims,
  type Waiting,
} from './claims.ts'

/** How long a sign-in with a passkey may take, in seconds. */
const passkeyStartTtl = 300

/**
 * The kinds of JWT. They differ in key, `typ` and `aud`, so that one is never accepted in another's place (RFC 8725
 * 3.11, 3.12); algorithm and required claims are fixed per kind (RFC 8725 3.1, RFC 9068 4).
 */
export const tokenKinds = {
  pending: {
    algorithm: 'HS256',
    typ: '2fa-pending+jwt',
    required: ['iss', 'aud', 'pur', 'jti', 'iat', 'exp', 'amr'],
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

/** Signs claims with the key of their kind, and verifies them; http/tokens.ts binds it to @fastify/jwt. */
export type Signers = {
  pending(claims: PendingClaims): string
  access(claims: AccessClaims): string
  /** The claims that the signature, `typ`, issuer, audience and times vouch for; throws for any other token. */
  verifyAccess(token: string): unknown
}

/** Who has proven something, for what, and what waits for the end of it. `expiresIn`: seconds that the challenge has left. */
type PendingProof = Carried & {
  userId: string
  challengeId: string
  purpose: Purpose
  expiresIn: number
  sessionId: string | undefined
}

/** `authenticatedAt` in whole seconds. */
type AuthenticatedSession = { id: string; userId: string; authenticatedAt: number; amr: string[]; acr: string }

type TokenParts = { config: Pick<Config, 'issuer' | 'tokens'>; clock: Clock; random: Random; sign: Signers }

export type Tokens = ReturnType<typeof createTokens>

/** Makes tokens. All times in whole seconds. */
export function createTokens(parts: TokenParts) {
  const { config, clock, random, sign } = parts
  const { accessTtl } = config.tokens
  const bearer = (expiresIn: number, claims: PendingClaims) => ({
    pending_token: sign.pending(claims),
    token_type: 'Bearer' as const,
    expires_in: expiresIn,
  })

  return {
    /** Proof of what came before, good for nothing but going on with this challenge. */
    pending: ({ userId, challengeId, purpose, expiresIn, sessionId, ...carried }: PendingProof) =>
      bearer(expiresIn, {
        ...commonClaims(parts, 'pending', { ttl: expiresIn, amr: ['pwd'] }),
        sub: userId,
        cid: challengeId,
        pur: purpose,
        ...waiting(carried),
        ...(sessionId !== undefined && { sid: sessionId }),
      }),

    /**
     * The beginning of a sign-in with a passkey, which proves nothing yet; and its challenge, 32 random bytes. `device`: the
     * hash of a device token.
     */
    passkeyStart: (start: Carried & { device: Buffer | null }) => {
      const challenge = random.bytes(32)
      return { challenge, token: bearer(passkeyStartTtl, passkeyClaims(parts, challenge, start)) }
    },

    /** What resource servers accept. Only ever called after the session is committed. */
    access: ({ id, userId, authenticatedAt, amr, acr }: AuthenticatedSession) => ({
      access_token: sign.access({
        ...commonClaims(parts, 'access', { ttl: accessTtl, amr }),
        sub: userId,
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

const passkeyClaims = (
  parts: TokenParts,
  challenge: Buffer,
  { device, ...carried }: Carried & { device: Buffer | null },
): PasskeyStartClaims => ({
  ...commonClaims(parts, 'pending', { ttl: passkeyStartTtl, amr: [] }),
  jti: challenge.toString('base64url'),
  pur: 'passkey',
  ...waiting(carried),
  ...(device !== null && { device: device.toString('base64url') }),
})

const waiting = ({ rememberMe, returnTo }: Carried): Waiting => ({
  ...(rememberMe && { remember_me: true }),
  ...(returnTo !== undefined && { return_to: returnTo }),
})

/** What every token of ours says; it is good from now on for `ttl` seconds. */
function commonClaims(
  { config, clock, random }: TokenParts,
  kind: TokenKind,
  { ttl, amr }: { ttl: number; amr: string[] },
): CommonClaims {
  const iat = Math.floor(clock.nowMs() / 1_000)
  return {
    iss: config.issuer,
    aud: audienceOf(kind, config),
    jti: random.uuid(),
    iat,
    exp: iat + ttl,
    amr,
  }
}
