import { createHmac } from 'node:crypto'
import type {
  PublicKeyCredentialCreationOptionsJSON,
  PublicKeyCredentialRequestOptionsJSON,
} from '@simplewebauthn/server'
import type { AssertionQuestion, NewPasskey, ProvenPasskey, StoredPasskey } from './passkey-proof.ts'
import type { Secrets } from './secrets.ts'

export type { NewPasskey, PasskeyData, ProvenPasskey, StoredPasskey } from './passkey-proof.ts'

/** COSE algorithms in order of preference: EdDSA, ES256, RS256. */
export const passkeyAlgorithms: readonly number[] = [-8, -7, -257]

const timeoutMs = 300_000

export type PasskeyConfig = {
  /** The domain that passkeys are bound to, such as `example.com`. */
  rpId: string
  rpName: string
  /** Where they may be used, exactly as browsers write it: `https://app.example.com`, `android:apk-key-hash:…`. */
  origins: readonly string[]
}

/** Whom a new passkey is for; `handle` is the base64url of 32 random bytes, `name` the e-mail address. */
export type PasskeyUser = { handle: string; name: string; displayName: string }

export type Passkeys = ReturnType<typeof createPasskeys>

/**
 * Passkeys: what a browser is asked, and whether what it answered is proof (WebAuthn Level 3, sections 5.4, 5.5 and 7).
 * Challenges are derived from the id of ours, never stored; whoever stores that a challenge is over makes them single use.
 * Whatever is wrong with an answer, it is `null`: nothing is thrown and nothing tells why (SEC-117).
 */
export function createPasskeys({ config, secrets }: { config: PasskeyConfig; secrets: Secrets }) {
  const { rpId, rpName } = config
  const rules = { rpId, origins: config.origins, algorithms: passkeyAlgorithms }

  const derive = (key: Buffer, cid: string): Buffer => createHmac('sha256', key).update(`webauthn:v1|${cid}`).digest()

  /** All that may have been asked under this id: a challenge outlives a new first key in `SECRET_KEYS`. */
  const challengesOf = (cid: string): Buffer[] =>
    secrets.ids.map((id) => derive(secrets.find('webauthn', id) as Buffer, cid))

  return {
    /** The 32 bytes to be signed in the challenge `cid`. */
    challengeOf: (cid: string): Buffer => derive(secrets.current('webauthn').key, cid),

    challengesOf,

    /** For `PublicKeyCredential.parseCreationOptionsFromJSON`; `exclude` are the passkeys that the user has. */
    creationOptions: (asked: {
      cid: string
      user: PasskeyUser
      exclude: readonly Pick<StoredPasskey, 'credential_id' | 'data'>[]
    }) =>
      ({
        rp: { id: rpId, name: rpName },
        user: { id: asked.user.handle, name: asked.user.name, displayName: asked.user.displayName },
        challenge: derive(secrets.current('webauthn').key, asked.cid).toString('base64url'),
        pubKeyCredParams: passkeyAlgorithms.map((alg) => ({ type: 'public-key', alg })),
        timeout: timeoutMs,
        excludeCredentials: asked.exclude.map(describe),
        authenticatorSelection: {
          residentKey: 'preferred',
          requireResidentKey: false,
          userVerification: 'preferred',
        },
        attestation: 'none',
        extensions: { credProps: true },
      }) satisfies PublicKeyCredentialCreationOptionsJSON,

    /** For `PublicKeyCredential.parseRequestOptionsFromJSON`; with an empty `allow` the browser offers what it has. */
    requestOptions: (asked: {
      challenge: Buffer
      allow: readonly Pick<StoredPasskey, 'credential_id' | 'data'>[]
      userVerification: 'required' | 'preferred'
    }) =>
      ({
        rpId,
        challenge: asked.challenge.toString('base64url'),
        timeout: timeoutMs,
        allowCredentials: asked.allow.map(describe),
        userVerification: asked.userVerification,
      }) satisfies PublicKeyCredentialRequestOptionsJSON,

    /** Judges the answer to `creationOptions`: what to store of the new passkey, or null. */
    verifyRegistration: (given: { cid: string; response: unknown }): Promise<NewPasskey | null> =>
      quietly(async () => {
        const { judgeRegistration } = await import('./passkey-proof.ts')
        return judgeRegistration(rules, challengesOf(given.cid), given.response)
      }),

    /**
     * Judges the answer to `requestOptions` against one stored passkey of one user: what to store of its use, or null.
     * @param given.challenges any of these may have been signed; with none everything is wrong
     * @param given.requireVerification whether the passkey stands for both factors: the user was verified, and named
     */
    verifyAssertion: (given: AssertionQuestion & { response: unknown }): Promise<ProvenPasskey | null> =>
      quietly(async () => {
        const { judgeAssertion } = await import('./passkey-proof.ts')
        return judgeAssertion(rules, given, given.response)
      }),
  }
}

function describe({ credential_id, data }: Pick<StoredPasskey, 'credential_id' | 'data'>) {
  const descriptor = { type: 'public-key' as const, id: credential_id }
  return data.transports.length > 0 ? { ...descriptor, transports: [...data.transports] } : descriptor
}

/** The library throws for most of what is wrong, and one of its messages holds the challenge that it expected. */
async function quietly<Found>(judge: () => Promise<Found | null>): Promise<Found | null> {
  try {
    return await judge()
  } catch {
    return null
  }
}
