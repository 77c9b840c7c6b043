import type { Purpose } from '../store/challenges.ts'

/** Seconds by which two honest clocks may differ. */
export const leewaySeconds = 30

/** Longer tokens are refused before anything is computed on them. */
export const maxTokenLength = 4_096

/** What every token of ours says. */
export type CommonClaims = { iss: string; aud: string; jti: string; iat: number; exp: number; amr: string[] }

/** What waits in a pending token for the end of the login. */
export type Waiting = { remember_me?: true; return_to?: string }

/** The same in our own words. */
export type Carried = { rememberMe: boolean; returnTo: string | undefined }

/** Of somebody who has proven something. `cid`: the challenge; `pur`: what it is for; `sid`: a session that it raises. */
export type ChallengeClaims = CommonClaims & Waiting & { sub: string; cid: string; pur: Purpose; sid?: string }

/**
 * A sign-in that begins with a passkey, by somebody not known yet; its `jti` is the WebAuthn challenge, `device` the hash of
 * the device token that it came with.
 */
export type PasskeyStartClaims = CommonClaims & Waiting & { pur: 'passkey'; device?: string }

export type PendingClaims = ChallengeClaims | PasskeyStartClaims

/** RFC 9068 access token; `amr` as RFC 8176, `acr` is aal1 or aal2. */
export type AccessClaims = CommonClaims & {
  sub: string
  client_id: string
  sid: string
  auth_time: number
  acr: string
  scope: string
}

type Claims = Record<string, unknown>

const isText = (value: unknown): boolean => typeof value === 'string'
const isUuid = (value: unknown): boolean =>
  typeof value === 'string' && /^[\da-f]{8}-(?:[\da-f]{4}-){3}[\da-f]{12}$/i.test(value)
const isOptional = (value: unknown, is: (value: unknown) => boolean): boolean => value === undefined || is(value)

/** Whether verified claims have what every kind of ours has, and are not from the future. */
function isOurs(claims: unknown, nowMs: number): claims is Claims {
  if (typeof claims !== 'object' || claims === null) return false
  const { jti, iat, exp, amr } = claims as Claims
  return (
    isText(jti) &&
    Number.isInteger(iat) &&
    Number.isInteger(exp) &&
    Array.isArray(amr) &&
    amr.every(isText) &&
    Number(iat) <= nowMs / 1_000 + leewaySeconds
  )
}

const challengePurposes: readonly unknown[] = ['login', 'step_up', 'must_enrol', 'enrol'] satisfies Purpose[]

/** Whether verified claims also have the form that we give them, and are not from the future. */
export function isPending(claims: unknown, nowMs: number): claims is PendingClaims {
  return (
    isOurs(claims, nowMs) &&
    isOptional(claims.remember_me, (value) => value === true) &&
    isOptional(claims.return_to, isText) &&
    (claims.pur === 'passkey' ? isPasskeyStart(claims) : isOfChallenge(claims))
  )
}

const is32Bytes = (value: unknown): boolean => typeof value === 'string' && /^[\w-]{43}$/.test(value)

const isPasskeyStart = ({ jti, device }: Claims): boolean => is32Bytes(jti) && isOptional(device, is32Bytes)

/** A step-up raises a session, a login starts one. */
const isOfChallenge = ({ pur, sub, cid, sid }: Claims): boolean =>
  challengePurposes.includes(pur) &&
  isUuid(sub) &&
  isUuid(cid) &&
  (pur === 'login' ? sid === undefined : pur === 'step_up' ? isUuid(sid) : isOptional(sid, isUuid))

/** The same for an access token. */
export function isAccess(claims: unknown, nowMs: number): claims is AccessClaims {
  return (
    isOurs(claims, nowMs) &&
    isUuid(claims.sub) &&
    isUuid(claims.sid) &&
    Number.isInteger(claims.auth_time) &&
    isText(claims.acr) &&
    isText(claims.scope)
  )
}
