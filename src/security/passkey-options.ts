import type {
  PublicKeyCredentialCreationOptionsJSON,
  PublicKeyCredentialRequestOptionsJSON,
} from '@simplewebauthn/server'
import type { StoredPasskey } from './passkey-proof.ts'

/** COSE algorithms in order of preference: EdDSA, ES256, RS256. */
export const passkeyAlgorithms: readonly number[] = [-8, -7, -257]

const timeoutMs = 300_000

/** Whom a new passkey is for; `handle` is the base64url of 32 random bytes, `name` the e-mail address. */
export type PasskeyUser = { handle: string; name: string; displayName: string }

/** What an option list needs of a passkey. */
export type KnownPasskey = { credential_id: string; data: Pick<StoredPasskey['data'], 'transports'> }

/** For `PublicKeyCredential.parseCreationOptionsFromJSON` (WebAuthn section 5.4). */
export function creationOptionsOf(asked: {
  rp: { id: string; name: string }
  challenge: Buffer
  user: PasskeyUser
  exclude: readonly KnownPasskey[]
}) {
  const { handle, name, displayName } = asked.user
  return {
    rp: asked.rp,
    user: { id: handle, name, displayName },
    challenge: asked.challenge.toString('base64url'),
    pubKeyCredParams: passkeyAlgorithms.map((alg) => ({ type: 'public-key', alg })),
    timeout: timeoutMs,
    excludeCredentials: asked.exclude.map(describe),
    authenticatorSelection: { residentKey: 'preferred', requireResidentKey: false, userVerification: 'preferred' },
    attestation: 'none',
    extensions: { credProps: true },
  } satisfies PublicKeyCredentialCreationOptionsJSON
}

/** For `PublicKeyCredential.parseRequestOptionsFromJSON` (WebAuthn section 5.5). */
export function requestOptionsOf(asked: {
  rpId: string
  challenge: Buffer
  allow: readonly KnownPasskey[]
  userVerification: 'required' | 'preferred'
}) {
  return {
    rpId: asked.rpId,
    challenge: asked.challenge.toString('base64url'),
    timeout: timeoutMs,
    allowCredentials: asked.allow.map(describe),
    userVerification: asked.userVerification,
  } satisfies PublicKeyCredentialRequestOptionsJSON
}

function describe({ credential_id, data: { transports } }: KnownPasskey) {
  const descriptor = { type: 'public-key' as const, id: credential_id }
  return transports.length > 0 ? { ...descriptor, transports: [...transports] } : descriptor
}
