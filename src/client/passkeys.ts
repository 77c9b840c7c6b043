import type { Challenge, Proof } from './types.ts'

// What a browser has for passkeys. Nothing of it is touched before it is called.

type Result = { toJSON(): unknown } | null
type Options = { publicKey: unknown; signal?: AbortSignal | undefined; mediation?: string | undefined }
type Platform = {
  PublicKeyCredential?: {
    parseCreationOptionsFromJSON(options: unknown): unknown
    parseRequestOptionsFromJSON(options: unknown): unknown
  }
  navigator?: { credentials: { create(options: Options): Promise<Result>; get(options: Options): Promise<Result> } }
}

const browser = globalThis as unknown as Platform

/** Whether this browser can use passkeys, by its own functions for JSON (WebAuthn level 3). */
export const hasPasskeys = (): boolean => browser.PublicKeyCredential?.parseRequestOptionsFromJSON !== undefined

/**
 * Asks the person for the passkey of a challenge, or to make one in an enrolment; `finish` takes the result. Throws what
 * the browser throws: `NotAllowedError` when the person did not want to, or took too long.
 *
 * `mediation: 'conditional'` offers it among what the browser fills in, at a field with `autocomplete="username webauthn"`.
 */
export async function passkeyProof(
  challenge: Challenge,
  { signal, mediation }: { signal?: AbortSignal; mediation?: 'conditional' | 'optional' | 'required' } = {},
): Promise<Pick<Proof, 'credential'>> {
  const { PublicKeyCredential: parser, navigator } = browser
  const { setup, public_key: request } = challenge.method === 'passkey' ? challenge : {}
  const result = setup
    ? await navigator?.credentials.create({ publicKey: parser?.parseCreationOptionsFromJSON(setup.public_key), signal })
    : request &&
      (await navigator?.credentials.get({ publicKey: parser?.parseRequestOptionsFromJSON(request), signal, mediation }))
  if (!result) throw new TypeError('There is no passkey to be had: see hasPasskeys().')
  return { credential: result.toJSON() as NonNullable<Proof['credential']> }
}
