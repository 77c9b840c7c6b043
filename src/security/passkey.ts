import { createHmac } from 'node:crypto'
import {
  creationOptionsOf,
  type KnownPasskey,
  type PasskeyUser,
  passkeyAlgorithms,
  requestOptionsOf,
} from './passkey-options.ts'
import type { AssertionQuestion, NewPasskey, ProvenPasskey } from './passkey-proof.ts'
import type { Secrets } from './secrets.ts'

export type { PasskeyUser } from './passkey-options.ts'
export type { NewPasskey, PasskeyData, ProvenPasskey, StoredPasskey } from './passkey-proof.ts'

export type PasskeyConfig = {
  /** The domain that passkeys are bound to, such as `example.com`. */
  rpId: string
  rpName: string
  /** Where they may be used, exactly as browsers write it: `https://app.example.com`, `android:apk-key-hash:…`. */
  origins: readonly string[]
}

export type Passkeys = ReturnType<typeof createPasskeys>

/**
 * Passkeys: what a browser is asked, and whether what it answered is proof (WebAuthn Level 3, sections 5.4, 5.5 and 7).
 * Challenges are derived from the id of ours, never stored; whoever stores that a challenge is over makes them single use.
 * Whatever is wrong with an answer, it is `null`: nothing is thrown and nothing tells why (SEC-117).
 */
export function createPasskeys({ config, secrets }: { config: PasskeyConfig; secrets: Secrets }) {
  const { rpId, rpName, origins } = config
  const rules = { rpId, origins, algorithms: passkeyAlgorithms }

  const derive = (key: Buffer, cid: string): Buffer => createHmac('sha256', key).update(`webauthn:v1|${cid}`).digest()

  /** The 32 bytes to be signed in the challenge `cid`. */
  const challengeOf = (cid: string): Buffer => derive(secrets.current('webauthn').key, cid)

  /** All that may have been asked in it: a challenge outlives a new first key in `SECRET_KEYS`. */
  const challengesOf = (cid: string): Buffer[] =>
    secrets.ids.map((id) => derive(secrets.find('webauthn', id) as Buffer, cid))

  return {
    challengeOf,
    challengesOf,

    /** What a browser is asked for a new passkey; `exclude` are those that the user has. */
    creationOptions: ({ cid, ...asked }: { cid: string; user: PasskeyUser; exclude: readonly KnownPasskey[] }) =>
      creationOptionsOf({ ...asked, rp: { id: rpId, name: rpName }, challenge: challengeOf(cid) }),

    /** What it is asked for a proof; with an empty `allow` it offers what it has. */
    requestOptions: (asked: {
      challenge: Buffer
      allow: readonly KnownPasskey[]
      userVerification: 'required' | 'preferred'
    }) => requestOptionsOf({ ...asked, rpId }),

    /** Judges the answer to `creationOptions`: what to store of the new passkey, or null. */
    verifyRegistration: async (given: { cid: string; response: unknown }): Promise<NewPasskey | null> => {
      const { judgeRegistration } = await proof()
      return quietly(() => judgeRegistration(rules, challengesOf(given.cid), given.response))
    },

    /**
     * Judges the answer to `requestOptions` against one stored passkey of one user: what to store of its use, or null.
     * @param given.challenges any of these may have been signed; with none everything is wrong
     * @param given.requireVerification whether the passkey stands for both factors: the user was verified, and named
     */
    verifyAssertion: async (given: AssertionQuestion & { response: unknown }): Promise<ProvenPasskey | null> => {
      const { judgeAssertion } = await proof()
      return quietly(() => judgeAssertion(rules, given, given.response))
    },
  }
}

/** The library takes a third of a second to load, and 24 MB: with the first answer, not with the service. */
const proof = () => import('./passkey-proof.ts')

/** The library throws for most of what is wrong, and one of its messages holds the challenge that it expected. */
async function quietly<Found>(judge: () => Promise<Found | null>): Promise<Found | null> {
  try {
    return await judge()
  } catch {
    return null
  }
}
